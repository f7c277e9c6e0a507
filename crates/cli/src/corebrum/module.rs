//! Where a task's WebAssembly is from: written in the file, beside it, or at an address.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use asterism_component::COMPONENT_BYTES_MAX;
use asterism_protocol::{Cid, blob_cid};
use base64::Engine as _;
use serde_json::{Map, Value as Json};
use tokio::{io::AsyncReadExt as _, process::Command};

use super::{join, map, mistake, text};
use crate::{build::cache, console::Console, failure::Failure};

/// Longest transfer: the largest module over a slow line.
const FETCH_WITHIN: Duration = Duration::from_mins(5);

/// A module, as far as the file says.
pub(crate) enum Module {
    /// Bytes, and where they are.
    Source(Source),
    /// A component that the coordinator has.
    Named(String),
}

/// Where bytes are.
pub(crate) enum Source {
    Bytes(Vec<u8>),
    File(PathBuf),
    Url { url: String, cid: Option<Cid> },
}

/// What may be fetched.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Fetch {
    /// Fetch modules over http, too, which nobody's certificate vouches for
    #[arg(long)]
    allow_http: bool,
    /// Fetch again what was fetched before
    #[arg(long)]
    refetch: bool,
}

impl Module {
    pub(super) fn read(
        logic: &Map<String, Json>,
        place: &str,
        folder: &Path,
    ) -> Result<Self, Failure> {
        if let Some(encoded) = text(logic, "wasm_binary", place)? {
            return decoded(&encoded, &join(place, "wasm_binary"));
        }
        for name in ["wasm_source", "code_source"] {
            let Some(source) = logic.get(name) else {
                continue;
            };
            let place = join(place, name);
            let source = map(source, &place)?;
            let kind = text(source, "type", &place)?;
            let needed = |name: &str| {
                text(source, name, &place)?
                    .ok_or_else(|| mistake(&join(&place, name), "it is missing"))
            };
            return match kind.as_deref() {
                Some("file" | "path") => {
                    Ok(Self::Source(Source::File(folder.join(needed("path")?))))
                }
                Some("url") => {
                    let cid = text(source, "cid", &place)?.map(|cid| {
                        cid.parse::<Cid>().ok().filter(Cid::is_blob).ok_or_else(|| {
                            mistake(&join(&place, "cid"), "it is not the CID of bytes")
                        })
                    });
                    Ok(Self::Source(Source::Url {
                        url: needed("url")?,
                        cid: cid.transpose()?,
                    }))
                }
                Some("inline" | "base64") => {
                    let name = if source.contains_key("data") {
                        "data"
                    } else {
                        "code"
                    };
                    decoded(&needed(name)?, &join(&place, name))
                }
                Some(other) => Err(mistake(
                    &join(&place, "type"),
                    &format!("`{other}` is not known: write `url` or `file`"),
                )),
                None => Err(mistake(
                    &join(&place, "type"),
                    "it is missing: write `url` or `file`",
                )),
            };
        }
        match text(logic, "wasm_module", place)? {
            Some(name) => Ok(Self::Named(name)),
            None => Err(mistake(place, "nothing says which module it is")
                .hint("write `wasm_binary`, or `wasm_source` with `type: file` and `path`, or with `type: url` and `url`")),
        }
    }
}

impl Source {
    /// The bytes.
    ///
    /// # Errors
    /// They cannot be read or fetched, are too many, or not those that the file's CID names.
    pub(crate) async fn bytes(&self, fetch: &Fetch, console: &Console) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(path) => read(path),
            Self::Url { url, cid } => fetched(url, *cid, fetch, console).await,
        }
    }
}

/// Not every file says how long it is.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| {
            let most = COMPONENT_BYTES_MAX as u64 + 1;
            std::io::Read::read_to_end(&mut std::io::Read::take(file, most), &mut bytes)
        })
        .map_err(|error| Failure::invalid(format!("{} cannot be read: {error}", path.display())))?;
    bounded(bytes.len())?;
    Ok(bytes)
}

