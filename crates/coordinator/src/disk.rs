//! Coordinators of tests, on memory that outlives them.

#[path = "../tests/common/mod.rs"]
#[expect(dead_code, reason = "a part of what tests of the server need")]
pub(crate) mod common;
#[path = "../tests/common/steady.rs"]
pub(crate) mod steady;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    Options, Stores, serve_stores,
    store::{
        MemoryBlobs, MemoryJournal,
        faults::{Faults, FaultyBlobs, FaultyJournal},
    },
};

/// For all of one scenario.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A coordinator on memory that outlives it.
pub(crate) struct Server {
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<Result<(), crate::ServeError>>,
}

/// Memory that outlives the servers on it.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) journal: MemoryJournal,
    pub(crate) blobs: MemoryBlobs,
}

impl Disk {
    pub(crate) async fn serve(
        &self,
        faults: &Arc<Faults>,
        options: Options,
    ) -> Result<Server, crate::ServeError> {
        let journal = FaultyJournal(Arc::new(self.journal.clone()), Arc::clone(faults));
        let blobs = FaultyBlobs(Arc::new(self.blobs.clone()), Arc::clone(faults));
        let stores = Stores {
            journal: Arc::new(journal),
            blobs: Arc::new(blobs),
            data: None,
            _blobs_lock: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let ready = move || {
                let _ = ready.send(());
            };
            let shutdown = async move {
                let _ = stopped.await;
            };
            serve_stores(listener, stores, options, ready, shutdown).await
        });
        if is_ready.await.is_err() {
            serving.await.unwrap()?;
            panic!("it neither serves nor says why");
        }
        Ok(Server { url, stop, serving })
    }
}

impl Server {
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }

    pub(crate) async fn json(&self, path: &str) -> Option<Json> {
        let response = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        let good = response.status().is_success();
        response.json().await.ok().filter(|_| good)
    }

    /// Posts until the answer is one of `good`.
    pub(crate) async fn post(&self, path: &str, body: Vec<u8>, good: &[u16]) -> Json {
        let begun = Instant::now();
        loop {
            let post = reqwest::Client::new().post(format!("{}{path}", self.url));
            let response = post.body(body.clone()).send().await.unwrap();
            let status = response.status().as_u16();
            let said: Json = response.json().await.unwrap_or_default();
            if good.contains(&status) {
                return said;
            }
            assert!(
                matches!(status, 500 | 503 | 429),
                "{path} answered {status}: {said}"
            );
            assert!(begun.elapsed() < LONG, "{path} still says {status}: {said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
