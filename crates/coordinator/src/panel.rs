//! The panel: its files in memory, each with the headers that keep it and its guests in their place.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest as _, Sha256};

use crate::{app::App, error::ApiError, http::wants_page};

/// What the page may do. `{hashes}` are those of its inline scripts: the bundler writes one that starts the program.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{hashes}; connect-src 'self'; \
    style-src 'self'; img-src 'self' blob: data:; font-src 'self'; manifest-src 'self'; frame-src 'self'; worker-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// What the worker may do that talks to us: fetch blobs, keep the socket, start compute workers.
const TALK_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; worker-src 'self'; frame-ancestors 'none'";

/// What a worker may do that runs guests: compute. A second wall behind WebAssembly's own. It fetches its program
/// before any guest is there, and has no `connect-src`: the program comes by message.
const COMPUTE_POLICY: &str =
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; frame-ancestors 'none'";

/// Which scripts begin workers: a part of the file's name, and the policy. The first that fits counts.
const WORKERS: [(&str, &str); 4] = [
    ("compute", COMPUTE_POLICY),
    ("talk", TALK_POLICY),
    ("here", TALK_POLICY),
    ("simulate", TALK_POLICY),
];

/// What the bundler calls the compressed twin of a file.
const BROTLI_ENDING: &str = ".br";

/// Smaller files gain nothing by compression.
const GZIP_BYTES_MIN: usize = 1_024;

/// Why there is no panel.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to read the panel in {path}: {source}; build it with `cargo xtask up`, or leave --panel out"
)]
pub struct PanelError {
    path: String,
    source: std::io::Error,
}

/// The panel's files by path.
#[derive(Clone, Default)]
pub(crate) struct Panel(Arc<BTreeMap<String, Asset>>);

struct Asset {
    bytes: Bytes,
    /// Made with the bundle, if it was.
    brotli: Option<Bytes>,
    /// There as soon as it is compressed.
    gzip: OnceLock<Bytes>,
    media_type: &'static str,
    etag: HeaderValue,
    cache: &'static str,
    policy: HeaderValue,
}

impl Panel {
    /// Reads the panel from a folder.
    pub(crate) fn of_folder(root: &Path) -> Result<Self, PanelError> {
        let mut files = BTreeMap::new();
        read(root, "", &mut files).map_err(|source| PanelError {
            path: root.display().to_string(),
            source,
        })?;
        if !files.contains_key(INDEX) {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "it has no index.html");
            return Err(PanelError {
                path: root.display().to_string(),
                source,
            });
        }
        Ok(Self::of_files(files))
    }

    /// The panel that was built into the program, if one was.
    #[cfg(feature = "embed-panel")]
    pub(crate) fn embedded() -> Self {
        #[derive(rust_embed::RustEmbed)]
        #[folder = "../../dist"]
        struct Embedded;
        let file = |path: std::borrow::Cow<'static, str>| {
            Some((path.to_string(), Embedded::get(&path)?.data.into_owned()))
        };
        Self::of_files(
            <Embedded as rust_embed::RustEmbed>::iter()
                .filter_map(file)
                .collect(),
        )
    }

    /// The panel that was built into the program, if one was.
    #[cfg(not(feature = "embed-panel"))]
    pub(crate) fn embedded() -> Self {
        Self::default()
    }

    fn of_files(files: BTreeMap<String, Vec<u8>>) -> Self {
        let (twins, files): (BTreeMap<_, _>, BTreeMap<_, _>) = files
            .into_iter()
            .partition(|(path, _)| path.ends_with(BROTLI_ENDING));
        let assets = files.into_iter().map(|(path, bytes)| {
            let brotli = twins.get(&format!("{path}{BROTLI_ENDING}")).cloned();
            let asset = Asset::new(&path, bytes, brotli);
            (path, asset)
        });
        let panel = Self(Arc::new(assets.collect()));
        let compressed = panel.clone();
        // Until a file is compressed it is served as it is.
        std::thread::spawn(move || compressed.0.values().for_each(Asset::compress));
        panel
    }

    /// The page, if there is a panel.
    pub(crate) fn index(&self, headers: &HeaderMap) -> Option<Response> {
        Some(self.0.get(INDEX)?.response(headers))
    }

    /// One of its files.
    pub(crate) fn file(&self, path: &str, headers: &HeaderMap) -> Option<Response> {
        Some(self.0.get(path.trim_start_matches('/'))?.response(headers))
    }
}

const INDEX: &str = "index.html";

fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // The bundler's own scraps, and whatever an editor leaves.
        if name.starts_with('.') {
            continue;
        }
        let (path, place): (String, PathBuf) = (format!("{prefix}{name}"), entry.path());
        if fs::metadata(&place)?.is_dir() {
            read(&place, &format!("{path}/"), files)?;
        } else {
            files.insert(path, fs::read(place)?);
        }
    }
    Ok(())
}

