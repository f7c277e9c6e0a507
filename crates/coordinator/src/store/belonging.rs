//! Which journal belongs to a data directory: the one in it, or that of a database; and which blobs.
//!
//! Two journals beside the same blobs would each call garbage what the other one speaks of. So a directory whose journal
//! is in a database says so, and names it by what the database calls itself: addresses and passwords change. Blobs that are
//! not in the directory say whose they are, by what their journal calls itself, and the directory says where they are.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    BlobError, BlobPlace, Blobs, DataDirectory, Database, FolderBlobs, JournalError, LockError,
    MemoryBlobs, ObjectBlobs, PostgresJournal, S3Access, SqliteJournal,
};

/// The journal within a data directory, and within a backup.
pub(crate) const JOURNAL: &str = "journal.sqlite";

/// The file that says which database has it instead: what the database calls itself, and where it was last.
const MARKER: &str = "journal.database";

/// The blobs within a data directory, and within a backup.
pub(crate) const BLOBS: &str = "blobs";

/// The file that says where they are instead.
const BLOBS_MARKER: &str = "blobs.elsewhere";

/// What says, beside blobs that are not in the folder of their journal, whose they are.
const OWNER: &str = "journal";

/// Longest marker, in bytes: a name, and the longest address.
const MARKER_BYTES_MAX: u64 = 4 << 10;

/// Why a journal is not that of a data directory.
#[derive(Debug, thiserror::Error)]
pub enum WrongJournal {
    /// It has one of its own.
    #[error(
        "{folder} holds a journal of its own, and one in a database would know nothing of its blobs"
    )]
    Inside {
        /// The directory.
        folder: String,
    },
    /// A database has it.
    #[error(
        "the journal of {folder} is in the database {database}, and one in the folder would know nothing of its blobs"
    )]
    InDatabase {
        /// The directory.
        folder: String,
        /// Where the database was last.
        database: String,
    },
    /// Another database has it.
    #[error("the journal of {folder} is in another database than {given}: it was at {database}")]
    InAnother {
        /// The directory.
        folder: String,
        /// Where the database was last.
        database: String,
        /// The one that was named.
        given: String,
    },
    /// No database has it.
    #[error("the journal of {folder} is in no database")]
    InNone {
        /// The directory.
        folder: String,
    },
    /// The directory.
    #[error(transparent)]
    Data(#[from] LockError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What a directory says of the database that has its journal.
struct Marker {
    name: String,
    address: String,
}

impl Marker {
    fn read(folder: &Path) -> Result<Option<Self>, LockError> {
        let text = read_text(&folder.join(MARKER))?;
        // One that was damaged fits no database.
        Ok(text.map(|text| Self::of(&text)))
    }

    fn of(text: &str) -> Self {
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        Self {
            name: next(),
            address: next(),
        }
    }

    fn text(&self) -> String {
        let Self { name, address } = self;
        format!("{name}\n{address}\n")
    }

    fn write(&self, folder: &Path) -> Result<(), LockError> {
        write_text(folder, MARKER, &self.text())
    }
}

/// The text of a small file, if it is there.
fn read_text(path: &Path) -> Result<Option<String>, LockError> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(MARKER_BYTES_MAX).read_to_string(&mut text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    }
    .map_err(LockError::at(path))?;
    Ok(Some(text))
}

/// Writes a small file, which is whole or not there.
fn write_text(folder: &Path, name: &str, text: &str) -> Result<(), LockError> {
    let (path, unfinished) = (folder.join(name), folder.join(format!("{name}.unfinished")));
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(folder)?.sync_all()
    });
    written.map_err(LockError::at(&path))
}

fn shown(folder: &Path) -> String {
    folder.display().to_string()
}

/// Opens the journal of a directory in a database. One that was not used before is its journal from now on.
pub(crate) fn open_in(
    data: &DataDirectory,
    database: &Database,
    partitions: Option<u16>,
) -> Result<PostgresJournal, WrongJournal> {
    let folder = data.path();
    if folder.join(JOURNAL).exists() {
        let folder = shown(folder);
        return Err(WrongJournal::Inside { folder });
    }
    let address = database.to_string();
    let marker = Marker::read(folder)?;
    if let Some(marker) = &marker {
        let journal = look_in(folder, marker, database, partitions)?;
        if marker.address == address {
            return Ok(journal);
        }
    }
    let journal = PostgresJournal::open_parted(database, partitions)?;
    let name = journal.name()?.unwrap_or_default();
    Marker { name, address }.write(folder)?;
    Ok(journal)
}

