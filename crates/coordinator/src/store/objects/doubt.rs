//! A store that does not do what it is asked: is it one object's misfortune, or is the store in trouble?

use std::{
    future::Future,
    mem,
    pin::pin,
    sync::{Arc, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use object_store::{ObjectStoreExt as _, PutPayload};
use tokio::time::timeout;

use super::{BlobError, Inner, Patience, StoreProblem, UNFINISHED, writer::random_name};

/// A call failed, or takes too long.
pub(super) struct Doubt {
    /// What was said of it.
    said: String,
    /// Did another object fail after it? Then it is the store, and it is in trouble.
    confirmed: bool,
}

impl Inner {
    /// Waits for an answer, in trouble not for long, also where that begins meanwhile. Whoever waits longer than the store may take to
    /// begin an answer has it tried with another object.
    pub(super) async fn wait<T>(
        self: &Arc<Self>,
        work: impl Future<Output = T>,
        failed: &impl Fn(StoreProblem) -> BlobError,
    ) -> Result<T, StoreProblem> {
        let Patience {
            answer,
            call,
            brief,
            ..
        } = self.patience;
        let mut work = pin!(work);
        let mut waited = Duration::ZERO;
        let mut pause = if self.is_in_trouble() { brief } else { answer };
        loop {
            pause = pause.min(call.saturating_sub(waited));
            if let Ok(done) = timeout(pause, work.as_mut()).await {
                return Ok(done);
            }
            waited += pause;
            let seconds = waited.as_secs_f32();
            let late = StoreProblem::Away(format!("there was no answer within {seconds} s"));
            if waited >= call || self.is_in_trouble() {
                return Err(late);
            }
            self.begin_doubt(failed(late).to_string());
            pause = brief;
        }
    }

    fn doubt(&self) -> MutexGuard<'_, Option<Doubt>> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_in_trouble(&self) -> bool {
        self.doubt().as_ref().is_some_and(|doubt| doubt.confirmed)
    }

    /// Has the store asked how it is, at once and from time to time: nobody else may ask, and somebody looks at `/health`. Only that
    /// ends a doubt: a store that gives and does not take is in trouble as well.
    pub(super) fn begin_doubt(self: &Arc<Self>, said: String) {
        let mut doubt = self.doubt();
        let confirmed = doubt.as_ref().is_some_and(|doubt| doubt.confirmed);
        let begins = doubt.replace(Doubt { said, confirmed }).is_none();
        drop(doubt);
        if begins {
            let (inner, every) = (Arc::downgrade(self), self.patience.probe);
            self.runtime().spawn(probe(inner, every));
        }
    }

    /// What is wrong with the store, if that is sure.
    pub(super) fn trouble(&self) -> Option<String> {
        let doubt = self.doubt();
        let doubt = doubt.as_ref().filter(|doubt| doubt.confirmed);
        doubt.map(|doubt| doubt.said.clone())
    }

    /// The store failed when it was asked how it is.
    fn confirm_doubt(&self) {
        if let Some(doubt) = &mut *self.doubt() {
            doubt.confirmed = true;
        }
    }
}

/// Asks a store that is in doubt until it takes and gives an object, or nobody needs it any more.
async fn probe(inner: Weak<Inner>, every: Duration) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::time::sleep(mem::replace(&mut pause, every)).await;
        let Some(inner) = inner.upgrade() else { return };
        // Other coordinators may ask the same store.
        let Ok(name) = random_name() else { continue };
        let path = inner.below(&format!("{UNFINISHED}/{name}"));
        let asked = async {
            inner
                .store
                .put(&path, PutPayload::from_static(b"probe"))
                .await?;
            inner.store.get(&path).await?.bytes().await
        };
        if matches!(timeout(inner.patience.brief, asked).await, Ok(Ok(_))) {
            *inner.doubt() = None;
            // What is left where this fails is deleted a day later.
            let _ = timeout(inner.patience.call, inner.store.delete(&path)).await;
            return;
        }
        inner.confirm_doubt();
    }
}
