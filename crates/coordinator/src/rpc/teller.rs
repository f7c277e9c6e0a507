//! What a client is told of a run: each task's receipt, as Homestar writes it.

use std::{collections::BTreeSet, sync::Arc};

use asterism_protocol::{
    Cid, Out, Receipt, Value, blob_cid, to_json, to_value,
    view::{RunId, TaskState, TaskView},
};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::{INTERNAL, Notification, Refused, error_of, notification_of};
use crate::{
    app::App,
    error::ApiError,
    follow::{self, News},
    http,
    limits::{RETRY_MAX, RETRY_MIN},
    places::Place,
};

/// Bytes of a blob that a notification carries instead of its link.
const INLINE_BLOB_BYTES_MAX: u64 = 16 << 20;

/// Tells one client of one run.
pub(super) struct Teller {
    pub(super) app: Arc<App>,
    pub(super) subscription: String,
    pub(super) run: RunId,
    pub(super) name: String,
    pub(super) notifications: mpsc::Sender<Notification>,
}

/// Why something is not told.
enum Untold {
    /// The client went away.
    Gone,
    /// It cannot be read, or is not heard of any more.
    Trouble(ApiError),
}

impl Teller {
    pub(super) async fn tell(self, place: Place) {
        let mut news = follow::follow(&self.app, self.run, place);
        let mut told = BTreeSet::new();
        let mut workflow = None;
        let end = loop {
            match news.recv().await {
                Some(News::Run(summary)) => workflow = Some(summary.workflow),
                Some(News::Task(task)) if task.receipt.is_some() => {
                    match self.tell_task(workflow, *task, &mut told).await {
                        Ok(()) => {}
                        // It is told at the end: who waits here does not hear of the others in time.
                        Err(Untold::Trouble(error)) if error.is_unavailable() => {}
                        Err(untold) => break Err(untold),
                    }
                }
                Some(News::Task(_)) => {}
                Some(News::Ended) => break self.tell_rest(workflow, &mut told).await,
                Some(News::Trouble(error)) => break Err(Untold::Trouble(error)),
                None => {
                    let error = ApiError::unavailable("what was told was not read in time");
                    break Err(Untold::Trouble(error));
                }
            }
        };
        // A client that went away does not hear what follows.
        if let Err(Untold::Trouble(error)) = end {
            let text = Notification::Text(self.early_end(&error));
            let _ = self.notifications.send(text).await;
        }
        let _ = self
            .notifications
            .send(Notification::Ended(self.subscription))
            .await;
    }

    /// Why nothing more comes, as an error that answers no request. Homestar's client tells its user of such a one; whatever has the
    /// name of a subscription it takes for a task's receipt, and counts it.
    fn early_end(&self, error: &ApiError) -> String {
        let (subscription, run) = (&self.subscription, self.run.0);
        let refused = Refused {
            code: INTERNAL,
            message: format!(
                "subscription {subscription} ends before all of run {run} is told: {}; subscribe to the workflow again, what is \
                 known is replayed",
                error.message()
            ),
            data: json!({ "subscription": subscription, "run": run }),
        };
        error_of(&Json::Null, refused).to_string()
    }

    /// What was skipped, or missed. Whoever has no receipt by now gets none. What cannot be read at this moment is tried again, for
    /// as long as the client is there.
    async fn tell_rest(
        &self,
        workflow: Option<Cid>,
        told: &mut BTreeSet<u32>,
    ) -> Result<(), Untold> {
        let (mut from, mut pause) = (0, RETRY_MIN);
        loop {
            match self.tell_from(&mut from, workflow, told).await {
                Err(Untold::Trouble(error)) if error.is_unavailable() => {
                    tokio::time::sleep(pause).await;
                    pause = RETRY_MAX.min(2 * pause);
                }
                end => return end,
            }
        }
    }

    /// Tells from a place on, which is behind all that was told then.
    async fn tell_from(
        &self,
        from: &mut u32,
        workflow: Option<Cid>,
        told: &mut BTreeSet<u32>,
    ) -> Result<(), Untold> {
        loop {
            let tasks = http::tasks_from(&self.app, self.run, *from).await;
            let tasks = tasks.map_err(Untold::Trouble)?;
            if tasks.is_empty() {
                return Ok(());
            }
            for task in tasks {
                let next = task.index + 1;
                self.tell_task(workflow, task, told).await?;
                *from = next;
            }
        }
    }

    /// Tells a task once.
    async fn tell_task(
        &self,
        workflow: Option<Cid>,
        task: TaskView,
        told: &mut BTreeSet<u32>,
    ) -> Result<(), Untold> {
        let index = task.index;
        let Some(workflow) = workflow.filter(|_| !told.contains(&index)) else {
            return Ok(());
        };
        let text = self.notification(workflow, task).await;
        let text = Notification::Text(text.map_err(Untold::Trouble)?);
        let sent = self.notifications.send(text).await;
        sent.map_err(|_| Untold::Gone)?;
        told.insert(index);
        Ok(())
    }

    async fn notification(&self, workflow: Cid, task: TaskView) -> Result<String, ApiError> {
        let replayed = matches!(task.state, TaskState::Replayed | TaskState::Skipped);
        let receipt = self.app.blocking(move |app| receipt_of(app, &task)).await?;
        let cid = receipt.cid();
        let receipt = self
            .app
            .blocking(move |app| with_bytes(app, receipt))
            .await?;
        let map = |entries: [(&str, Value); 3]| {
            Value::Map(entries.map(|(key, value)| (key.to_owned(), value)).into())
        };
        let notification = map([
            (
                "metadata",
                map([
                    ("name", Value::String(self.name.clone())),
                    ("replayed", Value::Bool(replayed)),
                    ("workflow", Value::Link(workflow.to_link())),
                ]),
            ),
            ("receipt", to_value(&receipt)),
            ("receipt_cid", Value::Link(cid.to_link())),
        ]);
        Ok(notification_of(
            "subscribe_run_workflow",
            &self.subscription,
            &to_json(&notification),
        ))
    }
}

/// The receipt of a task; one without an issuer for a task that nobody attested anything of.
fn receipt_of(app: &App, task: &TaskView) -> Result<Receipt, ApiError> {
    let known = match task.receipt {
        Some(receipt) => app.journal.receipt(receipt)?,
        None => None,
    };
    Ok(known.unwrap_or_else(|| Receipt {
        ran: task.instruction,
        out: task.out.clone().unwrap_or_else(|| {
            let reason = if task.reason.is_empty() {
                "it was not done"
            } else {
                &task.reason
            };
            Out::Error(Value::String(reason.to_owned()))
        }),
        meta: [("op".to_owned(), Value::String(task.func.clone()))].into(),
        iss: None,
        prf: Vec::new(),
    }))
}

/// The receipt as clients of Homestar know it: bytes stand in it, not a link to their blob. Its name stays that of the
/// receipt with the link.
fn with_bytes(app: &App, mut receipt: Receipt) -> Result<Receipt, ApiError> {
    if let Out::Ok(value) | Out::Error(value) = &mut receipt.out
        && let Value::Link(link) = value
        && let Ok(cid) = Cid::try_from(*link)
        && cid.is_blob()
        && app
            .blobs
            .size(cid)?
            .is_some_and(|size| size <= INLINE_BLOB_BYTES_MAX)
        && let Some(bytes) = app.blobs.get(cid)?
    {
        debug_assert_eq!(blob_cid(&bytes), cid);
        *value = Value::Bytes(bytes);
    }
    Ok(receipt)
}

#[cfg(test)]
mod tests;
