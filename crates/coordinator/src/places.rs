//! Places of what is bounded and held for a while: connections, executors, watchers, requests that wait, large bodies and uploads.
//!
//! A network may take one more while it holds fewer than are free. Alone it gets half of them, so whoever comes next finds
//! some; the more networks there are, the less each may hold, without a number to choose. This is the dynamic threshold of
//! switches that share memory between their ports (A. Choudhury and E. Hahne, 1998), with a factor of 1.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{error::ApiError, peer::Network};

/// Places of one kind.
pub(crate) struct Places {
    /// Who holds them, in the plural.
    who: &'static str,
    max: usize,
    held: Mutex<Held>,
    /// Tells who waits that a place was given back.
    given_back: Notify,
}

#[derive(Default)]
struct Held {
    all: usize,
    by: HashMap<Network, usize>,
}

/// One place, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    network: Network,
}

impl Places {
    pub(crate) fn new(who: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self {
            who,
            max,
            held: Mutex::default(),
            given_back: Notify::new(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for somebody of a network, if there is one for it now.
    pub(crate) fn take(self: &Arc<Self>, network: Network) -> Result<Place, ApiError> {
        let mut held = self.held();
        let (free, its) = (
            self.max - held.all,
            held.by.get(&network).copied().unwrap_or(0),
        );
        if its >= free {
            drop(held);
            let who = self.who;
            let message = if its == 0 {
                format!("{} {who} are here, which is the most", self.max)
            } else {
                format!(
                    "{its} {who} are of your network, which may have no more of them than are free"
                )
            };
            return Err(ApiError::busy(message)
                .details(json!({ "places": who, "held": its, "free": free, "max": self.max })));
        }
        held.all += 1;
        *held.by.entry(network).or_insert(0) += 1;
        Ok(Place {
            places: Arc::clone(self),
            network,
        })
    }

    /// As [`Places::take`], for whoever would rather wait for a while.
    pub(crate) async fn take_within(
        self: &Arc<Self>,
        network: Network,
        longest: Duration,
    ) -> Result<Place, ApiError> {
        let latest = Instant::now() + longest;
        loop {
            // Listens before it looks, or what is given back in between is not heard of.
            let given_back = self.given_back.notified();
            let busy = match self.take(network) {
                Ok(place) => return Ok(place),
                Err(busy) => busy,
            };
            if timeout_at(latest, given_back).await.is_err() {
                return Err(busy);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        held.all -= 1;
        if let Some(its) = held.by.get_mut(&self.network) {
            *its -= 1;
            if *its == 0 {
                held.by.remove(&self.network);
            }
        }
        drop(held);
        self.places.given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(places: &Arc<Places>, network: Network) -> Vec<Place> {
        std::iter::from_fn(|| places.take(network).ok()).collect()
    }

    #[test]
    fn one_network_leaves_half_of_them_to_others_and_each_gets_an_equal_share() {
        let places = Places::new("watchers", 1_000);
        let [greedy, other, third] = [1, 2, 3].map(|of| Network::V4([192, 0, 2, of]));
        let mut greedy_s = take_all(&places, greedy);
        assert_eq!(greedy_s.len(), 500);
        let others = take_all(&places, other);
        assert_eq!(others.len(), 250);
        // Who gave back gets no more than an equal share again, as long as the others stay.
        greedy_s.truncate(100);
        greedy_s.extend(take_all(&places, greedy));
        assert_eq!(greedy_s.len(), 375);
        assert!(!take_all(&places, third).is_empty());
        drop((greedy_s, others));
        assert_eq!(places.held().all, 0);
        assert!(places.held().by.is_empty());
        assert_eq!(take_all(&places, third).len(), 500);
    }

    #[test]
    fn networks_that_hold_one_each_fill_them_all() {
        let places = Places::new("executors", 300);
        let network = |of: usize| Network::V4([198, 51, (of / 256) as u8, (of % 256) as u8]);
        let held: Vec<_> = (0..300)
            .map(|of| places.take(network(of)).expect("a place"))
            .collect();
        let refused = places
            .take(network(300))
            .map(drop)
            .expect_err("they are full");
        assert_eq!(refused.status(), 429);
        drop(held);
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_given_back_and_is_refused_in_the_end() {
        let places = Places::new("uploads", 2);
        let network = Network::V4([192, 0, 2, 1]);
        let first = places.take(network).expect("a place");
        let brief = places.take_within(network, Duration::from_millis(10));
        let refused = brief.await.map(drop).expect_err("it has its half");
        assert_eq!(refused.status(), 429);
        let of_waiting = Arc::clone(&places);
        let waiting = tokio::spawn(async move {
            let long = Duration::from_secs(20);
            of_waiting.take_within(network, long).await.is_ok()
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap());
        assert_eq!(places.held().all, 0);
    }
}
