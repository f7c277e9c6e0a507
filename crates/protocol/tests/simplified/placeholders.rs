//! Texts that stand for something else, and those that do not.

use asterism_protocol::{Value, blob_cid, mistakes, value_of_json};

use crate::{Math, check_refused, math, prepared};

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
