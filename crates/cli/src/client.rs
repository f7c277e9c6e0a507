//! The coordinator's HTTP interface, as far as commands need it.

use std::time::{Duration, Instant};

use asterism_protocol::{Cid, blob_cid};
use data_encoding::HEXLOWER;
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
#[derive(Clone, clap::Args)]
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
    /// The partitions that a list lacks, as they cannot be reached now.
    missing: Option<String>,
}

impl Answer {
    /// Says what a list lacks, if it lacks something.
    pub(crate) fn say_missing(&self, console: &Console) {
        if let Some(missing) = &self.missing {
            console.say(&format!(
                "not all is here: no coordinator answers now for partition {missing} of the journal; ask again in some seconds"
            ));
        }
    }
}

/// Why there is no answer.
pub(crate) enum NoAnswer {
    /// Nobody is there: nothing was asked.
    Away(Failure),
    /// The question may have been heard.
    Broken(Failure),
    /// It was heard and refused.
    Refused(Failure),
}

impl NoAnswer {
    /// A coordinator's refusal, as `{code, message, hint, details}`.
    pub(crate) fn of_answer(status: u16, answer: &[u8]) -> Self {
        Self::Refused(Failure::of_answer(status, answer))
    }
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

    /// Is its address one of this machine alone?
    pub(crate) fn is_here(&self) -> bool {
        use reqwest::Url;
        let address = Url::parse(self.url()).ok();
        let host = address.as_ref().and_then(Url::host_str).unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
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

    /// PUT of a blob.
    pub(crate) async fn put(&self, cid: Cid, bytes: Vec<u8>) -> Result<Answer, Failure> {
        let address = self.address(&format!("/blobs/{cid}"), &[])?;
        let request = client()?.put(address).body(bytes);
        Ok(self.send(request.timeout(ANSWER_WITHIN)).await?)
    }

    /// POST of what may be asked again, as a workflow may: by its key a coordinator knows it again, and one that was restarted
    /// replays what was computed. The answer may take as long as it wants; a coordinator that goes away meanwhile is waited for.
    pub(crate) async fn post_patiently(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: Vec<u8>,
        console: &Console,
    ) -> Result<Answer, Failure> {
        let address = self.address(path, query)?;
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| Failure::other(error.to_string()))?;
        let key = HEXLOWER.encode(&key);
        let mut patience = Patience::new(console);
        loop {
            let request = client()?.post(address.clone()).body(body.clone());
            let request = request.header("idempotency-key", &key);
            match self.send(request).await {
                Ok(answer) => return Ok(answer),
                Err(reason) => patience.wait(reason).await?,
            }
        }
    }

    /// GET of a path of segments that others named.
    pub(crate) async fn get_at(&self, segments: &[&str]) -> Result<Answer, Failure> {
        let request = client()?.get(self.address_of(segments, &[])?);
        Ok(self.send(request.timeout(ANSWER_WITHIN)).await?)
    }

    /// POST of nothing to a path of segments that others named, by whoever shows the first of `tokens`, or the next one where
    /// that is not enough; none of them is to show nothing. The refusal that is told is the first.
    pub(crate) async fn post_at(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
        tokens: Vec<Option<String>>,
    ) -> Result<Answer, Failure> {
        let address = self.address_of(segments, query)?;
        let mut denied = None;
        for token in tokens {
            let mut request = client()?.post(address.clone());
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            match self.send(request.timeout(ANSWER_WITHIN)).await {
                Err(NoAnswer::Refused(failure)) if failure.is_denied() => {
                    denied.get_or_insert(failure);
                }
                answer => return Ok(answer?),
            }
        }
        Err(denied.unwrap_or_else(|| Failure::other("nothing was asked")))
    }

