//! Where the coordinator is.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use asterism_protocol::Cid;

/// The addresses of coordinators of which any will do, and which of them is turned to now. Clones go together.
#[derive(Clone, Debug)]
pub struct Server {
    /// Without scheme, without slash at the end; at least one.
    places: Arc<[String]>,
    at: Arc<AtomicUsize>,
}

/// An address that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not the address of a coordinator: {remedy}")]
pub struct ServerError {
    url: String,
    remedy: &'static str,
}

impl Server {
    /// Reads `http://host:port`, with a path if the coordinator stands behind one, and the same of `others` that are turned to,
    /// one after the other, when it does not answer.
    ///
    /// # Errors
    /// Another scheme, or no host.
    pub fn parse(url: &str, others: &[String]) -> Result<Self, ServerError> {
        let urls = std::iter::once(url).chain(others.iter().map(String::as_str));
        Ok(Self {
            places: urls.map(place).collect::<Result<_, _>>()?,
            at: Arc::default(),
        })
    }

    /// The one that is turned to now.
    fn place(&self) -> &str {
        &self.places[self.at.load(Ordering::Relaxed) % self.places.len()]
    }

    /// That one does not answer: the next one is turned to.
    pub(crate) fn turn(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
    }

    /// Where executors connect.
    pub(crate) fn socket(&self) -> String {
        format!("ws://{}/ws/executor", self.place())
    }

    /// Where a blob is fetched and brought.
    pub(crate) fn blob(&self, cid: Cid) -> String {
        format!("http://{}/blobs/{cid}", self.place())
    }
}

fn place(url: &str) -> Result<String, ServerError> {
    let error = |remedy| ServerError {
        url: url.to_owned(),
        remedy,
    };
    let rest = match url.split_once("://") {
        Some(("http" | "ws", rest)) => rest,
        Some(("https" | "wss", _)) => {
            return Err(error(
                "executors and coordinators speak without TLS; use http:// to a proxy that adds it",
            ));
        }
        Some(_) => return Err(error("write http://host:port")),
        None => return Err(error("it has no scheme; write http://host:port")),
    };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.starts_with(['/', ':']) || rest.contains(['?', '#', ' ']) {
        return Err(error("write http://host:port"));
    }
    Ok(rest.to_owned())
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.place())
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::blob_cid;

    use super::*;

    #[test]
    fn an_address_leads_to_socket_and_blobs() {
        let server = Server::parse("http://localhost:3000/", &[]).expect("an address");
        assert_eq!(server.socket(), "ws://localhost:3000/ws/executor");
        let cid = blob_cid(b"a");
        assert_eq!(
            server.blob(cid),
            format!("http://localhost:3000/blobs/{cid}")
        );
        let behind = Server::parse("http://example.org/asterism", &[]).expect("with a path");
        assert_eq!(behind.socket(), "ws://example.org/asterism/ws/executor");
        let others = ["http://b:2".to_owned()];
        let server = Server::parse("http://a:1", &others).expect("two addresses");
        let other = server.clone();
        assert_eq!(server.to_string(), "http://a:1");
        other.turn();
        assert_eq!(server.to_string(), "http://b:2");
        server.turn();
        assert_eq!(other.to_string(), "http://a:1");
    }

    #[test]
    fn what_is_no_address_says_what_to_write() {
        for url in [
            "localhost:3000",
            "",
            "http://",
            "http://:3000",
            "ftp://a",
            "https://a",
            "http://a?b",
        ] {
            let error = Server::parse(url, &[]).expect_err(url).to_string();
            assert!(error.contains("http://"), "{error}");
        }
    }
}