fn bounded(length: usize) -> Result<(), Failure> {
    if length > COMPONENT_BYTES_MAX {
        return Err(Failure::invalid(format!(
            "the module is larger than {COMPONENT_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// Base64 as files have it: with line breaks, and perhaps as a data URL.
fn decoded(encoded: &str, place: &str) -> Result<Module, Failure> {
    let encoded = match encoded.strip_prefix("data:") {
        Some(rest) => rest.split_once("base64,").map_or(rest, |(_, data)| data),
        None => encoded,
    };
    let plain: String = encoded.split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(&plain)
        .map_err(|error| {
            mistake(place, &format!("it is not base64: {error}"))
                .hint("`base64 -w0 module.wasm` makes it")
        })?;
    bounded(bytes.len())?;
    Ok(Module::Source(Source::Bytes(bytes)))
}

/// Fetched once: what an address gave is kept, with its CID, and is what it means from then on.
async fn fetched(
    url: &str,
    wanted: Option<Cid>,
    fetch: &Fetch,
    console: &Console,
) -> Result<Vec<u8>, Failure> {
    let is_secure = url.starts_with("https://");
    let is_plain = url.starts_with("http://");
    if !(is_secure || is_plain && fetch.allow_http) {
        let hint = if is_plain {
            "use https, or say --allow-http"
        } else {
            "modules are fetched over https"
        };
        return Err(Failure::invalid(format!("`{url}` is not fetched")).hint(hint));
    }
    let kept = cache()?
        .join("fetched")
        .join(blob_cid(url.as_bytes()).to_string());
    let before = fs::read(&kept).ok().filter(|_| !fetch.refetch);
    let bytes = match before {
        Some(bytes) => bytes,
        None => {
            let bytes = download(url, is_secure).await?;
            let cid = blob_cid(&bytes);
            console.say(&format!("fetched {url}: {} bytes, {cid}", bytes.len()));
            if wanted.is_none_or(|wanted| wanted == cid) {
                keep(&kept, &bytes)?;
            }
            bytes
        }
    };
    let cid = blob_cid(&bytes);
    match wanted {
        Some(wanted) if wanted != cid => Err(Failure::invalid(format!(
            "{url} gave {cid}, and the task file names {wanted}"
        ))
        .hint("the module was changed: look at it, then change `cid` and say --refetch")),
        _ => Ok(bytes),
    }
}

fn keep(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let error = |error: std::io::Error| {
        Failure::other(format!("{} cannot be written: {error}", path.display()))
    };
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(error)?;
    // Whole or not at all.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(error)?;
    std::io::Write::write_all(&mut file, bytes).map_err(error)?;
    file.persist(path)
        .map(drop)
        .map_err(|failed| error(failed.error))
}

/// By curl, which has the certificates and the proxies of the system: commands carry no TLS of their own.
async fn download(url: &str, is_secure: bool) -> Result<Vec<u8>, Failure> {
    let protocols = if is_secure { "=https" } else { "=http,https" };
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--location"])
        .args(["--proto", protocols, "--proto-redir", protocols])
        .args(["--max-redirs", "5"])
        .args(["--max-time", &FETCH_WITHIN.as_secs().to_string()])
        .args(["--connect-timeout", "15"])
        .args(["--max-filesize", &COMPONENT_BYTES_MAX.to_string()])
        .arg("--url")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::invalid("`curl` is not installed, which fetches modules")
                .hint("`apt-get install curl`, or `brew install curl`")
        }
        _ => Failure::other(format!("`curl` cannot be started: {error}")),
    })?;
    let broke = |error: std::io::Error| Failure::other(format!("`curl` broke off: {error}"));
    let (mut bytes, mut said) = (Vec::new(), Vec::new());
    // Not every server says beforehand how much it sends.
    let most = COMPONENT_BYTES_MAX as u64 + 1;
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(most)
            .read_to_end(&mut bytes)
            .await
            .map_err(broke)?;
    }
    bounded(bytes.len())?;
    if let Some(stderr) = child.stderr.take() {
        stderr
            .take(4_096)
            .read_to_end(&mut said)
            .await
            .map_err(broke)?;
    }
    let status = child.wait().await.map_err(broke)?;
    if status.success() {
        return Ok(bytes);
    }
    let said = String::from_utf8_lossy(&said);
    let said = said.trim();
    Err(Failure::invalid(format!("{url} cannot be fetched: {said}"))
        .hint("look at the address, and at this machine's network"))
}