/// Opens the journal of a directory in the database that has it.
pub(crate) fn open_existing_in(
    folder: &Path,
    database: &Database,
) -> Result<PostgresJournal, WrongJournal> {
    match Marker::read(folder)? {
        Some(marker) => look_in(folder, &marker, database, None),
        None => Err(WrongJournal::InNone {
            folder: shown(folder),
        }),
    }
}

/// Nothing is written to a database before it is known to be the right one.
fn look_in(
    folder: &Path,
    marker: &Marker,
    database: &Database,
    partitions: Option<u16>,
) -> Result<PostgresJournal, WrongJournal> {
    let found = PostgresJournal::connect(database)?.name()?;
    if found.is_none_or(|found| found != marker.name) {
        return Err(WrongJournal::InAnother {
            folder: shown(folder),
            database: marker.address.clone(),
            given: database.to_string(),
        });
    }
    Ok(PostgresJournal::open_parted(database, partitions)?)
}

/// Opens the journal in a directory, which is made if it is not there.
pub(crate) fn open_inside(data: &DataDirectory) -> Result<SqliteJournal, WrongJournal> {
    Ok(SqliteJournal::open(&path_inside(data.path())?)?)
}

/// Where the journal in a directory is, or would be.
pub(crate) fn path_inside(folder: &Path) -> Result<PathBuf, WrongJournal> {
    match Marker::read(folder)? {
        Some(marker) => Err(WrongJournal::InDatabase {
            folder: shown(folder),
            database: marker.address,
        }),
        None => Ok(folder.join(JOURNAL)),
    }
}

/// Why blobs are not those of a journal.
#[derive(Debug, thiserror::Error)]
pub enum WrongBlobs {
    /// The directory has some of its own.
    #[error("{folder} holds blobs of its own, which would not be found in {given}")]
    Inside {
        /// The directory.
        folder: String,
        /// The place that was named.
        given: String,
    },
    /// They are elsewhere.
    #[error("the blobs of {folder} are in {place}, and the folder has none")]
    Elsewhere {
        /// The directory.
        folder: String,
        /// Where they are.
        place: String,
    },
    /// They are in another place, which has those of nobody.
    #[error("the blobs of {folder} are in {place}, and not in {given}")]
    InAnother {
        /// The directory.
        folder: String,
        /// Where they are.
        place: String,
        /// The place that was named.
        given: String,
    },
    /// They should be there, and nothing there says that they are.
    #[error(
        "{given} does not say that it has the blobs of {folder}, as it did before: it is another place, or was emptied"
    )]
    Unmarked {
        /// The directory.
        folder: String,
        /// The place that was named.
        given: String,
    },
    /// They are in the directory.
    #[error("the blobs of {folder} are in the folder, and not in {given}")]
    NotElsewhere {
        /// The directory.
        folder: String,
        /// The place that was named.
        given: String,
    },
    /// They are another journal's.
    #[error(
        "the blobs in {place} belong to another journal, which was at {journal}; each would call garbage what only the other one \
         speaks of"
    )]
    OfAnother {
        /// Where they are.
        place: String,
        /// Where their journal was.
        journal: String,
    },
    /// The directory, or the folder that was named.
    #[error(transparent)]
    Data(#[from] LockError),
    /// The store.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// A store that can say whose it is.
pub(super) trait Marked {
    /// The text under a name beside the blobs.
    fn mark(&self, name: &str) -> Result<Option<String>, BlobError>;

    /// Writes it, unless somebody else does at the same time: who was first, is read afterwards.
    fn set_mark(&self, name: &str, text: &str) -> Result<(), BlobError>;
}

/// Where blobs are that are not in the directory of their journal, and how they are reached.
#[derive(Clone, Debug)]
pub struct BlobsElsewhere {
    /// The place.
    pub place: BlobPlace,
    /// How it is reached, where that is a question.
    pub access: S3Access,
}

/// Whose blobs are: what a journal calls itself, and where it is.
pub(crate) struct Owner(Marker);

impl Owner {
    /// A journal in a database.
    pub(crate) fn in_database(
        journal: &PostgresJournal,
        database: &Database,
    ) -> Result<Self, JournalError> {
        Ok(Self(Marker {
            name: journal.name()?.unwrap_or_default(),
            address: database.to_string(),
        }))
    }

    /// A journal in a directory.
    pub(crate) fn inside(data: &DataDirectory) -> Result<Self, LockError> {
        Ok(Self::of_folder(data.path(), data.name()?))
    }

    /// As [`Owner::inside`], of a directory that others may be using; one that nobody served from owns nothing.
    pub(crate) fn beside(folder: &Path) -> Result<Self, LockError> {
        let name = read_text(&folder.join("name"))?.unwrap_or_default();
        Ok(Self::of_folder(folder, name.trim().to_owned()))
    }

    fn of_folder(folder: &Path, name: String) -> Self {
        Self(Marker {
            name,
            address: shown(folder),
        })
    }
}

/// Blobs, and what keeps others away from them where that is a folder elsewhere.
pub(crate) struct OpenedBlobs {
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) lock: Option<DataDirectory>,
}

