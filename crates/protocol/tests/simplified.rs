//! What authors write, and what becomes of it.

use asterism_protocol::{
    Await, Cid, Defaults, FunctionLookup, HTTP, Nonce, Prepared, Promise, SimplifiedError, Value,
    WorkflowError, blob_cid,
    limits::{VALUE_DEPTH_MAX, WORKFLOW_TASKS_MAX},
    mistakes, prepare, value_of_json,
};

/// Functions of one component: `add`, `subtract` of two floats, `crop-image` of bytes and an integer, `sum` of a list,
/// `now` of nothing.
struct Math;

fn math() -> Cid {
    blob_cid(b"math")
}

impl FunctionLookup for Math {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        match func.replace('_', "-").as_str() {
            name @ ("add" | "subtract" | "crop-image" | "sum" | "now") => {
                Ok((rsc.unwrap_or_else(math), name.into()))
            }
            _ => Err(format!(
                "no component has a function `{func}`, did you mean `add`?"
            )),
        }
    }

    fn canonical(
        &self,
        _component: Cid,
        func: &str,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, String> {
        let arity = match func {
            "now" => 0,
            "sum" => 1,
            _ => 2,
        };
        if args.len() != arity {
            return Err(format!(
                "args: `{func}` takes {arity} arguments, {} were given",
                args.len()
            ));
        }
        let float = |(index, arg): (usize, Value)| match arg {
            Value::Integer(n) if func != "crop-image" => Ok(Value::Float(n as f64)),
            Value::String(_) => Err(format!("args[{index}]: a string is not a number")),
            other => Ok(other),
        };
        args.into_iter().enumerate().map(float).collect()
    }

    fn reads_files(&self, component: Cid) -> bool {
        component != blind()
    }

    fn has_effect(&self, component: Cid, effect: &str) -> bool {
        component != blind() && effect == HTTP
    }
}

/// A component that imports no file system, and nothing that would have an effect.
fn blind() -> Cid {
    blob_cid(b"blind")
}

fn prepared(json: &str) -> Result<Prepared, SimplifiedError> {
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    prepare(&document, &Math, &Defaults::default())
}

#[track_caller]
fn check_refused(json: &str, message: &str) {
    assert_eq!(
        prepared(json).expect_err("it has a mistake").to_string(),
        message
    );
}

const ADD_SUBTRACT: &str = r#"{"tasks":[
    {"run":{"name":"add","input":{"func":"add","args":[3.1,5.2]}}},
    {"run":{"name":"subtract","input":{"func":"subtract","args":["{{needs.add.output}}",4.4]}}}]}"#;

#[test]
fn what_is_silent_gets_defaults() {
    let Prepared { workflow, names } = prepared(ADD_SUBTRACT).expect("it is well written");
    assert_eq!(names, ["add", "subtract"]);
    let task = &workflow.tasks[0];
    assert_eq!(task.run.rsc, format!("ipfs://{}", math()));
    assert_eq!(
        (task.run.op.as_str(), &task.run.nnc),
        ("wasm/run", &Nonce::Empty)
    );
    assert_eq!(task.meta.0["memory"], Value::Integer(4_294_967_296));
    assert_eq!(task.meta.0["time"], Value::Integer(100_000));
    assert_eq!(
        (task.meta.0.len(), task.cause, task.prf.len()),
        (2, None, 0)
    );
}

#[test]
fn a_placeholder_becomes_the_promise_of_the_instruction() {
    let workflow = prepared(ADD_SUBTRACT).expect("it is well written").workflow;
    let instruction = workflow.tasks[0].run.cid();
    assert_eq!(
        workflow.tasks[1].run.promises(),
        [Promise {
            branch: Await::Ok,
            instruction
        }]
    );
    assert_eq!(
        workflow.graph().expect("it is a graph").needs,
        [vec![], vec![0]]
    );
}

