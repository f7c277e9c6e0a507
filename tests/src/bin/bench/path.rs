//! The whole path of many executors: what a coordinator does in a second for 64 that compute nothing.

use std::time::Instant;

use asterism_executor::NullHost;
use asterism_executor_native::Options;
use asterism_tests::{
    guests,
    harness::{Api, Coordinator, wait_until},
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    state::bare_pairs,
    table::{Row, Table},
};

const BENCH: &str = "path";

/// Executors, each with a connection and a key of its own.
const EXECUTORS: usize = 64;

/// Whose executors they are: whoever agrees with an executor belongs to another.
const OWNERS: usize = 8;

/// Tasks of one workflow, and of the one before that nobody measures.
const TASKS: u64 = 40_000;
const WARM_UP: u64 = 2_000;

fn secret(owner: usize) -> String {
    format!("the-secret-of-owner-{owner}")
}

/// A workflow of `tasks` different sums.
fn no_ops(tasks: u64, salt: u64) -> String {
    let task = |i| format!(r#"{{"run":{{"input":{{"func":"add","args":[{i},{salt}]}}}}}}"#);
    let tasks: Vec<String> = (0..tasks).map(task).collect();
    format!(r#"{{"tasks":[{}]}}"#, tasks.join(","))
}

/// Tasks per second, durable and believed on what `verify` asks for.
async fn tasks_per_second(api: &Api, verify: &str, salt: u64) -> f64 {
    let path = format!("/run?timeout=300000&verify={verify}");
    let warm = api.post(&path, no_ops(WARM_UP, salt)).await;
    assert_eq!(warm.status, 200, "{}", warm.text());
    let document = no_ops(TASKS, salt + 1);
    let start = Instant::now();
    let answer = api.post(&path, document).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    TASKS as f64 / start.elapsed().as_secs_f64()
}

pub(crate) async fn run(table: &mut Table) -> anyhow::Result<()> {
    let floor = tokio::task::block_in_place(|| bare_pairs(1_024))?;
    let folder = tempfile::tempdir()?;
    let owners = folder.path().join("owners");
    let lines: Vec<String> = (0..OWNERS)
        .map(|i| format!("owner{i} {}\n", secret(i)))
        .collect();
    std::fs::write(&owners, lines.concat())?;
    let coordinator = Coordinator::start_that(
        &folder.path().join("data"),
        &["--owners", &owners.to_string_lossy()],
    );
    let api = coordinator.api();
    api.add_component("math", guests::MATH).await;
    let (leave, leaving) = watch::channel(false);
    let mut executors = JoinSet::new();
    for number in 0..EXECUTORS {
        let options = Options {
            threads: 1,
            enrolment: secret(number % OWNERS),
            ..Options::new(coordinator.url(), folder.path().join(number.to_string()))
        };
        let mut leaving = leaving.clone();
        executors.spawn(async move {
            let left = async move {
                // It ends with the sender, too.
                let _ = leaving.wait_for(|leaves| *leaves).await;
            };
            asterism_executor_native::run(options, || Box::new(NullHost::new()), left).await
        });
    }
    wait_until("all executors are here", || async {
        (api.executors().await.len() == EXECUTORS).then_some(())
    })
    .await;
    for (verify, believed, salt) in [("any", "one says it", 1), ("quorum:2/3", "two agree", 3)] {
        table.row(&Row {
            bench: BENCH,
            case: &format!("no-op tasks, {EXECUTORS} executors, final when {believed}"),
            value: tasks_per_second(&api, verify, salt).await,
            unit: "tasks/s",
            floor: Some((
                floor,
                "an event and a receipt each, 1024 at a time, in bare SQLite",
            )),
        });
    }
    leave.send_replace(true);
    while let Some(left) = executors.join_next().await {
        left??;
    }
    Ok(())
}
