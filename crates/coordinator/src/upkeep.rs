//! Keeping a data directory in order: copies of it, checks, and getting rid of what nobody needs.
//!
//! Copies and checks may be made while a coordinator serves from the directory; what changes it needs it alone.

mod hold;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use asterism_protocol::{Cid, Receipt};
use asterism_scheduler::Event;

use self::hold::Hold;
pub(crate) use self::hold::UPKEEP;
use crate::{
    driver::event_of,
    http::run_blobs,
    limits::{BLOB_CHUNK_BYTES, READ_EVENTS},
    store::{
        BLOBS, BlobEntry, BlobError, BlobReader, Blobs, BlobsElsewhere, DataDirectory, Database,
        FolderBlobs, Journal, JournalError, LockError, Owner, Partition, Sequence, SqliteJournal,
        WrongBlobs, WrongJournal, make_private_folder, open_blobs, open_existing_blobs,
        open_existing_in, path_inside, timestamp_of,
    },
};

/// Where what is not in a data directory is: each is named as it is for a coordinator.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// The database that has the journal.
    pub journal: Option<Database>,
    /// The place that has the blobs.
    pub blobs: Option<BlobsElsewhere>,
}

/// A copy of the journal that may not be whole yet.
const UNFINISHED: &str = "journal.unfinished";

/// Why upkeep was not possible.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] LockError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The journal is not that of the data directory.
    #[error(transparent)]
    WrongJournal(#[from] WrongJournal),
    /// The blobs are not those of the journal.
    #[error(transparent)]
    WrongBlobs(#[from] WrongBlobs),
    /// There is nothing where data was expected.
    #[error("{0} holds no journal")]
    Nothing(String),
    /// What is to be changed is in use.
    #[error("the coordinator at {0} serves from the same database")]
    Served(String),
    /// It could not be kept from others.
    #[error("the database did not let the journal be held to the end, so not all of it was done")]
    Lost,
    /// There is something where it would be overwritten.
    #[error("{0} holds a journal already, and nothing is overwritten")]
    Something(String),
    /// The file system failed.
    #[error("failed to write {path}: {source}")]
    Io {
        /// Which file or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that are damaged and were left out, each with its reason.
    pub problems: Vec<String>,
}

/// Copies a data directory to another folder, as it is at one moment, also while a coordinator serves from it: with its blobs,
/// wherever they are.
///
/// # Errors
/// There is no data, there is a backup already, or a disk failed.
pub fn backup(
    data: &Path,
    blobs: Option<&BlobsElsewhere>,
    to: &Path,
) -> Result<Copied, UpkeepError> {
    let journal = journal_of(data)?;
    let blobs = open_existing_blobs(data, blobs, &Owner::beside(data)?)?;
    copy(&journal, &*blobs, to, || {
        Ok(Arc::new(FolderBlobs::open(&to.join(BLOBS))?))
    })
}

/// Makes a data directory of a backup; its blobs go to the place that is named, which is the directory's from then on.
///
/// # Errors
/// There is no backup, there is data already, somebody uses the directory or the place, or a disk failed.
pub fn restore(
    backup: &Path,
    data: &Path,
    blobs: Option<&BlobsElsewhere>,
) -> Result<Copied, UpkeepError> {
    // Before anything is made there: a folder without a backup is most likely a slip.
    let journal = journal_of(backup)?;
    let data = DataDirectory::open(data)?;
    let from = FolderBlobs::beside(&backup.join(BLOBS));
    let mut lock = None;
    let copied = copy(&journal, &from, data.path(), || {
        let opened = open_blobs(Some(&data), blobs, Some(&Owner::inside(&data)?))?;
        lock = opened.lock;
        Ok(opened.blobs)
    });
    // Nobody else was at the place meanwhile.
    drop(lock);
    copied
}

/// Copies a journal into a folder, and blobs to where `to_blobs` says.
fn copy(
    journal: &Path,
    blobs: &dyn Blobs,
    to: &Path,
    to_blobs: impl FnOnce() -> Result<Arc<dyn Blobs>, UpkeepError>,
) -> Result<Copied, UpkeepError> {
    let journal = SqliteJournal::open_existing(journal)?;
    let (target, unfinished) = (path_inside(to)?, to.join(UNFINISHED));
    if target.exists() {
        return Err(UpkeepError::Something(to.display().to_string()));
    }
    let failed = |path: &Path| {
        let path = path.display().to_string();
        |source| UpkeepError::Io { path, source }
    };
    make_private_folder(to).map_err(failed(to))?;
    // Of a copy that was interrupted.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(&unfinished)(error));
        }
        _ => {}
    }
    // The journal first: every blob that it speaks of was there before it spoke of it.
    journal.copy_to(&unfinished)?;
    let copied = copy_blobs(blobs, &*to_blobs()?)?;
    // A journal of that name is a whole copy.
    File::open(&unfinished)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&unfinished, &target))
        .and_then(|()| File::open(to)?.sync_all())
        .map_err(failed(&target))?;
    Ok(copied)
}

