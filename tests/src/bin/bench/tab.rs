//! A tab: tasks per second, and from opening the page to the first task delivered.

use std::time::Instant;

use asterism_tests::{
    guests,
    harness::{Browser, Coordinator, wait_until},
};

use crate::table::{Row, Table, median};

/// Opens the page, presses the button and waits for the result of a task that waits already.
async fn first_task(browser: &Browser, coordinator: &Coordinator, salt: u64) -> f64 {
    browser.open("about:blank").await;
    let api = coordinator.api();
    wait_until("no tab is left", || async {
        api.executors().await.is_empty().then_some(())
    })
    .await;
    let task =
        format!(r#"{{"tasks":[{{"run":{{"input":{{"func":"echo-u64","args":[{salt}]}}}}}}]}}"#);
    let waiting = tokio::spawn({
        let api = api.clone();
        async move { api.post("/run?timeout=60000", task).await.status }
    });
    wait_until("the task waits", || async {
        let runs = api.runs().await;
        runs.first()
            .is_some_and(|run| run.counts.ready == 1)
            .then_some(())
    })
    .await;
    let start = Instant::now();
    browser.open(&format!("{}/donate", coordinator.url())).await;
    browser.press("Start donating").await;
    assert_eq!(waiting.await.expect("the request ends"), 200);
    let took = start.elapsed().as_secs_f64() * 1e3;
    browser.press("Stop now").await;
    took
}

/// Opens a page and presses a button of the same page that does nothing else: what the driver itself costs.
async fn driver(browser: &Browser, coordinator: &Coordinator) -> f64 {
    let start = Instant::now();
    browser.open(&format!("{}/health", coordinator.url())).await;
    browser.text().await;
    start.elapsed().as_secs_f64() * 1e3
}

pub(crate) async fn run(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;

    let browser = Browser::start().await;
    let driven = driver(&browser, &coordinator).await;
    let floor = Some((driven, "the driver opening a page of a few bytes"));
    let cold = first_task(&browser, &coordinator, 1).await;
    let mut warm = Vec::new();
    for salt in 2..12 {
        warm.push(first_task(&browser, &coordinator, salt).await);
    }
    let bench = "tab";
    table.row(&Row {
        bench,
        case: "page opened → first task delivered, cold",
        value: cold,
        unit: "ms",
        floor,
    });
    table.row(&Row {
        bench,
        case: "page opened → first task delivered, warm",
        value: median(warm),
        unit: "ms",
        floor,
    });

    browser.press("Start donating").await;
    let before = browser.worker_cpu_us();
    let value = crate::native::tasks_per_second(&api).await;
    let after = browser.worker_cpu_us();
    let floor = Some((
        crate::native::floor(),
        "the same calls on Wasmtime in one thread, nothing around them",
    ));
    table.row(&Row {
        bench,
        case: "no-op tasks, one tab",
        value,
        unit: "tasks/s",
        floor,
    });
    // The worker that talks and the one that computes, which a tab has one of on two cores; other threads are the browser's.
    let mut spent: Vec<f64> = after
        .iter()
        .map(|(thread, us)| us - before.get(thread).unwrap_or(&0.0))
        .collect();
    spent.sort_by(|a, b| b.total_cmp(a));
    let floor = Some((1e6 / crate::native::floor(), "the same call on Wasmtime"));
    let workers = [
        "processor time of the busier worker",
        "processor time of the other worker",
    ];
    for (case, us) in workers.into_iter().zip(spent) {
        table.row(&Row {
            bench,
            case,
            value: us / crate::native::TASKS_WITH_WARM_UP as f64,
            unit: "µs/task",
            floor,
        });
    }
}
