//! The way to an executor's socket.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use asterism_protocol::message::ToExecutor;
use asterism_scheduler::ConnectionId;
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use crate::limits::OUTBOX_MAX;

/// The way to one executor's socket.
#[derive(Clone)]
pub(crate) struct Outbox {
    /// Boxed: a queue keeps room for 32 of them from its beginning, and most executors are idle.
    queue: mpsc::Sender<Box<ToExecutor>>,
    pub(super) cut: Arc<Notify>,
    was_cut: Arc<AtomicBool>,
}

/// The socket's end of an [`Outbox`].
pub(crate) struct OutboxReceiver {
    /// Messages to send; it ends when the connection is to be closed.
    pub(crate) queue: mpsc::Receiver<Box<ToExecutor>>,
    /// Close at once, unsent messages or not.
    pub(crate) cut: Arc<Notify>,
}

impl Outbox {
    pub(super) fn new() -> (Self, OutboxReceiver) {
        let (sender, queue) = mpsc::channel(OUTBOX_MAX);
        let cut = Arc::new(Notify::new());
        (
            Self {
                queue: sender,
                cut: Arc::clone(&cut),
                was_cut: Arc::default(),
            },
            OutboxReceiver { queue, cut },
        )
    }

    /// A queue that is full belongs to somebody who does not listen: the connection is cut.
    pub(super) fn send(&self, connection: ConnectionId, message: ToExecutor) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(Box::new(message))
            && !self.was_cut.swap(true, Ordering::Relaxed)
        {
            warn!(
                connection = connection.0,
                "an executor reads too slowly and is disconnected"
            );
            self.cut.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use asterism_protocol::message::LeaseId;

    use super::*;

    #[tokio::test]
    async fn who_does_not_read_is_cut_off() {
        let (outbox, receiver) = Outbox::new();
        let message = || ToExecutor::Revoke {
            leases: vec![LeaseId(1)],
            reason: String::new(),
        };
        (0..OUTBOX_MAX).for_each(|_| outbox.send(ConnectionId(1), message()));
        let cut = tokio::time::timeout(Duration::from_millis(10), receiver.cut.notified()).await;
        assert!(cut.is_err(), "a full queue is not yet too much");
        outbox.send(ConnectionId(1), message());
        receiver.cut.notified().await;
    }
}
