//! One module for each noun.

pub(crate) mod blob;
pub(crate) mod component;
pub(crate) mod config;
pub(crate) mod coordinator;
pub(crate) mod dev;
pub(crate) mod executor;
pub(crate) mod function;
pub(crate) mod help;
pub(crate) mod receipt;
pub(crate) mod run;
pub(crate) mod submit;
pub(crate) mod task;
pub(crate) mod upkeep;
pub(crate) mod workflow;

use std::{io::Read as _, path::Path};

use asterism_component::{COMPONENT_NAMES, check_component_name};
use asterism_coordinator::store::{
    BlobPlace, BlobsElsewhere, Database, NoBlobPlace, NoDatabase, S3Access, WrongBlobs,
    WrongJournal,
};
use asterism_document::Format;
use asterism_protocol::limits::{BLOB_BYTES_MAX, DOCUMENT_BYTES_MAX, WORKFLOW_BYTES_MAX};

use crate::{
    console::Console,
    failure::{Doing as _, Exit, Failure},
    folders,
};

/// The bytes of a file, or of standard input for `-`: as many as a blob may have.
pub(crate) fn read(path: &Path, console: &Console) -> Result<Vec<u8>, Failure> {
    read_at_most(path, BLOB_BYTES_MAX, console).doing(format_args!("read {}", path.display()))
}

/// As [`read`], of a workflow: as many as a document may have, or one that is encoded.
pub(crate) fn read_workflow(path: &Path, console: &Console) -> Result<Vec<u8>, Failure> {
    let read = read_at_most(path, WORKFLOW_BYTES_MAX as u64, console).and_then(|bytes| {
        let is_document = Format::of(&bytes) != Format::Cbor;
        if is_document && bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(larger_than(DOCUMENT_BYTES_MAX as u64));
        }
        Ok(bytes)
    });
    read.doing(format_args!("read {}", path.display()))
}

fn larger_than(most: u64) -> Failure {
    Failure::invalid(format!("it is larger than {most} bytes"))
}

fn read_at_most(path: &Path, most: u64, console: &Console) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        if console.no_input {
            let because = "--no-input forbids to read standard input";
            return Err(Failure::new(Exit::Usage, because).hint("name a file"));
        }
        let stdin = std::io::stdin().lock();
        stdin.take(most + 1).read_to_end(&mut bytes)
    } else {
        // Not every file says how long it is.
        std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::invalid(error.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(larger_than(most));
    }
    Ok(bytes)
}

/// A component's name, as somebody chose it on the command line.
pub(crate) fn component_named(text: &str) -> Result<String, String> {
    check_component_name(text).map_err(|reason| format!("{reason}; {COMPONENT_NAMES}"))?;
    Ok(text.to_owned())
}

/// Ends when somebody presses Ctrl-C.
pub(crate) async fn interrupted() {
    // An error means that the signal cannot be had; then the process is ended from outside.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Ends when somebody wants this process to stop.
pub(crate) async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminated = async {
            match signal(SignalKind::terminate()) {
                Ok(mut signal) => drop(signal.recv().await),
                // Without the signal there is still the interrupt.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = interrupted() => {}
            () = terminated => {}
        }
    }
    #[cfg(not(unix))]
    interrupted().await;
}

/// Where a coordinator keeps what it knows.
#[derive(clap::Args)]
pub(crate) struct Data {
    /// Folder of what is kept: journal and blobs; without it `$XDG_DATA_HOME/asterism`, or `~/.local/share/asterism`
    #[arg(
        long,
        env = "ASTERISM_DATA",
        default_value_os_t = folders::data(),
        hide_default_value = true,
        value_name = "DIR"
    )]
    pub(crate) data: std::path::PathBuf,
}

/// The database that keeps a coordinator's journal, where one does.
#[derive(clap::Args)]
pub(crate) struct JournalIn {
    /// Database that keeps the journal instead of a file, as `postgres://user:password@host:5432/name`
    #[arg(
        long,
        env = "ASTERISM_JOURNAL",
        value_name = "URL",
        hide_env_values = true
    )]
    journal: Option<String>,
}

