//! Accepting connections, as many as may be, and ending them in time.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

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
    app::App,
    http,
    limits::{FIRST_WORD_MAX, SEND_MAX, SHUTDOWN_MAX},
    metrics::{Counted, Metrics},
    peer::Peer,
};

/// Buffer of a connection for heads of requests, in bytes. Kept by idle connections, so not more than is needed.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// After a failure to accept (no file descriptors left), others get time to close theirs.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How often it is looked whether all connections have ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Serves until `shutdown`, then tells everyone and gives them [`SHUTDOWN_MAX`].
pub(crate) async fn run(
    listener: TcpListener,
    app: Arc<App>,
    close: watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) {
    let service = TowerToHyperService::new(http::router(Arc::clone(&app)));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok((stream, address)) => (stream, Peer(address.ip())),
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(place) = app.room.connections.take(peer.network()) else {
            // Closed without a word: an answer would take the place that is missing.
            debug!("a connection more than its network may have is closed");
            continue;
        };
        // Frames and short answers go out at once.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection broke before it was used");
        }
        let inner = service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            inner.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(FIRST_WORD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(bounded(stream)), service)
            .with_upgrades();
        let counted = Counted::new(&app.metrics.connections);
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let mut ended = tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = app.closed() => None,
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
    }
    info!("stopping");
    drop(listener);
    // Nobody listening to it would be as well.
    let _ = close.send(true);
    let Metrics {
        connections,
        executor_connections,
        watcher_connections,
        ..
    } = &*app.metrics;
    let all_end = async {
        while connections.get() + executor_connections.get() + watcher_connections.get() > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(SHUTDOWN_MAX, all_end).await.is_err() {
        warn!("some connections did not end in time");
    }
}

/// The stream with a bound on how long a write waits for a reader who does not read: its place is for others.
fn bounded(stream: tokio::net::TcpStream) -> Pin<Box<TimeoutStream<tokio::net::TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(SEND_MAX));
    Box::pin(stream)
}