impl Asset {
    fn new(path: &str, bytes: Vec<u8>, brotli: Option<Vec<u8>>) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let digest = Sha256::digest(&bytes);
        let etag = format!("\"{}\"", BASE64.encode(&digest[..16]));
        Self {
            brotli: brotli.map(Bytes::from),
            gzip: OnceLock::new(),
            media_type: media_type_of(name),
            etag: HeaderValue::try_from(etag).expect("base64 is a header"),
            cache: if is_hashed(name) {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            },
            policy: HeaderValue::try_from(policy_of(name, &bytes))
                .expect("a policy is visible ASCII"),
            bytes: bytes.into(),
        }
    }

    fn compress(&self) {
        let packed =
            ["image/png", "image/jpeg", "image/webp", "font/woff2"].contains(&self.media_type);
        if packed || self.bytes.len() < GZIP_BYTES_MIN {
            return;
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        if encoder.write_all(&self.bytes).is_ok()
            && let Ok(gzip) = encoder.finish()
            && gzip.len() < self.bytes.len()
        {
            // Nobody else sets it.
            let _ = self.gzip.set(gzip.into());
        }
    }

    fn response(&self, request: &HeaderMap) -> Response {
        let text = |name| {
            request
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
                .unwrap_or_default()
        };
        let etag = self.etag.to_str().unwrap_or_default();
        let mut response = if text(header::IF_NONE_MATCH).contains(etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let takes = |wanted: &str| {
                text(header::ACCEPT_ENCODING).split(',').any(|coding| {
                    let mut parts = coding.split(';');
                    parts.next().is_some_and(|name| name.trim() == wanted)
                        && !parts.any(|part| part.trim() == "q=0")
                })
            };
            let brotli = self.brotli.as_ref().filter(|_| takes("br"));
            let gzip = self.gzip.get().filter(|_| takes("gzip"));
            match (brotli, gzip) {
                (Some(brotli), _) => {
                    ([(header::CONTENT_ENCODING, "br")], brotli.clone()).into_response()
                }
                (None, Some(gzip)) => {
                    ([(header::CONTENT_ENCODING, "gzip")], gzip.clone()).into_response()
                }
                (None, None) => self.bytes.clone().into_response(),
            }
        };
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.media_type),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache));
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(
            header::VARY,
            HeaderValue::from_static("Accept, Accept-Encoding"),
        );
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        response
    }
}

fn media_type_of(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Does the name say what is in the file, as `panel-1f2e3d4c5b6a7988_bg.wasm` does?
fn is_hashed(name: &str) -> bool {
    name.split(['-', '.', '_'])
        .skip(1)
        .any(|part| part.len() >= 12 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn policy_of(name: &str, bytes: &[u8]) -> String {
    if name.ends_with(".html") {
        let hashes: String = inline_scripts(&String::from_utf8_lossy(bytes))
            .map(|script| format!(" 'sha256-{}'", BASE64.encode(Sha256::digest(script))))
            .collect();
        return PAGE_POLICY.replace("{hashes}", &hashes);
    }
    let is_script = name.ends_with(".js") || name.ends_with(".mjs");
    let worker = WORKERS
        .iter()
        .find(|(part, _)| is_script && name.contains(part));
    worker
        .map_or(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            |(_, policy)| policy,
        )
        .to_owned()
}

/// The texts of the scripts that stand in the page itself.
fn inline_scripts(html: &str) -> impl Iterator<Item = &str> {
    html.split("<script").skip(1).filter_map(|rest| {
        let (attributes, rest) = rest.split_once('>')?;
        let (script, _) = rest.split_once("</script>")?;
        (!attributes.contains("src=")).then_some(script)
    })
}

/// Files of the panel; its page for paths that its own router knows.
pub(crate) async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let (path, headers) = (request.uri().path(), request.headers());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(file) = app.panel.file(path, headers).filter(|_| reads) {
        return file;
    }
    if let Some(page) = app
        .panel
        .index(headers)
        .filter(|_| reads && wants_page(headers))
    {
        return page;
    }
    let path: String = path.chars().take(100).collect();
    ApiError::not_found(format!("there is nothing at {path}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_scripts_are_named_by_hash() {
        let html =
            "<html><script src=\"/a.js\"></script><script type=\"module\">start()</script></html>";
        let policy = policy_of("index.html", html.as_bytes());
        let hash = BASE64.encode(Sha256::digest("start()"));
        assert!(
            policy.contains(&format!(
                "script-src 'self' 'wasm-unsafe-eval' 'sha256-{hash}';"
            )),
            "{policy}"
        );
        assert_eq!(policy.matches("sha256-").count(), 1);
    }

    #[test]
    fn workers_that_run_guests_cannot_connect() {
        assert!(!policy_of("compute.js", b"").contains("connect-src"));
        assert!(policy_of("talk.js", b"").contains("connect-src 'self'"));
        assert!(policy_of("compute.js", b"").contains("'wasm-unsafe-eval'"));
    }

    #[test]
    fn whoever_takes_brotli_gets_what_the_bundler_made() {
        let files = [("a.js", "whole"), ("a.js.br", "small"), ("index.html", "")];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        let panel = Panel::of_files(files.into());
        let encoding = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
            let response = panel.file("/a.js", &headers).expect("it is there");
            response.headers().get(header::CONTENT_ENCODING).cloned()
        };
        assert_eq!(
            encoding("gzip, deflate, br"),
            Some(HeaderValue::from_static("br"))
        );
        assert_eq!(encoding("gzip, br;q=0"), None);
        assert!(panel.file("/a.js.br", &HeaderMap::new()).is_none());
    }

    #[test]
    fn hashed_names_are_told_from_others() {
        assert!(is_hashed("panel-1f2e3d4c5b6a7988_bg.wasm"));
        assert!(is_hashed("style-0123456789abcdef.css"));
        assert!(
            !is_hashed("talk-worker_bg.wasm") && !is_hashed("index.html") && !is_hashed("talk.js")
        );
    }
}
