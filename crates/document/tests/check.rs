//! Texts and what is found in them.

use asterism_document::{Filled, Finding, Format, check, prepared, read};
use asterism_protocol::{
    Awaited, Cid, Defaults, FunctionLookup, Value, blob_cid, encode, json_of, value_of_json,
};
use proptest::prelude::*;

/// `add` of two numbers.
struct Add;

impl FunctionLookup for Add {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        match func {
            "add" => Ok((rsc.unwrap_or_else(|| blob_cid(b"math")), func.into())),
            _ => Err(format!("no component here exports `{func}`")),
        }
    }

    fn canonical(&self, cid: Cid, func: &str, args: Vec<Value>) -> Result<Vec<Value>, String> {
        let mistakes = self.mistakes(cid, func, args.clone(), &|_| None);
        match mistakes.into_iter().next() {
            Some(mistake) => Err(mistake),
            None => Ok(args),
        }
    }

    fn mistakes(
        &self,
        _: Cid,
        func: &str,
        args: Vec<Value>,
        _: &dyn Fn(Cid) -> Option<Awaited>,
    ) -> Vec<String> {
        if args.len() != 2 {
            return vec![format!(
                "args: `{func}` takes 2 arguments, {} are given",
                args.len()
            )];
        }
        let odd = args
            .iter()
            .enumerate()
            .filter(|(_, arg)| matches!(arg, Value::String(_)));
        odd.map(|(index, _)| format!("args[{index}]: a string is not a number"))
            .collect()
    }
}

fn found(text: &str) -> Vec<String> {
    check(text.as_bytes(), &Add)
        .iter()
        .map(Finding::to_string)
        .collect()
}

const BAD_YAML: &str = r#"# five mistakes
tasks:
  - run:
      name: a
      input:
        func: add
        args: ["{{needs.b.output}}", x]
    mta: {}
  - run:
      nam: b
      input: {func: sub, args: [1, 2]}
  - run:
      name: "ä"
      op: wasm/walk
      input: {func: add, args: [1]}
"#;

#[test]
fn mistakes_of_form_hide_no_others_where_those_can_be_known() {
    assert_eq!(
        found(BAD_YAML),
        [
            "7:38: tasks[0].run.input.args[1]: a string is not a number (task `a`)",
            "8:10: tasks[0].mta: not known here, did you mean `meta`?",
            "10:12: tasks[1].run.nam: not known here, did you mean `name`?",
            "11:21: tasks[1].run.input.func: no component here exports `sub`",
            "14:11: tasks[2].run.op: `wasm/walk` is not known, `wasm/run` is (task `ä`)",
            "15:32: tasks[2].run.input.args: `add` takes 2 arguments, 1 are given (task `ä`)",
        ]
    );
}

#[test]
fn once_the_form_is_right_all_mistakes_of_meaning_are_found() {
    let better = BAD_YAML
        .replace("    mta: {}\n", "")
        .replace("nam: b", "name: b");
    assert_eq!(
        found(&better),
        [
            "7:38: tasks[0].run.input.args[1]: a string is not a number (task `a`)",
            "10:21: tasks[1].run.input.func: no component here exports `sub` (task `b`)",
            "13:11: tasks[2].run.op: `wasm/walk` is not known, `wasm/run` is (task `ä`)",
            "14:32: tasks[2].run.input.args: `add` takes 2 arguments, 1 are given (task `ä`)",
        ]
    );
    let last = better
        .replace(", x]", ", 1]")
        .replace("sub", "add")
        .replace("[1]", "[1, 2]");
    assert_eq!(
        found(&last),
        ["13:11: tasks[2].run.op: `wasm/walk` is not known, `wasm/run` is (task `ä`)"]
    );
    assert!(found(&last.replace("wasm/walk", "wasm/run")).is_empty());
}

#[test]
fn places_in_json_are_where_the_value_stands() {
    let json = "{\n  \"tasks\": [\n    {\"run\": {\"name\": \"ä\", \"input\": {\"func\": \"add\",\n      \"args\": [1, \"x\"]}}},\n    {\"run\": {\"name\": \"ä\", \"input\": {\"func\": \"add\", \"args\": [\"{{needs.c.output}}\", 1]}}}]}";
    assert_eq!(
        found(json),
        [
            "4:19: tasks[0].run.input.args[1]: a string is not a number (task `ä`)",
            "5:22: tasks[1].run.name: tasks[0] has the same name: give each its own (task `ä`)",
            "5:61: tasks[1].run.input.args[0]: no task has the name `c`, did you mean `ä`? (task `ä`)",
        ]
    );
    // A workflow that a client of Homestar wrapped.
    let wrapped = "{\"name\": \"x\",\n \"workflow\": {\"tasks\": [{\"run\": 5}]}}";
    assert_eq!(
        found(wrapped),
        ["2:33: workflow.tasks[0].run: must be a map of `name`, `input`, `rsc`, `op`, `nnc`"]
    );
}

