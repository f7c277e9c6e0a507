//! What is shown of all partitions together.

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, PublicKey,
    view::{ExecutorView, RunSummary, Standing},
};
use axum::http::Method;
use futures_util::future::try_join_all;
use serde::de::DeserializeOwned;

use super::{Front, all::ITSELF, all::said_yes};
use crate::error::ApiError;

/// Runs in a list, at most: as many as one partition shows.
const RUNS_MAX: usize = 1_000;

/// Functions that are told of what an executor does.
const DOING_MAX: usize = 16;

impl Front {
    /// What each partition answers.
    async fn each<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ApiError> {
        let asked = (0..self.partitions).map(async |partition| {
            let request = self.own_request(Method::GET, path)?;
            let response = self.ask(partition, ITSELF, request).await?;
            let said = said_yes(response).await?;
            serde_json::from_slice(&said).map_err(|error| ApiError::internal(&error))
        });
        try_join_all(asked).await
    }

    /// The runs of all partitions, the newest first.
    pub(crate) async fn runs(&self) -> Result<Vec<RunSummary>, ApiError> {
        let runs: Vec<Vec<RunSummary>> = self.each("/workflows").await?;
        Ok(newest(runs.into_iter().flatten().collect()))
    }

    /// The executors of all partitions, each of them once.
    pub(crate) async fn executors(&self) -> Result<Vec<ExecutorView>, ApiError> {
        let executors: Vec<Vec<ExecutorView>> = self.each("/executors").await?;
        let mut together: BTreeMap<PublicKey, ExecutorView> = BTreeMap::new();
        for view in executors.into_iter().flatten() {
            match together.remove(&view.key) {
                Some(known) => together.insert(view.key, both(known, view)),
                None => together.insert(view.key, view),
            };
        }
        let mut executors: Vec<ExecutorView> = together.into_values().collect();
        executors.sort_by_key(|view| view.since);
        Ok(executors)
    }

    /// The latest run that has a task with this instruction, or with the one that this receipt answers; of several partitions'
    /// the one that was submitted last.
    pub(crate) async fn task_of(&self, cid: Cid) -> Result<Option<serde_json::Value>, ApiError> {
        let path = format!("/receipts/{cid}/task");
        let asked = (0..self.partitions).map(async |partition| {
            let request = self.own_request(Method::GET, &path)?;
            let response = self.ask(partition, ITSELF, request).await?;
            if response.status() == axum::http::StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let said = said_yes(response).await?;
            let said: serde_json::Value =
                serde_json::from_slice(&said).map_err(|error| ApiError::internal(&error))?;
            Ok::<_, ApiError>(Some(said))
        });
        let found = try_join_all(asked).await?;
        let runs = self.runs().await?;
        let submitted = |said: &serde_json::Value| {
            let run = runs
                .iter()
                .find(|run| Some(run.run.0) == said["run"].as_u64());
            run.map(|run| run.submitted)
        };
        Ok(found.into_iter().flatten().max_by_key(submitted))
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
