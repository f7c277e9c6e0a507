//! Which journal belongs to a data directory: the one in it, or that of a database.
//!
//! Two journals beside the same blobs would each call garbage what the other one speaks of. So a directory whose journal
//! is in a database says so, and names it by what the database calls itself: addresses and passwords change.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::{DataDirectory, Database, JournalError, LockError, PostgresJournal, SqliteJournal};

/// The journal within a data directory, and within a backup.
pub(crate) const JOURNAL: &str = "journal.sqlite";

/// The file that says which database has it instead: what the database calls itself, and where it was last.
const MARKER: &str = "journal.database";

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
        let path = folder.join(MARKER);
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(MARKER_BYTES_MAX).read_to_string(&mut text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
        }
        .map_err(LockError::at(&path))?;
        // One that was damaged fits no database.
        let mut lines = text.lines().map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        Ok(Some(Self {
            name: next(),
            address: next(),
        }))
    }

    fn write(&self, folder: &Path) -> Result<(), LockError> {
        let (path, unfinished) = (
            folder.join(MARKER),
            folder.join(format!("{MARKER}.unfinished")),
        );
        let Self { name, address } = self;
        let written = File::create(&unfinished).and_then(|mut file| {
            write!(file, "{name}\n{address}\n")?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(folder)?.sync_all()
        });
        written.map_err(LockError::at(&path))
    }
}

fn shown(folder: &Path) -> String {
    folder.display().to_string()
}

/// Opens the journal of a directory in a database. One that was not used before is its journal from now on.
pub(crate) fn open_in(
    data: &DataDirectory,
    database: &Database,
) -> Result<PostgresJournal, WrongJournal> {
    let folder = data.path();
    if folder.join(JOURNAL).exists() {
        let folder = shown(folder);
        return Err(WrongJournal::Inside { folder });
    }
    let address = database.to_string();
    let marker = Marker::read(folder)?;
    if let Some(marker) = &marker {
        let journal = look_in(folder, marker, database)?;
        if marker.address == address {
            return Ok(journal);
        }
    }
    let journal = PostgresJournal::open(database)?;
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
        Some(marker) => look_in(folder, &marker, database),
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
) -> Result<PostgresJournal, WrongJournal> {
    let found = PostgresJournal::connect(database)?.name()?;
    if found.is_none_or(|found| found != marker.name) {
        return Err(WrongJournal::InAnother {
            folder: shown(folder),
            database: marker.address.clone(),
            given: database.to_string(),
        });
    }
    Ok(PostgresJournal::open(database)?)
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
