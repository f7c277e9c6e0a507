//! What becomes of an executor whose delivery is looked at in a store that stalls.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use asterism_protocol::{
    Out, Remark, Value, blob_cid,
    message::{Lease, LeaseId, ToCoordinator, ToExecutor},
};

use crate::{
    Config, Options,
    disk::{
        Disk, Server,
        common::{FakeExecutor, compute, math, task, workflow},
    },
    store::faults::Faults,
};

/// What an outcome links to.
const BYTES: &[u8] = b"longer than what stands in an outcome";

/// The number of no lease. Whoever says that it lives is told that it has ended, after all that was accepted before.
const NOBODYS: LeaseId = LeaseId(0);

/// A coordinator with three tasks on its hands, and an executor that holds the first `held` of them.
async fn leased(
    faults: &Arc<Faults>,
    scheduler: Config,
    held: u32,
) -> (Server, FakeExecutor, Vec<Lease>) {
    let options = Options {
        scheduler,
        ..Options::default()
    };
    let server = Disk::default().serve(faults, options).await.unwrap();
    server.post("/components?name=math", math(), &[201]).await;
    server.post("/blobs", BYTES.to_vec(), &[201]).await;
    let tasks = ["[0, 1]", "[0, 2]", "[0, 3]"].map(|args| task(args, "add", args));
    let tasks = workflow(&tasks).into_bytes();
    server.post("/run?wait=false", tasks, &[202]).await;
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let leases = executor.lease(held).await;
    assert_eq!(leases.len(), held as usize);
    (server, executor, leases)
}

fn linking() -> Out {
    Out::Ok(Value::Link(blob_cid(BYTES).to_link()))
}

/// Says that leases live, and is told at once that [`NOBODYS`] does not, and of nothing else.
async fn is_heard(executor: &mut FakeExecutor, leases: &[Lease]) {
    let mut alive: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
    alive.push(NOBODYS);
    executor
        .say(&ToCoordinator::Heartbeat { leases: alive })
        .await;
    let heard = executor.hear().await;
    assert!(
        matches!(&heard, Some(ToExecutor::Revoke { leases, .. }) if leases[..] == [NOBODYS]),
        "{heard:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_delivered_is_heard_and_keeps_its_leases_while_the_store_stalls() {
    /// Many times what a heartbeat takes on the slowest machine.
    const LEASE: Duration = Duration::from_secs(5);
    let scheduler = Config {
        lease_ms: LEASE.as_millis() as u64,
        ..Config::default()
    };
    let faults = Arc::new(Faults::default());
    let (server, mut executor, leases) = leased(&faults, scheduler, 2).await;
    let stall = faults.stall();
    executor
        .deliver(&leases[0], linking(), Remark::default())
        .await;
    let begun = Instant::now();
    let mut are_outlived = false;
    while !are_outlived {
        are_outlived = begun.elapsed() > LEASE;
        is_heard(&mut executor, &leases).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (slots, wait_ms) = (1, 20_000);
    executor.say(&ToCoordinator::Poll { slots, wait_ms }).await;
    let heard = executor.hear().await;
    assert!(
        matches!(&heard, Some(ToExecutor::Assign { leases }) if leases.len() == 1),
        "{heard:?}"
    );
    drop(stall);
    executor.accepted(leases[0].id).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_overtakes_a_delivery_that_the_store_is_asked_about() {
    let faults = Arc::new(Faults::default());
    let (server, mut executor, leases) = leased(&faults, Config::default(), 3).await;
    let stall = faults.stall();
    // The second of them links to nothing, so of itself it has nothing to wait for.
    let outs = [linking(), compute(&leases[1]), linking()];
    for (lease, out) in leases.iter().zip(outs) {
        executor.deliver(lease, out, Remark::default()).await;
    }
    is_heard(&mut executor, &leases).await;
    // What it has not delivered by now would be handed back.
    executor.say(&ToCoordinator::Leave).await;
    drop(stall);
    for lease in &leases {
        let heard = executor.hear().await;
        assert!(
            matches!(&heard, Some(ToExecutor::Accepted { leases }) if leases[..] == [lease.id]),
            "{heard:?}"
        );
    }
    assert_eq!(executor.hear().await, None, "it left");
    server.stop().await;
}