fn journal_of(folder: &Path) -> Result<PathBuf, UpkeepError> {
    let path = path_inside(folder)?;
    if path.exists() {
        Ok(path)
    } else {
        Err(UpkeepError::Nothing(folder.display().to_string()))
    }
}

/// Opens the journal of a data directory, wherever it is; and whose its blobs are.
fn open(
    folder: &Path,
    database: Option<&Database>,
) -> Result<(Box<dyn Journal>, Owner), UpkeepError> {
    Ok(match database {
        Some(database) => {
            let journal = open_existing_in(folder, database)?;
            let owner = Owner::in_database(&journal, database)?;
            (Box::new(journal), owner)
        }
        None => {
            let journal = SqliteJournal::open_existing(&journal_of(folder)?)?;
            (Box::new(journal), Owner::beside(folder)?)
        }
    })
}

fn copy_blobs(from: &dyn Blobs, to: &dyn Blobs) -> Result<Copied, UpkeepError> {
    let mut copied = Copied::default();
    for entry in entries(from)? {
        match copy_blob(from, to, entry.cid) {
            Ok(Some(bytes)) => {
                copied.blobs += 1;
                copied.bytes += bytes;
            }
            // It was deleted since it was listed.
            Ok(None) => {}
            Err(error @ BlobError::Corrupted { .. }) => copied.problems.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(copied)
}

fn entries(blobs: &dyn Blobs) -> Result<Vec<BlobEntry>, BlobError> {
    let mut entries = Vec::new();
    blobs.each(&mut |entry| {
        entries.push(entry);
        true
    })?;
    entries.sort_unstable_by_key(|entry| entry.cid);
    Ok(entries)
}

fn copy_blob(from: &dyn Blobs, to: &dyn Blobs, cid: Cid) -> Result<Option<u64>, BlobError> {
    let Some(mut reader) = from.open(cid)? else {
        return Ok(None);
    };
    let mut writer = to.begin()?;
    each_chunk(cid, &mut *reader, |chunk| writer.write(chunk))?;
    writer.finish(Some(cid))?;
    Ok(Some(reader.size()))
}

/// Reads all of a blob; what is read is checked on the way.
fn each_chunk(
    cid: Cid,
    reader: &mut dyn BlobReader,
    mut take: impl FnMut(&[u8]) -> Result<(), BlobError>,
) -> Result<(), BlobError> {
    let mut chunk = vec![0; BLOB_CHUNK_BYTES];
    loop {
        match reader.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => take(&chunk[..read])?,
            Err(error) => return Err(BlobError::of_reading(cid, error)),
        }
    }
}

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Events of the journal.
    pub events: u64,
    /// Receipts of the index.
    pub receipts: u64,
    /// Blobs.
    pub blobs: u64,
    /// One sentence each.
    pub problems: Vec<String>,
}

