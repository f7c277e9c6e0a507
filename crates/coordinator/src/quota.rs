//! What one network may take of the coordinator: bodies of requests at the same time, and bytes to keep.
//!
//! A network is what one customer is given: an IPv4 address, or 64 bits of an IPv6 one. Behind a proxy that is everybody:
//! there the proxy counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use tokio::time::timeout_at;

use crate::{
    error::ApiError,
    limits::{BODY_BYTES_PER_SECOND_MIN, NETWORKS_MAX},
    peer::Network,
};

/// In which the bytes that a network brings are forgotten again, evenly.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What one network may take. Generous: only who takes far more than others do is told to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Bodies of requests that are on their way at the same time.
    pub bodies: u32,
    /// How long a body may be on its way, beyond what a slow network needs for its bytes.
    pub body_grace: Duration,
    /// Bytes of blobs and components within a day.
    pub stored_bytes: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            // A browser sends six at a time.
            bodies: 256,
            body_grace: Duration::from_secs(30),
            stored_bytes: 256 << 30,
        }
    }
}

/// Counts what networks take.
pub(crate) struct Counts {
    quotas: Quotas,
    networks: Mutex<HashMap<Network, Taken>>,
}

#[derive(Clone, Copy)]
struct Taken {
    bodies: u32,
    /// Bytes as of `at`; they get fewer with time.
    bytes: u64,
    at: Instant,
}

/// A place for a body, until it is dropped.
struct Place {
    counts: Arc<Counts>,
    network: Network,
}

/// Bytes that a network brings to be kept. Until they are, they are counted only while this is here: what was refused, or was
/// here before, takes nothing of the coordinator.
pub(crate) struct Brought {
    counts: Arc<Counts>,
    network: Network,
    bytes: u64,
}

/// A body took too long.
#[derive(Debug, thiserror::Error)]
#[error("the body took too long")]
struct Late;

impl Counts {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            networks: Mutex::default(),
        }
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<Network, Taken>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a network take something, as of now.
    fn take<T>(
        &self,
        network: Network,
        take: impl FnOnce(&mut Taken, &Quotas) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let now = Instant::now();
        let networks = &mut *self.networks();
        if networks.len() >= NETWORKS_MAX && !networks.contains_key(&network) {
            networks.retain(|_, taken| taken.bodies > 0 || self.forget(*taken, now).bytes > 0);
            if networks.len() >= NETWORKS_MAX {
                return Err(ApiError::busy("too many networks ask at the same time"));
            }
        }
        let taken = networks.entry(network).or_insert(Taken {
            bodies: 0,
            bytes: 0,
            at: now,
        });
        *taken = self.forget(*taken, now);
        take(taken, &self.quotas)
    }

    fn give_back(&self, network: Network, give: impl FnOnce(&mut Taken)) {
        let networks = &mut *self.networks();
        if let Some(taken) = networks.get_mut(&network) {
            give(taken);
            if taken.bodies == 0 && taken.bytes == 0 {
                networks.remove(&network);
            }
        }
    }

    /// What is left of it with time.
    fn forget(&self, taken: Taken, now: Instant) -> Taken {
        let passed = now.duration_since(taken.at);
        let forgotten = u128::from(self.quotas.stored_bytes) * passed.as_millis() / DAY.as_millis();
        // Less than a byte is forgotten later.
        if forgotten == 0 {
            return taken;
        }
        let forgotten = u64::try_from(forgotten).unwrap_or(u64::MAX);
        Taken {
            bytes: taken.bytes.saturating_sub(forgotten),
            at: now,
            ..taken
        }
    }

    /// Counts what a network brings from now on.
    pub(crate) fn brings(self: &Arc<Self>, network: Network) -> Brought {
        Brought {
            counts: Arc::clone(self),
            network,
            bytes: 0,
        }
    }

    fn store(&self, network: Network, bytes: u64) -> Result<(), ApiError> {
        self.take(network, |taken, quotas| {
            let max = quotas.stored_bytes;
            let wanted = taken.bytes.saturating_add(bytes);
            if wanted <= max {
                taken.bytes = wanted;
                return Ok(());
            }
            let per_second = (max / DAY.as_secs()).max(1);
            let wait_s = (wanted - max).div_ceil(per_second);
            let message = format!(
                "your network has brought {} of the {max} bytes that it may within a day",
                taken.bytes
            );
            Err(ApiError::over_quota(message, wait_s)
                .hint("try again later, or ask the operator for a greater `--quota-bytes`")
                .details(serde_json::json!({ "quota": "bytes", "used": taken.bytes, "max": max })))
        })
    }

    /// The body with a place among those of its network, which ends with an error when it takes too long.
    pub(crate) fn hold(self: &Arc<Self>, network: Network, body: Body) -> Result<Body, ApiError> {
        let grace = self.take(network, |taken, quotas| {
            let max = quotas.bodies;
            if taken.bodies >= max {
                let message =
                    format!("{max} bodies of your network are on their way, which is the most");
                return Err(ApiError::busy(message).details(
                    serde_json::json!({ "quota": "bodies", "used": taken.bodies, "max": max }),
                ));
            }
            taken.bodies += 1;
            Ok(quotas.body_grace)
        })?;
        let place = Place {
            counts: Arc::clone(self),
            network,
        };
        let latest = tokio::time::Instant::now() + grace;
        let held = (body.into_data_stream(), latest, place);
        let timed = stream::unfold(Some(held), |held| async {
            let (mut body, latest, place) = held?;
            match timeout_at(latest, body.next()).await {
                Ok(Some(Ok(chunk))) => {
                    let latest = latest + time_of(&chunk);
                    Some((Ok(chunk), Some((body, latest, place))))
                }
                Ok(Some(Err(error))) => Some((Err(error), None)),
                Ok(None) => None,
                Err(_) => Some((Err(axum::Error::new(Late)), None)),
            }
        });
        Ok(Body::from_stream(timed))
    }
}

/// How long a slow network may need for so many bytes.
fn time_of(chunk: &Bytes) -> Duration {
    Duration::from_micros(chunk.len() as u64 * 1_000_000 / BODY_BYTES_PER_SECOND_MIN)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts
            .give_back(self.network, |taken| taken.bodies -= 1);
    }
}

impl Brought {
    /// Some more, or an error if there is no room for them.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), ApiError> {
        self.counts.store(self.network, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// They are kept, and count until they are forgotten with time.
    pub(crate) fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // Some may have been forgotten with time.
            self.counts.give_back(self.network, |taken| {
                taken.bytes = taken.bytes.saturating_sub(self.bytes)
            });
        }
    }
}

/// What is said of a body that ended with an error.
pub(crate) fn broken(error: &axum::Error) -> ApiError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Late>() {
            return ApiError::new(
                axum::http::StatusCode::REQUEST_TIMEOUT,
                "body-late",
                format!("the body took too long: {BODY_BYTES_PER_SECOND_MIN} bytes a second is the least"),
            )
            .hint("send it again over a faster network, or in smaller parts");
        }
        cause = error.source();
    }
    ApiError::invalid(format!("the body broke off: {error}"))
}
