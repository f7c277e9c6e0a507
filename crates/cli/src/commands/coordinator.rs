//! `asterism coordinator`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use asterism_coordinator::{Config, Quotas, ServeError, store::JournalError};
use asterism_protocol::{Policy, PublicKey};

use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    authority::OperatorToken,
    commands::{BlobsIn, Data, JournalIn, right_blobs, right_journal, stopped},
    console::{Console, print},
    failure::{Doing as _, Failure},
};

/// How to serve.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "ASTERISM_LISTEN",
        default_value = "127.0.0.1:3000",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    journal: JournalIn,
    // Of each one upkeep says within a term that it holds it.
    /// Parts of a journal in a database, 128 at most, that coordinators share between them; one without it. Their number is that with which the
    /// journal was made
    #[arg(long, env = "ASTERISM_PARTITIONS", value_name = "N", requires = "journal", value_parser = clap::value_parser!(u16).range(1..=128))]
    partitions: Option<u16>,
    /// Where other coordinators on the same journal reach this one, such as `http://10.0.0.7:3000`; the address it listens on
    /// without it
    #[arg(long, env = "ASTERISM_ADVERTISE", value_name = "URL", value_parser = advertised)]
    advertise: Option<String>,
    #[command(flatten)]
    blobs: BlobsIn,
    /// Keep nothing: all is forgotten at the end
    #[arg(long, conflicts_with_all = ["data", "journal", "blobs"])]
    in_memory: bool,
    /// Folder of the built panel
    #[arg(long, value_name = "DIR")]
    panel: Option<PathBuf>,
    /// Origin of pages elsewhere that may use this coordinator, such as `https://panel.example`; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    allow_origin: Vec<String>,
    #[command(flatten)]
    token: OperatorToken,
    /// Want the operator's token also of who asks from this machine, as for a proxy that does not say for whom it asks; with
    /// --allow-origin it is wanted anyhow
    #[arg(long)]
    require_operator_token: bool,
    /// When outcomes of runs that do not say it are believed: `any`, `trusted`, `quorum:2/3` or `spot:5%`
    #[arg(
        long,
        env = "ASTERISM_VERIFY",
        default_value = "any",
        value_name = "POLICY"
    )]
    verify: Policy,
    /// Key of an executor to be trusted, as `did:key:…`; may be repeated
    #[arg(long, value_name = "KEY")]
    trust: Vec<PublicKey>,
    /// File of enrolments, one a line: an owner's name, a space, and the secret that its executors say; without an enrolment
    /// all executors of one network count as one owner's
    #[arg(long, value_name = "FILE")]
    owners: Option<PathBuf>,
    /// A submitter's share where that is not one, as `name=3`; may be repeated
    #[arg(long, value_name = "NAME=N", value_parser = share)]
    share: Vec<(String, u32)>,
    /// Most tasks of one submitter that may wait or run at the same time
    #[arg(long, default_value_t = Config::default().submitter_tasks_max, value_name = "N")]
    quota_tasks: usize,
    /// Most bytes of blobs and components that one network may bring within a day
    #[arg(long, default_value_t = Quotas::default().stored_bytes, value_name = "BYTES")]
    quota_bytes: u64,
    /// Most bodies of requests that one network may have on their way at the same time
    #[arg(long, default_value_t = Quotas::default().bodies, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    quota_bodies: u32,
}

/// The address of a coordinator, without a path.
fn advertised(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    let place = url.strip_prefix("http://").unwrap_or_default();
    let port = place.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if place.contains(['/', '?', '#', '@']) || !matches!(port, Some(Ok(_))) {
        return Err("write http://HOST:PORT".to_owned());
    }
    Ok(url.to_owned())
}

/// An origin as browsers write it: nothing else is ever equal to one.
fn origin(text: &str) -> Result<String, String> {
    let origin = text.trim_end_matches('/');
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| origin.strip_prefix(scheme));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', '*']) => {
            Ok(origin.to_owned())
        }
        _ => Err("write https://HOST or http://HOST, with :PORT if it has one".to_owned()),
    }
}

fn share(text: &str) -> Result<(String, u32), String> {
    let (name, share) = text.rsplit_once('=').ok_or("write NAME=N")?;
    let share = share
        .parse()
        .ok()
        .filter(|share| (1..=1_000).contains(share))
        .ok_or("a share is a number from 1 to 1000")?;
    Ok((name.to_owned(), share))
}