#[test]
fn mistakes_in_files_are_where_the_path_stands() {
    let yaml = "tasks:
  - run:
      name: a
      input:
        func: add
        args: [1, 2]
        files:
          data/in.csv: {\"/\": bafkreih2fsgmj4ubo2565vfxg3pvngruy6ong4r6t3cc7ftuwtkgvrvyxa}
          data/in.csv.d: 5
          ../out: x
          note: '{{needs.b.output}}'
";
    assert_eq!(
        found(yaml),
        [
            "9:26: tasks[0].run.input.files.data/in.csv.d: a file is a link to a blob, {\"/\": \"bafk…\"}, bytes, \
             {\"/\": {\"bytes\": \"…\"}}, a text, or a promise of one of these (task `a`)",
            "10:19: tasks[0].run.input.files.../out: a path has no part `..`: write it as `data/in.csv`, from the root \
             of what the guest sees (task `a`)",
            "11:17: tasks[0].run.input.files.note: no task has the name `b`, did you mean `a`? (task `a`)",
        ]
    );
}

#[test]
fn a_text_that_cannot_be_read_says_where() {
    let check = |text: &str, words: &str| {
        let found = found(text);
        assert!(
            found.len() == 1 && found[0].contains(words),
            "{text:?}: {found:?} does not say {words:?}"
        );
    };
    check("", "1:1: the document is empty");
    check(
        "{\"tasks\": [}",
        "1:12: not a valid JSON document: expected value",
    );
    check("{\"tasks\": []", "not a valid JSON document: EOF");
    check("tasks: [1, 2\n", "not a valid YAML document");
    check(
        "{\"a\": 1,\n \"a\": 2}",
        "2:2: the key `a` stands twice in one map",
    );
    check("a: 1\na: 2\n", "2:1: the key `a` stands twice in one map");
    check("a: &x 1\n", "1:");
    check("a: !!str 1\n", "tags are not read here");
    check("a: 1\n---\nb: 1\n", "a second document begins here");
    check(
        "a: 123456789012345678901234567890\n",
        "1:4: 123456789012345678901234567890 is no number",
    );
    check("{\"a\": [1,\n  1e400]}", "2:3: ");
    check(
        "{\"a\": [1e30,\n  99999999999999999999]}",
        "2:3: not a valid DAG-JSON value: `99999999999999999999` is a whole number beyond 64 bits",
    );
    check("{\"a\": [1,\n  {\"/\": \"no CID\"}]}", "2:3: ");
    check(
        "{\"a\": [1,\n  {\"/\": {\"bytes\": \"AA==\"}}]}",
        "2:3: not a valid DAG-JSON value: `AA==` is padded, and base64 in DAG-JSON is not",
    );
    let deep = format!("{{\"a\":\n{}{}}}", "[".repeat(70), "]".repeat(70));
    check(&deep, "2:65: it is nested deeper than 64");
    let deep = "[".repeat(100_000);
    check(&deep, "not a valid JSON document");
    let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
    check(&deep, "nested deeper than");
    let deep = format!("a: {}{}", "[".repeat(500), "]".repeat(500));
    check(&deep, "not a valid YAML document: recursion limit exceeded");
    let bytes = asterism_document::check(b"tasks: \xff", &Add);
    assert_eq!(
        bytes[0].to_string(),
        "1:8: the document is not a valid text in UTF-8"
    );
    let list = asterism_document::check(b"\x83\x01\x02\x03", &Add);
    assert_eq!(
        list[0].to_string(),
        "the document is neither a text in UTF-8 nor a map in DAG-CBOR"
    );
}

#[test]
fn scalars_of_yaml_are_those_of_its_core_schema() {
    let check = |yaml: &str, json: &str| {
        let value = value_of_json(json.as_bytes()).unwrap();
        assert_eq!(
            read(format!("v: {yaml}\n").as_bytes()).unwrap(),
            Value::Map([("v".into(), value)].into()),
            "{yaml}"
        );
    };
    for (yaml, json) in [
        ("no", "\"no\""),
        ("true", "true"),
        ("~", "null"),
        ("007", "7"),
        ("0x1f", "31"),
        ("-5", "-5"),
        ("1.50", "1.5"),
        ("2.0", "2.0"),
        ("1e3", "1000.0"),
        ("'5'", "\"5\""),
        (".inf", "\"Infinity\""),
        ("18446744073709551615", "18446744073709551615"),
        ("1.2.3", "\"1.2.3\""),
        ("2020-01-01", "\"2020-01-01\""),
        ("\"{{needs.a.output}}\"", "\"{{needs.a.output}}\""),
        ("{\"/\": {bytes: aGk}}", "{\"/\": {\"bytes\": \"aGk\"}}"),
        ("|\n  two\n  lines", "\"two\\nlines\\n\""),
    ] {
        check(yaml, json);
    }
}

#[test]
fn what_is_prepared_is_what_no_mistake_is_found_in() {
    let rsc = format!("ipfs://{}", blob_cid(b"math"));
    let full = |func: &str, args: &str, meta: &str| {
        format!(
            r#"{{"tasks":[{{"cause":null,"meta":{meta},"prf":[],"run":{{"input":{{"args":{args},"func":"{func}"}},"nnc":"",
            "op":"wasm/run","rsc":"{rsc}"}}}}]}}"#
        )
    };
    let simple = |args: &str| {
        format!(r#"{{"tasks":[{{"run":{{"name":"a","input":{{"func":"add","args":{args}}}}}}}]}}"#)
    };
    let lost = format!(
        r#"[{{"await/ok":{{"/":"{}"}}}},1]"#,
        blob_cid(b"no instruction")
    );
    for (text, mistakes) in [
        (BAD_YAML.to_owned(), 6),
        ("{".to_owned(), 1),
        (simple("[1,2]"), 0),
        (simple(r#"["x",2]"#), 1),
        (full("add", "[1,2]", "{}"), 0),
        (full("add", "[1,2]", r#"{"fuel":18446744073709552000}"#), 0),
        (full("add", r#"[1,"x"]"#, "{}"), 1),
        (full("sub", "[1,2]", r#"{"requires":{"trust":7}}"#), 2),
        (full("sub", "[1,2]", "{}"), 1),
        (full("add", &lost, "{}"), 0),
    ] {
        let prepared = prepared(text.as_bytes(), &Add, &Defaults::default());
        let found = check(text.as_bytes(), &Add);
        assert_eq!(found.len(), mistakes, "{text}: {found:?}");
        match prepared {
            Ok(prepared) => assert!(found.is_empty() && prepared.workflow.tasks.len() == 1),
            Err(odd) => assert_eq!(odd, found, "{text}"),
        }
    }
}

#[test]
fn arguments_of_a_document_are_filled_in() {
    let document =
        read(br#"{"a": "{{args.n}}", "b": ["x {{args.n}} y {{args.t}}", "{{needs.a.output}}"]}"#)
            .unwrap();
    let args = |pairs: &[(&str, Value)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    };
    let both = args(&[("n", Value::Integer(5)), ("t", Value::String("z".into()))]);
    let filled = asterism_document::with_args(&document, &both).unwrap();
    assert_eq!(
        filled.document,
        read(br#"{"a": 5, "b": ["x 5 y z", "{{needs.a.output}}"]}"#).unwrap()
    );
    let refused = |args| asterism_document::with_args(&document, &args).unwrap_err();
    assert!(refused(args(&[("n", Value::Integer(5))])).contains("`t` has no value"));
    let more = args(&[("n", Value::Null), ("t", Value::Null), ("u", Value::Null)]);
    assert!(refused(more).contains("nothing in it says {{args.u}}"));
}

#[test]
fn a_place_may_have_spaces_inside_its_braces() {
    let document = read(
        br#"{"a": "{{ args.n }}", "b": "{{{\targs.n }}} of {{ args.t }}{{ x }}", "c": "{{ args.n", "d": "{{args. n}}"}"#,
    )
    .unwrap();
    let n = [("n".to_owned(), Value::Integer(5))].into();
    let filled = Filled::of(&document, &n).unwrap();
    assert_eq!(
        filled.document,
        read(br#"{"a": 5, "b": "{5} of {{ args.t }}{{ x }}", "c": "{{ args.n", "d": 5}"#).unwrap()
    );
    assert_eq!(filled.open, [("b".to_owned(), "t".to_owned())]);
    let asks = |text: &str| asterism_document::asks_for_args(text.as_bytes());
    assert!(asks("x: '{{args.n}}'") && asks("x: '{{  args.n }}'") && asks("{{{ args.n }}}"));
    assert!(!asks("{{needs.args.output}}") && !asks("{ {args.n}}") && !asks("{{ arg.n }}{{"));
}

#[test]
fn what_has_no_value_is_told_where_it_stands_and_the_rest_is_where_it_was_written() {
    let yaml = "tasks:
  - run:
      name: a
      input: {func: add, args: ['{{args.n}}', '{{args.t}}']}
    meta: {memory: '{{args.m}}', tme: 5}
  - run: {name: b, input: {func: '{{args.f}}', args: [1, 'x {{args.n}} {{args.g}}']}}
";
    let document = read(yaml.as_bytes()).unwrap();
    let args = [
        ("n".to_owned(), Value::Integer(1)),
        ("t".to_owned(), Value::String("x".into())),
    ]
    .into();
    let filled = Filled::of(&document, &args).unwrap();
    let sent = json_of(&filled.document);
    let found = filled.findings(yaml.as_bytes(), check(sent.as_bytes(), &Add));
    let said: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert_eq!(
        said,
        [
            "4:47: tasks[0].run.input.args[1]: `--arg t`: a string is not a number (task `a`)",
            "5:20: tasks[0].meta.memory: `{{args.m}}` has no value",
            "5:39: tasks[0].meta.tme: not known here, did you mean `time`? (task `a`)",
            "6:34: tasks[1].run.input.func: `{{args.f}}` has no value",
            "6:58: tasks[1].run.input.args[1]: `{{args.g}}` has no value",
        ]
    );
    assert!(found[1].hint.contains("--arg m=VALUE"), "{found:?}");
}

#[test]
fn formats_are_told_by_how_they_begin() {
    let value = Value::Map([("a".into(), Value::Integer(1))].into());
    let cbor = encode(&value);
    assert_eq!(Format::of(&cbor), Format::Cbor);
    assert_eq!(Format::of(b"\xef\xbb\xbf \n{}"), Format::Json);
    assert_eq!(Format::of(b"tasks:"), Format::Yaml);
    assert_eq!(read(&cbor).unwrap(), value);
    assert_eq!(read("\u{feff}{\"a\":1}".as_bytes()).unwrap(), value);
    assert_eq!(read(b"\xa1aa").unwrap_err()[0].line, 0);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(&bytes, &Add);
    }

    #[test]
    fn no_text_like_a_document_makes_it_panic(text in r#"[\[\]{}:,"'\\ \n\-a1&*!|>#?%]{0,80}"#) {
        let _ = check(text.as_bytes(), &Add);
    }

    /// What JSON says, the same text says as YAML, where that reads it (YAML knows no surrogate pairs).
    #[test]
    fn json_below_a_key_is_yaml(number in any::<i64>(), float in -1e9..1e9_f64, text in "[ -~]{0,20}") {
        let json = serde_json::json!({ "n": number, "f": float, "t": text, "l": [null, true] }).to_string();
        let (as_json, as_yaml) = (read(json.as_bytes()).unwrap(), read(format!("v: {json}\n").as_bytes()).unwrap());
        prop_assert_eq!(as_yaml, Value::Map([("v".into(), as_json)].into()));
    }
}

#[test]
fn columns_are_counted_in_characters_along_a_line_of_many_tasks() {
    let task = r#"{"run":{"input":{"args":["ä",2],"func":"sub"}}},"#;
    let text = format!(
        "{{\"tasks\":[\n{}\n]}}",
        task.repeat(50_000).trim_end_matches(',')
    );
    let mut findings = check(text.as_bytes(), &Add);
    let more = findings.pop().expect("more than are told");
    assert!(more.message.ends_with(" more mistakes follow"), "{more}");
    let width = task.chars().count();
    let at = |what: &str| {
        let (before, _) = task.split_once(what).expect("it is there");
        before.chars().count() + 1
    };
    assert_eq!(findings.len(), 1_000);
    for (place, finding) in findings.iter().enumerate() {
        assert_eq!(finding.line, 2);
        let (column, task) = (finding.column as usize - 1, format!("tasks[{place}]"));
        assert!(finding.path.starts_with(&task), "{finding}");
        assert_eq!(column / width, place);
        assert_eq!(column % width + 1, at("\"sub\""));
    }
}
