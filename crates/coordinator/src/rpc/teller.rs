//! What a client is told of a run: each task's receipt, as Homestar writes it.

use std::{collections::BTreeSet, sync::Arc};

use asterism_protocol::{
    Cid, Out, Receipt, Value, blob_cid, to_json, to_value,
    view::{RunId, TaskState, TaskView},
};
use tokio::sync::mpsc;

use super::{Notification, notification_of};
use crate::{
    app::App,
    error::ApiError,
    follow::{self, News},
    http,
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

/// The client went away.
struct Gone;

impl Teller {
    pub(super) async fn tell(self, place: Place) {
        let mut news = follow::follow(&self.app, self.run, place);
        let mut told = BTreeSet::new();
        let mut workflow = None;
        while let Some(news) = news.recv().await {
            let heard = match news {
                News::Run(summary) => {
                    workflow = Some(summary.workflow);
                    Ok(())
                }
                News::Task(task) if task.receipt.is_some() => {
                    self.tell_task(workflow, *task, &mut told).await
                }
                News::Task(_) => Ok(()),
                News::Ended => self.tell_rest(workflow, &mut told).await,
                News::Trouble(_) => break,
            };
            if heard.is_err() {
                return;
            }
        }
        // A client that went away does not hear it.
        let _ = self
            .notifications
            .send(Notification::Ended(self.subscription))
            .await;
    }

    /// What was skipped, or missed. Whoever has no receipt by now gets none.
    async fn tell_rest(&self, workflow: Option<Cid>, told: &mut BTreeSet<u32>) -> Result<(), Gone> {
        let mut from = 0;
        while let Ok(tasks) = http::tasks_from(&self.app, self.run, from).await
            && let Some(last) = tasks.last()
        {
            from = last.index + 1;
            for task in tasks {
                self.tell_task(workflow, task, told).await?;
            }
        }
        Ok(())
    }

    async fn tell_task(
        &self,
        workflow: Option<Cid>,
        task: TaskView,
        told: &mut BTreeSet<u32>,
    ) -> Result<(), Gone> {
        if let Some(workflow) = workflow
            && told.insert(task.index)
            && let Some(text) = self.notification(workflow, task).await
        {
            let sent = self.notifications.send(Notification::Text(text)).await;
            return sent.map_err(|_| Gone);
        }
        Ok(())
    }

    async fn notification(&self, workflow: Cid, task: TaskView) -> Option<String> {
        let replayed = matches!(task.state, TaskState::Replayed | TaskState::Skipped);
        let receipt = self
            .app
            .blocking(move |app| receipt_of(app, &task))
            .await
            .ok()?;
        let cid = receipt.cid();
        let receipt = self
            .app
            .blocking(move |app| with_bytes(app, receipt))
            .await
            .ok()?;
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
        Some(notification_of(
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
