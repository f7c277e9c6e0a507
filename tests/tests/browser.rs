//! The whole path in a real browser, in the order that the README tells it.
#![cfg(not(target_arch = "wasm32"))]

use std::{collections::BTreeMap, path::Path, time::Duration};

use asterism_protocol::{
    Cid, TrapKind,
    view::{RunState, RunView, TaskState},
};
use asterism_tests::{
    guests,
    harness::{Api, Browser, Coordinator, Executor, Proxy, TrunkServer, root, wait_until},
};

fn example(path: &str) -> String {
    std::fs::read_to_string(root().join("examples").join(path)).expect("the example is there")
}

async fn add_image_example(api: &Api) {
    api.add_component("image", guests::IMAGE).await;
    let picture =
        std::fs::read(root().join("examples/image/picture.png")).expect("the picture is there");
    assert!(
        picture.len() >= 1_000_000,
        "a photograph has more than {} bytes",
        picture.len()
    );
    let answer = api.post("/blobs", picture).await;
    assert!(answer.status < 300, "{}", answer.text());
}

async fn donate(browser: &Browser, coordinator: &Coordinator) {
    browser.open(&format!("{}/donate", coordinator.url())).await;
    browser.press("Start donating").await;
    let api = coordinator.api();
    wait_until("the tab is an executor", || async {
        api.executors()
            .await
            .into_iter()
            .find(|executor| executor.host == "browser")
    })
    .await;
}

/// What every honest executor must agree on, by instruction.
fn agreed(run: &RunView) -> BTreeMap<Cid, (Option<Cid>, Option<u64>)> {
    run.tasks
        .iter()
        .map(|task| (task.instruction, (task.outcome, task.fuel)))
        .collect()
}

