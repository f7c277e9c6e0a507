//! What an author does with curl.

use std::{future::Future, time::Duration};

use asterism_protocol::{
    CONTENT_TYPE, Cid, Receipt, decode, from_json,
    limits::FRAME_BYTES_MAX,
    view::{ExecutorView, RunSummary, RunView, TaskState},
};
use serde_json::Value;

/// The HTTP interface of a coordinator.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
}

/// A status and a body.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its media type.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a type of the protocol.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn of<T: serde::de::DeserializeOwned>(&self, what: &'static str) -> T {
        from_json(what, &self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

impl Api {
    /// The interface at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            client: reqwest::Client::new(),
            url: url.to_owned(),
        }
    }

    /// GET.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.answer(
            self.client
                .get(format!("{}{path}", self.url))
                .header("accept", "application/json"),
        )
        .await
    }

    /// POST of a body.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.answer(self.client.post(format!("{}{path}", self.url)).body(body))
            .await
    }

    /// PUT of a body.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn put(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.answer(self.client.put(format!("{}{path}", self.url)).body(body))
            .await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("the coordinator answers");
        let header = response
            .headers()
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let (status, content_type) = (response.status().as_u16(), header.to_owned());
        Answer {
            status,
            content_type,
            body: response.bytes().await.expect("the body arrives").to_vec(),
        }
    }

    /// Adds a component.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn add_component(&self, name: &str, bytes: &[u8]) {
        let answer = self
            .post(&format!("/components?name={name}"), bytes.to_vec())
            .await;
        assert!(answer.status < 300, "{}", answer.text());
    }

    /// The runs, newest first.
    ///
    /// # Panics
    /// If the answer is not a list of runs.
    pub async fn runs(&self) -> Vec<RunSummary> {
        self.get("/workflows").await.of("list of runs")
    }

    /// The latest run of a workflow, whole.
    ///
    /// # Panics
    /// If there is none.
    pub async fn run_of(&self, workflow: Cid) -> RunView {
        self.get(&format!("/workflows/{workflow}")).await.of("run")
    }

    /// The newest run, whole.
    ///
    /// # Panics
    /// If there is none.
    pub async fn newest_run(&self) -> RunView {
        let runs = self.runs().await;
        self.run_of(runs.first().expect("there is a run").workflow)
            .await
    }

    /// Executors that are here.
    ///
    /// # Panics
    /// If the answer is not a list of executors.
    pub async fn executors(&self) -> Vec<ExecutorView> {
        self.get("/executors").await.of("list of executors")
    }

    /// A receipt by its own CID or its instruction's.
    ///
    /// # Panics
    /// If there is none.
    pub async fn receipt(&self, cid: Cid) -> Receipt {
        let request = self.client.get(format!("{}/receipts/{cid}", self.url));
        let answer = self.answer(request.header("accept", CONTENT_TYPE)).await;
        decode("receipt", &answer.body, FRAME_BYTES_MAX)
            .unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    }

    /// Waits until the newest run has a task in `state`.
    ///
    /// # Panics
    /// If that does not happen in time.
    pub async fn wait_for_task(&self, state: TaskState) -> RunView {
        wait_until(&format!("a task is {state:?}"), || async {
            if self.runs().await.is_empty() {
                return None;
            }
            let run = self.newest_run().await;
            run.tasks
                .iter()
                .any(|task| task.state == state)
                .then_some(run)
        })
        .await
    }
}

/// Waits for a fact, looking every 50 ms, for a minute at most.
///
/// # Panics
/// If the minute is over.
pub async fn wait_until<T, F: Future<Output = Option<T>>>(
    fact: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited a minute in vain until {fact}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
