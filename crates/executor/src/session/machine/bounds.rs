//! The times and amounts that a session keeps to.

/// The operation that hosts perform.
pub(super) const OPERATION: &str = "wasm/run";

/// Longest time from asking for a connection to being welcomed, in milliseconds.
pub(super) const HANDSHAKE_MS: u64 = 15_000;

/// How long one poll waits for work, in milliseconds.
pub(super) const POLL_WAIT_MS: u64 = 10_000;

/// How much later than asked a poll may be answered before the connection counts as dead, in milliseconds.
pub(super) const SILENCE_MS: u64 = 10_000;

/// Pause after a poll that was answered at once with nothing, and after a refused lease, in milliseconds; it doubles
/// with each further refusal. Without it, a coordinator that keeps offering what is kept being refused makes a busy loop.
pub(super) const POLL_PAUSE_MS: u64 = 100;

/// Pause before the next poll, in milliseconds, where a task was handed back because it cannot be done now: its blobs could not be had
/// or brought because the coordinator cannot do that, or its component was not ready in time. That took some seconds already.
pub(super) const POSTPONED_PAUSE_MS: u64 = 2_000;

/// How often an instruction is handed back for its blobs, and a component's tasks for its being ready too late. Then the one is a fault: a
/// coordinator that leases it again and again and is always unavailable for it alone would have it computed for ever. The other cannot
/// run here.
pub(super) const POSTPONED_MAX: u32 = 8;

/// Most instructions and components of which that is counted; beyond them one is forgotten.
pub(super) const POSTPONED_KEPT_MAX: usize = 1_024;

/// How long tasks whose component cannot run here are left to others without another look, in milliseconds. Nearly always that is so for
/// good; but a machine may have been short of memory when it was found.
pub(super) const UNFIT_MS: u64 = 600_000;

/// Most components of which that is remembered; beyond them one is forgotten.
pub(super) const UNFIT_KEPT_MAX: usize = 256;

/// Bounds of the interval of heartbeats, in milliseconds: what a coordinator asks for is not trusted.
pub(super) const HEARTBEAT_MS: std::ops::RangeInclusive<u64> = 50..=60_000;

/// How long a host may overrun the time limit before its thread is ended, in milliseconds: hosts that stop guests
/// themselves look at the clock only now and then, and say more about where the guest was.
pub(super) const GRACE_MS: u64 = 500;

/// Longest time to make a component ready, in milliseconds: compiling a language runtime takes ten seconds of a slow machine.
pub(super) const PREPARE_MS: u64 = 60_000;

/// Longest time that an outcome waits for others to be signed with, in milliseconds.
pub(super) const BATCH_MS: u64 = 4;

/// Outcomes that are signed together at once, without waiting for more.
pub(super) const BATCH_ITEMS: usize = 64;

/// Room in a frame for what is around the items of a delivery, in bytes.
pub(super) const FRAME_ROOM_BYTES: usize = 64 << 10;

/// After this time, in milliseconds, an attempt is announced to watchers; shorter ones are over before anybody looks.
pub(super) const STARTED_MS: u64 = 100;

/// How long an executor that leaves at once waits for its outcomes to be accepted, in milliseconds.
pub(super) const LEAVE_MS: u64 = 2_000;

/// How long an executor that leaves once it is done waits to be asked for what it committed to, in milliseconds: that needs
/// others, who may not come.
pub(super) const REVEAL_MS: u64 = 10_000;

/// Most bytes of outcomes that wait to be accepted; with more, no work is asked for.
pub(super) const UNACCEPTED_BYTES_MAX: usize = 64 << 20;

/// Most blobs that one lease may need.
pub(super) const BLOBS_MAX: usize = 1_024;

/// Most threads.
pub(super) const THREADS_MAX: u32 = 1_024;

/// A thread whose tasks take less than this, in microseconds, may have the next one before the last is answered: for longer
/// ones the way there and back is nothing, and what waits behind a task can be begun by nobody else.
pub(super) const PIPELINE_US: u64 = 2_000;

/// Most leases held for a thread beyond the one that runs, however short the tasks.
pub(super) const PREFETCH_MAX: u32 = 64;

/// How long the work that a thread has ahead of it shall last, in microseconds: several ways to a coordinator and back,
/// and no more than another executor can spare. It does not follow the measured way alone: a machine under load measures
/// long tasks as well, so that their quotient says the less the more it matters.
pub(super) const AHEAD_US: u64 = 100_000;

/// The most of it, however far the coordinator, in microseconds: what is held here is computed by nobody else.
pub(super) const AHEAD_US_MAX: u64 = 1_000_000;
