//! The native shell against the real scheduler, over real sockets.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use asterism_executor::{Attempt, Host, HostInfo, Job, NullHost, Stopper, Unfit};
use asterism_executor_native::{Options, run};
use asterism_protocol::{
    Await, Cid, Effects, Files, Instruction, Meta, Nonce, Out, Prepared, Promise, Receipt,
    SUBPROTOCOL, Task, Timestamp, Value, Workflow, blob_cid, encode,
    message::{Fault, FaultKind, ToExecutor, decode_frame},
    view::{AttemptView, RunId},
};
use asterism_scheduler::{
    Checker, Config, ConnectionId, Event, Input, Output, Planned, RequestId, Scheduler, Submission,
};
use axum::{
    Router,
    body::Bytes,
    extract::{
        Path, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::StatusCode,
    response::Response,
    routing::get,
};
use tokio::{net::TcpListener, sync::mpsc, sync::oneshot, task::JoinHandle};

const COMPONENT: &[u8] = b"a component of a null host";

/// Longer than anything takes here.
const SOON: Duration = Duration::from_secs(60);

/// A coordinator without a disk: the scheduler, and what it decided so far.
struct Coordinator {
    scheduler: Scheduler,
    outboxes: BTreeMap<ConnectionId, mpsc::UnboundedSender<ToExecutor>>,
    connections: u64,
    blobs: BTreeMap<String, Vec<u8>>,
    receipts: Vec<Receipt>,
    given_up: Vec<Vec<AttemptView>>,
    /// So many requests for blobs are answered with 503.
    away: u32,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Coordinator>>);

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(since.as_millis() as u64)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Coordinator> {
        self.0
            .lock()
            .expect("no test panics while it holds the coordinator")
    }

    fn handle(&self, input: Input) {
        let mut coordinator = self.lock();
        coordinator.scheduler.handle(input, now());
        coordinator.drain();
    }

    async fn start(change: impl FnOnce(&mut Config)) -> (Self, String) {
        let mut config = Config {
            heartbeat_ms: 100,
            // None runs out, however busy the machine is.
            lease_ms: 120_000,
            backoff_base_ms: 10,
            ..Config::default()
        };
        change(&mut config);
        let blobs = BTreeMap::from([(blob_cid(COMPONENT).to_string(), COMPONENT.to_vec())]);
        let shared = Self(Arc::new(Mutex::new(Coordinator {
            scheduler: Scheduler::new(config, 1),
            outboxes: BTreeMap::new(),
            connections: 0,
            blobs,
            receipts: Vec::new(),
            given_up: Vec::new(),
            away: 0,
        })));
        let app = Router::new()
            .route("/ws/executor", get(connect))
            .route("/blobs/{cid}", get(get_blob).put(put_blob))
            .with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, app).await });
        let ticking = shared.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let mut coordinator = ticking.lock();
                if coordinator
                    .scheduler
                    .poll_timeout()
                    .is_some_and(|(at, _)| at <= now())
                {
                    coordinator.scheduler.handle_timeout(now());
                    coordinator.drain();
                }
            }
        });
        (shared, format!("http://{address}"))
    }

    fn submit(&self, tasks: Vec<Task>) {
        let names = vec![String::new(); tasks.len()];
        let prepared = Prepared {
            workflow: Workflow { tasks },
            names,
        };
        let (name, submitter) = ("test".into(), "test".into());
        let submission = Box::new(Submission {
            plan: Planned::read(&prepared).expect("it is a workflow"),
            name,
            submitter,
            known: Vec::new(),
            terms: asterism_protocol::Terms::default(),
        });
        self.handle(Input::Submit {
            request: RequestId(1),
            submission,
        });
    }

    /// Waits until it is so.
    async fn until(&self, what: &str, so: impl Fn(&Coordinator) -> bool) {
        let start = Instant::now();
        while !so(&self.lock()) {
            assert!(start.elapsed() < SOON, "not so in time: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn out(&self, task: &Task) -> Option<Out> {
        let instruction = task.run.cid();
        let coordinator = self.lock();
        let mut outcomes = coordinator.receipts.iter().filter_map(Receipt::outcome);
        outcomes
            .find(|outcome| outcome.instruction == instruction)
            .map(|outcome| outcome.out)
    }
}

impl Coordinator {
    fn be_there(&mut self) -> Result<(), StatusCode> {
        if self.away == 0 {
            return Ok(());
        }
        self.away -= 1;
        Err(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn drain(&mut self) {
        while let Some(output) = self.scheduler.poll_output() {
            match output {
                Output::Send {
                    connection,
                    message,
                }
                | Output::Acknowledge {
                    connection,
                    message,
                } => {
                    if let Some(outbox) = self.outboxes.get(&connection) {
                        // A connection that is gone is told of soon.
                        let _ = outbox.send(message);
                    }
                }
                Output::Disconnect { connection } => drop(self.outboxes.remove(&connection)),
                Output::Persist(Event::Computed { receipt, .. }) => {
                    self.receipts.push(receipt.receipt());
                }
                Output::Persist(Event::GaveUp { attempts, .. }) => self.given_up.push(attempts),
                Output::Reply { result, .. } => {
                    result.expect("what tests submit is accepted");
                }
                Output::Persist(_) | Output::Publish(_) => {}
            }
        }
    }
}

async fn connect(State(shared): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .protocols([SUBPROTOCOL])
        .on_upgrade(|socket| talk(shared, socket))
}

async fn talk(shared: Shared, mut socket: WebSocket) {
    let (outbox, mut messages) = mpsc::unbounded_channel();
    let connection = {
        let mut coordinator = shared.lock();
        coordinator.connections += 1;
        let connection = ConnectionId(coordinator.connections);
        coordinator.outboxes.insert(connection, outbox);
        connection
    };
    shared.handle(Input::Connected {
        connection,
        nonce: [connection.0 as u8; 32],
        origin: String::new(),
    });
    let mut checker = Checker::default();
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => {
                    if socket.send(Message::Binary(encode(&message).into())).await.is_err() {
                        break;
                    }
                }
                None => break,
            },
            frame = socket.recv() => match frame {
                Some(Ok(Message::Binary(frame))) => {
                    let message = decode_frame(&frame).expect("an executor sends messages");
                    let message = checker.check(message);
                    shared.handle(Input::Received { connection, message });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            },
        }
    }
    shared.lock().outboxes.remove(&connection);
    shared.handle(Input::Disconnected { connection });
}

async fn get_blob(
    State(shared): State<Shared>,
    Path(cid): Path<String>,
) -> Result<Vec<u8>, StatusCode> {
    let mut coordinator = shared.lock();
    coordinator.be_there()?;
    let bytes = coordinator.blobs.get(&cid).cloned();
    bytes.ok_or(StatusCode::NOT_FOUND)
}

async fn put_blob(
    State(shared): State<Shared>,
    Path(cid): Path<String>,
    bytes: Bytes,
) -> StatusCode {
    if blob_cid(&bytes).to_string() != cid {
        return StatusCode::BAD_REQUEST;
    }
    let mut coordinator = shared.lock();
    if let Err(status) = coordinator.be_there() {
        return status;
    }
    coordinator.blobs.insert(cid, bytes.to_vec());
    StatusCode::CREATED
}

/// How a component begins that the host below cannot run.
const UNFIT: &[u8] = b"unfit";

/// A null host that can also be slow, and break.
#[derive(Default)]
struct TestHost {
    null: NullHost,
    stopped: Arc<Mutex<bool>>,
    /// Does a task hang in any host of the executor, or did one? It can be stopped then.
    hangs: Arc<AtomicBool>,
}

impl Host for TestHost {
    fn info(&self) -> HostInfo {
        self.null.info()
    }

    fn holds(&self, component: Cid) -> bool {
        self.null.holds(component)
    }

    fn prepare(&mut self, component: Cid, bytes: &[u8]) -> Result<(), Unfit> {
        if bytes.starts_with(UNFIT) {
            return Err(Unfit {
                reason: "it asks for too much".into(),
            });
        }
        self.null.prepare(component, bytes)
    }

    fn run(&mut self, job: &Job) -> Result<Attempt, Fault> {
        match job.func.as_str() {
            "panic" => panic!("as a host must not"),
            "hang" => {
                *self.stopped.lock().expect("nobody panics with it") = false;
                self.hangs.store(true, Ordering::SeqCst);
                while !*self.stopped.lock().expect("nobody panics with it") {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Fault {
                    kind: FaultKind::Host,
                    message: "stopped".into(),
                })
            }
            _ => self.null.run(job),
        }
    }

    fn stopper(&self) -> Option<Stopper> {
        let stopped = Arc::clone(&self.stopped);
        Some(Arc::new(move || {
            *stopped.lock().expect("nobody panics with it") = true
        }))
    }
}

/// An executor in this process.
struct Executor {
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
    hangs: Arc<AtomicBool>,
    _data: tempfile::TempDir,
}

impl Executor {
    fn start(server: &str) -> Self {
        let data = tempfile::tempdir().expect("a directory for the test");
        let options = Options {
            threads: 2,
            ..Options::new(server, data.path())
        };
        let (stop, stopped) = oneshot::channel();
        let hangs = Arc::<AtomicBool>::default();
        let of_hosts = Arc::clone(&hangs);
        let host = move || TestHost {
            hangs: Arc::clone(&of_hosts),
            ..TestHost::default()
        };
        let done = tokio::spawn(async move {
            let shutdown = async {
                // A test that fails drops it, which is a reason to stop as well.
                let _ = stopped.await;
            };
            run(options, move || Box::new(host()), shutdown)
                .await
                .expect("it starts");
        });
        Self {
            stop,
            done,
            hangs,
            _data: data,
        }
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        tokio::time::timeout(SOON, self.done)
            .await
            .expect("it ends soon")
            .expect("it does not panic");
    }
}

fn task(func: &str, args: Vec<Value>) -> Task {
    let rsc = format!("ipfs://{}", blob_cid(COMPONENT));
    let input = asterism_protocol::Input {
        func: func.into(),
        args,
        files: Files::new(),
        effects: Effects::new(),
    };
    let run = Instruction {
        rsc,
        op: "wasm/run".into(),
        input,
        nnc: Nonce::Empty,
    };
    Task {
        run,
        cause: None,
        meta: Meta::default(),
        prf: Vec::new(),
    }
}

fn awaited(task: &Task) -> Value {
    Promise {
        branch: Await::Ok,
        instruction: task.run.cid(),
    }
    .to_value()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_performed_and_believed() {
    let (coordinator, server) = Shared::start(|_| {}).await;
    let executor = Executor::start(&server);
    let mut tasks: Vec<Task> = (0..200)
        .map(|n| task("echo", vec![Value::Integer(n)]))
        .collect();
    let mut last = task("add", vec![Value::Integer(1), Value::Integer(1)]);
    tasks.push(last.clone());
    for _ in 0..10 {
        last = task("add", vec![awaited(&last), Value::Integer(1)]);
        tasks.push(last.clone());
    }
    coordinator.submit(tasks);
    coordinator
        .until("all are computed", |coordinator| {
            coordinator.receipts.len() == 211
        })
        .await;
    assert_eq!(coordinator.out(&last), Some(Out::Ok(Value::Integer(12))));
    executor.stop().await;
    assert_eq!(
        coordinator.lock().scheduler.overview().executors.len(),
        0,
        "it left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bytes_travel_as_blobs() {
    let (coordinator, server) = Shared::start(|_| {}).await;
    let executor = Executor::start(&server);
    let long = task("blob", vec![Value::Integer(300_000)]);
    let back = task("echo", vec![awaited(&long)]);
    coordinator.submit(vec![long.clone(), back.clone()]);
    coordinator
        .until("both are computed", |coordinator| {
            coordinator.receipts.len() == 2
        })
        .await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
    assert_eq!(
        coordinator.out(&back),
        Some(Out::Ok(Value::Link(blob_cid(&bytes).to_link())))
    );
    assert!(
        coordinator
            .lock()
            .blobs
            .contains_key(&blob_cid(&bytes).to_string())
    );
    executor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_its_host_cannot_run_is_left_to_others() {
    let (coordinator, server) = Shared::start(|_| {}).await;
    let unfit = blob_cid(UNFIT);
    coordinator
        .lock()
        .blobs
        .insert(unfit.to_string(), UNFIT.to_vec());
    let executor = Executor::start(&server);
    let mut asking = task("echo", Vec::new());
    asking.run.rsc = format!("ipfs://{unfit}");
    coordinator.submit(vec![asking]);
    coordinator
        .until("it is refused, and why is known", |coordinator| {
            let explained = coordinator.scheduler.explain(RunId(1), 0);
            explained.is_some_and(|explained| {
                let lacks = explained.candidates.iter().map(|seen| &seen.lacks);
                lacks.clone().count() == 1
                    && lacks
                        .clone()
                        .all(|lacks| lacks.ends_with("it asks for too much"))
            })
        })
        .await;
    let given_up = coordinator.lock().given_up.len();
    assert_eq!(given_up, 0);
    executor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_again() {
    let (coordinator, server) = Shared::start(|_| {}).await;
    let executor = Executor::start(&server);
    coordinator.submit(vec![task("echo", vec![Value::Integer(1)])]);
    coordinator
        .until("the first is computed", |coordinator| {
            coordinator.receipts.len() == 1
        })
        .await;
    coordinator.lock().outboxes.clear();
    coordinator.submit(vec![task("echo", vec![Value::Integer(2)])]);
    coordinator
        .until("the second is computed", |coordinator| {
            coordinator.receipts.len() == 2
        })
        .await;
    assert_eq!(coordinator.lock().connections, 2);
    executor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_with_other_bytes_is_a_fault() {
    let (coordinator, server) = Shared::start(|config| config.attempts_max = 1).await;
    coordinator
        .lock()
        .blobs
        .insert(blob_cid(COMPONENT).to_string(), b"something else".to_vec());
    let executor = Executor::start(&server);
    coordinator.submit(vec![task("echo", vec![Value::Integer(1)])]);
    coordinator
        .until("it is given up", |coordinator| {
            !coordinator.given_up.is_empty()
        })
        .await;
    let shown = format!("{:?}", coordinator.lock().given_up);
    assert!(shown.contains("other bytes came"), "{shown}");
    executor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_unavailable_for_a_while_costs_no_attempt() {
    let (coordinator, server) = Shared::start(|config| config.attempts_max = 1).await;
    // As often as a blob is asked for.
    coordinator.lock().away = 4;
    let executor = Executor::start(&server);
    let long = task("blob", vec![Value::Integer(20_000)]);
    coordinator.submit(vec![long.clone()]);
    let come = |coordinator: &Coordinator| coordinator.away == 0;
    coordinator.until("it asks four times", come).await;
    let done = |coordinator: &Coordinator| coordinator.receipts.len() == 1;
    coordinator.until("it is done afterwards", done).await;
    // The same for what is brought: another one, as this one is known.
    coordinator.lock().away = 4;
    let other = task("blob", vec![Value::Integer(20_001)]);
    coordinator.submit(vec![other.clone()]);
    let done = |coordinator: &Coordinator| coordinator.receipts.len() == 2;
    coordinator.until("the other one is done", done).await;
    assert!(coordinator.lock().given_up.is_empty());
    assert!(coordinator.out(&long).is_some() && coordinator.out(&other).is_some());
    executor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_panics_is_a_fault_and_others_go_on() {
    let (coordinator, server) = Shared::start(|config| config.attempts_max = 2).await;
    let executor = Executor::start(&server);
    coordinator.submit(vec![
        task("panic", vec![]),
        task("echo", vec![Value::Integer(1)]),
    ]);
    coordinator
        .until("it is given up", |coordinator| {
            !coordinator.given_up.is_empty()
        })
        .await;
    coordinator
        .until("the other is computed", |coordinator| {
            coordinator.receipts.len() == 1
        })
        .await;
    let shown = format!("{:?}", coordinator.lock().given_up);
    assert!(shown.contains("as a host must not"), "{shown}");
    executor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_hands_back_what_runs() {
    let (coordinator, server) = Shared::start(|_| {}).await;
    let executor = Executor::start(&server);
    coordinator.submit(vec![task("hang", vec![])]);
    coordinator
        .until("it runs", |_| executor.hangs.load(Ordering::SeqCst))
        .await;
    assert_eq!(coordinator.lock().scheduler.leases().count(), 1);
    executor.stop().await;
    coordinator
        .until("it is handed back", |coordinator| {
            coordinator.scheduler.leases().count() == 0
        })
        .await;
    assert_eq!(
        coordinator.lock().scheduler.overview().executors.len(),
        0,
        "it left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_runs_too_long_is_stopped_and_its_thread_goes_on() {
    let (coordinator, server) = Shared::start(|config| config.attempts_max = 1).await;
    let executor = Executor::start(&server);
    let mut slow = task("hang", vec![]);
    slow.meta.0.insert("time".into(), Value::Integer(100));
    let tasks = [slow]
        .into_iter()
        .chain((0..20).map(|n| task("echo", vec![Value::Integer(n)])));
    coordinator.submit(tasks.collect());
    coordinator
        .until("it is given up", |coordinator| {
            !coordinator.given_up.is_empty()
        })
        .await;
    coordinator
        .until("the others are computed", |coordinator| {
            coordinator.receipts.len() == 20
        })
        .await;
    let shown = format!("{:?}", coordinator.lock().given_up);
    assert!(shown.contains("TimeLimit"), "{shown}");
    executor.stop().await;
}
