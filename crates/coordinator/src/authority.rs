//! Who may decide: the operator, by a token or by sitting at the machine, and whoever submitted a run, by the run's own token.
//!
//! A run's token is made of the operator's, the run's number and its workflow: nothing is kept of it, and it holds for as long
//! as the operator's does.

use std::net::IpAddr;

use asterism_protocol::{Cid, content_cid, view::RunId};
use axum::http::{HeaderMap, StatusCode, header};
use data_encoding::HEXLOWER;

use crate::error::ApiError;

/// Shorter tokens are guessed.
pub(crate) const TOKEN_BYTES_MIN: usize = 16;

/// Longest token: more than any generator makes, less than a head of a request may have.
pub(crate) const TOKEN_BYTES_MAX: usize = 1 << 10;

/// Headers by which proxies say for whom they ask.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

const SCHEME: &str = "Bearer";

/// The header by which a coordinator that stands by says for which address it asks, and that it may say so.
pub(crate) const BEHIND: &str = "asterism-peer";

/// Why there is no token to go by.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is too short, too long, or not of visible characters.
    #[error(
        "the operator's token must have {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible characters without spaces"
    )]
    Malformed,
    /// The system has no randomness to give.
    #[error("no token can be made: {0}")]
    Random(getrandom::Error),
}

/// What is known of who may decide.
pub(crate) struct Authority {
    token: String,
    /// A loopback address is not enough.
    wants_token: bool,
}

/// What a request says of who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    is_operator: bool,
    /// What it has to show, if it is not the operator's.
    token: Option<String>,
    /// Would be the operator if it showed nothing.
    needs_none: bool,
}

impl Authority {
    /// With the operator's token, or without one that anybody knows.
    pub(crate) fn new(token: Option<String>, wants_token: bool) -> Result<Self, TokenError> {
        let token = match token {
            Some(token) if is_token(&token) => token,
            Some(_) => return Err(TokenError::Malformed),
            None => {
                let mut token = [0; 32];
                getrandom::fill(&mut token).map_err(TokenError::Random)?;
                HEXLOWER.encode(&token)
            }
        };
        Ok(Self { token, wants_token })
    }

