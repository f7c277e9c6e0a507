//! Who may ask: the origins of pages and the names of this host.
//!
//! A page elsewhere on the web can make a browser send requests here. What changes anything, and every WebSocket,
//! is therefore answered only to pages of this host and to those that were allowed by name. Programs that are not
//! browsers send no `Origin` and are not concerned.

use axum::http::{HeaderMap, HeaderValue, header};

/// The rules.
pub(crate) struct Origins {
    allowed: Vec<String>,
    /// Listening on a loopback address only: then other names for this host are somebody's trick (DNS rebinding).
    loopback: bool,
}

/// `https://host:port` without what follows.
fn host_of(origin: &str) -> Option<&str> {
    origin
        .split_once("://")
        .map(|(_, rest)| rest.split('/').next().unwrap_or(rest))
}

/// The host without its port; `[::1]` keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_loopback(name: &str) -> bool {
    let address = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || name.ends_with(".localhost")
        || address.is_ok_and(|ip| ip.is_loopback())
}

impl Origins {
    pub(crate) fn new(allowed: &[String], loopback: bool) -> Self {
        let allowed = allowed
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase())
            .collect();
        Self { allowed, loopback }
    }

    /// Is this host ours to answer for?
    pub(crate) fn host_is_ours(&self, headers: &HeaderMap) -> bool {
        if !self.loopback {
            return true;
        }
        match headers.get(header::HOST).map(HeaderValue::to_str) {
            None => true,
            Some(Ok(host)) => {
                is_loopback(without_port(host))
                    || self
                        .allowed
                        .iter()
                        .any(|origin| host_of(origin) == Some(host))
            }
            Some(Err(_)) => false,
        }
    }

    /// The origin, if it was allowed by name: it may read answers, too.
    pub(crate) fn allowed_by_name<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        self.allowed.contains(&text).then_some(origin)
    }

    /// May this page change things and open sockets?
    pub(crate) fn may_act(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .map(without_port);
        let page = origin.to_str().ok().and_then(host_of).map(without_port);
        match (page, host) {
            (Some(page), Some(host)) if page.eq_ignore_ascii_case(host) => true,
            // Names of one machine: a page of `trunk serve` on another port of it.
            (Some(page), Some(host)) if is_loopback(page) && is_loopback(host) => true,
            _ => self.allowed_by_name(headers).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>, may_act: bool) {
        let origins = Origins::new(&["https://Panel.example".to_owned()], false);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(origins.may_act(&headers), may_act, "{host} {origin:?}");
    }

    #[test]
    fn strangers_pages_may_not_act() {
        check("example.org", None, true);
        check("example.org", Some("https://example.org"), true);
        check("example.org:3000", Some("http://example.org:3000"), true);
        check("127.0.0.1:3000", Some("http://localhost:8080"), true);
        check("[::1]:3000", Some("http://localhost:8080"), true);
        check("example.org", Some("https://panel.example"), true);
        check("example.org", Some("https://evil.example"), false);
        check("example.org", Some("http://localhost:8080"), false);
        check(
            "localhost:3000",
            Some("https://localhost.evil.example"),
            false,
        );
        check("example.org", Some("null"), false);
    }

    #[test]
    fn a_loopback_coordinator_answers_to_loopback_names_only() {
        let origins = Origins::new(&["https://panel.example".to_owned()], true);
        let ours = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            origins.host_is_ours(&headers)
        };
        assert!(
            ours("localhost:3000")
                && ours("127.0.0.1:3000")
                && ours("[::1]:3000")
                && ours("panel.example")
        );
        assert!(!ours("rebound.example:3000"));
    }
}