#[test]
fn branches_have_placeholders_of_their_own_at_any_depth() {
    let json = r#"{"tasks":[
        {"run":{"name":"sum","input":{"func":"sum","args":[[{"a":"{{needs.now.error}}"},["{{ needs.now.result }}"]]]}}},
        {"run":{"name":"now","input":{"func":"now"}}}]}"#;
    let workflow = prepared(json).expect("it is well written").workflow;
    let instruction = workflow.tasks[1].run.cid();
    let branches = workflow.tasks[0].run.promises();
    assert_eq!(
        branches,
        [Await::Error, Await::Any].map(|branch| Promise {
            branch,
            instruction
        })
    );
}

#[test]
fn tasks_may_be_written_in_any_order() {
    let forth = prepared(ADD_SUBTRACT).expect("it is well written").workflow;
    let json = r#"{"tasks":[
        {"run":{"name":"b","input":{"func":"subtract","args":["{{needs.a.output}}",4.4]}}},
        {"run":{"name":"a","input":{"func":"add","args":[3.1,5.2]}}}]}"#;
    let back = prepared(json).expect("it is well written").workflow;
    assert_eq!(back.tasks[0], forth.tasks[1]);
    assert_eq!(back.tasks[1], forth.tasks[0]);
    assert_eq!(back.graph().expect("it is a graph").order, [1, 0]);
}

#[test]
fn a_cid_placeholder_becomes_a_link() {
    let cid = blob_cid(b"photograph");
    let json = format!(
        r#"{{"tasks":[{{"run":{{"input":{{"func":"crop_image","args":["{{{{cid:{cid}}}}}",7]}}}}}}]}}"#
    );
    let workflow = prepared(&json).expect("it is well written").workflow;
    let input = &workflow.tasks[0].run.input;
    assert_eq!(input.func, "crop-image", "functions get their own spelling");
    assert_eq!(input.args, [Value::Link(cid.to_link()), Value::Integer(7)]);
}

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

#[test]
fn equal_calls_share_an_instruction_however_they_are_written() {
    let json = r#"{"tasks":[
        {"run":{"name":"a","input":{"func":"add","args":[1,2]}}},
        {"run":{"name":"b","input":{"func":"add","args":[1.0,2.0]}},"meta":{"time":5}}]}"#;
    let workflow = prepared(json).expect("it is well written").workflow;
    assert_eq!(workflow.graph().expect("it is a graph").first, [0, 0]);
    assert_ne!(workflow.tasks[0].meta, workflow.tasks[1].meta);
}

#[test]
fn an_author_may_say_everything_himself() {
    let other = blob_cid(b"other component");
    let json = format!(
        r#"{{"tasks":[{{"cause":{{"/":"{other}"}},"prf":[{{"/":"{other}"}}],"meta":{{"memory":65536,"fuel":9,"requires":{{"trust":"any"}}}},
        "run":{{"name":"n","op":"wasm/run","nnc":"abc","rsc":"ipfs://{other}","input":{{"func":"now","args":[]}}}}}}]}}"#
    );
    let task = &prepared(&json).expect("it is well written").workflow.tasks[0];
    assert_eq!(task.run.component(), Ok(other));
    assert_eq!(task.run.nnc, Nonce::Text("abc".into()));
    assert_eq!(
        (task.cause, task.prf.as_slice()),
        (Some(other), &[other][..])
    );
    let limits = task.limits();
    assert_eq!(
        (limits.memory, limits.fuel, limits.time_ms),
        (65_536, 9, 100_000)
    );
    let requires = Value::Map([("trust".to_owned(), Value::String("any".into()))].into());
    assert_eq!(task.meta.0["requires"], requires);
}

#[test]
fn a_default_nonce_is_for_tasks_without_one() {
    let json = r#"{"tasks":[{"run":{"input":{"func":"now"}}},{"run":{"nnc":"mine","input":{"func":"now"}}}]}"#;
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    let defaults = Defaults {
        seed: [0; 12],
        nonce: Some("theirs".into()),
    };
    let workflow = prepare(&document, &Math, &defaults)
        .expect("it is well written")
        .workflow;
    assert_eq!(workflow.tasks[0].run.nnc, Nonce::Text("theirs".into()));
    assert_eq!(workflow.tasks[1].run.nnc, Nonce::Text("mine".into()));
}