    /// Who asks, by the address that the connection comes from and what the request says. Whoever shows a token is who the token
    /// says, wherever the connection comes from: one that is wrong is to be noticed.
    pub(crate) fn asker(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Asker {
        let token = bearer(headers);
        if token.is_some_and(|token| same(token, &self.token)) {
            return Asker {
                is_operator: true,
                token: None,
                needs_none: false,
            };
        }
        let here = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
        let forwarded = FORWARDED.iter().any(|header| headers.contains_key(*header));
        let needs_none = here && !forwarded && !self.wants_token;
        Asker {
            is_operator: needs_none && token.is_none(),
            token: token.map(str::to_owned),
            needs_none,
        }
    }

    /// What whoever submitted a run shows to end or pause it.
    pub(crate) fn run_token(&self, run: RunId, workflow: Cid) -> String {
        let mut bytes = b"asterism run\0".to_vec();
        bytes.extend_from_slice(&run.0.to_be_bytes());
        bytes.extend_from_slice(&workflow.digest());
        bytes.extend_from_slice(self.token.as_bytes());
        HEXLOWER.encode(&content_cid(&bytes).digest())
    }

    /// What a coordinator with the same token says with an address, when it passes on what came from there.
    pub(crate) fn word_for(&self, peer: IpAddr) -> String {
        let mut bytes = b"asterism peer\0".to_vec();
        bytes.extend_from_slice(peer.to_string().as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(self.token.as_bytes());
        HEXLOWER.encode(&content_cid(&bytes).digest())
    }

    /// The address for which a coordinator with the same token asks, if one does.
    pub(crate) fn peer_behind(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let said = headers.get(BEHIND)?.to_str().ok()?;
        let (peer, word) = said.split_once(' ')?;
        let peer = peer.parse().ok()?;
        same(word, &self.word_for(peer)).then_some(peer)
    }

    /// Is it the operator?
    ///
    /// # Errors
    /// It is somebody else, as far as can be told.
    pub(crate) fn of_operator(&self, asker: &Asker) -> Result<(), ApiError> {
        if asker.is_operator {
            return Ok(());
        }
        let error = denied(
            asker,
            "operator-only",
            "only the operator may do this",
            "not the operator's",
        );
        if asker.needs_none {
            return Err(error.hint(NONE_NEEDED));
        }
        let hint = if self.wants_token {
            "show the operator's token as `authorization: Bearer TOKEN`; it is in `operator-token` in the coordinator's data directory"
        } else {
            "ask from the machine that the coordinator runs on, or show the operator's token as `authorization: Bearer TOKEN`; it is in `operator-token` in the coordinator's data directory"
        };
        Err(error
            .hint(hint)
            .command("`--operator-token-file FILE` shows the operator's token; it is `operator-token` in the coordinator's data directory"))
    }

    /// Is it the operator, or who submitted the run?
    ///
    /// # Errors
    /// It is somebody else, as far as can be told.
    pub(crate) fn of_submitter(
        &self,
        asker: &Asker,
        run: RunId,
        workflow: Cid,
    ) -> Result<(), ApiError> {
        let shown = asker.token.as_deref();
        if asker.is_operator
            || shown.is_some_and(|token| same(token, &self.run_token(run, workflow)))
        {
            return Ok(());
        }
        let message = format!(
            "only who submitted run {} or the operator may do this",
            run.0
        );
        let error = denied(asker, "submitter-only", &message, "neither's");
        if asker.needs_none {
            return Err(error.hint(NONE_NEEDED));
        }
        Err(error.hint(
            "show the run's token, which came with the answer when it was submitted (`asterism-run-token`), or the operator's, as `authorization: Bearer TOKEN`",
        )
        .command("`--run-token TOKEN` shows what `asterism run --detach` said of the run, `--operator-token-file FILE` the operator's token"))
    }
}

/// What to do about a wrong token where none is needed.
const NONE_NEEDED: &str = "leave the token away: from here none is needed";

/// `whose` says of a token that came why it is not enough.
fn denied(asker: &Asker, code: &'static str, message: &str, whose: &str) -> ApiError {
    let message = match asker.token {
        Some(_) => format!("{message}, and the token that came is {whose}"),
        None => message.to_owned(),
    };
    ApiError::new(StatusCode::UNAUTHORIZED, code, message)
}

fn is_token(text: &str) -> bool {
    (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `authorization: Bearer TOKEN`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim())
}

/// Compared by their digests: how long it takes tells nothing of how much is right.
fn same(one: &str, other: &str) -> bool {
    content_cid(one.as_bytes()).digest() == content_cid(other.as_bytes()).digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn is_operator(
        authority: &Authority,
        peer: Option<&str>,
        header: Option<(&str, &str)>,
    ) -> bool {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            let name: header::HeaderName = name.parse().expect("a name");
            headers.insert(name, value.parse().expect("a value"));
        }
        let peer = peer.map(|peer| peer.parse().expect("an address"));
        let asker = authority.asker(peer, &headers);
        authority.of_operator(&asker).is_ok()
    }

    #[test]
    fn who_sits_at_the_machine_or_has_the_token_is_the_operator() {
        let token = Some(("authorization", "Bearer 0123456789abcdef"));
        let wrong = Some(("authorization", "Bearer 0123456789abcdee"));
        let authority = Authority::new(Some(TOKEN.into()), false).expect("a token");
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_operator(&authority, Some(here), None), "{here}");
            assert!(is_operator(&authority, Some(here), token), "{here}");
            assert!(!is_operator(&authority, Some(here), wrong), "{here}");
            for header in FORWARDED {
                let forwarded = Some((header, "for=192.0.2.1"));
                assert!(!is_operator(&authority, Some(here), forwarded), "{header}");
            }
        }
        let strict = Authority::new(Some(TOKEN.into()), true).expect("a token");
        for elsewhere in [None, Some("192.0.2.1"), Some("2001:db8::1")] {
            for authority in [&authority, &strict] {
                assert!(!is_operator(authority, elsewhere, None), "{elsewhere:?}");
                assert!(!is_operator(authority, elsewhere, wrong), "{elsewhere:?}");
                assert!(is_operator(authority, elsewhere, token), "{elsewhere:?}");
            }
        }
        assert!(!is_operator(&strict, Some("127.0.0.1"), None));
        assert!(is_operator(&strict, Some("127.0.0.1"), token));
    }

    #[test]
    fn a_token_is_long_and_visible() {
        for token in [
            "",
            "short",
            "with a space in the midst",
            "0123456789abcde\u{e9}",
        ] {
            assert!(
                Authority::new(Some(token.into()), false).is_err(),
                "{token}"
            );
        }
        // Nobody knows one that was not given.
        let nobodys = Authority::new(None, true).expect("a token");
        assert!(!is_operator(
            &nobodys,
            None,
            Some(("authorization", "Bearer "))
        ));
    }

    #[test]
    fn a_run_s_token_is_for_that_run_alone() {
        let authority = Authority::new(Some(TOKEN.into()), true).expect("a token");
        let (one, other) = (content_cid(b"one"), content_cid(b"other"));
        let token = authority.run_token(RunId(1), one);
        let asker = Asker {
            is_operator: false,
            token: Some(token.clone()),
            needs_none: false,
        };
        assert!(authority.of_submitter(&asker, RunId(1), one).is_ok());
        assert!(authority.of_submitter(&asker, RunId(2), one).is_err());
        assert!(authority.of_submitter(&asker, RunId(1), other).is_err());
        assert!(authority.of_operator(&asker).is_err());
        let again = Authority::new(Some(TOKEN.into()), false).expect("a token");
        assert_eq!(again.run_token(RunId(1), one), token, "a restart keeps it");
        let elsewhere = Authority::new(None, false).expect("a token");
        assert_ne!(elsewhere.run_token(RunId(1), one), token);
    }
}
