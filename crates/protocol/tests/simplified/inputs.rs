//! Files and effects.

use asterism_protocol::{
    Await, Defaults, Nonce, Promise, Value, blob_cid, mistakes, prepare, value_of_json,
};

use crate::{Math, Nothing, blind, check_refused, math, prepared};

#[test]
fn files_are_links_texts_bytes_and_promises() {
    let cid = blob_cid(b"a table");
    let json = format!(
        r#"{{"tasks":[
        {{"run":{{"name":"now","input":{{"func":"now"}}}}}},
        {{"run":{{"name":"use","input":{{"func":"sum","args":[[1]],"files":{{
            "data/in.csv":{{"/":"{cid}"}},"data/again.csv":"{{{{cid:{cid}}}}}","note.txt":"{{{{x}}}} is text",
            "b":{{"/":{{"bytes":"AQI"}}}},"made/by.now":"{{{{needs.now.output}}}}"}}}}}}}}]}}"#
    );
    let workflow = prepared(&json).expect("it is well written").workflow;
    let promise = Promise {
        branch: Await::Ok,
        instruction: workflow.tasks[0].run.cid(),
    };
    let link = Value::Link(cid.to_link());
    let expected = [
        ("b", Value::Bytes(vec![1, 2])),
        ("data/again.csv", link.clone()),
        ("data/in.csv", link),
        ("made/by.now", promise.to_value()),
        ("note.txt", Value::String("{{x}} is text".into())),
    ];
    let run = &workflow.tasks[1].run;
    assert_eq!(
        run.input.files,
        expected.map(|(path, file)| (path.to_owned(), file)).into()
    );
    assert_eq!(run.promises(), [promise]);
    assert_eq!(
        workflow.graph().expect("it is a graph").needs,
        [vec![], vec![0]]
    );
    // The full form of it is the same workflow.
    let full = asterism_protocol::to_value(&workflow);
    let again = prepare(&full, &Nothing, &Defaults::default()).expect("it is whole");
    assert_eq!(again.workflow, workflow);
}