impl OpenedBlobs {
    fn free(blobs: impl Blobs) -> Self {
        Self {
            blobs: Arc::new(blobs),
            lock: None,
        }
    }
}

/// Opens the blobs of a journal, which are its own from now on.
pub(crate) fn open_blobs(
    data: Option<&DataDirectory>,
    elsewhere: Option<&BlobsElsewhere>,
    owner: Option<&Owner>,
) -> Result<OpenedBlobs, WrongBlobs> {
    let (Some(elsewhere), Some(data)) = (elsewhere, data) else {
        return match (elsewhere, data) {
            (Some(elsewhere), _) => open_elsewhere(elsewhere, owner),
            (None, Some(data)) => {
                no_marker(data.path())?;
                let blobs = FolderBlobs::open(&data.path().join(BLOBS))?;
                Ok(OpenedBlobs::free(blobs))
            }
            (None, None) => Ok(OpenedBlobs::free(MemoryBlobs::default())),
        };
    };
    let (folder, given) = (data.path(), elsewhere.place.to_string());
    let marker = read_text(&folder.join(BLOBS_MARKER))?;
    let marker = marker.map(|text| text.trim().to_owned());
    if marker.is_none() && has_blobs(folder)? {
        let folder = shown(folder);
        return Err(WrongBlobs::Inside { folder, given });
    }
    if let Some(place) = marker.as_ref().filter(|place| **place != given) {
        // It may have moved, with what says whose it is.
        let opened = open_unclaimed(elsewhere, false)?;
        let found = opened.1.and_then(|store| store.mark(OWNER).transpose());
        if !found.transpose()?.is_some_and(|text| is_of(&text, owner)) {
            return Err(WrongBlobs::InAnother {
                folder: shown(folder),
                place: place.clone(),
                given,
            });
        }
    }
    // What was claimed once says so: a folder that is not mounted now, or the same bucket at another address, does not.
    let is_claimed = marker.as_ref() == Some(&given);
    if is_claimed
        && let (_, Some(store)) = open_unclaimed(elsewhere, false)?
        && store.mark(OWNER)?.is_none()
    {
        let folder = shown(folder);
        return Err(WrongBlobs::Unmarked { folder, given });
    }
    let opened = open_elsewhere(elsewhere, owner)?;
    if !is_claimed {
        write_text(folder, BLOBS_MARKER, &format!("{given}\n"))?;
    }
    Ok(opened)
}