/// Knows no function: a full workflow must not ask it.
struct Nothing;

impl FunctionLookup for Nothing {
    fn find(&self, _func: &str, _rsc: Option<Cid>) -> Result<(Cid, String), String> {
        Err("nothing is known".into())
    }

    fn canonical(
        &self,
        _component: Cid,
        _func: &str,
        _args: Vec<Value>,
    ) -> Result<Vec<Value>, String> {
        Err("nothing is known".into())
    }
}

#[test]
fn a_full_workflow_keeps_its_arguments_to_the_letter() {
    let rsc = math();
    let json = format!(
        r#"{{"tasks":[{{"run":{{"rsc":"ipfs://{rsc}","op":"wasm/run","nnc":"","input":{{"func":"ADD","args":[1,"{{{{x}}}}"]}}}},
        "meta":{{"memory":1.5}},"cause":null,"prf":[]}}]}}"#
    );
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    let prepared = prepare(
        &document,
        &Nothing,
        &Defaults {
            seed: [0; 12],
            nonce: Some("n".into()),
        },
    )
    .expect("it is whole");
    assert_eq!(asterism_protocol::to_value(&prepared.workflow), document);
    assert_eq!(prepared.names, [""]);
}

#[test]
fn a_full_workflow_may_omit_what_is_not_its_instructions() {
    let json = format!(
        r#"{{"tasks":[{{"run":{{"rsc":"ipfs://{}","op":"wasm/run","nnc":"","input":{{"func":"f","args":[]}}}}}}]}}"#,
        math()
    );
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    let task = &prepare(&document, &Nothing, &Defaults::default())
        .expect("it is whole")
        .workflow
        .tasks[0];
    assert_eq!(
        (task.cause, task.prf.len(), task.meta.0.len()),
        (None, 0, 2)
    );
}

#[test]
fn one_name_makes_the_whole_workflow_a_simplified_one() {
    let rsc = math();
    let json = format!(
        r#"{{"tasks":[{{"run":{{"name":"a","rsc":"ipfs://{rsc}","op":"wasm/run","nnc":"","input":{{"func":"add","args":[1,2]}}}}}}]}}"#
    );
    let task = &prepared(&json).expect("it is well written").workflow.tasks[0];
    assert_eq!(task.run.input.args, [Value::Float(1.0), Value::Float(2.0)]);
}

#[test]
fn a_placeholder_in_a_longer_string_is_refused() {
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"sum","args":[[1,{"k":"is {{needs.b.output}}"}]]}}}]}"#,
        "tasks[0].run.input.args[0][1].k (task `a`): `is {{needs.b.output}}` has a placeholder inside a longer string: \
         what a task will come to cannot be written into a text, so a placeholder must be the whole string",
    );
}

#[test]
fn two_placeholders_in_one_string_are_refused() {
    let json = r#"{"tasks":[{"run":{"input":{"func":"sum","args":["{{needs.b.output}}{{needs.c.output}}"]}}}]}"#;
    let error = prepared(json).expect_err("it has a mistake").to_string();
    assert!(error.contains("inside a longer string"), "{error}");
}

#[test]
fn other_double_braces_are_data() {
    let rsc = math();
    let json = format!(
        r#"{{"tasks":[{{"run":{{"rsc":"ipfs://{rsc}","op":"wasm/run","nnc":"","input":{{"func":"f","args":["Dear {{{{name}}}}"]}}}}}}]}}"#
    );
    assert!(prepared(&json).is_ok());
}

