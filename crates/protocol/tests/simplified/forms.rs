//! What is left out and what is said, and what becomes of it.

use asterism_protocol::{
    Await, Defaults, Nonce, Prepared, Promise, Sketched, Value, blob_cid, prepare, sketch,
    value_of_json,
};

use crate::{ADD_SUBTRACT, Math, Nothing, math, prepared};

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
fn a_sketch_leaves_open_places_as_they_are_written() {
    let json = r#"{"tasks":[
        {"run":{"name":"last","input":{"func":"{{ args.f }}","args":["{{needs.first.output}}",["{{needs.{{args.n}}.error}}"]],
            "files":{"x":"{{needs.{{ args.n }}.output}}","y":"{{ needs.first.error }}","z":"{{needs.absent.output}}"}}}},
        {"run":{"input":{"func":"sum","args":"{{args.list}}"}}},
        {"run":{"name":"first","input":{"func":"now","args":["of {{args.day}}"]}}}]}"#;
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    let task = |name: &str, func: &str, needs: &[u32]| Sketched {
        name: name.to_owned(),
        func: func.to_owned(),
        needs: needs.to_vec(),
    };
    assert_eq!(
        sketch(&document),
        [
            task("last", "{{ args.f }}", &[2]),
            task("", "sum", &[]),
            task("first", "now", &[])
        ]
    );
}
