//! What Homestar calls events of the network.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use asterism_protocol::{
    PublicKey,
    message::{Change, ToWatcher, decode_frame},
    view::Overview,
};
use serde_json::json;
use tokio::sync::{broadcast::error::RecvError, mpsc};

use super::{Notification, notification_of};
use crate::{
    app::App, front, limits::FRAMES_AHEAD, peer::Peer, places::Place, socket::Ears, writer::Writer,
};

/// Pause before partitions are watched again of which none answered.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Tells one client of executors that come and go, and of components that are added.
pub(super) struct Network {
    app: Arc<App>,
    subscription: String,
    notifications: mpsc::Sender<Notification>,
    here: BTreeSet<PublicKey>,
    /// Where there are several partitions it watches each of them, as any watcher does.
    _place: Option<Place>,
}

impl Network {
    pub(super) fn new(
        app: Arc<App>,
        subscription: String,
        notifications: mpsc::Sender<Notification>,
        place: Option<Place>,
    ) -> Self {
        Self {
            app,
            subscription,
            notifications,
            here: BTreeSet::new(),
            _place: place,
        }
    }

    /// Tells until the client, which is at `peer`, goes away.
    pub(super) async fn follow(mut self, peer: Peer) {
        // Nobody is left who could be told of its end.
        let _ = if self.app.front.is_some() {
            self.follow_all(peer).await
        } else {
            self.follow_own().await
        };
    }

    /// `None` when nobody listens or speaks any more.
    async fn follow_own(&mut self) -> Option<()> {
        let mut changes = self.app.hub.subscribe();
        loop {
            match changes.recv().await {
                Ok((_, batch)) => self.tell(&batch).await?,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// As [`Network::follow_own`], of all partitions: as whoever watches them sees them.
    async fn follow_all(&mut self, peer: Peer) -> Option<()> {
        loop {
            // The watcher ends with this end of it.
            let (_say, heard) = mpsc::channel(1);
            let (said, mut hear) = mpsc::channel(FRAMES_AHEAD);
            let (ears, writer) = (Ears::Relay(heard), Writer::Relay(said));
            tokio::spawn(front::watch(self.app.front()?, ears, writer, peer));
            while let Some(frame) = hear.recv().await {
                match decode_frame::<ToWatcher>(&frame) {
                    Ok(ToWatcher::Snapshot(overview)) => {
                        let changes = self.changes_to(overview);
                        self.tell(&changes).await?;
                    }
                    Ok(ToWatcher::Changes(changes)) => self.tell(&changes).await?,
                    Ok(ToWatcher::Run(_)) | Err(_) => {}
                }
            }
            tokio::time::sleep(WATCH_AGAIN).await;
        }
    }

    /// What was missed before all is shown again, or for the first time.
    fn changes_to(&self, overview: Overview) -> Vec<Change> {
        let executors = overview.executors.into_iter();
        let here: Vec<_> = executors.filter(|executor| executor.connected).collect();
        let keys: BTreeSet<PublicKey> = here.iter().map(|executor| executor.key).collect();
        let gone = self.here.difference(&keys).copied();
        let gone = gone.map(Change::ExecutorGone);
        gone.chain(here.into_iter().map(Change::Executor)).collect()
    }

    async fn tell(&mut self, changes: &[Change]) -> Option<()> {
        for change in changes {
            let (ty, data) = if let Change::Executor(executor) = change
                && self.here.insert(executor.key)
            {
                (
                    "network:executor_connected",
                    json!({ "executor": executor.key.did(), "name": executor.name }),
                )
            } else if let Change::ExecutorGone(key) = change
                && self.here.remove(key)
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
            let now = self.app.clock.now().0;
            let event = json!({ "type": ty, "timestamp": now, "data": data }).to_string();
            let text = notification_of("subscribe_network_events", &self.subscription, &event);
            let told = self.notifications.send(Notification::Text(text)).await;
            told.ok()?;
        }
        Some(())
    }
}