#[test]
fn files_decide_the_instruction_and_none_leave_it_alone() {
    let cid = |files: &str| {
        let json =
            format!(r#"{{"tasks":[{{"run":{{"input":{{"func":"now","args":[]{files}}}}}}}]}}"#);
        prepared(&json).expect("it is well written").workflow.tasks[0]
            .run
            .cid()
    };
    let none = cid("");
    let (one, other) = (cid(r#","files":{"a":"1"}"#), cid(r#","files":{"a":"2"}"#));
    assert!(none != one && one != other && none != other);
    check_refused(
        r#"{"tasks":[{"run":{"input":{"func":"now","files":{}}}}]}"#,
        "tasks[0].run.input.files: there are none: leave `files` out",
    );
}

#[test]
fn every_mistake_in_files_is_told_with_its_place() {
    let awaited = asterism_protocol::content_cid(b"awaited");
    let long = "x".repeat(257);
    let deep = format!("{}x", "d/".repeat(100));
    let json = format!(
        r#"{{"tasks":[{{"run":{{"name":"a","input":{{"func":"now","files":{{
            "/in":"","a//b":"","a/":"","./c":"","d/../e":"","n\u0000":"","":"","{long}":"","{deep}":"",
            "f":1,"g":[1,2],"h":{{"/":"{awaited}"}},"i":{{"await/*":{{"/":"{awaited}"}}}},"j":{{"await/ok":5}},
            "k":"","k-2":"","k/l":"","m":"{{{{needs.b.output}}}}"
        }}}}}}}}]}}"#
    );
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    let found: Vec<String> = asterism_protocol::mistakes(&document, &Math)
        .iter()
        .map(ToString::to_string)
        .collect();
    let relative = "a path is relative, with one `/` between its parts, such as `data/in.csv`";
    let part = |part: &str| {
        format!(
            "a path has no part `{part}`: write it as `data/in.csv`, from the root of what the guest sees"
        )
    };
    let file = "a file is a link to a blob, {\"/\": \"bafk…\"}, bytes, {\"/\": {\"bytes\": \"…\"}}, a text, or a promise of one of these";
    let at =
        |path: &str, reason: &str| format!("tasks[0].run.input.files.{path} (task `a`): {reason}");
    let mut expected = vec![
        at("/in", relative),
        at("a//b", relative),
        at("a/", relative),
        at("./c", &part(".")),
        at("d/../e", &part("..")),
        at("n\0", "a path has no NUL in it"),
        at("", relative),
        at(
            &format!("{}…", &long[..100]),
            "a path has at most 256 bytes, this one 257",
        ),
        at("f", file),
        at("g", file),
        at(
            "h",
            &format!("{awaited} is not a blob: `asterism blob put FILE` names one"),
        ),
        at(
            "i",
            "`await/*` is a pair of branch and value, which is no file: await `await/ok` or `await/error`",
        ),
        at(
            "j",
            "`await/ok` takes a link to an instruction: {\"await/ok\": {\"/\": \"bafyrmi…\"}}",
        ),
        at(
            "k/l",
            "`k` is a file, so it cannot hold this one: rename one of them",
        ),
        at("m", "no task has the name `b`, did you mean `a`?"),
    ];
    let mut found = found;
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn files_are_bounded() {
    let files = |count: usize, text: &str| {
        let files: Vec<_> = (0..count).map(|n| format!(r#""f{n}":"{text}""#)).collect();
        format!(
            r#"{{"tasks":[{{"run":{{"input":{{"func":"now","files":{{{}}}}}}}}}]}}"#,
            files.join(",")
        )
    };
    let half = "x".repeat(1 << 19);
    assert!(prepared(&files(1_000, "x")).is_ok() && prepared(&files(2, &half)).is_ok());
    check_refused(
        &files(1_001, "x"),
        "tasks[0].run.input.files: 1001 files are more than the 1000 allowed: put them into an archive",
    );
    check_refused(
        &files(3, &half),
        "tasks[0].run.input.files: 1572864 bytes are written into the task, 1048576 may be: \
         put larger ones as blobs and link to them, {\"/\": \"bafk…\"}",
    );
}

#[test]
fn files_for_a_component_that_cannot_look_are_refused() {
    let of = |more: &str| {
        format!(
            r#"{{"tasks":[{{"run":{{{more}"rsc":"ipfs://{}","input":{{"func":"now","args":[],"files":{{"a":""}}}}}}}}]}}"#,
            blind()
        )
    };
    // Simplified, and full.
    for more in ["", r#""op":"wasm/run","nnc":"","#] {
        let json = of(more);
        let message = "tasks[0].run.input.files: the component of `now` imports no file system (wasi:filesystem), \
                       so it would never see them: leave `files` out, and hand over the bytes as an argument";
        check_refused(&json, message);
        let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
        let found = asterism_protocol::mistakes(&document, &Math);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), message);
    }
}

const EFFECTFUL: &str = r#"{"run":{"input":{"func":"now","effects":["wasi:http"]}}}"#;

