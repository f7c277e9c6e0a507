//! The coordinator's HTTP interface, as far as commands need it.

use std::time::{Duration, Instant};

use reqwest::{Response, header};

use crate::{
    console::Console,
    failure::{Exit, Failure},
};

/// A coordinator that cannot be connected to within this time is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The longest that a request takes which waits for no task: the largest component over a slow line.
const ANSWER_WITHIN: Duration = Duration::from_mins(2);

/// How long a coordinator may be away while it is waited for: a restart with a long journal.
const AWAY_MAX: Duration = Duration::from_mins(2);

/// First and longest pause before a coordinator that went away is asked again.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Which coordinator a command talks to.
#[derive(clap::Args)]
pub(crate) struct Coordinator {
    /// Address of the coordinator
    #[arg(
        long = "coordinator",
        env = "ASTERISM_COORDINATOR",
        default_value = "http://127.0.0.1:3000",
        value_name = "URL"
    )]
    url: String,
}

/// A body and what it is.
pub(crate) struct Answer {
    pub(crate) media_type: String,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
enum NoAnswer {
    /// Nobody is there: nothing was asked.
    Away(Failure),
    /// The question may have been heard.
    Broken(Failure),
    /// It was heard and refused.
    Refused(Failure),
}

impl From<NoAnswer> for Failure {
    fn from(reason: NoAnswer) -> Self {
        match reason {
            NoAnswer::Away(failure) | NoAnswer::Broken(failure) | NoAnswer::Refused(failure) => {
                failure
            }
        }
    }
}

impl Coordinator {
    /// One at an address that is known.
    pub(crate) fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
        }
    }

    /// The address, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// GET of a path.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer, Failure> {
        let request = client()?.get(self.address(path, query)?);
        Ok(self.send(request.timeout(ANSWER_WITHIN)).await?)
    }

    /// POST of a body to a path.
    pub(crate) async fn post(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, Failure> {
        let request = client()?.post(self.address(path, query)?).body(body);
        Ok(self.send(request.timeout(ANSWER_WITHIN)).await?)
    }

    /// POST of what may be asked again, as a workflow may: what was computed is replayed. The answer may take as long as
    /// it wants; a coordinator that goes away meanwhile is waited for.
    pub(crate) async fn post_patiently(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: Vec<u8>,
        console: &Console,
    ) -> Result<Answer, Failure> {
        let address = self.address(path, query)?;
        let mut away_since: Option<Instant> = None;
        let mut pause = AGAIN_AFTER.0;
        loop {
            let request = client()?.post(address.clone()).body(body.clone());
            let failure = match self.send(request).await {
                Ok(answer) => return Ok(answer),
                // It was never there.
                Err(NoAnswer::Away(failure)) if away_since.is_none() => return Err(failure),
                Err(NoAnswer::Away(failure)) => failure,
                // One that stops says so.
                Err(NoAnswer::Refused(failure)) if !failure.says_it_stops() => return Err(failure),
                Err(NoAnswer::Broken(failure) | NoAnswer::Refused(failure)) => failure,
            };
            let since = *away_since.get_or_insert_with(|| {
                console.say("the coordinator went away: waiting for it to come back");
                Instant::now()
            });
            if since.elapsed() > AWAY_MAX {
                return Err(failure);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AFTER.1);
        }
    }

    fn address(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Url, Failure> {
        let address = format!("{}{path}", self.url());
        let mut address = reqwest::Url::parse(&address)
            .map_err(|error| Failure::invalid(format!("`{address}` is not an address: {error}")))?;
        if address.scheme() != "http" {
            return Err(Failure::invalid(format!(
                "the coordinator's address `{}` is not of the form http://HOST:PORT",
                self.url()
            )));
        }
        if !query.is_empty() {
            address.query_pairs_mut().extend_pairs(query);
        }
        Ok(address)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, NoAnswer> {
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                NoAnswer::Away(self.broken(&error))
            } else {
                NoAnswer::Broken(self.broken(&error))
            }
        })?;
        let status = response.status();
        let media_type = media_type(&response);
        let body = response
            .bytes()
            .await
            .map_err(|error| NoAnswer::Broken(self.broken(&error)))?
            .to_vec();
        if status.is_success() {
            Ok(Answer { media_type, body })
        } else {
            Err(NoAnswer::Refused(Failure::of_answer(
                status.as_u16(),
                &body,
            )))
        }
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let url = self.url();
        let because = if error.is_connect() {
            format!("no coordinator can be reached at {url}: {cause}")
        } else if error.is_timeout() {
            format!(
                "the coordinator at {url} did not answer within {} s",
                ANSWER_WITHIN.as_secs()
            )
        } else {
            format!("the connection to the coordinator at {url} broke: {cause}")
        };
        Failure::new(Exit::Unreachable, because)
            .hint("start one with `asterism coordinator`, or name another with --coordinator URL")
    }
}

fn client() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .tcp_keepalive(ANSWER_WITHIN)
        .build()
        .map_err(|error| Failure::other(format!("no HTTP client can be made: {error}")))
}

fn media_type(response: &Response) -> String {
    let header = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    header.unwrap_or_default().to_owned()
}