/// Opens the blobs of a journal as they are, also while a coordinator uses them.
pub(crate) fn open_existing_blobs(
    folder: &Path,
    elsewhere: Option<&BlobsElsewhere>,
    owner: &Owner,
) -> Result<Arc<dyn Blobs>, WrongBlobs> {
    let Some(elsewhere) = elsewhere else {
        no_marker(folder)?;
        return Ok(Arc::new(FolderBlobs::beside(&folder.join(BLOBS))));
    };
    let given = elsewhere.place.to_string();
    if read_text(&folder.join(BLOBS_MARKER))?.is_none() {
        let folder = shown(folder);
        return Err(WrongBlobs::NotElsewhere { folder, given });
    }
    let (blobs, store) = open_unclaimed(elsewhere, false)?;
    let mark = store.map(|store| store.mark(OWNER)).transpose()?.flatten();
    match mark {
        Some(text) if is_of(&text, Some(owner)) => Ok(blobs),
        Some(text) => Err(of_another(elsewhere, &text)),
        None => Err(WrongBlobs::InAnother {
            folder: shown(folder),
            place: read_text(&folder.join(BLOBS_MARKER))?
                .unwrap_or_default()
                .trim()
                .to_owned(),
            given,
        }),
    }
}

fn no_marker(folder: &Path) -> Result<(), WrongBlobs> {
    match read_text(&folder.join(BLOBS_MARKER))? {
        Some(place) => Err(WrongBlobs::Elsewhere {
            folder: shown(folder),
            place: place.trim().to_owned(),
        }),
        None => Ok(()),
    }
}

/// Is there any blob in a directory?
fn has_blobs(folder: &Path) -> Result<bool, BlobError> {
    let blobs = folder.join(BLOBS);
    let mut any = false;
    if blobs.is_dir() {
        FolderBlobs::beside(&blobs).each(&mut |_| {
            any = true;
            false
        })?;
    }
    Ok(any)
}

fn is_of(text: &str, owner: Option<&Owner>) -> bool {
    owner.is_some_and(|Owner(owner)| !owner.name.is_empty() && Marker::of(text).name == owner.name)
}

fn of_another(elsewhere: &BlobsElsewhere, text: &str) -> WrongBlobs {
    WrongBlobs::OfAnother {
        place: elsewhere.place.to_string(),
        journal: Marker::of(text).address,
    }
}

type Unclaimed = (Arc<dyn Blobs>, Option<Arc<dyn Marked>>);

/// Opens a place, whosever it is. With `clean`, what was left unfinished there goes.
fn open_unclaimed(elsewhere: &BlobsElsewhere, clean: bool) -> Result<Unclaimed, WrongBlobs> {
    let BlobsElsewhere { place, access } = elsewhere;
    Ok(match place {
        BlobPlace::Memory => (Arc::new(MemoryBlobs::default()), None),
        BlobPlace::Folder(path) => {
            let blobs = if clean {
                FolderBlobs::open(path)?
            } else {
                FolderBlobs::beside(path)
            };
            let blobs = Arc::new(blobs);
            (Arc::clone(&blobs) as _, Some(blobs))
        }
        BlobPlace::S3 { bucket, prefix } => {
            let blobs = if clean {
                ObjectBlobs::open_s3(bucket, prefix, access)?
            } else {
                ObjectBlobs::beside_s3(bucket, prefix, access)?
            };
            let blobs = Arc::new(blobs);
            (Arc::clone(&blobs) as _, Some(blobs))
        }
    })
}

/// Opens a place for one journal, and says there that it is that one's.
fn open_elsewhere(
    elsewhere: &BlobsElsewhere,
    owner: Option<&Owner>,
) -> Result<OpenedBlobs, WrongBlobs> {
    // Nothing is cleaned away before it is known whose it is, and that nobody else is at it.
    let lock = match &elsewhere.place {
        BlobPlace::Folder(path) => Some(DataDirectory::open(path)?),
        BlobPlace::Memory | BlobPlace::S3 { .. } => None,
    };
    if let (_, Some(store)) = open_unclaimed(elsewhere, false)? {
        let mut mark = store.mark(OWNER)?;
        if let (None, Some(Owner(owner))) = (&mark, owner) {
            store.set_mark(OWNER, &owner.text())?;
            mark = store.mark(OWNER)?;
        }
        match mark {
            Some(text) if is_of(&text, owner) => {}
            Some(text) => return Err(of_another(elsewhere, &text)),
            // The store took it, and does not have it: nobody is kept away by that.
            None if owner.is_some() => return Err(of_another(elsewhere, "")),
            None => {}
        }
    }
    let (blobs, _) = open_unclaimed(elsewhere, true)?;
    Ok(OpenedBlobs { blobs, lock })
}