#[test]
fn an_unknown_name_is_refused_with_the_likely_one() {
    check_refused(
        r#"{"tasks":[{"run":{"name":"rotate","input":{"func":"now"}}},
           {"run":{"name":"b","input":{"func":"add","args":[1,"{{needs.rotat.output}}"]}}}]}"#,
        "tasks[1].run.input.args[1] (task `b`): no task has the name `rotat`, did you mean `rotate`?",
    );
    check_refused(
        r#"{"tasks":[{"run":{"name":"rotate","input":{"func":"add","args":["{{needs.x.output}}"]}}}]}"#,
        "tasks[0].run.input.args[0] (task `rotate`): no task has the name `x`",
    );
}

#[test]
fn an_unknown_branch_is_refused_with_the_known_ones() {
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"sum","args":["{{needs.a.value}}"]}}}]}"#,
        "tasks[0].run.input.args[0] (task `a`): `{{needs.a.value}}` is not a placeholder: write {{needs.<name>.output}}, \
         {{needs.<name>.error}} or {{needs.<name>.result}} for what a task comes to, {{cid:<CID>}} for a blob, \
         or {{args.<name>}} for what `asterism run --arg` gives",
    );
}

#[test]
fn a_misspelt_placeholder_is_refused_where_it_stands() {
    let of = |text: &str| {
        let json = format!(
            r#"{{"tasks":[{{"run":{{"name":"a","input":{{"func":"now"}}}}}},
            {{"run":{{"name":"b","input":{{"func":"sum","args":[["x",{text:?}]]}}}}}}]}}"#
        );
        prepared(&json).map(drop).map_err(|error| error.to_string())
    };
    let cid = blob_cid(b"photograph");
    for text in [
        "{{need.a.output}}",
        "{{ Needs.a.output }}",
        "{{needs:a.output}}",
        "{{tasks.a.output}}",
        "{{arg.x}}",
        &format!("{{{{cdi:{cid}}}}}"),
        &format!("{{{{CID:{cid}}}}}"),
    ] {
        let said = of(text).expect_err(text);
        let begins =
            format!("tasks[1].run.input.args[0][1] (task `b`): `{text}` is not a placeholder");
        assert!(said.starts_with(&begins), "{said}");
    }
    for text in ["{{args.x}}", "{{ args.x }}", "Dear {{args.x}}"] {
        let said = of(text).expect_err(text);
        let begins = format!("tasks[1].run.input.args[0][1] (task `b`): `{text}` has no value");
        assert!(said.starts_with(&begins), "{said}");
    }
    for text in [
        "{{x}}",
        "{{user.name}}",
        "{{form.error}}",
        "{{id:5}}",
        "{{.}}",
        "{{}}",
        "{{need.a.output}} of {{user.name}}",
        "needs.a.output",
    ] {
        assert_eq!(of(text), Ok(()), "{text}");
    }
    let braces = "{".repeat(1_000_000);
    assert_eq!(of(&braces), Ok(()), "and soon");
}

#[test]
fn full_workflows_keep_texts_and_meta_that_others_understand() {
    let json = format!(
        r#"{{"tasks":[{{"run":{{"rsc":"ipfs://{}","op":"wasm/run","nnc":"","input":{{"func":"sum","args":[["{{{{args.x}}}}","{{{{need.x}}}}"]]}}}},
        "meta":{{"note":"x"}}}}]}}"#,
        math()
    );
    let prepared = prepared(&json).expect("it is whole");
    let task = &prepared.workflow.tasks[0];
    assert_eq!(
        task.run.input.args,
        [Value::List(
            ["{{args.x}}", "{{need.x}}"]
                .map(|text| Value::String(text.into()))
                .into()
        )]
    );
    assert_eq!(task.meta.0["note"], Value::String("x".into()));
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    let found = mistakes(&document, &Math);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn equal_names_are_refused() {
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"now"}}},{"run":{"name":"a","input":{"func":"now"}}}]}"#,
        "tasks[1].run.name (task `a`): tasks[0] has the same name: give each its own",
    );
}

