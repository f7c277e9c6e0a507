//! Every bound of the coordinator, with the reason for its number. What may be said is bounded in
//! [`asterism_protocol::limits`].

use std::time::Duration;

use asterism_protocol::limits::DOCUMENT_BYTES_MAX;

// Of connections, executors, watchers, waiting requests, large bodies, uploads and answers one network has at most half: see
// `places`.

/// Open TCP connections: one executor or panel each, and a browser's six for blobs.
pub(crate) const CONNECTIONS_MAX: usize = 16_384;

/// Open TCP connections beside those, until their first request says whether another coordinator makes it: those are not counted
/// among strangers', as whoever is behind them has a place there.
pub(crate) const NEWCOMERS_MAX: usize = 256;

/// Executors that are connected at the same time.
pub(crate) const EXECUTORS_MAX: usize = 12_288;

/// Watchers that are connected at the same time. Each costs a copy of every change.
pub(crate) const WATCHERS_MAX: usize = 1_024;

/// Requests that wait for a run to end. More are told to come back.
pub(crate) const PENDING_RUNS_MAX: usize = 2_048;

/// Tasks of a run that are looked at together where not all have to be: who reads slowly keeps so many of a large one.
pub(crate) const PART_TASKS: usize = 256;

/// Runs that are held with all of their tasks at the same time, to be answered with: one of 200,000 tasks takes 200 MB.
pub(crate) const WHOLES_MAX: usize = 2;

/// Answers with all of a large run that are made or on their way at the same time: of 200,000 tasks one is 60 MB of text.
pub(crate) const LARGE_ANSWERS_MAX: usize = 32;

/// Large bodies read into memory at the same time: documents and components. Bounds memory by this times the largest of them.
pub(crate) const BODIES_MAX: usize = 16;

/// Workflows that are larger than any document, read at the same time. One is there as it came, and its graph beside it.
pub(crate) const LARGE_WORKFLOWS_MAX: usize = 2;

/// Large blobs that are written while they arrive. Each holds a thread for blocking work, of which there are 512, and where blobs are in
/// an object store up to [`STORE_PART_BYTES`]: 640 MiB together. More wait, and nothing of them is read meanwhile.
pub(crate) const UPLOADS_MAX: usize = 128;

/// Longest such wait: within the grace that a body has, and below what clients wait.
pub(crate) const UPLOAD_WAIT_MAX: Duration = Duration::from_secs(10);

/// Bytes a second that a body needs on average, after a grace: the uplink of a bad mobile network.
pub(crate) const BODY_BYTES_PER_SECOND_MIN: u64 = 8 << 10;

/// Networks whose use is counted at the same time; some megabytes.
pub(crate) const NETWORKS_MAX: usize = 100_000;

/// Bodies up to this size are not counted as large: connections bound them well enough.
pub(crate) const SMALL_BODY_BYTES: usize = 128 << 10;

/// Unit in which documents that are read at the same time are counted, in bytes.
pub(crate) const DOCUMENT_UNIT_BYTES: usize = 1 << 20;

/// So many of them may be read at the same time: one of the largest, or many small ones. While it is read, a workflow takes
/// up to a hundred times its size.
pub(crate) const DOCUMENTS_UNITS: usize = DOCUMENT_BYTES_MAX / DOCUMENT_UNIT_BYTES;

/// Components in the table. The panel shows them all at once.
pub(crate) const COMPONENTS_MAX: usize = 1_000;

/// Longest that a request waits for somebody else to read components that were added through another coordinator. They are
/// there in milliseconds unless the store is slow, and then nobody else has to be.
pub(crate) const COMPONENTS_WAIT_MAX: Duration = Duration::from_secs(1);

/// Facts that wait for the scheduler. A full queue slows sockets down, one by one.
pub(crate) const FACTS_MAX: usize = 4_096;

/// Facts that are handled before their events go to the journal as one batch.
pub(crate) const BATCH_FACTS_MAX: usize = 512;