    fn address_of(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<reqwest::Url, Failure> {
        let mut address = self.address("", query)?;
        address
            .path_segments_mut()
            .map_err(|()| Failure::invalid("the address has no path"))?
            .pop_if_empty()
            .extend(segments);
        Ok(address)
    }

    /// The bytes of a CID, hashed here.
    pub(crate) async fn bytes_of(&self, cid: Cid) -> Result<Vec<u8>, Failure> {
        let answer = self.get(&format!("/blobs/{cid}"), &[]).await?;
        let came = blob_cid(&answer.body);
        if came == cid {
            Ok(answer.body)
        } else {
            Err(Failure::other(format!("for {cid}, bytes of {came} came")))
        }
    }

    /// GET of a path in a form of the caller's choice.
    pub(crate) async fn get_as(&self, path: &str, media_type: &str) -> Result<Answer, Failure> {
        let request = client()?.get(self.address(path, &[])?);
        let request = request.header(header::ACCEPT, media_type);
        Ok(self.send(request.timeout(ANSWER_WITHIN)).await?)
    }

    /// GET of a path whose answer is read as it comes.
    pub(crate) async fn open(&self, path: &str) -> Result<Response, NoAnswer> {
        let address = self.address(path, &[]).map_err(NoAnswer::Refused)?;
        let request = client().map_err(NoAnswer::Refused)?.get(address);
        let response = request
            .send()
            .await
            .map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response
            .bytes()
            .await
            .map_err(|error| self.no_answer(&error))?;
        Err(NoAnswer::of_answer(status.as_u16(), &body))
    }

    /// An answer that ended before it was whole.
    pub(crate) fn broke_off(&self, cause: &str) -> NoAnswer {
        let url = self.url();
        let because = format!("the connection to the coordinator at {url} broke: {cause}");
        NoAnswer::Broken(Failure::new(Exit::Unreachable, because))
    }

    fn address(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Url, Failure> {
        if !self.url.contains("://") {
            let (said, meant) = match self.url() {
                "" => ("is empty".to_owned(), "127.0.0.1:3000"),
                url => (format!("`{url}` has no scheme"), url),
            };
            return Err(
                Failure::invalid(format!("the coordinator's address {said}"))
                    .hint(format!("write http://{meant}")),
            );
        }
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
        let response = request
            .send()
            .await
            .map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        let media_type = text_of(&response, header::CONTENT_TYPE.as_str());
        let missing = text_of(&response, "asterism-missing-partitions");
        let body = response
            .bytes()
            .await
            .map_err(|error| NoAnswer::Broken(self.broken(&error)))?
            .to_vec();
        if status.is_success() {
            Ok(Answer {
                media_type: media_type.unwrap_or_default(),
                body,
                missing,
            })
        } else {
            Err(NoAnswer::Refused(Failure::of_answer(
                status.as_u16(),
                &body,
            )))
        }
    }

    fn no_answer(&self, error: &reqwest::Error) -> NoAnswer {
        if error.is_connect() {
            NoAnswer::Away(self.broken(error))
        } else {
            NoAnswer::Broken(self.broken(error))
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

/// Waits for a coordinator that went away, as one does that restarts; one that was never there is not waited for.
pub(crate) struct Patience<'a> {
    console: &'a Console,
    was_there: bool,
    away_since: Option<Instant>,
    pause: Duration,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(console: &'a Console) -> Self {
        Self {
            console,
            was_there: false,
            away_since: None,
            pause: AGAIN_AFTER.0,
        }
    }

    /// It is there.
    pub(crate) fn renew(&mut self) {
        (self.was_there, self.away_since, self.pause) = (true, None, AGAIN_AFTER.0);
    }

    /// Waits before the next try; an error where there is none to be made.
    pub(crate) async fn wait(&mut self, reason: NoAnswer) -> Result<(), Failure> {
        let failure = match reason {
            NoAnswer::Away(failure) if !self.was_there => return Err(failure),
            // One that stops says so.
            NoAnswer::Refused(failure) if !failure.says_it_stops() => return Err(failure),
            NoAnswer::Away(failure) | NoAnswer::Broken(failure) | NoAnswer::Refused(failure) => {
                failure
            }
        };
        self.was_there = true;
        let console = self.console;
        let since = *self.away_since.get_or_insert_with(|| {
            console.say("the coordinator went away: waiting for it to come back");
            Instant::now()
        });
        if since.elapsed() > AWAY_MAX {
            return Err(failure);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(AGAIN_AFTER.1);
        Ok(())
    }
}

/// An answer as JSON.
pub(crate) fn json_of(answer: &Answer) -> Result<serde_json::Value, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::other(format!("the answer is not JSON: {error}")))
}

fn client() -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .tcp_keepalive(ANSWER_WITHIN)
        .build()
        .map_err(|error| Failure::other(format!("no HTTP client can be made: {error}")))
}

fn text_of(response: &Response, header: &str) -> Option<String> {
    let value = response.headers().get(header)?;
    value.to_str().ok().map(str::to_owned)
}