#[test]
fn a_circle_is_refused_and_shown() {
    check_refused(
        r#"{"tasks":[{"run":{"name":"x","input":{"func":"sum","args":["{{needs.a.output}}"]}}},
           {"run":{"name":"a","input":{"func":"sum","args":["{{needs.b.output}}"]}}},
           {"run":{"name":"b","input":{"func":"sum","args":["{{needs.a.output}}"]}}}]}"#,
        "tasks[1].run.input.args (task `a`): tasks wait for each other in a circle: a → b → a",
    );
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"sum","args":["{{needs.a.output}}"]}}}]}"#,
        "tasks[0].run.input.args (task `a`): tasks wait for each other in a circle: a → a",
    );
}

#[test]
fn functions_and_arguments_that_do_not_fit_are_refused_at_their_place() {
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"ad","args":[]}}}]}"#,
        "tasks[0].run.input.func (task `a`): no component has a function `ad`, did you mean `add`?",
    );
    check_refused(
        r#"{"tasks":[{"run":{"input":{"func":"add","args":[1]}}}]}"#,
        "tasks[0].run.input.args: `add` takes 2 arguments, 1 were given",
    );
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"add","args":[1,"two"]}}}]}"#,
        "tasks[0].run.input.args[1] (task `a`): a string is not a number",
    );
}

#[test]
fn misspelt_fields_are_refused_with_the_likely_one() {
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","imput":{"func":"now"}}}]}"#,
        "tasks[0].run.imput: not known here, did you mean `input`?",
    );
    check_refused(
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"now","params":[]}}}]}"#,
        "tasks[0].run.input.params (task `a`): not known here: `func`, `args`, `files`, `effects` are",
    );
    check_refused(
        r#"{"task":[]}"#,
        "task: not known here, did you mean `tasks`?",
    );
    check_refused(r#"[]"#, "workflow: must be a map of `tasks`");
    check_refused(
        r#"{"tasks":7}"#,
        "workflow: `tasks` must be a list of tasks",
    );
    check_refused(
        r#"{"tasks":[7]}"#,
        "tasks[0]: must be a map of `run`, `cause`, `meta`, `prf`",
    );
    check_refused(
        r#"{"tasks":[{}]}"#,
        "tasks[0]: `run` is missing: it says what to do",
    );
}

#[test]
fn fields_at_another_level_are_told_where_they_stand() {
    for (text, message) in [
        (
            r#"{"tasks":[{"run":{"name":"a","input":{"func":"now"},"meta":{"time":5}}}]}"#,
            "tasks[0].run.meta: not known here: it stands in a task, beside `run`",
        ),
        (
            r#"{"tasks":[{"run":{"name":"a","input":{"func":"now","rsc":"ipfs://x"}}}]}"#,
            "tasks[0].run.input.rsc (task `a`): not known here: it stands in a task's `run`",
        ),
        (
            r#"{"tasks":[{"run":{"name":"a","func":"now","input":{}}}]}"#,
            "tasks[0].run.func: not known here: it stands in the `input` of a task's `run`",
        ),
        (
            r#"{"tasks":[{"input":{"func":"now"}}]}"#,
            "tasks[0].input: not known here: it stands in a task's `run`",
        ),
        (
            r#"{"tasks":[{"run":{"name":"a","input":{"func":"now"}},"time":5}]}"#,
            "tasks[0].time: not known here: it stands in a task's `meta`, beside `run`",
        ),
        (
            r#"{"tasks":[{"run":{"name":"a","input":{"func":"now"}},"meta":{"nnc":"x"}}]}"#,
            "tasks[0].meta.nnc (task `a`): not known here: it stands in a task's `run`",
        ),
        (
            r#"{"tasks":[{"tasks":[]}]}"#,
            "tasks[0].tasks: not known here: it stands at the top of the workflow",
        ),
        (
            r#"{"run":{"input":{"func":"now"}}}"#,
            "run: not known here: it stands in each of `tasks`",
        ),
    ] {
        check_refused(text, message);
    }
}