async fn run_in_background(api: &Api, workflow: &str) -> tokio::task::JoinHandle<(u16, Vec<u8>)> {
    let (api, workflow) = (api.clone(), workflow.to_owned());
    tokio::spawn(async move {
        let answer = api.post("/run?timeout=120000", workflow).await;
        (answer.status, answer.body)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_computes_what_a_server_computes_and_the_second_workflow_replays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("tab"));
    let api = coordinator.api();
    add_image_example(&api).await;
    let browser = Browser::start().await;
    donate(&browser, &coordinator).await;

    let in_tab = api
        .post(
            "/run?timeout=120000",
            example("image/crop-rotate-blur.json"),
        )
        .await;
    assert_eq!(in_tab.status, 200, "{}", in_tab.text());
    assert_eq!(in_tab.content_type, "image/png");
    let first = api.newest_run().await;
    assert_eq!(first.summary.state, RunState::Done);
    let executors: Vec<_> = api
        .executors()
        .await
        .into_iter()
        .map(|executor| executor.host)
        .collect();
    assert_eq!(executors, ["browser"], "no native executor helped");

    let second = api
        .post(
            "/run?timeout=120000",
            example("image/crop-rotate-grayscale.json"),
        )
        .await;
    assert_eq!(second.status, 200, "{}", second.text());
    let second = api.newest_run().await;
    let states: Vec<_> = second.tasks.iter().map(|task| task.state).collect();
    assert_eq!(
        states,
        [
            TaskState::Replayed,
            TaskState::Replayed,
            TaskState::Computed
        ]
    );

    let clean = Coordinator::start_with_panel(&folder.path().join("server"));
    let clean_api = clean.api();
    add_image_example(&clean_api).await;
    let _executor = Executor::start(clean.url(), &folder.path().join("executor"), 1);
    let on_server = clean_api
        .post(
            "/run?timeout=120000",
            example("image/crop-rotate-blur.json"),
        )
        .await;
    assert_eq!(on_server.status, 200, "{}", on_server.text());
    assert!(
        in_tab.body == on_server.body,
        "the pictures are equal, byte for byte"
    );
    let server_run = clean_api.newest_run().await;
    assert_eq!(
        agreed(&first),
        agreed(&server_run),
        "equal outcome CIDs and equal fuel"
    );
    assert!(
        first
            .tasks
            .iter()
            .all(|task| task.fuel.is_some_and(|fuel| fuel > 0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_tab_is_replaced_by_another_executor() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let browser = Browser::start().await;
    donate(&browser, &coordinator).await;

    let waiting = run_in_background(&api, &work(3_000_000_000)).await;
    api.wait_for_task(TaskState::Leased).await;
    browser.crash();
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);
    let (status, body) = waiting.await.expect("the request ends");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let run = api.newest_run().await;
    assert_eq!(
        run.tasks[0].attempts.len(),
        1,
        "the tab's attempt is remembered: {:?}",
        run.tasks[0].attempts
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let browser = Browser::start().await;
    donate(&browser, &coordinator).await;

    // One task is final at once, the next awaits it and takes seconds, the last awaits that.
    let chain = r#"{"tasks":[
        {"run":{"name":"a","input":{"func":"echo-u64","args":[2000000000]}}},
        {"run":{"name":"b","input":{"func":"work","args":["{{needs.a.output}}"]}}},
        {"run":{"name":"c","input":{"func":"echo-u64","args":["{{needs.b.output}}"]}}}]}"#;
    let lost = run_in_background(&api, chain).await;
    let before = wait_until(
        "the first task is computed and the second is leased",
        || async {
            if api.runs().await.is_empty() {
                return None;
            }
            let run = api.newest_run().await;
            let states: Vec<_> = run.tasks.iter().map(|task| task.state).collect();
            (states == [TaskState::Computed, TaskState::Leased, TaskState::Waiting]).then_some(run)
        },
    )
    .await;
    let coordinator = coordinator.kill_and_restart();
    lost.abort();

    let api = coordinator.api();
    let after = wait_until("the workflow is done", || async {
        let run = api.run_of(before.summary.workflow).await;
        (run.summary.state == RunState::Done).then_some(run)
    })
    .await;
    assert_eq!(after.summary.run, before.summary.run, "it is the same run");
    assert_eq!(
        after.tasks[0].receipt, before.tasks[0].receipt,
        "what was final is not computed again"
    );
    let tab = api
        .executors()
        .await
        .into_iter()
        .find(|executor| executor.host == "browser")
        .expect("the tab is back");
    assert_eq!(after.tasks[2].executor, Some(tab.key));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_function_is_stopped_alike_in_the_tab_and_on_the_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let endless = r#"{"tasks":[{"run":{"name":"spin","input":{"func":"spin","args":[]}},
        "meta":{"fuel":20000000,"time":60000,"memory":67108864}}]}"#;

    let in_tab = Coordinator::start_with_panel(&folder.path().join("tab"));
    in_tab
        .api()
        .add_component("conformance", guests::CONFORMANCE)
        .await;
    let browser = Browser::start().await;
    donate(&browser, &in_tab).await;
    let tab = in_tab.api().post("/run?timeout=60000", endless).await;

    let on_server = Coordinator::start_with_panel(&folder.path().join("server"));
    on_server
        .api()
        .add_component("conformance", guests::CONFORMANCE)
        .await;
    let _executor = Executor::start(on_server.url(), &folder.path().join("executor"), 1);
    let server = on_server.api().post("/run?timeout=60000", endless).await;

    assert_eq!(
        (tab.status, server.status),
        (422, 422),
        "{} {}",
        tab.text(),
        server.text()
    );
    let (tab, server) = (
        in_tab.api().newest_run().await,
        on_server.api().newest_run().await,
    );
    assert_eq!(
        agreed(&tab),
        agreed(&server),
        "the same out-of-fuel outcome"
    );
    let out = tab.tasks[0].out.clone().expect("an outcome");
    let failure = asterism_protocol::Failure::of_value(out.value()).expect("a failure");
    assert_eq!(
        (failure.trap, tab.tasks[0].fuel),
        (TrapKind::OutOfFuel, Some(20_000_000))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_stop_is_a_fault_and_no_receipt() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let browser = Browser::start().await;
    donate(&browser, &coordinator).await;
    let slow = r#"{"tasks":[{"run":{"name":"spin","input":{"func":"spin","args":[]}},"meta":{"time":300}}]}"#;
    let answer = api.post("/run?timeout=120000", slow).await;
    assert!(answer.status >= 500, "{}: {}", answer.status, answer.text());
    let run = api.newest_run().await;
    assert_eq!(run.tasks[0].state, TaskState::Failed);
    assert_eq!((&run.tasks[0].out, run.tasks[0].receipt), (&None, None));
    assert!(
        run.tasks[0].attempts.len() > 1,
        "it was tried again: {:?}",
        run.tasks[0].attempts
    );
    let after = api.post("/run?timeout=60000", work(1000)).await;
    assert_eq!(
        after.status,
        200,
        "the tab has a fresh worker: {}",
        after.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_wants_more_memory_than_a_donor_allows_is_left_to_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/donate", coordinator.url())).await;
    browser.slide_down("Memory").await;
    wait_for_text(&browser, "128 MB a task").await;
    donate(&browser, &coordinator).await;

    let grow = |mb: u32| {
        format!(
            r#"{{"tasks":[{{"run":{{"name":"grow","input":{{"func":"grow","args":[{mb}]}}}}}}]}}"#
        )
    };
    let small = api.post("/run?timeout=60000", grow(100)).await;
    assert_eq!((small.status, small.text().as_str()), (200, "100"));
    let by_tab = api.newest_run().await.tasks[0].executor;

    let large = run_in_background(&api, &grow(200)).await;
    wait_for_text(&browser, "it wants more memory than the 128 MiB").await;
    let run = api.newest_run().await;
    assert!(
        run.tasks[0].attempts.is_empty(),
        "{:?}",
        run.tasks[0].attempts
    );

    let _other = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);
    let (status, body) = large.await.expect("the request ends");
    assert_eq!((status, body.as_slice()), (200, b"200".as_slice()));
    assert_ne!(api.newest_run().await.tasks[0].executor, by_tab);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_now_hands_back_and_finish_and_stop_delivers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let browser = Browser::start().await;
    donate(&browser, &coordinator).await;

    let waiting = run_in_background(&api, &work(1_500_000_000)).await;
    api.wait_for_task(TaskState::Leased).await;
    browser.press("Stop now").await;
    let run = api.wait_for_task(TaskState::Ready).await;
    assert!(
        run.tasks[0].attempts.is_empty(),
        "handing back is not an attempt: {:?}",
        run.tasks[0].attempts
    );

    browser.press("Start donating").await;
    api.wait_for_task(TaskState::Leased).await;
    browser.press("Finish and stop").await;
    let (status, body) = waiting.await.expect("the request ends");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    wait_until("the tab has left", || async {
        api.executors().await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_boots_through_both_doors_and_works_without_a_coordinator() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let browser = Browser::start().await;
    browser.open(&format!("{}/", coordinator.url())).await;
    wait_for_text(&browser, "Workflows").await;
    drop(coordinator);

    let trunk = TrunkServer::start(&folder.path().join("trunk").join("dist"));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(400);
    while reqwest::get(trunk.url()).await.is_err() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            log(&folder.path().join("trunk/trunk.log"))
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    browser.open(&format!("{}/here", trunk.url())).await;
    browser.press("Run here").await;
    wait_until("the image example is computed in the tab", || async {
        let text = browser.text().await;
        (text.matches("computed").count() >= 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_drops_sub_protocols_a_tab_computes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let proxy = Proxy::start(coordinator.url()).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/donate", proxy.url())).await;
    wait_for_text(&browser, "Live").await;
    browser.press("Start donating").await;
    let answer = api.post("/run?timeout=60000", work(1000)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let run = api.newest_run().await;
    let executors = api.executors().await;
    assert_eq!(executors.len(), 1, "{executors:?}");
    assert_eq!(run.tasks[0].executor, Some(executors[0].key));
}

#[test]
fn what_a_visitor_loads_is_within_its_budgets() {
    let size = std::process::Command::new(env!("CARGO"))
        .args(["xtask", "size"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(
        size.status.success(),
        "{}{}",
        String::from_utf8_lossy(&size.stdout),
        String::from_utf8_lossy(&size.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_left_hands_back_what_it_held() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let browser = Browser::start().await;
    donate(&browser, &coordinator).await;
    let waiting = run_in_background(&api, &work(3_000_000_000)).await;
    api.wait_for_task(TaskState::Leased).await;

    browser.open(&format!("{}/health", coordinator.url())).await;
    let run = api.wait_for_task(TaskState::Ready).await;
    assert!(
        run.tasks[0].attempts.is_empty(),
        "handing back is not an attempt: {:?}",
        run.tasks[0].attempts
    );
    assert!(
        api.executors().await.is_empty(),
        "it is not listed any more"
    );
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_found_by_its_cid_and_an_error_does_not_look_like_success() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);
    let endless = r#"{"tasks":[{"run":{"name":"spin","input":{"func":"spin","args":[]}},
        "meta":{"fuel":1000000,"time":60000,"memory":67108864}}]}"#;
    let answer = api.post("/run?timeout=60000", endless).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let run = api.newest_run().await;
    assert_eq!(
        (run.summary.counts.computed, run.summary.counts.errors),
        (1, 1)
    );
    let browser = Browser::start().await;
    let workflow = run.summary.workflow;
    browser
        .open(&format!("{}/workflows/{workflow}", coordinator.url()))
        .await;
    wait_for_text(&browser, "1 with an error").await;
    wait_for_text(&browser, "computed: error").await;
    browser
        .open(&format!(
            "{}/workflows/{}",
            coordinator.url(),
            asterism_protocol::content_cid(b"another")
        ))
        .await;
    wait_for_text(&browser, "This workflow was not run here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_s_name_does_not_turn_what_stands_beside_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    let turning =
        r#"{"tasks":[{"run":{"name":"a\u202eb\nc","input":{"func":"work","args":[1]}}}]}"#;
    let answer = api.post("/run?wait=false", turning).await;
    assert!(answer.status < 300, "{}", answer.text());
    let workflow = api.newest_run().await.summary.workflow;

    const SHOWN: &str = r"a\u202eb\nc";
    let browser = Browser::start().await;
    browser
        .open(&format!("{}/workflows/{workflow}", coordinator.url()))
        .await;
    browser.press(SHOWN).await;
    let script = "return [...document.querySelectorAll('button bdi, h2 bdi, svg text')]\
                  .map((element) => element.textContent)";
    let shown = wait_until("the task is told in full", || async {
        let shown = browser.client.execute(script, vec![]).await;
        let shown = serde_json::from_value::<Vec<String>>(shown.expect("the page answers"));
        shown
            .ok()
            .filter(|shown| shown.iter().filter(|text| *text == SHOWN).count() == 3)
    })
    .await;
    assert!(!shown.concat().contains('\u{202e}'), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_chosen_in_the_form_of_a_function_reach_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("files", guests::FILES).await;
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);
    let paths = [("a note.txt", "a text"), ("table.csv", "a,b")].map(|(name, content)| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        path.display().to_string()
    });

    let browser = Browser::start().await;
    browser
        .open(&format!("{}/functions", coordinator.url()))
        .await;
    browser.press("visit").await;
    let path = "//label[contains(., 'path')]//textarea";
    browser.give(path, "/").await;
    browser
        .give("//input[@type='file' and @multiple]", &paths.join("\n"))
        .await;
    browser.press("Run").await;
    // The task as the run's page shows it, when it has been done.
    wait_for_text(&browser, "1 computed").await;
    let run = api.newest_run().await;
    let said = format!("{:?}", run.tasks[0].out);
    for found in ["/a note.txt", "a te", "/table.csv", "a,b"] {
        assert!(said.contains(found), "no {found:?} in {said}");
    }
    browser.press("visit").await;
    wait_for_text(&browser, "Files\n").await;
    film(&browser, "files").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_world_holds_and_one_that_believes_a_liar_does_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let browser = Browser::start().await;
    browser
        .open(&format!("{}/simulate", coordinator.url()))
        .await;
    // The same course each time.
    browser
        .give_instead("//label[contains(., 'Seed')]//input", "7")
        .await;
    browser.press("5×").await;
    browser.press("Begin").await;
    wait_for_text(&browser, "Things broke").await;
    wait_for_text(&browser, "computed").await;
    film(&browser, "simulate").await;
    browser.press("50×").await;
    wait_for_text(&browser, "All is done, and all of it held").await;
    let seen = browser.text().await;
    for open in ["leased", "ready", "waiting", "provisional"] {
        assert!(!seen.contains(&format!(" {open}")), "{seen}");
    }

    // One tab, which lies, and everybody is believed.
    browser.slide_down("Tabs").await;
    browser.choose("any: all are believed").await;
    wait_for_text(&browser, "This policy bears no liar").await;
    browser.press("Begin").await;
    wait_for_text(
        &browser,
        "lies were believed: any does not bear so many liars",
    )
    .await;
    film(&browser, "simulate-lies").await;

    // Nobody is there to agree with the only one.
    browser.slide_down("Liars").await;
    browser.choose("quorum:2/4: two must agree").await;
    wait_for_text(&browser, "asks for 2 honest tabs").await;
    browser.press("Begin").await;
    wait_for_text(&browser, "Work is left and waits, as it should").await;
}

/// A component that `cargo xtask languages` made.
fn made(name: &str) -> Vec<u8> {
    let path = root()
        .join("target/languages")
        .join(name)
        .with_extension("wasm");
    std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask languages`", path.display()))
}

/// The functions of the arithmetic workflow, each in another language.
async fn add_arithmetic(api: &Api) {
    api.add_component("add", guests::WASIP2).await;
    for name in ["subtract", "multiply", "divide"] {
        api.add_component(name, &made(name)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_over_four_languages_comes_to_the_same_in_a_tab_and_on_a_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("tab"));
    let api = coordinator.api();
    add_arithmetic(&api).await;
    let viewer = Browser::start().await;
    viewer
        .open(&format!("{}/functions", coordinator.url()))
        .await;
    wait_for_text(&viewer, "divide").await;
    film(&viewer, "1-functions").await;

    let waiting = run_in_background(&api, &example("math/all.json")).await;
    let run = api.wait_for_task(TaskState::Ready).await;
    let page = format!("{}/workflows/{}", coordinator.url(), run.summary.workflow);
    viewer.open(&page).await;
    wait_for_text(&viewer, "Nobody is here").await;
    film(&viewer, "2-nobody-is-here").await;

    let donor = Browser::start().await;
    donate(&donor, &coordinator).await;
    wait_until("a language is at work in the tab", || async {
        let text = donor.text().await;
        (text.contains("submitted by") && !text.contains("add of")).then_some(())
    })
    .await;
    film(&donor, "3-a-tab-at-work").await;
    let (status, body) = waiting.await.expect("the request ends");
    let said = String::from_utf8_lossy(&body);
    assert_eq!(status, 200, "{said}");
    let result: f64 = said
        .trim()
        .parse()
        .unwrap_or_else(|e| panic!("{said}: {e}"));
    assert!((result - 5.98).abs() < 0.001, "{result}");
    wait_for_text(&viewer, "4 computed").await;
    film(&viewer, "4-done").await;
    let in_tab = api.newest_run().await;
    let executors = api.executors().await;
    assert!(
        executors.iter().all(|executor| executor.host == "browser"),
        "no native executor helped"
    );

    let server = Coordinator::start_with_panel(&folder.path().join("server"));
    let server_api = server.api();
    add_arithmetic(&server_api).await;
    let _executor = Executor::start(server.url(), &folder.path().join("executor"), 2);
    let (status, body) = run_in_background(&server_api, &example("math/all.json"))
        .await
        .await
        .expect("the request ends");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    assert_eq!(
        agreed(&in_tab),
        agreed(&server_api.newest_run().await),
        "equal outcome CIDs and equal fuel"
    );
}

/// A frame of the film in the guide, into target/film; docs/src/film has those that the guide shows.
async fn film(browser: &Browser, name: &str) {
    let folder = root().join("target/film");
    let picture = browser.client.screenshot().await.expect("a screenshot");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(name).with_extension("png"), picture))
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_visit_made_ready_is_ready_at_the_next_and_a_rotten_entry_is_not_believed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start_with_panel(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("subtract", &made("subtract")).await;
    let subtract = |n: u32| {
        format!(r#"{{"tasks":[{{"run":{{"input":{{"func":"subtract","args":[{n},1.5]}}}}}}]}}"#)
    };
    let browser = Browser::start().await;
    const READY: &str = "A component was ready from your last visit";

    // The first visit makes it ready and keeps it.
    donate(&browser, &coordinator).await;
    let answer = api.post("/run?timeout=120000", subtract(5)).await;
    assert_eq!((answer.status, answer.text().trim()), (200, "3.5"));
    let kept = wait_until("the browser has kept it", || async {
        let kept = kept_programs(&browser, "").await;
        (kept.len() == 1).then_some(kept)
    })
    .await;
    assert!(kept[0].1 > 1_000_000, "{kept:?}");
    assert!(!browser.text().await.contains(READY));

    // The second has it.
    donate_again(&browser, &coordinator).await;
    let answer = api.post("/run?timeout=120000", subtract(6)).await;
    assert_eq!((answer.status, answer.text().trim()), (200, "4.5"));
    wait_for_text(&browser, READY).await;

    // A bit of it turned over.
    let changed = kept_programs(
        &browser,
        "const bytes = new Uint8Array(body); bytes[bytes.length >> 1] ^= 1; await cache.put(key, new Response(bytes));",
    )
    .await;
    assert_eq!(changed, kept);
    donate_again(&browser, &coordinator).await;
    let answer = api.post("/run?timeout=120000", subtract(7)).await;
    assert_eq!((answer.status, answer.text().trim()), (200, "5.5"));
    assert!(!browser.text().await.contains(READY), "it was believed");
    wait_until("it is kept anew", || async {
        let kept_now = kept_programs(&browser, "").await;
        (kept_now == kept).then_some(())
    })
    .await;

    // And is whole again.
    donate_again(&browser, &coordinator).await;
    let answer = api.post("/run?timeout=120000", subtract(8)).await;
    assert_eq!((answer.status, answer.text().trim()), (200, "6.5"));
    wait_for_text(&browser, READY).await;
}

async fn donate_again(browser: &Browser, coordinator: &Coordinator) {
    browser.open("about:blank").await;
    wait_until("no tab is left", || async {
        coordinator.api().executors().await.is_empty().then_some(())
    })
    .await;
    donate(browser, coordinator).await;
}

/// Names and sizes of what the browser keeps for the next visit; `act` does something with each.
async fn kept_programs(browser: &Browser, act: &str) -> Vec<(String, u64)> {
    let script = format!(
        r#"const [done] = arguments;
        (async () => {{
            const kept = [];
            for (const name of await caches.keys()) {{
                const cache = await caches.open(name);
                for (const key of await cache.keys()) {{
                    const body = await (await cache.match(key)).arrayBuffer();
                    kept.push([key.url, body.byteLength]);
                    {act}
                }}
            }}
            done(kept);
        }})().catch((error) => done(String(error)));"#
    );
    let kept = browser.client.execute_async(&script, vec![]).await;
    let kept = kept.expect("the page answers");
    serde_json::from_value(kept.clone()).unwrap_or_else(|e| panic!("{kept}: {e}"))
}

async fn wait_for_text(browser: &Browser, text: &str) {
    wait_until(&format!("the page says {text:?}"), || async {
        browser.text().await.contains(text).then_some(())
    })
    .await;
}

fn log(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| e.to_string())
}

/// A workflow of one task that takes about `n` loop turns.
fn work(n: u64) -> String {
    format!(r#"{{"tasks":[{{"run":{{"name":"work","input":{{"func":"work","args":[{n}]}}}}}}]}}"#)
}
