//! The browser's host in a Web Worker of Chromium, where donors run it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::{get, post},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{Mutex, mpsc as channel},
};

use super::{
    ANSWER_BYTES_MAX,
    remote::{Link, RemoteHost},
};
use crate::harness::Browser;

/// The longest that an answer may take.
const WITHIN: Duration = Duration::from_secs(180);

const PAGE: &str = "<!doctype html><title>perform</title><script>new Worker('/tab.mjs', { type: 'module' })</script>";

/// The performer in this folder, which `cargo xtask conformance` makes, in a tab.
#[must_use]
pub fn tab(performer: &Path) -> RemoteHost {
    let performer = performer.to_owned();
    RemoteHost::new("Chromium", move || Ok(Box::new(Tab::start(&performer)?)))
}

struct Tab {
    questions: channel::Sender<Vec<u8>>,
    answers: mpsc::Receiver<Result<Vec<u8>, String>>,
    // Dropped in this order: the page, then what serves it.
    _browser: Browser,
    _runtime: Runtime,
}

/// What the page's requests are answered from.
struct Served {
    performer: PathBuf,
    questions: Mutex<channel::Receiver<Vec<u8>>>,
    answers: mpsc::Sender<Result<Vec<u8>, String>>,
}

impl Tab {
    fn start(performer: &Path) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (questions, asked) = channel::channel(1);
        let (answered, answers) = mpsc::channel();
        let served = Arc::new(Served {
            performer: performer.to_owned(),
            questions: Mutex::new(asked),
            answers: answered,
        });
        let browser = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let url = format!("http://{}/", listener.local_addr()?);
            let router = router(served);
            tokio::spawn(async move { axum::serve(listener, router).await });
            let browser = Browser::launch(&[]).await;
            browser.open(&url).await;
            Ok::<_, io::Error>(browser)
        })?;
        Ok(Self {
            questions,
            answers,
            _browser: browser,
            _runtime: runtime,
        })
    }
}

impl Link for Tab {
    fn ask(&mut self, question: &[u8]) -> io::Result<Vec<u8>> {
        let gone = |_| io::Error::other("its page is not served any more");
        self.questions
            .blocking_send(question.to_vec())
            .map_err(gone)?;
        match self.answers.recv_timeout(WITHIN) {
            Ok(answer) => answer.map_err(io::Error::other),
            Err(error) => Err(io::Error::other(format!("its page is silent: {error}"))),
        }
    }
}

fn router(served: Arc<Served>) -> Router {
    const HTML: &str = "text/html; charset=utf-8";
    const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
    let file = |path: PathBuf, kind: &'static str| {
        get(async move || match tokio::fs::read(path).await {
            Ok(bytes) => ([(CONTENT_TYPE, kind)], bytes).into_response(),
            Err(error) => panic!("a file of the performer cannot be read: {error}"),
        })
    };
    let made = |name: &str, kind| file(served.performer.join(name), kind);
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("performer");
    Router::new()
        .route("/", get(async || ([(CONTENT_TYPE, HTML)], PAGE)))
        .route("/tab.mjs", file(ours.join("tab.mjs"), JAVASCRIPT))
        .route("/performer.js", made("performer.js", JAVASCRIPT))
        .route(
            "/performer_bg.wasm",
            made("performer_bg.wasm", "application/wasm"),
        )
        .route("/question", post(question))
        .route("/answer", post(answer))
        .route("/failure", post(failure))
        .layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX))
        .with_state(served)
}

/// Waits until there is one.
async fn question(State(served): State<Arc<Served>>) -> Vec<u8> {
    // None, once nobody asks any more: the page is closed then.
    let question = served.questions.lock().await.recv().await;
    question.unwrap_or_default()
}

async fn answer(State(served): State<Arc<Served>>, body: Bytes) {
    // Nobody hears it when the host is dropped.
    let _ = served.answers.send(Ok(body.to_vec()));
}

async fn failure(State(served): State<Arc<Served>>, text: String) {
    let _ = served.answers.send(Err(text));
}
