//! Partitions between two holders, and executors with leases of them.

use asterism_protocol::message::{Fault, FaultKind};

use super::{away::held_at, *};

/// An executor with leases of all partitions, which comes to another coordinator after the one where it was has stopped. The first
/// partition is held by somebody who does not answer.
async fn comes_back(disk: &Disk) -> (Server, FakeExecutor, Vec<u64>, Vec<Lease>) {
    let first = serve(disk).await;
    shared(&[&first]).await;
    first.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&first.url, 1).await;
    let (numbers, leases) = all_leased(&first, &mut executor).await;
    let leased = partitions(leases.iter().map(|lease| lease.id.0));
    assert_eq!(leased.len(), usize::from(PARTITIONS));
    first.stop().await;
    held_at(disk, "http://127.0.0.1:1");
    let second = serve(disk).await;
    let others: BTreeSet<u64> = (1..u64::from(PARTITIONS)).collect();
    assert_eq!(held(&second).await, others);
    let begun = Instant::now();
    let (executor, resumed) = holding(&second, 1, &leases.iter().collect::<Vec<_>>()).await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "nobody is waited for"
    );
    assert_eq!(resumed.len(), leases.len(), "all may go on");
    (second, executor, numbers, leases)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_partition_is_between_two_holders_others_have_work() {
    let disk = disk();
    let (server, mut executor, numbers, leases) = comes_back(&disk).await;
    let client = reqwest::Client::builder().timeout(Duration::from_millis(300));
    let client = client.build().unwrap();
    for number in 0..6 {
        let body = workflow(&[task("new", "divide", &format!("[{number}.5, 2.0]"))]);
        let post = client.post(format!("{}/run?wait=false", server.url));
        // What is of the first partition waits for its next holder.
        let _ = post.body(body).send().await;
    }
    let new = executor.lease(1).await.remove(0);
    assert_ne!(new.id.0 % u64::from(PARTITIONS), 0);
    let all = leases.iter().chain([&new]).map(|lease| lease.id).collect();
    executor
        .say(&ToCoordinator::Heartbeat { leases: all })
        .await;
    disk.journal.expire(Partition(0));
    // It goes on with what it has of that one, without having gone away.
    let begun = Instant::now();
    loop {
        let executors = server.json("/executors").await.unwrap_or_default();
        if executors[0]["leases"] == leases.len() + 1 {
            break;
        }
        assert!(begun.elapsed() < LONG, "{executors}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    deliver_all(&mut executor, &leases).await;
    for run in numbers {
        assert_eq!(run_of(&server, run).await.summary.state, RunState::Done);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_between_two_holders_is_said_again_to_the_next_one() {
    let disk = disk();
    let (server, mut executor, numbers, leases) = comes_back(&disk).await;
    say_all(&mut executor, &leases).await;
    let of_first = |lease: &&Lease| lease.id.0.is_multiple_of(u64::from(PARTITIONS));
    let unheard: Vec<Lease> = leases.iter().filter(of_first).cloned().collect();
    let mut accepted = 0;
    while accepted < leases.len() - unheard.len() {
        match executor.hear().await {
            Some(ToExecutor::Accepted { leases }) => accepted += leases.len(),
            other => panic!("{other:?}"),
        }
    }
    disk.journal.expire(Partition(0));
    // It is sent away, and comes back with what it holds.
    while executor.hear().await.is_some() {}
    let (mut executor, resumed) = holding(&server, 1, &unheard.iter().collect::<Vec<_>>()).await;
    assert_eq!(resumed.len(), unheard.len());
    deliver_all(&mut executor, &unheard).await;
    for run in numbers {
        assert_eq!(run_of(&server, run).await.summary.state, RunState::Done);
    }
    server.stop().await;
}

/// Waits until all that the executor said is heard.
async fn is_heard(executor: &mut FakeExecutor) {
    let (slots, wait_ms) = (0, 0);
    executor.say(&ToCoordinator::Poll { slots, wait_ms }).await;
    let said = executor.hear().await;
    assert!(matches!(said, Some(ToExecutor::Assign { .. })), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_between_two_holders_the_next_one_is_told() {
    let disk = disk();
    let (server, mut executor, numbers, mut leases) = comes_back(&disk).await;
    let of_first = |lease: &Lease| lease.id.0.is_multiple_of(u64::from(PARTITIONS));
    let broken = leases.iter().position(of_first).expect("one of each");
    let lease = leases.remove(broken).id;
    let fault = Fault {
        kind: FaultKind::Host,
        message: "it broke in between".to_owned(),
    };
    executor.say(&ToCoordinator::Fault { lease, fault }).await;
    is_heard(&mut executor).await;
    disk.journal.expire(Partition(0));
    let begun = Instant::now();
    let is_told = |view: &Json| view.to_string().contains("it broke in between");
    'told: loop {
        for run in &numbers {
            let view = server.json(&format!("/workflows/{run}")).await;
            if view.as_ref().is_some_and(is_told) {
                break 'told;
            }
        }
        assert!(begun.elapsed() < LONG, "the next holder hears of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It goes on with all others.
    deliver_all(&mut executor, &leases).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_with_nothing_at_the_next_holder_is_not_sent_away() {
    let disk = disk();
    let (server, executor, _, leases) = comes_back(&disk).await;
    drop(executor);
    let unknown = Lease {
        id: LeaseId(u64::from(PARTITIONS) << 32),
        ..leases[0].clone()
    };
    let (mut executor, resumed) = holding(&server, 2, &[&unknown]).await;
    assert_eq!(resumed, [unknown.id]);
    say_all(&mut executor, std::slice::from_ref(&unknown)).await;
    is_heard(&mut executor).await;
    disk.journal.expire(Partition(0));
    let said = executor.hear().await;
    assert!(
        matches!(&said, Some(ToExecutor::Revoke { leases, .. }) if leases[..] == [unknown.id]),
        "{said:?}"
    );
    is_heard(&mut executor).await;
    server.stop().await;
}