/// Owners by the secrets that their executors say.
fn enrolments(file: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let refuse = |reason: String| Failure::invalid(format!("{}: {reason}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
    let lines = (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.trim()));
    let mut owners = BTreeMap::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (name, secret) = line
            .split_once(' ')
            .ok_or_else(|| refuse(format!("line {number} is not a name, a space and a secret")))?;
        if secret.len() < SECRET_BYTES_MIN {
            return Err(refuse(format!(
                "the secret in line {number} is shorter than {SECRET_BYTES_MIN} bytes"
            )));
        }
        if owners.insert(secret.to_owned(), name.to_owned()).is_some() {
            return Err(refuse(format!(
                "the secret in line {number} was given before"
            )));
        }
    }
    Ok(owners)
}

/// Shorter secrets are guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Serves until it is told to stop.
pub(crate) async fn serve(args: Args, console: &Console) -> Result<(), Failure> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| {
            Failure::other(error.to_string())
                .hint("choose another address with --listen; port 0 takes a free one")
        })
        .doing(format_args!("listen on {}", args.listen))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::other(error.to_string()))?;
    let owners = args.owners.as_deref().map(enrolments).transpose()?;
    let scheduler = Config {
        verify: args.verify,
        trusted: args.trust.into_iter().collect(),
        owners: owners.unwrap_or_default(),
        shares: args.share.into_iter().collect(),
        submitter_tasks_max: args.quota_tasks,
        ..Config::default()
    };
    let data = (!args.in_memory).then_some(args.data.data);
    if let Some(data) = &data
        && data.exists()
        && !data.is_dir()
    {
        return Err(Failure::invalid(format!("{} is no folder", data.display()))
            .hint("name a folder with --data"))
        .doing("serve");
    }
    let kept = data.as_ref().map(|data| data.display().to_string());
    let blobs = args.blobs.place()?.filter(|_| !args.in_memory);
    let place = blobs.as_ref().map(|blobs| blobs.place.to_string());
    let options = asterism_coordinator::Options {
        operator_token: args.token.to_serve(data.as_deref())?,
        require_operator_token: args.require_operator_token,
        data,
        journal: args.journal.database()?.filter(|_| !args.in_memory),
        partitions: args.partitions,
        advertise: args.advertise,
        blobs,
        panel: args.panel,
        allow_origins: args.allow_origin,
        quotas: Quotas {
            bodies: args.quota_bodies,
            stored_bytes: args.quota_bytes,
            ..Quotas::default()
        },
        scheduler,
        ..asterism_coordinator::Options::default()
    };
    // Told once it serves: whoever reads it may connect at once.
    let ready = move || {
        let url = format!("http://{address}");
        if console.json {
            let mut told = json!({ "listening": url, "data": kept });
            if let Some(place) = place {
                told["blobs"] = place.into();
            }
            print(&told.to_string());
        } else {
            console.say(&format!("the coordinator is at {url}"));
            console.say(&match kept {
                Some(folder) => format!("what it is told is kept in {folder}"),
                None => "all is forgotten when it ends".to_owned(),
            });
            if let Some(place) = place {
                console.say(&format!("blobs are kept in {place}"));
            }
        }
    };
    asterism_coordinator::raise_file_limit();
    asterism_coordinator::serve_when_ready(listener, options, ready, stopped())
        .await
        .map_err(|error| not_served(&error))
        .doing("serve")
}

/// Why a coordinator does not serve, and what to do about it.
pub(crate) fn not_served(error: &ServeError) -> Failure {
    let failure = Failure::other(error.to_string());
    match error {
        ServeError::Journal(JournalError::Damaged { .. }) => failure.hint(
            "`asterism doctor` tells all that is damaged; `asterism restore` makes a new folder of a backup",
        ),
        ServeError::Token(_) => Failure::invalid(error.to_string())
            .hint("without one it is made: `operator-token` in the data directory"),
        ServeError::WrongJournal(error) => right_journal(failure, error),
        ServeError::WrongBlobs(error) => right_blobs(failure, error),
        ServeError::Journal(JournalError::Failed { what: "connect", .. }) => {
            failure.hint("is PostgreSQL there, and does it let this user in?")
        }
        ServeError::Journal(JournalError::Partitions { .. }) => {
            failure.hint("leave --partitions out, or name another database")
        }
        ServeError::Journal(
            JournalError::Newer { .. }
            | JournalError::Failed { .. }
            | JournalError::Fenced { .. }
            | JournalError::Sequence { .. },
        )
        | ServeError::Data(_)
        | ServeError::Blobs(_)
        | ServeError::Panel(_)
        | ServeError::Start(_)
        | ServeError::Listen(_) => failure,
    }
}