#[test]
fn what_has_effects_is_never_the_same_twice_unless_its_author_says_so() {
    let document =
        format!(r#"{{"tasks":[{EFFECTFUL},{EFFECTFUL},{{"run":{{"input":{{"func":"now"}}}}}}]}}"#);
    let document = value_of_json(document.as_bytes()).expect("the test's text is JSON");
    let cids = |nonce: Option<&str>, seed: u8| {
        let defaults = Defaults {
            nonce: nonce.map(str::to_owned),
            seed: [seed; 12],
        };
        let tasks = prepare(&document, &Math, &defaults)
            .expect("it has no mistake")
            .workflow
            .tasks;
        let nonces: Vec<_> = tasks.iter().map(|task| task.run.nnc.clone()).collect();
        let cids: Vec<_> = tasks.iter().map(|task| task.run.cid()).collect();
        (cids, nonces)
    };
    let ((one, nonces), (other, _)) = (cids(None, 1), cids(None, 2));
    let place = |place: u8| Nonce::Bytes([&[1; 12][..], &[0, 0, 0, place]].concat());
    assert_eq!(nonces, [place(0), place(1), Nonce::Empty]);
    assert!(one[0] != one[1] && one[0] != other[0] && one[1] != other[1]);
    assert_eq!(one[2], other[2]);
    assert_eq!(one, cids(None, 1).0);
    // One nonce for all: they are the same, and stay so.
    let (named, _) = cids(Some("order-7"), 1);
    assert_eq!(named[0], named[1]);
    assert_eq!(named, cids(Some("order-7"), 2).0);
    assert_ne!(
        named[0], named[2],
        "what has no effects is another instruction"
    );
}

#[test]
fn a_nonce_of_the_author_names_what_is_done() {
    let cid = |nonce: &str, seed: u8| {
        let text = format!(
            r#"{{"tasks":[{{"run":{{"nnc":"{nonce}","input":{{"func":"now","effects":["wasi:http"]}}}}}}]}}"#
        );
        let document = value_of_json(text.as_bytes()).expect("the test's text is JSON");
        let defaults = Defaults {
            nonce: None,
            seed: [seed; 12],
        };
        let prepared = prepare(&document, &Math, &defaults).expect("it has no mistake");
        prepared.workflow.tasks[0].run.cid()
    };
    assert_eq!(cid("order-7", 1), cid("order-7", 2));
    assert_ne!(cid("order-7", 1), cid("order-8", 1));
    assert_ne!(cid("", 1), cid("", 2), "an empty one is none");
}

#[test]
fn effects_that_nothing_has_are_refused_with_their_place() {
    let effects = |effects: &str| {
        format!(r#"{{"tasks":[{{"run":{{"input":{{"func":"now","effects":{effects}}}}}}}]}}"#)
    };
    let usage = "tasks[0].run.input.effects: must be a list of names, each once and in order, such as [\"wasi:http\"]";
    check_refused(&effects(r#""wasi:http""#), usage);
    check_refused(&effects(r#"["wasi:http","wasi:http"]"#), usage);
    check_refused(
        &effects("[]"),
        "tasks[0].run.input.effects: there are none: leave `effects` out",
    );
    check_refused(
        &effects(r#"["wasi:sockets"]"#),
        "tasks[0].run.input.effects: `wasi:sockets` is not known: `wasi:http` is",
    );
    for more in ["", r#""op":"wasm/run","nnc":"x","#] {
        let text = format!(
            r#"{{"tasks":[{{"run":{{{more}"rsc":"ipfs://{}","input":{{"func":"now","args":[],"effects":["wasi:http"]}}}}}}]}}"#,
            blind()
        );
        let message = "tasks[0].run.input.effects: the component of `now` does not import wasi:http/outgoing-handler, \
                       so it never has the effect `wasi:http`: leave it out";
        check_refused(&text, message);
        let document = value_of_json(text.as_bytes()).expect("the test's text is JSON");
        let told: Vec<_> = mistakes(&document, &Math)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(told, [message]);
    }
}

#[test]
fn a_full_task_with_effects_says_its_nonce_itself() {
    let full = |nonce: &str| {
        format!(
            r#"{{"tasks":[{{"run":{{"rsc":"ipfs://{}","op":"wasm/run","nnc":"{nonce}","input":{{"func":"now","args":[],"effects":["wasi:http"]}}}}}}]}}"#,
            math()
        )
    };
    check_refused(
        &full(""),
        "tasks[0].run.nnc: a task with `effects` needs a nonce, as its outcome is remembered under that alone: write one \
         that you never wrote before to have it done, and the same one again to have it replayed",
    );
    let task = &prepared(&full("order-7")).unwrap().workflow.tasks[0];
    assert_eq!(task.run.nnc, Nonce::Text("order-7".into()));
    assert!(task.run.is_effectful());
}

#[test]
fn a_circle_may_go_through_files() {
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"now","files":{"f":"{{needs.a.output}}"}}}}]}"#,
        "tasks[0].run.input (task `a`): tasks wait for each other in a circle: a → a",
    );
}
