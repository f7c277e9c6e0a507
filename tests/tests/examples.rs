//! The examples, exactly as they are written, through real programs.
#![cfg(not(target_arch = "wasm32"))]

use asterism_tests::{
    guests,
    harness::{Coordinator, Executor, root},
};

fn example(path: &str) -> String {
    std::fs::read_to_string(root().join("examples").join(path)).expect("the example is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn math_adds_and_says_why_it_cannot_divide() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start(&folder.path().join("data"));
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);
    let api = coordinator.api();
    api.add_component("math", guests::MATH).await;
    // It has an `add` of its own, in an interface: that one must not take the place of math's.
    api.add_component("conformance", guests::CONFORMANCE).await;

    let added = api
        .post("/run?timeout=60000", example("math/add.json"))
        .await;
    assert_eq!((added.status, added.text().trim()), (200, "8.3"));

    let divided = api
        .post("/run?timeout=60000", example("math/division-by-zero.json"))
        .await;
    assert_eq!(divided.status, 422, "{}", divided.text());
    let error = divided.json();
    let text = error.to_string();
    for said in ["code", "message", "hint", "details"] {
        assert!(error.get(said).is_some(), "no {said} in {text}");
    }
    for named in [
        "divide",
        "unreachable",
        "guest:rust:divide",
        "Division by zero",
    ] {
        assert!(text.contains(named), "{named:?} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_picture_replays_two_tasks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start(&folder.path().join("data"));
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);
    let api = coordinator.api();
    api.add_component("image", guests::IMAGE).await;
    let picture = std::fs::read(root().join("examples/image/picture.png")).expect("the picture");
    assert!(api.post("/blobs", picture).await.status < 300);
    for workflow in [
        "image/crop-rotate-blur.json",
        "image/crop-rotate-grayscale.json",
    ] {
        let answer = api.post("/run?timeout=120000", example(workflow)).await;
        assert_eq!(answer.status, 200, "{workflow}: {}", answer.text());
        assert!(answer.body.starts_with(b"\x89PNG"), "{workflow} is a PNG");
    }
    let counts = api.newest_run().await.summary.counts;
    assert_eq!((counts.replayed, counts.computed), (2, 1));
}