/// Checks everything in a data directory or a backup, also while a coordinator serves from it: the journal's file, every
/// event, every receipt's evidence, every blob's bytes, and that no blob is missing that is spoken of. What is elsewhere is
/// named.
///
/// # Errors
/// There is no data, or it cannot be read at all.
pub fn doctor(data: &Path, elsewhere: &Elsewhere) -> Result<Health, UpkeepError> {
    let (journal, owner) = open(data, elsewhere.journal.as_ref())?;
    // A database that others use as well is looked after by its own operator.
    let problems = match elsewhere.journal {
        Some(_) => Vec::new(),
        None => SqliteJournal::open_existing(&journal_of(data)?)?.check()?,
    };
    let blobs = open_existing_blobs(data, elsewhere.blobs.as_ref(), &owner)?;
    let blobs = &*blobs;
    let mut health = Health {
        problems,
        ..Health::default()
    };
    let mut wanted = BTreeSet::new();
    walk(&*journal, &mut wanted, |seen| {
        match seen {
            Seen::Event => health.events += 1,
            Seen::Receipt(receipt) => {
                health.receipts += 1;
                if let Err(error) = receipt.verify() {
                    let problem = format!("receipt {} proves nothing: {error}", receipt.cid());
                    health.problems.push(problem);
                }
                match journal.remark(receipt.cid()) {
                    Ok(_) => {}
                    Err(error) => health.problems.push(format!(
                        "{error}; nothing but what is told of it depends on it"
                    )),
                }
            }
            Seen::Damage(of, error) => {
                let remedy = match (of, behind(&error)) {
                    (Part::Receipts, Some(_)) => "its task is computed again when it is wanted",
                    (Part::Events, Some(_)) => "restore a backup",
                    (_, None) => "what comes behind it was not looked at; restore a backup",
                    (Part::Components, Some(_)) => "add it again",
                };
                health.problems.push(format!("{error}; {remedy}"));
            }
        }
        Ok(())
    })?;
    for entry in entries(blobs)? {
        health.blobs += 1;
        wanted.remove(&entry.cid);
        let whole = match blobs.open(entry.cid) {
            Ok(None) => Ok(()),
            Ok(Some(mut reader)) => each_chunk(entry.cid, &mut *reader, |_| Ok(())),
            Err(error) => Err(error),
        };
        if let Err(error) = whole {
            health.problems.push(error.to_string());
        }
    }
    for cid in wanted {
        // Stored since the blobs were listed, by whoever serves from here?
        if blobs.size(cid)?.is_none() {
            let problem = format!("blob {cid} is missing; upload it again");
            health.problems.push(problem);
        }
    }
    Ok(health)
}

/// What a walk comes by.
enum Seen<'a> {
    Event,
    Receipt(&'a Receipt),
    /// Something could not be read. The walk goes on behind it, as far as it can.
    Damage(Part, JournalError),
}

/// Parts of a journal.
#[derive(Clone, Copy)]
enum Part {
    Components,
    Events,
    Receipts,
}

/// The number of the entry behind which reading may go on after an error.
fn behind(error: &JournalError) -> Option<u64> {
    match error {
        JournalError::Damaged { last, .. } => *last,
        JournalError::Sequence { .. }
        | JournalError::Fenced { .. }
        | JournalError::Newer { .. }
        | JournalError::Partitions { .. }
        | JournalError::Failed { .. } => None,
    }
}

/// Walks through all that a journal knows and adds the blobs that it speaks of to `found`; ends with the first error that
/// `see` returns.
fn walk(
    journal: &dyn Journal,
    found: &mut BTreeSet<Cid>,
    mut see: impl FnMut(Seen<'_>) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    match journal.components() {
        Ok(components) => found.extend(components.iter().map(|component| component.cid)),
        Err(error) => see(Seen::Damage(Part::Components, error))?,
    }
    for partition in (0..journal.partitions()).map(Partition) {
        walk_events(journal, partition, found, &mut see)?;
    }
    let mut next = Some(0);
    while let Some(after) = next {
        match journal.receipts(after, READ_EVENTS) {
            Ok(receipts) => {
                next = receipts.last().map(|(last, _)| *last);
                for (_, receipt) in &receipts {
                    run_blobs(receipt.out.value(), found);
                    see(Seen::Receipt(receipt))?;
                }
            }
            Err(error) => {
                next = behind(&error);
                see(Seen::Damage(Part::Receipts, error))?;
            }
        }
    }
    Ok(())
}

