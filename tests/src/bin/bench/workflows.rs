//! Small workflows, cold and replayed, and the image example: the cases that Homestar was measured on.

use std::time::Instant;

use asterism_tests::{
    guests,
    harness::{Api, Coordinator, Executor, root},
};

use crate::table::{Row, Table, median};

/// Milliseconds until the result is here.
async fn timed(api: &Api, workflow: &str) -> f64 {
    let start = Instant::now();
    let answer = api.post("/run?timeout=120000", workflow.to_owned()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    start.elapsed().as_secs_f64() * 1e3
}

/// `tasks` calls of `echo-u64`, apart from each other or each awaiting the one before.
fn workflow(tasks: u64, chained: bool, salt: u64) -> String {
    let task = |i: u64| {
        let arg = if chained && i > 0 {
            format!("\"{{{{needs.t{}.output}}}}\"", i - 1)
        } else {
            (salt * 1_000 + i).to_string()
        };
        let nonce = if chained {
            format!(",\"nnc\":\"chain{salt}n{i}\"")
        } else {
            String::new()
        };
        format!(
            r#"{{"run":{{"name":"t{i}","input":{{"func":"echo-u64","args":[{arg}]}}{nonce}}}}}"#
        )
    };
    format!(
        r#"{{"tasks":[{}]}}"#,
        (0..tasks).map(task).collect::<Vec<_>>().join(",")
    )
}

pub(crate) async fn run(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start(&folder.path().join("data"));
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 2);
    let api = coordinator.api();
    api.add_component("conformance", guests::CONFORMANCE).await;
    timed(&api, &workflow(1, false, 0)).await;

    let mut floors = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        api.get("/health").await;
        floors.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let floor = Some((median(floors), "GET /health over the same connection"));
    for (case, chained) in [("20 independent", false), ("20 chained", true)] {
        let (mut cold, mut replayed) = (Vec::new(), Vec::new());
        for salt in 1..=10 {
            let document = workflow(20, chained, salt);
            cold.push(timed(&api, &document).await);
            for _ in 0..5 {
                replayed.push(timed(&api, &document).await);
            }
        }
        let bench = "workflows";
        table.row(&Row {
            bench,
            case,
            value: median(cold),
            unit: "ms",
            floor,
        });
        table.row(&Row {
            bench,
            case: &format!("{case}, replayed"),
            value: median(replayed),
            unit: "ms",
            floor,
        });
    }

    api.add_component("image", guests::IMAGE).await;
    let picture =
        std::fs::read(root().join("examples/image/picture.png")).expect("the picture is there");
    api.post("/blobs", picture).await;
    let document = std::fs::read_to_string(root().join("examples/image/crop-rotate-blur.json"))
        .expect("the example");
    let cold = timed(&api, &document).await;
    let replayed = median(vec![
        timed(&api, &document).await,
        timed(&api, &document).await,
        timed(&api, &document).await,
    ]);
    let bench = "workflows";
    table.row(&Row {
        bench,
        case: "image, crop → rotate → blur",
        value: cold,
        unit: "ms",
        floor,
    });
    table.row(&Row {
        bench,
        case: "image, replayed",
        value: replayed,
        unit: "ms",
        floor,
    });
}
