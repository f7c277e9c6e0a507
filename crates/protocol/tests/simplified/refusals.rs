//! What is refused, and in which words.

use asterism_protocol::{
    Defaults, SimplifiedError, Value, WorkflowError,
    limits::{VALUE_DEPTH_MAX, WORKFLOW_TASKS_MAX},
    mistakes, prepare, value_of_json,
};

use crate::{Math, check_refused, prepared};

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
fn an_unknown_key_hides_nothing_but_what_it_may_be() {
    let no_add =
        "tasks[0].run.input.func (task `a`): no component has a function `ad`, did you mean `add`?";
    let unknown = |key: &str| {
        format!("tasks[0].run.{key}: not known here: `name`, `input`, `rsc`, `op`, `nnc` are")
    };
    let in_input = "not known here: it stands in the `input` of a task's `run`";
    for (rest, told) in [
        (
            r#""note":{},"input":{"func":"ad"}"#,
            vec![unknown("note"), no_add.to_owned()],
        ),
        (
            r#""time":5,"input":{"func":"add","args":[1,"x"]}"#,
            vec![
                "tasks[0].run.time: not known here: it stands in a task's `meta`, beside `run`"
                    .to_owned(),
                "tasks[0].run.input.args[1] (task `a`): a string is not a number".to_owned(),
            ],
        ),
        (
            r#""note":5"#,
            vec![
                unknown("note"),
                "tasks[0].run (task `a`): `input` is missing: it names function and arguments"
                    .to_owned(),
            ],
        ),
        // What it may be is not missed, and whose function it is cannot be known.
        (
            r#""resource":"ipfs://x","input":{"func":"ad"}"#,
            vec![unknown("resource")],
        ),
        (
            r#""func":"ad""#,
            vec![format!("tasks[0].run.func: {in_input}")],
        ),
        (r#""given":{"func":"ad"}"#, vec![unknown("given")]),
    ] {
        let json = format!(r#"{{"tasks":[{{"run":{{"name":"a",{rest}}}}}]}}"#);
        let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
        let found = mistakes(&document, &Math);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, told, "{rest}");
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
fn all_mistakes_of_a_meta_are_told_at_once() {
    let meta = r#"{"memory":-1,"time":"long","fuel":0.5,"fule":1,"requires":{
        "capabilities":["gpu",1],"labels":{"region":7},"trust":"much","executor":5,"gpu":true}}"#;
    let json = format!(r#"{{"tasks":[{{"run":{{"input":{{"func":"now"}}}},"meta":{meta}}}]}}"#);
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    let found: Vec<_> = mistakes(&document, &Math)
        .iter()
        .map(ToString::to_string)
        .collect();
    let limit = "must be a whole number from 0 to 18446744073709551615";
    assert_eq!(
        found,
        [
            "tasks[0].meta.fule: not known here: `memory`, `time`, `fuel`, `requires` are",
            &format!("tasks[0].meta.memory: {limit}"),
            &format!("tasks[0].meta.time: {limit}"),
            &format!("tasks[0].meta.fuel: {limit}"),
            "tasks[0].meta.requires.capabilities: it is a list of names",
            "tasks[0].meta.requires.executor: it is a name or a did:key",
            "tasks[0].meta.requires.gpu: not known here, only capabilities, labels, trust, executor",
            "tasks[0].meta.requires.labels: it is a map from names to texts",
            "tasks[0].meta.requires.trust: it is `trusted` or `any`",
        ]
    );
}

#[test]
fn limits_of_a_full_workflow_are_what_others_wrote() {
    let rsc = asterism_protocol::blob_cid(b"a component");
    let json = format!(
        r#"{{"tasks":[{{"cause":null,"meta":{{"fuel":18446744073709552000}},"prf":[],"run":{{"input":{{"args":[],"func":"now"}},
        "nnc":"","op":"wasm/run","rsc":"ipfs://{rsc}"}}}}]}}"#
    );
    assert!(prepared(&json).is_ok());
    let document = value_of_json(json.as_bytes()).expect("the test's text is JSON");
    let found = mistakes(&document, &Math);
    assert!(found.is_empty(), "{found:?}");
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
