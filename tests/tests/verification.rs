//! A liar among real executors of a real coordinator.
#![cfg(not(target_arch = "wasm32"))]

use std::path::Path;

use asterism_executor::{Attempt, Host, HostInfo, Job, Stopper, Unfit};
use asterism_executor_native::Options;
use asterism_host_wasmtime::{WasmtimeEngine, WasmtimeHost};
use asterism_protocol::{
    Basis, Cid, Out, Value,
    message::Fault,
    view::{Standing, TaskState},
};
use asterism_tests::{
    guests,
    harness::{Coordinator, Executor, asterism_says, wait_until},
};

/// Computes as it should and says something else.
struct Liar(WasmtimeHost);

impl Host for Liar {
    fn info(&self) -> HostInfo {
        self.0.info()
    }

    fn holds(&self, component: Cid) -> bool {
        self.0.holds(component)
    }

    fn prepare(&mut self, component: Cid, bytes: &[u8]) -> Result<(), Unfit> {
        self.0.prepare(component, bytes)
    }

    fn run(&mut self, job: &Job) -> Result<Attempt, Fault> {
        let mut attempt = self.0.run(job)?;
        attempt.outcome.out = Out::Ok(Value::Float(666.0));
        Ok(attempt)
    }

    fn stopper(&self) -> Option<Stopper> {
        self.0.stopper()
    }
}

/// Runs an executor that lies, in this process, until the runtime ends.
fn start_liar(coordinator: &str, data: &Path) {
    let engine = WasmtimeEngine::new(None).expect("an engine");
    let options = Options {
        name: "liar".into(),
        enrolment: "the-secret-of-mallory".into(),
        threads: 1,
        ..Options::new(coordinator, data)
    };
    let factory = move || Box::new(Liar(engine.host())) as Box<dyn Host + Send>;
    tokio::spawn(asterism_executor_native::run(
        options,
        factory,
        std::future::pending(),
    ));
}

const OWNERS: &str = "# name secret
ada the-secret-of-ada
bob the-secret-of-bob
mallory the-secret-of-mallory
";

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_among_three_is_found_named_and_excluded_and_every_result_is_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let owners = folder.path().join("owners");
    std::fs::write(&owners, OWNERS).expect("the file can be written");
    let owners = owners.to_str().expect("the path is text");
    let coordinator = Coordinator::start_that(
        &folder.path().join("data"),
        &["--verify", "quorum:2/3", "--owners", owners],
    );
    let api = coordinator.api();
    api.add_component("math", guests::MATH).await;
    let honest = ["ada", "bob"].map(|name| {
        let enrolment = format!("the-secret-of-{name}");
        Executor::start_with(
            coordinator.url(),
            &folder.path().join(name),
            1,
            &["--enrolment", &enrolment],
        )
    });
    start_liar(coordinator.url(), &folder.path().join("mallory"));
    wait_until("three executors are here", || async {
        (api.executors().await.len() == 3).then_some(())
    })
    .await;

    let tasks: Vec<String> = (0..24)
        .map(|n| {
            format!(
                r#"{{"run": {{"name": "t{n}", "input": {{"func": "add", "args": [{n}.0, 0.5]}}}}}}"#
            )
        })
        .collect();
    let workflow = format!(r#"{{"tasks": [{}]}}"#, tasks.join(","));
    let answer = api
        .post("/run?timeout=120000&allResults=true", workflow)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let run = api.newest_run().await;
    assert_eq!(run.tasks.len(), 24);
    for (n, task) in (0..).zip(&run.tasks) {
        let right = Out::Ok(Value::Float(f64::from(n) + 0.5));
        assert_eq!(task.out.as_ref(), Some(&right), "tasks[{n}]");
        assert_eq!(task.state, TaskState::Computed);
        assert_eq!(task.basis, Some(Basis::Agreed { executors: 2 }));
        let receipt = api.receipt(task.receipt.expect("it has one")).await;
        receipt.verify().expect("it proves what it says");
        let evidence = receipt.evidence().expect("its receipt says why");
        let issuer = receipt.attestation().expect("it is attested").key;
        assert_eq!(evidence.agreeing.len(), 1);
        assert_ne!(evidence.agreeing[0].key, issuer, "two executors");
    }

    let executors = api.executors().await;
    let excluded: Vec<_> = executors
        .iter()
        .filter(|executor| executor.standing == Standing::Excluded)
        .collect();
    assert_eq!(excluded.len(), 1, "{executors:?}");
    assert_eq!(
        (excluded[0].name.as_str(), excluded[0].owner.as_str()),
        ("liar", "mallory")
    );
    assert_eq!((excluded[0].trust, excluded[0].leases), (0, 0));
    assert!(
        excluded[0]
            .reason
            .starts_with("caught with a wrong outcome")
    );
    let right = executors
        .iter()
        .filter(|executor| executor.standing == Standing::Stranger && executor.right > 0);
    assert_eq!(right.count(), 2);

    let listed = asterism_says(&["executor", "list", "--coordinator", coordinator.url()]);
    let line = listed
        .lines()
        .find(|line| line.contains("liar"))
        .unwrap_or_else(|| panic!("it is not in\n{listed}"));
    assert!(
        line.contains("excluded") && line.contains("mallory"),
        "{line}"
    );
    assert!(listed.contains("caught with a wrong outcome"), "{listed}");

    // It is remembered over a restart, and its key brings it no further.
    drop(honest);
    let coordinator = coordinator.kill_and_restart();
    let api = coordinator.api();
    wait_until("the liar is known", || async {
        api.executors()
            .await
            .into_iter()
            .find(|executor| executor.standing == Standing::Excluded)
    })
    .await;
}
