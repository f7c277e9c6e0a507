//! `asterism backup`, `restore`, `doctor` and `gc`: upkeep of a data directory.

use std::{path::PathBuf, time::Duration};

use asterism_coordinator::{
    store::WrongJournal,
    upkeep::{self, Copied, Elsewhere, Garbage, Health, UpkeepError},
};
use serde_json::json;

use crate::{
    commands::{BlobsIn, Data, JournalIn, right_blobs, right_journal},
    console::{Console, print},
    failure::{Doing as _, Failure},
};

/// What to copy where.
#[derive(clap::Args)]
pub(crate) struct CopyArgs {
    /// Folder of the backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    blobs: BlobsIn,
}

/// What to delete.
#[derive(clap::Args)]
pub(crate) struct GcArgs {
    /// Only tell what would be deleted; may be done while a coordinator serves
    #[arg(long)]
    dry_run: bool,
    /// Hours since it was stored that a blob is kept though nothing speaks of it
    #[arg(long, default_value_t = 24, value_name = "HOURS")]
    grace: u64,
    #[command(flatten)]
    place: Place,
}

/// Where all of it is.
#[derive(clap::Args)]
pub(crate) struct Place {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    journal: JournalIn,
    #[command(flatten)]
    blobs: BlobsIn,
}

impl Place {
    /// The folder, and what is not in it.
    fn parts(self) -> Result<(PathBuf, Elsewhere), Failure> {
        let elsewhere = Elsewhere {
            journal: self.journal.database()?,
            blobs: self.blobs.place()?,
        };
        Ok((self.data.data, elsewhere))
    }
}

/// Copies the data directory, also while a coordinator serves from it.
pub(crate) async fn backup(args: CopyArgs, console: &Console) -> Result<(), Failure> {
    let CopyArgs {
        backup,
        data,
        blobs,
    } = args;
    let doing = format!("back up {} to {}", data.data.display(), backup.display());
    let blobs = blobs.place()?;
    let copied = upkeep(move || {
        match upkeep::backup(&data.data, blobs.as_ref(), &backup) {
        // Only its own tools copy it as it is at one moment.
        Err(UpkeepError::WrongJournal(error @ WrongJournal::InDatabase { .. })) => {
            Ok(Err(Failure::other(error.to_string()).hint(
                "copy the database with its own tools (`pg_dump`), and the blobs after it: the folder's `blobs`, or the bucket",
            )))
        }
        copied => copied.map(Ok),
    }
    });
    let copied = copied.await.and_then(|copied| copied);
    tell(&copied.doing(doing)?, console)
}

/// Makes a data directory of a backup.
pub(crate) async fn restore(args: CopyArgs, console: &Console) -> Result<(), Failure> {
    let CopyArgs {
        backup,
        data,
        blobs,
    } = args;
    let doing = format!("restore {} from {}", data.data.display(), backup.display());
    let blobs = blobs.place()?;
    let copied = upkeep(move || upkeep::restore(&backup, &data.data, blobs.as_ref())).await;
    tell(&copied.doing(doing)?, console)
}

fn tell(copied: &Copied, console: &Console) -> Result<(), Failure> {
    let Copied {
        blobs,
        bytes,
        problems,
    } = copied;
    if console.json {
        print(&json!({ "blobs": blobs, "bytes": bytes, "problems": problems }).to_string());
    } else {
        print(&format!(
            "copied the journal and {blobs} blobs of {bytes} bytes"
        ));
    }
    unless_any(problems).doing("copy everything")
}

/// Checks every event, receipt and blob.
pub(crate) async fn doctor(args: Place, console: &Console) -> Result<(), Failure> {
    let (data, elsewhere) = args.parts()?;
    let doing = format!("look at {}", data.display());
    let health = upkeep(move || upkeep::doctor(&data, &elsewhere)).await;
    let Health {
        events,
        receipts,
        blobs,
        problems,
    } = health.doing(doing)?;
    if console.json {
        let health =
            json!({ "events": events, "receipts": receipts, "blobs": blobs, "problems": problems });
        print(&health.to_string());
    } else {
        print(&format!(
            "looked at {events} events, {receipts} receipts and {blobs} blobs"
        ));
    }
    unless_any(&problems).doing("find all well")
}

fn unless_any(problems: &[String]) -> Result<(), Failure> {
    match problems {
        [] => Ok(()),
        [only] => Err(Failure::other(only)),
        many => Err(Failure::other(format!(
            "there are {} problems:\n{}",
            many.len(),
            many.join("\n")
        ))),
    }
}

/// Deletes blobs that nothing speaks of.
pub(crate) async fn gc(args: GcArgs, console: &Console) -> Result<(), Failure> {
    let GcArgs {
        dry_run,
        grace,
        place,
    } = args;
    let (data, elsewhere) = place.parts()?;
    let grace = Duration::from_secs(grace.saturating_mul(60 * 60));
    let doing = format!("collect the garbage of {}", data.display());
    let garbage = upkeep(move || {
        if dry_run {
            upkeep::find_garbage(&data, &elsewhere, grace)
        } else {
            upkeep::collect_garbage(&data, &elsewhere, grace)
        }
    });
    let Garbage { blobs, bytes, kept } = garbage.await.doing(doing)?;
    if console.json {
        let garbage = json!({ "blobs": blobs, "bytes": bytes, "kept": kept, "deleted": !dry_run });
        print(&garbage.to_string());
    } else {
        let verb = if dry_run { "would delete" } else { "deleted" };
        print(&format!(
            "{verb} {blobs} blobs of {bytes} bytes, {kept} stay"
        ));
    }
    Ok(())
}

/// Reads and hashes for a while, off the threads that wait for signals.
async fn upkeep<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpkeepError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Failure::other(error.to_string()))?;
    done.map_err(|error| {
        let failure = Failure::other(error.to_string());
        match error {
            UpkeepError::WrongJournal(error) => right_journal(failure, &error),
            UpkeepError::WrongBlobs(error) => right_blobs(failure, &error),
            UpkeepError::Nothing(_) => failure.hint("name a coordinator's folder with --data"),
            UpkeepError::Served(_) => failure.hint("stop all coordinators on it first"),
            UpkeepError::Lost => failure.hint("do it again when the database answers"),
            UpkeepError::Something(_) => failure.hint("choose a folder that is empty"),
            UpkeepError::Data(_)
            | UpkeepError::Journal(_)
            | UpkeepError::Blobs(_)
            | UpkeepError::Io { .. } => failure,
        }
    })
}
