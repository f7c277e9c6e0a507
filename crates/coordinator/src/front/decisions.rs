//! Whom all partitions exclude. The journal has what was decided in one order, wherever that was: every seat hears it in that one, so
//! what was decided last holds everywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard, PoisonError},
};

use asterism_protocol::PublicKey;
use asterism_scheduler::SubmitError;
use futures_util::future::join_all;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Front, Local, PAUSE, Seat};
use crate::{
    driver::{Driver, NoAnswer},
    error::ApiError,
    limits::FOLLOWED_WITHIN,
    store::Decision,
};

/// What is known of it here.
#[derive(Default)]
pub(super) struct Decisions {
    /// The number of the last one.
    last: u64,
    /// What was decided last of each executor.
    of: BTreeMap<PublicKey, Decision>,
}

/// What a seat hears.
pub(super) enum Told {
    Decision(Decision),
    /// Somebody waits until it has done all that it heard before.
    Until(oneshot::Sender<()>),
}

impl Front {
    fn decisions(&self) -> MutexGuard<'_, Decisions> {
        let decisions = self.decisions.lock();
        decisions.unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last decision that is known here.
    pub(super) fn last_decision(&self) -> u64 {
        self.decisions().last
    }

    /// Tells all that are here what was read of the journal, but for what somebody else has read meanwhile.
    pub(super) fn learn_decisions(&self, read: Vec<(u64, Decision)>) {
        let mut known = self.decisions();
        let locals = self.locals();
        for (number, decision) in read {
            if number <= known.last {
                continue;
            }
            for (_, local) in &locals {
                // It has ended already, if nobody listens.
                let _ = local.decided.send(Told::Decision(decision.clone()));
            }
            known.of.insert(decision.executor, decision);
            known.last = number;
        }
    }

    /// A partition is here from now on, and is told whatever was decided; of which executors something was.
    pub(super) fn begins_here(&self, partition: u16, local: &Arc<Local>) -> BTreeSet<PublicKey> {
        let known = self.decisions();
        for decision in known.of.values() {
            // As above.
            let _ = local.decided.send(Told::Decision(decision.clone()));
        }
        let seat = Seat::Here(Arc::clone(local));
        self.seats
            .send_modify(|seats| seats[usize::from(partition)] = seat);
        known.of.keys().copied().collect()
    }

    /// Excludes an executor everywhere, or takes that back: here at once, elsewhere as soon as it is read there.
    pub(crate) async fn decide(
        &self,
        executor: PublicKey,
        excluded: Option<String>,
    ) -> Result<(), ApiError> {
        let decision = Decision {
            executor,
            at: self.general.clock.now(),
            excluded,
        };
        if decision.excluded.is_none() && !self.is_excluded(executor).await? {
            return Err(NoAnswer::Refused(SubmitError::NotExcluded(executor)).into());
        }
        let last = self.last_decision();
        let read = self.general.blocking(move |app| {
            app.journal.decide(&decision)?;
            Ok(app.journal.decisions(last)?)
        });
        self.learn_decisions(read.await?);
        let told = self.locals().into_iter().map(|(_, local)| {
            let (tell, told) = oneshot::channel();
            // One that has ended is told where it begins next.
            let _ = local.decided.send(Told::Until(tell));
            told
        });
        match timeout(FOLLOWED_WITHIN, join_all(told)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ApiError::unavailable(
                "it is decided, and a partition that cannot do it now does it as soon as it can",
            )),
        }
    }

    async fn is_excluded(&self, executor: PublicKey) -> Result<bool, ApiError> {
        let decisions = self
            .general
            .blocking(move |app| Ok(app.journal.decisions(0)?))
            .await?;
        let last = decisions.iter().find(|(_, last)| last.executor == executor);
        Ok(last.is_some_and(|(_, last)| last.excluded.is_some()))
    }
}

/// Does in one partition what was decided for all.
pub(super) async fn listen(driver: Driver, mut decided: mpsc::UnboundedReceiver<Told>) {
    while let Some(told) = decided.recv().await {
        match told {
            Told::Decision(decision) => {
                while let Err(NoAnswer::Unavailable | NoAnswer::Busy) =
                    apply(&driver, &decision).await
                {
                    if driver.is_gone() {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            // Nobody waits any more.
            Told::Until(tell) => drop(tell.send(())),
        }
    }
}

/// Excludes an executor, or takes that back; it may be so already.
async fn apply(driver: &Driver, decision: &Decision) -> Result<(), NoAnswer> {
    let Decision {
        executor, excluded, ..
    } = decision;
    match excluded {
        Some(reason) => driver.ban(*executor, reason.clone()).await,
        None => driver.lift(*executor).await,
    }
}
