//! Files of a task, from a workflow in YAML to a guest and back, through a real coordinator.
#![cfg(not(target_arch = "wasm32"))]

use asterism_protocol::{Out, Value, blob_cid};
use asterism_tests::{
    guests,
    harness::{Coordinator, Executor, asterism_says},
};

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_workflow_reach_the_guest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let coordinator = Coordinator::start_that(&data, &[]);
    let api = coordinator.api();
    api.add_component("files", guests::FILES).await;
    api.add_component("math", guests::MATH).await;
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);

    // Longer than what stays in an outcome.
    let table = b"a,b\n1,2\n".repeat(10_000);
    let cid = blob_cid(&table);
    let workflow = format!(
        r#"
tasks:
  - run:
      name: cut
      input:
        func: read-part
        args: [data/in.csv, 4, 40000]
        files: {{ data/in.csv: {{ "/": {cid} }} }}
  - run:
      name: look
      input:
        func: read-part
        args: [made/cut.csv, 39990, 100]
        files:
          made/cut.csv: "{{{{needs.cut.output}}}}"
  - run:
      name: list
      input:
        func: visit
        args: [/]
        files: {{ data/in.csv: "{{{{cid:{cid}}}}}", note.txt: a text, made/cut.csv: "{{{{needs.cut.output}}}}" }}
"#
    );
    let answer = api.post("/run?timeout=120000", workflow.clone()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let message = answer.text();
    let absent = format!("tasks[0].run.input.files.data/in.csv: blob {cid} is not here");
    assert!(message.contains(&absent), "{message}");

    for bytes in [&table[..], b"of no task"] {
        let stored = api
            .put(&format!("/blobs/{}", blob_cid(bytes)), bytes.to_vec())
            .await;
        assert!(stored.status < 300, "{}", stored.text());
    }
    let answer = api.post("/run?timeout=120000", workflow.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let run = api.newest_run().await;
    let text = |text: &str| Value::String(text.to_owned());
    let found = |path: &str, size: i128, begin: &str| {
        let fields = [
            ("path", text(path)),
            ("size", Value::Integer(size)),
            ("is-new", Value::Bool(true)),
            ("begin", text(begin)),
        ];
        Value::Map(fields.map(|(name, value)| (name.to_owned(), value)).into())
    };
    let outs: Vec<_> = run.tasks.iter().map(|task| task.out.clone()).collect();
    let cut = &table[4..40_004];
    assert_eq!(
        outs,
        [
            Some(Out::Ok(Value::Link(blob_cid(cut).to_link()))),
            Some(Out::Ok(Value::Bytes(cut[39_990..].to_vec()))),
            Some(Out::Ok(Value::List(vec![
                found("/data/", 0, ""),
                found("/data/in.csv", 80_000, "a,b\n"),
                found("/made/", 0, ""),
                found("/made/cut.csv", 40_000, "1,2\n"),
                found("/note.txt", 6, "a te"),
            ]))),
        ]
    );
    assert_eq!(run.tasks[1].needs, [0]);
    assert_eq!(run.tasks[2].files["note.txt"], text("a text"));

    // What the tasks link to is theirs, as long as anybody speaks of them.
    let kept = data.to_str().expect("the path is text");
    let garbage = asterism_says(&["--json", "gc", "--dry-run", "--grace", "0", "--data", kept]);
    let garbage: serde_json::Value = serde_json::from_str(&garbage).expect("it is JSON");
    assert_eq!(garbage["blobs"], 1, "{garbage}");

    let receipt = run.tasks[1].receipt.expect("it has one").to_string();
    let url = ["--coordinator", coordinator.url()];
    let said = asterism_says(&[&["receipt", "verify", &receipt, "--rerun"], &url[..]].concat());
    assert!(said.contains("here again, with the same outcome"), "{said}");

    let blind =
        r#"{"tasks": [{"run": {"input": {"func": "add", "args": [1, 2], "files": {"a": "b"}}}}]}"#;
    let answer = api.post("/run", blind).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let message = answer.text();
    assert!(message.contains("imports no file system"), "{message}");

    // What is held is what counts, be it one blob or many.
    let part = vec![0; 8 << 20];
    let cid = blob_cid(&part);
    let stored = api.put(&format!("/blobs/{cid}"), part).await;
    assert!(stored.status < 300, "{}", stored.text());
    let files = |count: usize| {
        let file = |n| format!(r#""{n}": {{"/": "{cid}"}}"#);
        let files: Vec<String> = (0..count).map(file).collect();
        let files = files.join(",");
        format!(
            r#"{{"tasks": [{{"run": {{"input": {{"func": "visit", "args": ["/"], "files": {{{files}}}}}}}}}]}}"#
        )
    };
    let answer = api.post("/run", files(33)).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let message = answer.text();
    let large = "tasks[0].run.input.files: files have 276824064 bytes together, and a task's may have 268435456";
    assert!(message.contains(large), "{message}");
    let answer = api.post("/run?timeout=120000", files(32)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    // The same, called from a command line.
    let local = folder.path().join("local.csv");
    std::fs::write(&local, &table).expect("it can be written");
    let given = format!("data/in.csv={}", local.display());
    let call = ["fn", "call", "files", "read-part", "data/in.csv", "0", "7"];
    let said = asterism_says(&[&call[..], &["--file", &given], &url].concat());
    assert_eq!(said, "a,b\n1,2");
    let component = folder.path().join("files.wasm");
    std::fs::write(&component, guests::FILES).expect("it can be written");
    let component = component.to_str().expect("the path is text");
    let call = [
        "fn",
        "call",
        component,
        "read-part",
        "data/in.csv",
        "0",
        "7",
    ];
    assert_eq!(
        asterism_says(&[&call[..], &["--file", &given]].concat()),
        "a,b\n1,2"
    );
}
