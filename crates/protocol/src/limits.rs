//! Every bound of what may be said, with the reason for its number.

use crate::Error;

/// Largest frame on a WebSocket, in bytes. Outcomes carry values inline up to [`OUTCOME_BYTES_MAX`];
/// larger byte strings travel as blobs, so a frame has room for one outcome and its remark.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

/// Largest encoded outcome value, in bytes, after long byte strings became links.
pub const OUTCOME_BYTES_MAX: usize = 2 << 20;

/// Byte strings longer than this leave an outcome and become a link to their blob. 16 KiB keeps the
/// journal, frames and the scheduler's memory small; a rule of the protocol, so that every honest
/// executor's outcome has the same CID.
pub const INLINE_BYTES_MAX: usize = 16 << 10;

/// Largest blob, in bytes: a component of a language runtime is 18 MB, photographs a few.
pub const BLOB_BYTES_MAX: u64 = 256 << 20;

/// Most files of one task. With its component and the links among its arguments they stay within what an executor fetches
/// for one task; whoever has more puts them into an archive.
pub const FILES_MAX: usize = 1_000;

/// Longest path of a file, in bytes: those of source trees and data sets have room.
pub const FILE_PATH_BYTES_MAX: usize = 256;

/// Most bytes of files that are written into a task itself: a task travels in one frame, with what its promises came to.
pub const FILES_INLINE_BYTES_MAX: usize = 1 << 20;

/// Most bytes of all files of one task, once links are followed: a guest in a tab has them beside its memory.
pub const FILES_BYTES_MAX: u64 = BLOB_BYTES_MAX;

/// Largest document of a workflow, in bytes: what is written by people or for them takes many times its size while it is read.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;

/// Largest full workflow in its canonical encoding, in bytes, which is read task by task: the most tasks, of 256 bytes each.
pub const WORKFLOW_BYTES_MAX: usize = 256 << 20;

/// Most tasks in one workflow.
pub const WORKFLOW_TASKS_MAX: usize = 1_000_000;

/// Tasks of a run in one answer about it. A client follows the answer's link to the next ones.
pub const PAGE_TASKS_MAX: usize = 10_000;

/// Tasks of a run that a watcher is told of. Of a larger one it sees a window: nobody looks at more at a time, and a picture
/// of more is slow to draw.
pub const WATCHED_TASKS_MAX: usize = 2_000;

/// Most nested lists and maps in a value. Decoders recurse; a stack of 1 MiB (a Web Worker's) holds this with room.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Most bytes of guest log text kept for one attempt; what follows is dropped and the drop is said.
pub const LOG_BYTES_MAX: usize = 64 << 10;

/// Most log lines kept for one attempt.
pub const LOG_LINES_MAX: usize = 1_000;

/// Most bytes of an error text or backtrace.
pub const TEXT_BYTES_MAX: usize = 8 << 10;

/// Most leases that one poll may ask for: an executor with 64 threads and a prefetch of three.
pub const POLL_SLOTS_MAX: u32 = 256;

/// Most leases that one executor may hold: four polls' worth, for prefetch and slow deliveries.
pub const LEASES_HELD_MAX: usize = 1_024;

/// Longest wait of one poll, in milliseconds.
pub const POLL_WAIT_MS_MAX: u64 = 60_000;

/// Most items in one delivery.
pub const DELIVERY_ITEMS_MAX: usize = 1_024;

/// Most executors that one quorum asks: receipts carry an attestation of each that agrees.
pub const QUORUM_MAX: u32 = 16;

/// The largest rate of spot checks, in thousandths: all.
pub const SPOT_PER_MILLE_MAX: u32 = 1_000;

/// The farthest priority from the usual one: a hundred steps order everything that people tell apart.
pub const PRIORITY_MAX: u32 = 100;

/// Most capabilities, and most labels, of one executor or one task.
pub const LABELS_MAX: usize = 32;

/// Longest name (of an executor, a function, a workflow, a label), in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// Fuel of a task that names no limit: about two minutes of a fast guest.
pub const FUEL_DEFAULT: u64 = 100_000_000_000;

/// Largest fuel limit; fuel counters are signed 64-bit on every engine.
pub const FUEL_MAX: u64 = i64::MAX as u64;

/// Memory of a task that names no limit, in bytes: all that wasm32 can address (Homestar's default).
pub const MEMORY_BYTES_DEFAULT: u64 = 4 << 30;

/// Wall-clock time of a task that names no limit, in milliseconds (Homestar's default).
pub const TIME_MS_DEFAULT: u64 = 100_000;

/// Most elements of a table, the largest that JavaScript engines allow: growing beyond fails alike on every host, and a
/// component that begins with more is refused.
pub const TABLE_ELEMENTS_MAX: u64 = 10_000_000;

/// What an element of a table takes of a task's memory limit, in bytes: a pointer on a machine of 64 bits, which is what engines
/// keep for it.
pub const TABLE_ELEMENT_BYTES: u64 = 8;

/// Refuses more than `max` of `unit` at `path`.
pub(crate) fn at_most(path: &str, unit: &str, count: usize, max: usize) -> Result<(), Error> {
    if count <= max {
        return Ok(());
    }
    Err(Error::Value {
        path: path.to_owned(),
        reason: format!("{count} {unit} are more than the {max} allowed"),
    })
}
