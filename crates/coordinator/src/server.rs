//! Accepting connections, as many as may be, and ending them in time.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
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
    authority::Authority,
    error::ApiError,
    limits::{FIRST_WORD_MAX, NEWCOMERS_MAX, SEND_MAX, SHUTDOWN_MAX},
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
    /// Places for strangers' connections.
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
    let newcomers = Places::new("connections that nothing was asked over", NEWCOMERS_MAX);
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
        let network = peer.network();
        let taken = door.connections.take(network);
        let crowded = taken.is_err();
        // Another coordinator needs none of them, and says who it is with what it asks.
        let Ok(place) = taken.or_else(|_| newcomers.take(network)) else {
            // Closed without a word: an answer would take the place that is missing.
            debug!("a connection more than its network may have is closed");
            continue;
        };
        let place = Arc::new(Mutex::new(Some(place)));
        // Frames and short answers go out at once.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection broke before it was used");
        }
        let inner = service.clone();
        let (authority, held) = (Arc::clone(&door.authority), Arc::clone(&place));
        let service = service_fn(move |mut request: Request<Incoming>| {
            let behind = authority.peer_behind(request.headers());
            request.extensions_mut().insert(behind.map_or(peer, Peer));
            let stays = behind.is_some() || !crowded;
            if behind.is_some() {
                // Whoever is behind it has a place where it came.
                drop(held.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
            let answered = stays.then(|| inner.call(request));
            async move {
                match answered {
                    Some(answered) => answered.await,
                    None => Ok(too_many()),
                }
            }
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

/// What a stranger is told for whom there is no place.
fn too_many() -> Response {
    let refused = ApiError::busy("more connections are open than your network may have now");
    let mut response = refused.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// The stream with a bound on how long a write waits for a reader who does not read: its place is for others.
fn bounded(stream: tokio::net::TcpStream) -> Pin<Box<TimeoutStream<tokio::net::TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(SEND_MAX));
    Box::pin(stream)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;
    use crate::authority::BEHIND;

    const TOKEN: &str = "0123456789abcdef";

    /// Asks over a connection of its own, which stays open if it may; what is answered.
    async fn ask(address: std::net::SocketAddr, headers: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        let mut part = [0; 1 << 10];
        while !said.ends_with("served") && !said.starts_with("HTTP/1.1 429 ") {
            let read = stream.read(&mut part).await.unwrap();
            if read == 0 {
                break;
            }
            said.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
        (stream, said)
    }

    #[tokio::test]
    async fn strangers_take_no_place_of_other_coordinators() {
        let authority = Authority::new(Some(TOKEN.to_owned()), true).unwrap();
        let peer = std::net::IpAddr::from([192, 0, 2, 1]);
        let signed = format!("{BEHIND}: {peer} {}\r\n", authority.word_for(peer));
        let forged = format!("{BEHIND}: {peer} {}\r\n", "0".repeat(64));
        let door = Door {
            // One for each network, as it may have no more than are free.
            connections: Places::new("connections", 2),
            metrics: Arc::new(Metrics::new()),
            authority: Arc::new(authority),
            close: watch::Sender::new(false),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().route("/", get(|| async { "served" }));
        let serving = tokio::spawn(run(listener, router, door, async {
            let _ = stopped.await;
            End::Stop
        }));
        let stranger = ask(address, "").await;
        assert!(stranger.1.ends_with("served"), "{}", stranger.1);
        for headers in ["", forged.as_str()] {
            let (mut stream, said) = ask(address, headers).await;
            assert!(said.starts_with("HTTP/1.1 429 "), "{said}");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
        }
        let mut coordinators = Vec::new();
        for _ in 0..4 {
            let coordinator = ask(address, &signed).await;
            assert!(coordinator.1.ends_with("served"), "{}", coordinator.1);
            coordinators.push(coordinator);
        }
        // Nor do they take one of strangers.
        drop(stranger);
        let begun = tokio::time::Instant::now();
        while !ask(address, "").await.1.ends_with("served") {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        drop(coordinators);
        stop.send(()).unwrap();
        serving.await.unwrap();
    }
}