#[test]
fn fields_of_another_kind_are_refused_at_their_place() {
    let task = |rest: &str| {
        format!(r#"{{"tasks":[{{"run":{{"name":"a","input":{{"func":"now"}}{rest}}}]}}"#)
    };
    for (rest, message) in [
        (
            r#","op":"http/get"}"#,
            "tasks[0].run.op (task `a`): `http/get` is not known, `wasm/run` is",
        ),
        (
            r#","rsc":"https://x"}"#,
            "tasks[0].run.rsc (task `a`): `https://x` is not a resource: write `ipfs://<cid of the component>`",
        ),
        (
            r#","nnc":[]}"#,
            "tasks[0].run.nnc (task `a`): nnc must be \"\", a short string, or 12 or 16 bytes",
        ),
        (
            r#"},"meta":{"memory":-1}"#,
            "tasks[0].meta.memory (task `a`): must be a whole number from 0 to 18446744073709551615",
        ),
        (
            r#"},"meta":{"fuel":18446744073709551616}"#,
            "tasks[0].meta.fuel (task `a`): must be a whole number from 0 to 18446744073709551615",
        ),
        (
            r#"},"meta":{"fule":5}"#,
            "tasks[0].meta.fule (task `a`): not known here: `memory`, `time`, `fuel`, `requires` are",
        ),
        (
            r#"},"meta":{"times":5}"#,
            "tasks[0].meta.times (task `a`): not known here, did you mean `time`?",
        ),
        (
            r#"},"cause":1"#,
            "tasks[0].cause (task `a`): must be a link: {\"/\": \"bafy…\"}",
        ),
        (
            r#"},"prf":[1]"#,
            "tasks[0].prf[0] (task `a`): must be a link: {\"/\": \"bafy…\"}",
        ),
    ] {
        check_refused(&task(rest), message);
    }
}

#[test]
fn something_like_a_promise_that_awaits_nothing_is_refused() {
    let json =
        r#"{"tasks":[{"run":{"name":"a","input":{"func":"sum","args":[[{"await/ok":"b"}]]}}}]}"#;
    let error = prepared(json).expect_err("it has a mistake").to_string();
    assert!(
        error.starts_with("tasks[0].run.input.args[0] (task `a`): `await/ok` takes a link"),
        "{error}"
    );
}

#[test]
fn no_tasks_and_too_many_tasks_are_refused() {
    check_refused(r#"{"tasks":[]}"#, "a workflow needs at least one task");
    let tasks = Value::List(vec![Value::Null; WORKFLOW_TASKS_MAX + 1]);
    let document = Value::Map([("tasks".to_owned(), tasks)].into());
    let error = prepare(&document, &Math, &Defaults::default());
    let (tasks, max) = (WORKFLOW_TASKS_MAX + 1, WORKFLOW_TASKS_MAX);
    assert_eq!(
        error,
        Err(SimplifiedError::Workflow(WorkflowError::TooManyTasks {
            tasks,
            max
        }))
    );
}

#[test]
fn deep_arguments_are_refused() {
    let nested = (0..VALUE_DEPTH_MAX).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let document = |arg: Value| {
        let input = Value::Map(
            [
                ("func".to_owned(), Value::String("sum".into())),
                ("args".to_owned(), Value::List(vec![arg])),
            ]
            .into(),
        );
        let run = Value::Map([("input".to_owned(), input)].into());
        Value::Map(
            [(
                "tasks".to_owned(),
                Value::List(vec![Value::Map([("run".to_owned(), run)].into())]),
            )]
            .into(),
        )
    };
    assert!(prepare(&document(nested.clone()), &Math, &Defaults::default()).is_ok());
    let error = prepare(
        &document(Value::List(vec![nested])),
        &Math,
        &Defaults::default(),
    )
    .expect_err("it is too deep");
    assert_eq!(
        error.to_string(),
        "tasks[0].run.input.args[0]: nested deeper than 64 levels"
    );
}
