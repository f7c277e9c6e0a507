//! The coordinator's HTTP interface, as far as commands need it.

use reqwest::{Response, header};

use crate::failure::Failure;

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

impl Coordinator {
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
        self.send(reqwest::Client::new().get(self.address(path, query)?))
            .await
    }

    /// POST of a body to a path.
    pub(crate) async fn post(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: impl Into<reqwest::Body>,
    ) -> Result<Answer, Failure> {
        self.send(
            reqwest::Client::new()
                .post(self.address(path, query)?)
                .body(body),
        )
        .await
    }

    fn address(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Url, Failure> {
        let address = format!("{}{path}", self.url());
        let mut address = reqwest::Url::parse(&address)
            .map_err(|error| Failure::invalid(format!("`{address}` is not an address: {error}")))?;
        if !query.is_empty() {
            address.query_pairs_mut().extend_pairs(query);
        }
        Ok(address)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        let media_type = media_type(&response);
        let body = response
            .bytes()
            .await
            .map_err(|error| self.broken(&error))?
            .to_vec();
        if status.is_success() {
            Ok(Answer { media_type, body })
        } else {
            Err(Failure::of_answer(status.as_u16(), &body))
        }
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let message = format!("failed to reach the coordinator at {}: {cause}", self.url());
        Failure::unreachable(
            message,
            "start one with `asterism coordinator`, or name another with --coordinator URL",
        )
    }
}

fn media_type(response: &Response) -> String {
    let header = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    header.unwrap_or_default().to_owned()
}
