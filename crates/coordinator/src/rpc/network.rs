//! What Homestar calls events of the network.

use std::{collections::BTreeSet, sync::Arc};

use asterism_protocol::message::Change;
use serde_json::json;
use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::{Notification, notification_of};
use crate::app::App;

/// Executors that come and go, and components that are added.
pub(super) async fn network_events(
    app: Arc<App>,
    subscription: String,
    notifications: mpsc::Sender<Notification>,
) {
    let mut changes = app.hub.subscribe();
    let mut here = BTreeSet::new();
    loop {
        let batch = match changes.recv().await {
            Ok((_, batch)) => batch,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        for change in &*batch {
            let (ty, data) = if let Change::Executor(executor) = change
                && here.insert(executor.key)
            {
                (
                    "network:executor_connected",
                    json!({ "executor": executor.key.did(), "name": executor.name }),
                )
            } else if let Change::ExecutorGone(key) = change
                && here.remove(key)
            {
                (
                    "network:executor_disconnected",
                    json!({ "executor": key.did() }),
                )
            } else if let Change::Component(component) = change {
                (
                    "network:component_added",
                    json!({ "component": component.cid, "name": component.name }),
                )
            } else {
                continue;
            };
            let event =
                json!({ "type": ty, "timestamp": app.clock.now().0, "data": data }).to_string();
            let text = notification_of("subscribe_network_events", &subscription, &event);
            if notifications.send(Notification::Text(text)).await.is_err() {
                return;
            }
        }
    }
}