/// Walks through the events of a partition.
fn walk_events(
    journal: &dyn Journal,
    partition: Partition,
    found: &mut BTreeSet<Cid>,
    see: &mut impl FnMut(Seen<'_>) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let mut next = Some(Sequence(0));
    while let Some(from) = next {
        match journal.read(partition, from, READ_EVENTS) {
            Ok(events) => {
                next = events.last().map(|(last, _)| Sequence(last.0 + 1));
                for (number, bytes) in &events {
                    match event_of(*number, bytes) {
                        Ok(event) => {
                            blobs_of(&event, found);
                            see(Seen::Event)?;
                        }
                        Err(error) => see(Seen::Damage(Part::Events, error))?,
                    }
                }
            }
            Err(error) => {
                next = behind(&error).map(|last| Sequence(last + 1));
                see(Seen::Damage(Part::Events, error))?;
            }
        }
    }
    Ok(())
}

/// The blobs that an event speaks of.
fn blobs_of(event: &Event, found: &mut BTreeSet<Cid>) {
    match event {
        Event::Submitted { plan, known, .. } => {
            let tasks = plan.tasks();
            for index in 0..tasks.len() as u32 {
                let task = tasks.get(index);
                // What was accepted names one.
                found.extend(task.run.component().ok());
                let values = task.run.input.values();
                values.for_each(|value| run_blobs(value, found));
            }
            for receipt in known {
                run_blobs(receipt.out().value(), found);
            }
        }
        Event::Computed { receipt, .. } => run_blobs(receipt.out().value(), found),
        Event::Voted { outcome, .. } => run_blobs(outcome.out.value(), found),
        Event::Parted { .. }
        | Event::Caught { .. }
        | Event::Banned { .. }
        | Event::Lifted { .. }
        | Event::Repeated { .. }
        | Event::GaveUp { .. }
        | Event::Cancelled { .. }
        | Event::TaskCancelled { .. }
        | Event::Paused { .. }
        | Event::Records { .. }
        | Event::LeasesReserved { .. } => {}
    }
}

/// What nobody needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that stay.
    pub kept: u64,
}

/// Deletes the blobs that no component, no receipt and no event of the journal speaks of, and that were stored longer ago
/// than `grace`: somebody may be about to speak of a younger one. What is elsewhere is named.
///
/// # Errors
/// A coordinator serves from the directory, or a disk failed.
pub fn collect_garbage(
    data: &Path,
    elsewhere: &Elsewhere,
    grace: Duration,
) -> Result<Garbage, UpkeepError> {
    // Before anything is made there: a folder without a journal is most likely a slip.
    let (journal, _) = open(data, elsewhere.journal.as_ref())?;
    // What is spoken of must not change meanwhile: not from this folder, nor from others on the same database.
    let owned = DataDirectory::open(data)?;
    let hold = if elsewhere.journal.is_some() {
        Some(Hold::take(journal.into(), owned.name()?)?)
    } else {
        None
    };
    let may_delete = || hold.as_ref().map_or(Ok(()), Hold::check);
    sweep(owned.path(), elsewhere, grace, Some(&may_delete))
}

/// What [`collect_garbage`] would delete; also while a coordinator serves from the directory.
///
/// # Errors
/// There is no data, or a disk failed.
pub fn find_garbage(
    data: &Path,
    elsewhere: &Elsewhere,
    grace: Duration,
) -> Result<Garbage, UpkeepError> {
    sweep(data, elsewhere, grace, None)
}

fn sweep(
    data: &Path,
    elsewhere: &Elsewhere,
    grace: Duration,
    may_delete: Option<&dyn Fn() -> Result<(), UpkeepError>>,
) -> Result<Garbage, UpkeepError> {
    let (journal, owner) = open(data, elsewhere.journal.as_ref())?;
    let blobs = open_existing_blobs(data, elsewhere.blobs.as_ref(), &owner)?;
    // Those that are younger than the list are not on it.
    let listed = entries(&*blobs)?;
    let mut needed = BTreeSet::new();
    walk(&*journal, &mut needed, |seen| match seen {
        Seen::Event | Seen::Receipt(_) => Ok(()),
        // What it speaks of is not known.
        Seen::Damage(_, error) => Err(error),
    })?;
    let oldest = SystemTime::now().checked_sub(grace);
    let oldest = timestamp_of(oldest.unwrap_or(SystemTime::UNIX_EPOCH));
    let mut garbage = Garbage::default();
    for entry in listed {
        if needed.contains(&entry.cid) || entry.stored > oldest {
            garbage.kept += 1;
            continue;
        }
        if let Some(may_delete) = may_delete {
            may_delete()?;
            blobs.delete(entry.cid)?;
        }
        garbage.blobs += 1;
        garbage.bytes += entry.size;
    }
    Ok(garbage)
}
