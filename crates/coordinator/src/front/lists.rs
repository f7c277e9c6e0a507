//! What is shown of all partitions together.

use std::{collections::BTreeMap, time::Duration};

use asterism_protocol::{
    Cid, PublicKey,
    view::{ExecutorView, RunSummary, Standing},
};
use axum::http::{Method, StatusCode};
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    Front,
    all::{ITSELF, said_yes},
};
use crate::{error::ApiError, standby::nobody};

/// Runs in a list, at most: as many as one partition shows.
const RUNS_MAX: usize = 1_000;

/// Functions that are told of what an executor does.
const DOING_MAX: usize = 16;

/// Time for a partition to say what is there.
const LISTED_WITHIN: Duration = Duration::from_secs(15);

/// What another coordinator answers where it answers with several things; anything else is an error, and not looked into.
type Object = serde_json::Map<String, serde_json::Value>;

/// What is at the partitions that can be reached.
pub(crate) struct Partly<T> {
    pub(crate) found: T,
    /// Those that cannot.
    pub(crate) missing: Vec<u16>,
}

impl<T> Partly<T> {
    /// What is at all partitions.
    ///
    /// # Errors
    /// Some cannot be reached.
    pub(crate) fn whole(self) -> Result<T, ApiError> {
        match self.missing.first() {
            Some(partition) => Err(unreached(*partition)),
            None => Ok(self.found),
        }
    }
}

fn unreached(partition: u16) -> ApiError {
    nobody(&format!("partition {partition} cannot be reached"))
}

impl Front {
    /// What each partition answers.
    async fn each<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Partly<Vec<Option<T>>>, ApiError> {
        let asked = (0..self.partitions).map(|partition| self.list_of::<T>(partition, path));
        let mut all = Partly {
            found: Vec::new(),
            missing: Vec::new(),
        };
        let mut why = None;
        for (partition, answer) in (0..).zip(join_all(asked).await) {
            match answer {
                Ok(answer) => all.found.push(answer),
                Err(error) if error.is_unavailable() => {
                    all.missing.push(partition);
                    why = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match why {
            Some(why) if all.found.is_empty() => Err(why),
            Some(_) | None => Ok(all),
        }
    }

    /// What one partition answers; nothing where there is no such thing.
    async fn list_of<T: DeserializeOwned>(
        &self,
        partition: u16,
        path: &str,
    ) -> Result<Option<T>, ApiError> {
        let asked = async {
            let request = self.own_request(Method::GET, path)?;
            let response = self.ask(partition, ITSELF, request).await?;
            if response.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let said = said_yes(response).await?;
            serde_json::from_slice(&said).map_err(|error| ApiError::internal(&error))
        };
        let listed = timeout(LISTED_WITHIN, asked).await;
        listed.unwrap_or_else(|_| Err(unreached(partition)))
    }

    /// The runs of all partitions, the newest first.
    pub(crate) async fn runs(&self) -> Result<Partly<Vec<RunSummary>>, ApiError> {
        let Partly { found, missing } = self.each::<Vec<RunSummary>>("/workflows").await?;
        let found = newest(found.into_iter().flatten().flatten().collect());
        Ok(Partly { found, missing })
    }

    /// The executors of all partitions, each of them once.
    pub(crate) async fn executors(&self) -> Result<Partly<Vec<ExecutorView>>, ApiError> {
        let Partly { found, missing } = self.each::<Vec<ExecutorView>>("/executors").await?;
        let mut together: BTreeMap<PublicKey, ExecutorView> = BTreeMap::new();
        for view in found.into_iter().flatten().flatten() {
            match together.remove(&view.key) {
                Some(known) => together.insert(view.key, both(known, view)),
                None => together.insert(view.key, view),
            };
        }
        let mut found: Vec<ExecutorView> = together.into_values().collect();
        found.sort_by_key(|view| view.since);
        Ok(Partly { found, missing })
    }

    /// The latest run that has a task with this instruction, or with the one that this receipt answers; of several partitions'
    /// the one that was submitted last. Where some cannot be reached, it says which: there may be a later one.
    pub(crate) async fn task_of(&self, cid: Cid) -> Result<Option<serde_json::Value>, ApiError> {
        let path = format!("/receipts/{cid}/task");
        let Partly { found, missing } = self.each::<Object>(&path).await?;
        let found: Vec<Object> = found.into_iter().flatten().collect();
        let runs = match found.len() {
            0 | 1 => Vec::new(),
            _ => self.runs().await?.found,
        };
        let submitted = |said: &Object| {
            let number = said.get("run").and_then(serde_json::Value::as_u64);
            let run = runs.iter().find(|run| Some(run.run.0) == number);
            run.map(|run| run.submitted)
        };
        let latest = found.into_iter().max_by_key(submitted);
        let first = missing.first().copied();
        match (latest, first) {
            (Some(mut latest), Some(_)) => {
                latest.insert("missing_partitions".to_owned(), missing.into());
                Ok(Some(latest.into()))
            }
            (None, Some(partition)) => Err(unreached(partition)),
            (latest, None) => Ok(latest.map(serde_json::Value::from)),
        }
    }
}

/// The newest runs, in their order.
pub(super) fn newest(mut runs: Vec<RunSummary>) -> Vec<RunSummary> {
    runs.sort_by_key(|run| std::cmp::Reverse((run.submitted, run.run)));
    runs.truncate(RUNS_MAX);
    runs
}

/// One executor, as two partitions know it.
pub(super) fn both(one: ExecutorView, other: ExecutorView) -> ExecutorView {
    let excluded = |view: &ExecutorView| view.standing == Standing::Excluded;
    // What decides is taken of whoever excludes it, else of whoever sees it.
    let (mut view, other) =
        if excluded(&other) && !excluded(&one) || !one.connected && other.connected {
            (other, one)
        } else {
            (one, other)
        };
    if view.since > other.since && other.connected {
        view.since = other.since;
    }
    view.doing.extend(other.doing);
    view.doing.truncate(DOING_MAX);
    view.leases += other.leases;
    view.tasks += other.tasks;
    view.fuel += other.fuel;
    view.right += other.right;
    view.wrong += other.wrong;
    view.connected |= other.connected;
    view.fuel_per_s = view.fuel_per_s.max(other.fuel_per_s);
    view
}
