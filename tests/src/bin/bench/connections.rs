//! Memory of an executor that is connected and idle.

use asterism_protocol::{
    Identity, decode, encode, limits,
    message::{Capabilities, Hello, ToCoordinator, ToExecutor, hello_bytes},
};
use asterism_tests::harness::Coordinator;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::table::{Row, Table};

/// Executors connected at once; both ends of each are sockets of this machine.
const CONNECTIONS: u32 = 2_000;

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line
        .and_then(|line| line.split_whitespace().next())
        .and_then(|value| value.parse().ok());
    value
        .ok_or_else(|| anyhow::anyhow!("the system does not say how much memory process {pid} has"))
}

pub(crate) async fn run(table: &mut Table) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let coordinator = Coordinator::start(&folder.path().join("data"));
    coordinator.api().get("/health").await;
    let before = resident(coordinator.pid())?;
    let mut held = Vec::new();
    for i in 0..CONNECTIONS {
        held.push(connect(&coordinator, i).await?);
    }
    let after = resident(coordinator.pid())?;
    let value = (after - before) / f64::from(CONNECTIONS);
    let floor = Some((2.0, "its read buffer"));
    table.row(&Row {
        bench: "connections",
        case: "memory of an idle executor",
        value,
        unit: "KiB",
        floor,
    });
    Ok(())
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Connects an executor that polls for nothing.
async fn connect(coordinator: &Coordinator, i: u32) -> anyhow::Result<Socket> {
    let url = format!(
        "{}/ws/executor",
        coordinator.url().replacen("http", "ws", 1)
    );
    let mut request = url.into_client_request()?;
    request.headers_mut().insert(
        "sec-websocket-protocol",
        asterism_protocol::SUBPROTOCOL.parse()?,
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    let Some(Message::Binary(frame)) = socket.next().await.transpose()? else {
        anyhow::bail!("no challenge came")
    };
    let ToExecutor::Challenge { nonce, build } =
        decode("message", &frame, limits::FRAME_BYTES_MAX)?
    else {
        anyhow::bail!("the first message is not a challenge")
    };
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&i.to_le_bytes());
    let identity = Identity::from_seed(&seed);
    let hello = Hello {
        key: identity.public_key(),
        proof: identity.sign(&hello_bytes(&nonce)),
        build,
        name: String::new(),
        capabilities: Capabilities {
            host: "null".into(),
            metering: asterism_executor::METERING.into(),
            threads: 1,
            memory: 1 << 30,
            ..Capabilities::default()
        },
        holding: Vec::new(),
        enrolment: String::new(),
    };
    socket
        .send(Message::Binary(
            encode(&ToCoordinator::Hello(Box::new(hello))).into(),
        ))
        .await?;
    let Some(Message::Binary(_)) = socket.next().await.transpose()? else {
        anyhow::bail!("no welcome came")
    };
    Ok(socket)
}
