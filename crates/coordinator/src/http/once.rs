//! Idempotency keys: a request that comes again is the same run.
//!
//! Whoever does not know whether a request was heard sends it again with the same `Idempotency-Key`. Keys are kept in
//! memory, the latest [`IDEMPOTENCY_KEYS_MAX`] of them. A restart forgets them: then a second run is made, which replays what
//! the first one computed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use asterism_protocol::{Cid, view::RunId};
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::OnceCell;

use crate::{error::ApiError, limits::IDEMPOTENCY_KEYS_MAX};

/// The header, as the draft of the IETF names it.
pub(super) const HEADER: &str = "idempotency-key";

/// Longest key: some UUIDs and words around them.
const KEY_BYTES_MAX: usize = 255;

/// What a client calls a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(String);

impl Key {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The key of a request, if it has one.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<Key>, ApiError> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(Key(key.to_owned()))),
        _ => Err(ApiError::invalid(format!(
            "{HEADER} must be a text of 1 to {KEY_BYTES_MAX} visible characters"
        ))),
    }
}

/// A request, and the run it made once it has.
struct Entry {
    /// Its body.
    what: Cid,
    run: OnceCell<(RunId, Cid)>,
}

#[derive(Default)]
struct Entries {
    by_key: BTreeMap<Key, Arc<Entry>>,
    /// The oldest first.
    order: VecDeque<Key>,
}

/// Runs by the keys of the requests that made them.
#[derive(Default)]
pub(crate) struct Keys(Mutex<Entries>);

impl Keys {
    /// The run of this key: made by `start`, unless it was made before. Requests that come meanwhile wait for it; one that
    /// fails leaves the key to the next.
    pub(super) async fn once(
        &self,
        key: Key,
        what: Cid,
        start: impl Future<Output = Result<(RunId, Cid), ApiError>>,
    ) -> Result<(RunId, Cid), ApiError> {
        let entry = self.entry(key, what);
        if entry.what != what {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "this key came with another workflow before",
            )
            .hint("each request has a key of its own; the same key means the same request"));
        }
        entry.run.get_or_try_init(|| start).await.copied()
    }

    fn entry(&self, key: Key, what: Cid) -> Arc<Entry> {
        // Whoever panicked with the lock left the two in step: they change together below.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.by_key.get(&key) {
            return Arc::clone(entry);
        }
        if entries.order.len() >= IDEMPOTENCY_KEYS_MAX
            && let Some(oldest) = entries.order.pop_front()
        {
            entries.by_key.remove(&oldest);
        }
        let run = OnceCell::new();
        let entry = Arc::new(Entry { what, run });
        entries.order.push_back(key.clone());
        entries.by_key.insert(key, Arc::clone(&entry));
        entry
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::blob_cid;

    use super::*;

    fn key(text: &str) -> Key {
        Key(text.to_owned())
    }

    #[tokio::test]
    async fn a_key_is_one_run_and_a_failure_none() {
        let keys = Keys::default();
        let (what, workflow) = (blob_cid(b"what"), blob_cid(b"workflow"));
        let made = |run| async move { Ok((RunId(run), workflow)) };
        let failed = keys
            .once(key("a"), what, async { Err(ApiError::busy("full")) })
            .await;
        assert!(failed.is_err());
        for run in [1, 2] {
            let (found, _) = keys.once(key("a"), what, made(run)).await.unwrap();
            assert_eq!(found, RunId(1));
        }
        let other = keys.once(key("b"), what, made(3)).await.unwrap();
        assert_eq!(other.0, RunId(3));
        let reused = keys.once(key("a"), blob_cid(b"other"), made(4)).await;
        assert!(reused.is_err());
    }

    #[tokio::test]
    async fn the_oldest_keys_are_forgotten() {
        let keys = Keys::default();
        let what = blob_cid(b"what");
        for run in 0..=IDEMPOTENCY_KEYS_MAX as u64 {
            let made = async { Ok((RunId(run), what)) };
            keys.once(key(&run.to_string()), what, made).await.unwrap();
        }
        assert_eq!(keys.0.lock().unwrap().by_key.len(), IDEMPOTENCY_KEYS_MAX);
        let again = keys.once(key("0"), what, async { Ok((RunId(77), what)) });
        assert_eq!(again.await.unwrap().0, RunId(77));
    }
}