/// Events in one batch beyond which no further facts are handled before it is handed over.
pub(crate) const BATCH_EVENTS_MAX: usize = 4_096;

/// Messages that wait for one executor's socket. It is disconnected when there are more: what it does not
/// hear it cannot obey. One batch of facts can answer every lease that a busy executor holds, each by its own message,
/// before its socket is written to; places that are not used cost nothing.
pub(crate) const OUTBOX_MAX: usize = 8 * BATCH_FACTS_MAX;

/// Batches of changes that a watcher may be behind before it gets a new snapshot instead.
pub(crate) const CHANGES_BEHIND_MAX: usize = 256;

/// Changes in one frame to a watcher.
pub(crate) const CHANGES_FRAME_MAX: usize = 256;

/// Between pings. Proxies close connections that are silent for a minute.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(25);

/// Silence after which a connection counts as dead: two pings unanswered.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Time for the first frame of an executor, and for the head of an HTTP request.
pub(crate) const FIRST_WORD_MAX: Duration = Duration::from_secs(15);

/// Time for one frame to leave for a slow network.
pub(crate) const SEND_MAX: Duration = Duration::from_secs(30);

/// Read buffer of a WebSocket, in bytes: most of what an idle executor costs.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 2 << 10;

/// Longest wait that `POST /run?timeout=` may ask for, and the one without it.
pub(crate) const RUN_WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Time that connections have to end after the shutdown signal.
pub(crate) const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// Receipts returned for one instruction, the newest ones. It has several only where limits changed what came of it, and each
/// budget is computed once: so many smaller ones may follow before what came of the whole one is not found here any more.
pub(crate) const RECEIPTS_PER_INSTRUCTION_MAX: usize = 32;

/// Events read from the journal at a time.
pub(crate) const READ_EVENTS: usize = 4_096;

/// Events after which the journal is compacted: some seconds of recovery. Later it waits for as many as were left the last time.
pub(crate) const COMPACT_AFTER: u64 = 250_000;

/// Chunk in which blobs are read and written, in bytes: those whose CIDs a blob's CID is made of.
pub(crate) const BLOB_CHUNK_BYTES: usize = asterism_protocol::CHUNK_BYTES;

/// Chunks of verified files whose CIDs are remembered: 256 GiB of blobs, at some 96 MiB of memory. Forgetting those of a
/// file costs reading it once more.
pub(crate) const VERIFIED_CHUNKS_MAX: usize = 1 << 20;

/// Pause before a journal that failed is tried again. It doubles up to [`RETRY_MAX`].
pub(crate) const RETRY_MIN: Duration = Duration::from_millis(100);

/// Longest such pause: a disk that has room again is noticed within it.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(5);

/// How long a partition is held without a word from its holder.
pub(crate) const TERM: Duration = Duration::from_secs(3);

/// How often a holder says that it still holds its partition: two words may get lost.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(1);

/// How often one that stands by asks for the partition: whoever died is followed [`TERM`] and this later at most.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(250);

/// How long a request for a partition waits for its next holder: [`TERM`], and what the next one needs to replay a usual log.
pub(crate) const FOLLOWED_WITHIN: Duration = Duration::from_secs(6);

/// How long a coordinator that is asked for a partition that it does not hold waits for it: it may be about to.
pub(crate) const MOVED_WITHIN: Duration = Duration::from_secs(1);

/// How long a partition that nobody holds is left to those who hold less.
pub(crate) const LEFT_TO_OTHERS: Duration = Duration::from_secs(1);

/// How long nothing is handed over once nobody took what was: whoever is to take it seems to be here, and cannot.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(30);

/// Time for a scheduler to welcome an executor that another one has welcomed.
pub(crate) const WELCOME_MAX: Duration = Duration::from_secs(5);

/// How long a coordinator that an executor could not be brought to is not tried again for it, at least: as long as it took to find out,
/// as nobody hears the executor meanwhile, and twice as long each time.
pub(crate) const AWAY_FOR: Duration = Duration::from_secs(1);