impl JournalIn {
    /// The database, if one is named.
    pub(crate) fn database(&self) -> Result<Option<Database>, Failure> {
        let database = self.journal.as_ref().map(|url| url.parse()).transpose();
        database
            .map_err(|error: NoDatabase| Failure::invalid(error.to_string()))
            .doing("understand the address of --journal")
    }
}

/// The place that keeps a coordinator's blobs, where that is not its folder.
#[derive(clap::Args)]
pub(crate) struct BlobsIn {
    /// Place that keeps blobs instead of the folder of --data: `s3://bucket/prefix`, another folder, or `memory:`
    #[arg(
        long,
        env = "ASTERISM_BLOBS",
        value_name = "URL",
        hide_env_values = true
    )]
    blobs: Option<String>,
    /// Address of the object store, where it is not Amazon's
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    s3_region: Option<String>,
    /// Name of the key to the bucket; others on the machine see what is on a command line
    #[arg(
        long,
        env = "AWS_ACCESS_KEY_ID",
        value_name = "ID",
        hide_env_values = true
    )]
    s3_key_id: Option<String>,
    /// The key
    #[arg(
        long,
        env = "AWS_SECRET_ACCESS_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    s3_secret_key: Option<String>,
    /// Let the address of the object store be one without encryption
    #[arg(long, env = "AWS_ALLOW_HTTP")]
    s3_allow_http: bool,
}

impl BlobsIn {
    /// The place, if one is named.
    pub(crate) fn place(self) -> Result<Option<BlobsElsewhere>, Failure> {
        let Some(place) = self.blobs else {
            return Ok(None);
        };
        let place: Result<BlobPlace, NoBlobPlace> = place.parse();
        let place = place
            .map_err(|error| Failure::invalid(error.to_string()))
            .doing("understand the place of --blobs")?;
        let place = place
            .absolute()
            .map_err(|error| Failure::other(error.to_string()))?;
        // A variable that is set to nothing is not set.
        let set = |value: Option<String>| value.filter(|value| !value.is_empty());
        let access = S3Access {
            endpoint: set(self.s3_endpoint),
            region: set(self.s3_region),
            key_id: set(self.s3_key_id),
            secret_key: set(self.s3_secret_key),
            allow_http: self.s3_allow_http,
        };
        Ok(Some(BlobsElsewhere { place, access }))
    }
}

/// What to do where blobs are not those of the journal.
fn right_blobs(failure: Failure, error: &WrongBlobs) -> Failure {
    match error {
        WrongBlobs::Inside { .. } => failure.hint(
            "name a new folder with --data, leave --blobs away, or copy the folder's `blobs` to that place and remove them",
        ),
        WrongBlobs::Elsewhere { .. } => {
            failure.hint("name that place with --blobs, or another folder with --data")
        }
        WrongBlobs::InAnother { .. } => failure.hint(
            "name that place with --blobs; where all of it was copied to another one, with the object `journal`, name that one",
        ),
        WrongBlobs::Unmarked { .. } => failure.hint(
            "mount or name the place that has them; if all there was lost, start from a new folder with --data and restore a backup",
        ),
        WrongBlobs::NotElsewhere { .. } => {
            failure.hint("leave --blobs away, and unset ASTERISM_BLOBS")
        }
        WrongBlobs::OfAnother { .. } => failure.hint(
            "choose another prefix or folder; where that journal is gone for ever, remove the object `journal` there",
        ),
        WrongBlobs::Data(_) | WrongBlobs::Blobs(_) => failure,
    }
}

/// What to do where the journal is not that of the folder.
fn right_journal(failure: Failure, error: &WrongJournal) -> Failure {
    match error {
        WrongJournal::Inside { .. } => {
            failure.hint("name a new folder with --data, or leave --journal away")
        }
        WrongJournal::InDatabase { .. } | WrongJournal::InAnother { .. } => {
            failure.hint("name that database with --journal, or another folder with --data")
        }
        WrongJournal::InNone { .. } => {
            failure.hint("leave --journal away, and unset ASTERISM_JOURNAL")
        }
        WrongJournal::Data(_) | WrongJournal::Journal(_) => failure,
    }
}
