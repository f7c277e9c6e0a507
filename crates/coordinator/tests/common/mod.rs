//! A coordinator on a free port, and an executor that speaks the protocol and computes nothing.

use std::{collections::BTreeMap, time::Duration};

use asterism_coordinator::Options;
use asterism_protocol::{
    Cid, Conditions, Identity, MerkleTree, Out, Outcome, Remark, SUBPROTOCOL, Signature, Statement,
    Value, encode,
    message::{
        Capabilities, Delivery, Held, Hello, Lease, LeaseId, ToCoordinator, ToExecutor,
        decode_frame, hello_bytes,
    },
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{net::TcpListener, net::TcpStream, sync::oneshot, task::JoinHandle, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

/// Longer than anything takes here, shorter than anybody's patience.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A coordinator in this process.
pub(crate) struct Server {
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), asterism_coordinator::ServeError>>,
}

impl Server {
    pub(crate) async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(asterism_coordinator::serve(listener, options, async {
            let _ = stopped.await;
        }));
        Self { url, stop, serving }
    }

    pub(crate) async fn in_memory() -> Self {
        Self::start(Options::default()).await
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(SOON, self.serving)
            .await
            .expect("it stops in time")
            .unwrap()
            .unwrap();
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(self.at(path)).await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> serde_json::Value {
        self.get(path).await.json().await.unwrap()
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Response {
        reqwest::Client::new()
            .post(self.at(path))
            .body(body)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn add_math(&self) -> Cid {
        let response = self.post("/components?name=math", math()).await;
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
        let view: serde_json::Value = response.json().await.unwrap();
        view["cid"].as_str().unwrap().parse().unwrap()
    }
}

/// A component that exports `add` and `divide` of two floats; nobody runs it here.
pub(crate) fn math() -> Vec<u8> {
    wat::parse_str(
        r#"(component
            (core module $m
                (func (export "add") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
                (func (export "divide") (param f64 f64) (result f64) (f64.div (local.get 0) (local.get 1))))
            (core instance $i (instantiate $m))
            (func (export "add") (param "a" f64) (param "b" f64) (result f64) (canon lift (core func $i "add")))
            (func (export "divide") (param "a" f64) (param "b" f64) (result f64) (canon lift (core func $i "divide"))))"#,
    )
    .unwrap()
}

/// A task in the form that people write.
pub(crate) fn task(name: &str, func: &str, args: &str) -> String {
    format!(r#"{{"run":{{"name":"{name}","input":{{"func":"{func}","args":{args}}}}}}}"#)
}

pub(crate) fn workflow(tasks: &[String]) -> String {
    format!(r#"{{"tasks":[{}]}}"#, tasks.join(","))
}

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connects to a WebSocket of the coordinator.
pub(crate) async fn socket(
    url: &str,
    path: &str,
) -> Result<Socket, tokio_tungstenite::tungstenite::Error> {
    let mut request = format!("{}{path}", url.replace("http", "ws"))
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    Ok(tokio_tungstenite::connect_async(request).await?.0)
}

/// The next binary frame; `None` when the connection is closed.
pub(crate) async fn frame(socket: &mut Socket) -> Option<Vec<u8>> {
    loop {
        match timeout(SOON, socket.next())
            .await
            .expect("the coordinator says something")?
        {
            Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// An executor as far as the coordinator can tell.
pub(crate) struct FakeExecutor {
    pub(crate) socket: Socket,
    pub(crate) identity: Identity,
}

/// Says who it is, and which leases it goes on with.
pub(crate) fn hello(identity: &Identity, proof: Signature, holding: Vec<Held>) -> ToCoordinator {
    ToCoordinator::Hello(Box::new(Hello {
        key: identity.public_key(),
        proof,
        build: "test".into(),
        name: "test".into(),
        capabilities: Capabilities {
            host: "null".into(),
            metering: "wasmtime-48".into(),
            threads: 1,
            memory: 4 << 30,
            ..Capabilities::default()
        },
        holding,
        enrolment: String::new(),
    }))
}

impl FakeExecutor {
    /// Connects and is welcomed.
    pub(crate) async fn connect(url: &str, seed: u8) -> Self {
        let mut executor = Self {
            socket: socket(url, "/ws/executor").await.unwrap(),
            identity: Identity::from_seed(&[seed; 32]),
        };
        let Some(ToExecutor::Challenge { nonce, .. }) = executor.hear().await else {
            panic!("no challenge")
        };
        let proof = executor.identity.sign(&hello_bytes(&nonce));
        executor.hello(proof).await;
        let welcome = executor.hear().await;
        assert!(
            matches!(welcome, Some(ToExecutor::Welcome { .. })),
            "{welcome:?}"
        );
        executor
    }

    pub(crate) async fn hello(&mut self, proof: Signature) {
        let hello = hello(&self.identity, proof, Vec::new());
        self.say(&hello).await;
    }

    pub(crate) async fn say(&mut self, message: &ToCoordinator) {
        self.socket
            .send(Message::Binary(encode(message).into()))
            .await
            .unwrap();
    }

    /// `None` when the connection is closed.
    pub(crate) async fn hear(&mut self) -> Option<ToExecutor> {
        let frame = frame(&mut self.socket).await?;
        Some(decode_frame(&frame).unwrap())
    }

    /// Polls until there is at least one lease.
    pub(crate) async fn lease(&mut self, slots: u32) -> Vec<Lease> {
        self.say(&ToCoordinator::Poll {
            slots,
            wait_ms: 20_000,
        })
        .await;
        loop {
            match self.hear().await {
                Some(ToExecutor::Assign { leases }) if !leases.is_empty() => return leases,
                Some(_) => {}
                None => panic!("disconnected while polling"),
            }
        }
    }

    /// Delivers what a lease came to.
    pub(crate) async fn deliver(&mut self, lease: &Lease, out: Out, remark: Remark) {
        let delivery = delivery(lease, out, remark);
        let signature = self.sign(std::slice::from_ref(&delivery));
        self.say(&ToCoordinator::Deliver {
            items: vec![delivery],
            signature,
        })
        .await;
    }

    pub(crate) fn sign(&self, items: &[Delivery]) -> Signature {
        let statements = items.iter().map(|item| Statement {
            outcome: item.outcome.cid(),
            conditions: item.conditions,
        });
        self.identity
            .sign(&MerkleTree::new(&statements.collect::<Vec<_>>()).signed_bytes())
    }

    /// Waits until a delivery is durable.
    pub(crate) async fn accepted(&mut self, lease: LeaseId) {
        loop {
            match self.hear().await {
                Some(ToExecutor::Accepted { leases }) if leases.contains(&lease) => return,
                Some(ToExecutor::Rejected { reason, .. } | ToExecutor::Bye { reason }) => {
                    panic!("{reason}")
                }
                Some(_) => {}
                None => panic!("disconnected before it was accepted"),
            }
        }
    }

    /// Adds and divides, as `math` would, until the connection ends.
    pub(crate) async fn work(mut self) {
        loop {
            self.say(&ToCoordinator::Poll {
                slots: 4,
                wait_ms: 1_000,
            })
            .await;
            match self.hear().await {
                Some(ToExecutor::Assign { leases }) => {
                    for lease in leases {
                        let out = compute(&lease);
                        self.deliver(&lease, out, Remark::default()).await;
                    }
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}

pub(crate) fn delivery(lease: &Lease, out: Out, remark: Remark) -> Delivery {
    let outcome = Outcome {
        instruction: lease.task.run.cid(),
        out,
        fuel: Some(7),
        metering: "wasmtime-48".into(),
    };
    let conditions = Conditions {
        fuel: lease.limits.fuel,
        memory: lease.limits.memory,
        growth_refused: false,
    };
    Delivery {
        lease: lease.id,
        outcome,
        conditions,
        remark,
        salt: None,
    }
}

/// What `math` would say.
pub(crate) fn compute(lease: &Lease) -> Out {
    let kept: BTreeMap<Cid, Out> = lease
        .inputs
        .iter()
        .map(|kept| (kept.instruction, (*kept.out).clone()))
        .collect();
    let input = lease
        .task
        .run
        .resolve(&|cid| kept.get(&cid).cloned())
        .unwrap();
    let number = |index: usize| match &input.args[index] {
        Value::Float(number) => *number,
        other => panic!("{other:?} is no float"),
    };
    Out::Ok(Value::Float(match lease.task.run.input.func.as_str() {
        "add" => number(0) + number(1),
        "divide" => number(0) / number(1),
        other => panic!("{other}"),
    }))
}
