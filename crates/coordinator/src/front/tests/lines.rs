//! Connections between coordinators, over which executors and watchers talk with seats elsewhere.

use asterism_protocol::{SUBPROTOCOL, encode};
use axum::{
    Router,
    extract::{
        State,
        ws::{Message, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest as _};

use super::*;
use crate::{
    authority::{Authority, BEHIND},
    disk::common::Socket,
    front::line::{Talk, Word},
    metrics::Metrics,
    places::Places,
    server::{self, Door, End},
    store::{Asked, Holder, Tenure},
};

/// The lines of others to a coordinator.
async fn lines(server: &Server) -> u64 {
    let metrics = reqwest::get(format!("{}/metrics", server.url)).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let mut counts = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("asterism_lines "));
    counts.next().expect("they are counted").parse().unwrap()
}

/// Waits until there are so many of them.
async fn are_lines(server: &Server, wanted: u64) {
    let begun = Instant::now();
    while lines(server).await != wanted {
        assert!(begun.elapsed() < LONG, "{}", lines(server).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_talks_with_many_seats_of_another_coordinator_has_one_connection_to_it() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&first.url, 1).await;
    let (_, leases) = all_leased(&second, &mut executor).await;
    let leased = partitions(leases.iter().map(|lease| lease.id.0));
    assert_eq!(leased.len(), usize::from(PARTITIONS));
    assert_eq!(held(&second).await.len(), 2);
    assert_eq!(lines(&second).await, 1);
    let mut watcher = socket(&first.url, "/ws/watch").await.unwrap();
    frame(&mut watcher).await.unwrap();
    assert_eq!(lines(&second).await, 2);
    assert_eq!(lines(&first).await, 0);
    deliver_all(&mut executor, &leases).await;
    drop((executor, watcher));
    are_lines(&second, 0).await;
    second.stop().await;
    first.stop().await;
}

/// A WebSocket, as another coordinator asks for it.
pub(super) async fn socket_of_another(server: &Server, path: &str) -> Result<Socket, Error> {
    let url = server.url.replace("http", "ws");
    let mut request = format!("{url}{path}").into_client_request().unwrap();
    let peer = std::net::IpAddr::from([192, 0, 2, 1]);
    let word = Authority::new(Some(TOKEN.to_owned()), true).unwrap();
    let behind = format!("{peer} {}", word.word_for(peer));
    let headers = request.headers_mut();
    headers.insert(BEHIND, behind.parse().unwrap());
    headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    Ok(tokio_tungstenite::connect_async(request).await?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_know_of_lines_has_no_executor_sent_away() {
    let disk = disk();
    let server = serve(&disk).await;
    shared(&[&server]).await;
    match socket_of_another(&server, "/partitions/0/ws/executor").await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), StatusCode::NOT_FOUND),
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

/// A coordinator that welcomes executors, has nothing for them, and tells how often it is asked for what it has now.
async fn has_nothing(
    State(asked): State<mpsc::UnboundedSender<()>>,
    ws: WebSocketUpgrade,
) -> Response {
    ws.protocols([SUBPROTOCOL])
        .on_upgrade(async move |mut socket| {
            while let Some(Ok(said)) = socket.recv().await {
                let Message::Binary(frame) = said else {
                    continue;
                };
                let Some((talk, Word::Say(said))) = Talk::read(&frame) else {
                    continue;
                };
                let answer = match decode_frame(&said).unwrap() {
                    ToCoordinator::Hello(_) => ToExecutor::Welcome {
                        heartbeat_ms: 3_000,
                        resumed: Vec::new(),
                    },
                    ToCoordinator::Poll { slots, .. } => {
                        if slots > 0 {
                            let _ = asked.send(());
                        }
                        ToExecutor::Assign { leases: Vec::new() }
                    }
                    _ => continue,
                };
                let word = Word::Say(encode(&answer).into());
                let _ = socket.send(Message::Binary(talk.frame(&word))).await;
            }
        })
}

/// Such a coordinator, at which the first partition is. It is here for nobody else.
struct Hungry {
    holder: Holder,
    tenure: Tenure,
    asks: mpsc::UnboundedReceiver<()>,
    serving: tokio::task::JoinHandle<Option<TcpListener>>,
}

impl Hungry {
    async fn new(disk: &Disk) -> Self {
        let (asked, asks) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let holder = Holder {
            name: "hungry".to_owned(),
            address: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new()
            .route("/coordinators/executor", get(has_nothing))
            .with_state(asked);
        let door = Door {
            connections: Places::new("connections", 16),
            metrics: Arc::new(Metrics::new()),
            authority: Arc::new(Authority::new(None, true).unwrap()),
            close: watch::Sender::new(false),
        };
        let serving = tokio::spawn(server::run(
            listener,
            router,
            door,
            std::future::pending::<End>(),
        ));
        let Ok(Asked::Granted(tenure)) = disk.journal.acquire(Partition(0), &holder, LONG) else {
            panic!("nobody else holds it")
        };
        Self {
            holder,
            tenure,
            asks,
            serving,
        }
    }

    /// It says that so much waits there.
    fn waits(&self, disk: &Disk, count: u64) {
        let unmet = &[(self.tenure, count)];
        let met = disk.journal.meet(&self.holder, Duration::ZERO, unmet);
        met.unwrap();
    }

    /// It is asked for what it has, so many times.
    async fn asked(&mut self, times: usize) {
        for _ in 0..times {
            timeout(LONG, self.asks.recv()).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_had_nothing_is_asked_again_when_more_waits_there() {
    let disk = disk();
    let mut other = Hungry::new(&disk).await;
    other.waits(&disk, 1);
    let server = serve(&disk).await;
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let (slots, wait_ms) = (1, 20_000);
    executor.say(&ToCoordinator::Poll { slots, wait_ms }).await;
    other.asked(5).await;
    // In vain it would ask again after more than six seconds.
    other.waits(&disk, 2);
    let again = timeout(Duration::from_secs(5), other.asked(1)).await;
    assert!(again.is_ok(), "it hears that there is more");
    server.stop().await;
    other.serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_is_somewhere_else_is_turned_to_there() {
    let disk = disk();
    let mut other = Hungry::new(&disk).await;
    other.waits(&disk, 1);
    let server = serve(&disk).await;
    server.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let (slots, wait_ms) = (1, 20_000);
    executor.say(&ToCoordinator::Poll { slots, wait_ms }).await;
    other.asked(1).await;
    // It is gone, and does not say so.
    disk.journal.expire(Partition(0));
    shared(&[&server]).await;
    for number in 0.. {
        let body = workflow(&[task("one", "add", &format!("[{number}.5, 2.0]"))]);
        let post = server.post("/run?wait=false", body.into_bytes(), &[202]);
        if post.await["run"].as_u64().unwrap() % u64::from(PARTITIONS) == 0 {
            break;
        }
    }
    let mut leases = Vec::new();
    while !partitions(leases.iter().map(|lease: &LeaseId| lease.0)).contains(&0) {
        let alive = ToCoordinator::Heartbeat {
            leases: leases.clone(),
        };
        executor.say(&alive).await;
        leases.extend(executor.lease(1).await.iter().map(|lease| lease.id));
    }
    server.stop().await;
    other.serving.abort();
}
