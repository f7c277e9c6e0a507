//! A coordinator that is cut off from its database and from its executors: what is between them stalls, resets or refuses.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::*;

/// Rounds of the test, in each of which something else is wrong.
const ROUNDS: u32 = 8;

/// Longer than the coordinator waits for its database.
const LONG_STALL: Duration = Duration::from_secs(12);

/// How a wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// It carries what is said.
    Whole,
    /// It carries nothing and ends nothing, as where a machine is gone without a word.
    Stalled,
    /// It ends each connection, and takes no other.
    Cut,
}

/// A wire to a server: whatever is between two machines.
struct Between {
    address: String,
    wire: watch::Sender<Wire>,
}

impl Between {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (wire, state) = watch::channel(Wire::Whole);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, state) = (server.clone(), state.clone());
                tokio::spawn(async move { carry(near, &server, state).await });
            }
        });
        Self { address, wire }
    }

    /// Something is wrong for a while.
    async fn suffer(&self, wire: Wire, how_long: Duration) {
        self.wire.send_replace(wire);
        tokio::time::sleep(how_long).await;
        self.wire.send_replace(Wire::Whole);
    }
}

/// Carries what two ends say, as long as the wire lasts.
async fn carry(near: TcpStream, server: &str, mut state: watch::Receiver<Wire>) {
    let cut = *state.borrow() == Wire::Cut;
    let far = TcpStream::connect(server).await;
    let (Ok(far), false) = (far, cut) else {
        // Without a goodbye.
        let _ = near.set_zero_linger();
        return;
    };
    for end in [&near, &far] {
        end.set_zero_linger().unwrap();
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = pass(near_in, far_out, state.clone()) => {}
        _ = pass(far_in, near_out, state.clone()) => {}
        _ = state.wait_for(|state| *state == Wire::Cut) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Wire>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        // What was under way when it stalled comes after all, or never.
        let _ = state.wait_for(|state| *state != Wire::Stalled).await;
        to.write_all(&bytes[..count]).await?;
    }
}

async fn health(url: &str) -> Json {
    let health = reqwest::get(format!("{url}/health")).await.unwrap();
    health.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wires_to_the_database_and_to_executors_may_stall_and_break() {
    let server = Postgres::start();
    let journal = server.database("wires");
    let (before, rest) = journal.split_once('@').unwrap();
    let (place, name) = rest.split_once('/').unwrap();
    let database = Between::start(place.to_owned()).await;
    let through = format!("{before}@{}/{name}", database.address);

    let rounds = kills_or(ROUNDS);
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = since.as_nanos() as u64 | 1;
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let coordinator = start(&Keeps::Elsewhere(through), "127.0.0.1:0", &data);
    let url = coordinator.url.clone();
    let added = post(format!("{url}/components?name=math"), math()).await;
    assert_eq!(added.status(), 201);
    let executors = Between::start(url.trim_start_matches("http://").to_owned()).await;
    let mut load = Load::start_apart(
        folder.path(),
        std::slice::from_ref(&url),
        &[format!("http://{}", executors.address)],
        Duration::from_millis(2) * rounds,
    );

    let mut acknowledged = 0;
    for round in 0..rounds {
        acknowledged = more_than(acknowledged, &load.acknowledged, seed).await;
        let how_long = Duration::from_millis(random.below(2_500));
        match round % 4 {
            0 => database.suffer(Wire::Cut, how_long).await,
            1 => executors.suffer(Wire::Stalled, how_long).await,
            2 => database.suffer(Wire::Stalled, how_long).await,
            _ => executors.suffer(Wire::Cut, how_long).await,
        }
        comes_back(&url, seed).await;
    }
    // So long that it is noticed: it says what is wrong, and goes on telling what it knows.
    database.wire.send_replace(Wire::Stalled);
    let begun = Instant::now();
    loop {
        let health = health(&url).await;
        if health["status"] == "trouble" {
            let trouble = health["trouble"].as_str().unwrap();
            assert!(trouble.contains("journal"), "{health}");
            break;
        }
        assert!(begun.elapsed() < LONG_STALL * 2, "seed {seed}: {health}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let runs = reqwest::get(format!("{url}/workflows")).await.unwrap();
    assert_eq!(runs.status(), 200);
    let refused = post(format!("{url}/run"), workflow_from(0.25).0).await;
    assert_eq!(refused.status(), 503);
    database.wire.send_replace(Wire::Whole);
    comes_back(&url, seed).await;
    more_than(acknowledged, &load.acknowledged, seed).await;

    let (answered, acknowledged) = load.stop().await;
    all_done(&url, &acknowledged, || {}, seed).await;
    drop((load, coordinator));
    let computed = computed_in(journal, seed).await;
    assert!(computed.len() > acknowledged.len());
    eprintln!(
        "{rounds} rounds: {} workflows acknowledged and {answered} answered, {} tasks computed",
        acknowledged.len(),
        computed.len()
    );
}
