//! Keeping coordinators away from a journal in a database while what they may speak of is changed.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Instant,
};

use super::UpkeepError;
use crate::{
    limits::{RENEW_EVERY, TERM},
    store::{Asked, Holder, Journal, Partition, Tenure},
};

/// What stands for the address of a coordinator where upkeep holds a partition.
pub(crate) const UPKEEP: &str = "upkeep";

/// A journal that no coordinator holds, as long as this is there.
pub(super) struct Hold {
    journal: Arc<dyn Journal>,
    /// Each partition.
    tenures: Vec<Tenure>,
    /// When its term is over, unless it is renewed before.
    until: Arc<Mutex<Instant>>,
    /// The thread ends when this closes.
    end: Option<mpsc::Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

impl Hold {
    /// Takes the journal for the folder of this name, if nobody from another one holds it. A coordinator of this folder that was
    /// killed is followed at once.
    ///
    /// # Errors
    /// A coordinator does, or the database is away.
    pub(super) fn take(journal: Arc<dyn Journal>, name: String) -> Result<Self, UpkeepError> {
        let holder = Holder {
            name,
            address: UPKEEP.to_owned(),
        };
        // By our own clock, and from before the database was asked: too early rather than too late.
        let asked = Instant::now();
        let mut tenures = Vec::new();
        for partition in (0..journal.partitions()).map(Partition) {
            let refused = match journal.acquire(partition, &holder, TERM) {
                Ok(Asked::Granted(tenure)) => {
                    tenures.push(tenure);
                    continue;
                }
                Ok(Asked::Held(other)) => UpkeepError::Served(other.address),
                Err(error) => error.into(),
            };
            give_back(&*journal, &tenures);
            return Err(refused);
        }
        let (end, ended) = mpsc::channel::<()>();
        let until = Arc::new(Mutex::new(asked + TERM));
        let (kept, longer) = (Arc::clone(&journal), Arc::clone(&until));
        let held = tenures.clone();
        let renewing = thread::Builder::new()
            .name("hold".to_owned())
            .spawn(move || {
                while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(RENEW_EVERY) {
                    let asked = Instant::now();
                    if held.iter().any(|tenure| kept.renew(*tenure, TERM).is_err()) {
                        return;
                    }
                    *longer.lock().unwrap_or_else(PoisonError::into_inner) = asked + TERM;
                }
            });
        let renewing = renewing.map_err(|source| UpkeepError::Io {
            path: "a thread".to_owned(),
            source,
        })?;
        Ok(Self {
            journal,
            tenures,
            until,
            end: Some(end),
            renewing: Some(renewing),
        })
    }

    /// Is it held still?
    ///
    /// # Errors
    /// It could not be kept: a coordinator may have it.
    pub(super) fn check(&self) -> Result<(), UpkeepError> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < until {
            Ok(())
        } else {
            Err(UpkeepError::Lost)
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.renewing.take().map(JoinHandle::join);
        give_back(&*self.journal, &self.tenures);
    }
}

/// Whoever waits for them need not wait for the end of their terms, which comes soon by itself.
fn give_back(journal: &dyn Journal, tenures: &[Tenure]) {
    for tenure in tenures {
        let _ = journal.release(*tenure);
    }
}