/// How long at most, unless finding out takes longer: that it is back is noticed within it.
pub(crate) const AWAY_MAX: Duration = Duration::from_secs(16);

/// How long an executor that comes back is kept from other work by seats elsewhere that it holds leases of.
pub(crate) const RESUMED_WITHIN: Duration = Duration::from_secs(1);

/// How long an executor does not ask again at a scheduler that had nothing for it.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(400);

/// Frames of an executor that wait for the scheduler that they are for.
pub(crate) const FRAMES_AHEAD: usize = 32;

/// Time for a scheduler that is behind to take one frame more over a line from another coordinator. All others that the executor talks
/// with over the same line wait meanwhile, and their leases end 15 seconds after its last sign of life.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// Executors that are woken together for what waits at another scheduler: more come with the next look.
pub(crate) const TURNED_AT_ONCE: u64 = 64;

/// Time for the holder of the partition to take a connection from one that stands by.
pub(crate) const PASS_ON_MAX: Duration = Duration::from_secs(2);

/// Time for a database to take a connection.
pub(crate) const DATABASE_CONNECT_MAX: Duration = Duration::from_secs(5);

/// Time for a database to append a batch; others wait as long, and the disk of a good one takes milliseconds.
pub(crate) const DATABASE_CALL_MAX: Duration = Duration::from_secs(10);

/// Time for a database to read events, and to drop those that are no longer needed.
pub(crate) const DATABASE_READ_MAX: Duration = Duration::from_secs(60);

/// Connections to a database beside those that append.
pub(crate) const DATABASE_READERS: usize = 3;

/// Connections to a database that append. Those that are not used are not made.
pub(crate) const DATABASE_WRITERS: usize = 4;

/// Blobs that a store is asked about together, before somebody hears of one that is missing.
pub(crate) const LINKS_AT_ONCE: usize = 256;

/// Bytes that one writer of an object store holds, and sends as one part: with parts below 5 MiB no S3 takes a blob in parts, so
/// this is more than is held elsewhere. What is shorter is sent at once, and takes no more memory than it has bytes.
pub(crate) const STORE_PART_BYTES: usize = 5 << 20;

/// Blobs of an object store up to this size are fetched once and read from memory.
pub(crate) const STORE_WHOLE_BYTES: u64 = 1 << 20;

/// What is fetched at a time of longer ones, in bytes: a few chunks, as each fetch waits for the network once.
pub(crate) const STORE_WINDOW_BYTES: u64 = 1 << 20;

/// Time for an object store to take a connection.
pub(crate) const STORE_CONNECT_MAX: Duration = Duration::from_secs(5);

/// Time for an object store to take a part and begin its answer, and between the bytes of an answer: 2 Mbit/s do for a part.
pub(crate) const STORE_ANSWER_MAX: Duration = Duration::from_secs(20);

/// Time for an object store to do one thing, with all attempts: below what clients and proxies wait.
pub(crate) const STORE_CALL_MAX: Duration = Duration::from_secs(50);

/// Time for an object store in trouble to do one thing, and for one in doubt to take and give an object of some bytes: whoever is told
/// so asks again, and threads that wait are not there for others.
pub(crate) const STORE_BRIEF_MAX: Duration = Duration::from_secs(3);

/// Attempts after the first one that failed, with pauses of 0.1 to 2 s: a store that asks to be asked less is given some seconds.
pub(crate) const STORE_RETRIES: usize = 5;

/// Age at which unfinished objects belong to nobody any more: bodies that take longer are too slow by far.
pub(crate) const STORE_UNFINISHED_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a store in trouble is asked whether it is over, which `/health` says.
pub(crate) const STORE_PROBE_EVERY: Duration = Duration::from_secs(5);

/// Most idempotency keys that are remembered: a few minutes of the busiest gateway, and some megabytes.
pub(crate) const IDEMPOTENCY_KEYS_MAX: usize = 10_000;
