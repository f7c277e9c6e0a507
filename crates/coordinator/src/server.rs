//! Accepting connections, as many as may be, and ending them in time.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, info, warn};

use crate::{
    authority::Authority,
    limits::{FIRST_WORD_MAX, SEND_MAX, SHUTDOWN_MAX},
    metrics::{Counted, Metrics},
    peer::Peer,
    places::Places,
};

/// Buffer of a connection for heads of requests, in bytes. Kept by idle connections, so not more than is needed.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// After a failure to accept (no file descriptors left), others get time to close theirs.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How often it is looked whether all connections have ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What stands at the entrance.
pub(crate) struct Door {
    /// Places for connections.
    pub(crate) connections: Arc<Places>,
    pub(crate) metrics: Arc<Metrics>,
    /// Says for which address a coordinator that stands by may ask.
    pub(crate) authority: Arc<Authority>,
    /// Turns true when no more is served.
    pub(crate) close: watch::Sender<bool>,
}

/// Why no more is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The program ends.
    Stop,
    /// It is to be served otherwise from now on.
    Change,
}

impl Door {
    async fn closed(&self) {
        // We hold the sender.
        let _ = self.close.subscribe().wait_for(|closing| *closing).await;
    }
}

/// Serves until `end`. At the stop everyone is told, and connections have [`SHUTDOWN_MAX`]; who serves otherwise afterwards gets the
/// listener back at once, and has connections that go on.
pub(crate) async fn run(
    listener: TcpListener,
    router: Router,
    door: Door,
    end: impl Future<Output = End>,
) -> Option<TcpListener> {
    let service = TowerToHyperService::new(router);
    let door = Arc::new(door);
    let mut end = pin!(end);
    let end = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            end = &mut end => break end,
        };
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, Peer(address.ip())),
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(place) = door.connections.take(peer.network()) else {
            // Closed without a word: an answer would take the place that is missing.
            debug!("a connection more than its network may have is closed");
            continue;
        };
        // Frames and short answers go out at once.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection broke before it was used");
        }
        let inner = service.clone();
        let authority = Arc::clone(&door.authority);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let behind = authority.peer_behind(request.headers());
            request.extensions_mut().insert(behind.map_or(peer, Peer));
            inner.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(FIRST_WORD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(bounded(stream)), service)
            .with_upgrades();
        let counted = Counted::new(&door.metrics.connections);
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let mut ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = door.closed() => None,
            };
            if ended.is_none() {
                // The request under way is answered, no further one is read.
                connection.as_mut().graceful_shutdown();
                ended = Some(connection.await);
            }
            if let Some(Err(error)) = ended {
                debug!(%error, "a connection ended");
            }
            drop((place, counted));
        });
    };
    if end == End::Change {
        return Some(listener);
    }
    info!("stopping");
    drop(listener);
    // Nobody listening to it would be as well.
    let _ = door.close.send_replace(true);
    let Metrics {
        connections,
        executor_connections,
        watcher_connections,
        ..
    } = &*door.metrics;
    let all_end = async {
        while connections.get() + executor_connections.get() + watcher_connections.get() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(SHUTDOWN_MAX, all_end).await.is_err() {
        warn!("some connections did not end in time");
    }
    None
}

/// The stream with a bound on how long a write waits for a reader who does not read: its place is for others.
fn bounded(stream: tokio::net::TcpStream) -> Pin<Box<TimeoutStream<tokio::net::TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(SEND_MAX));
    Box::pin(stream)
}
