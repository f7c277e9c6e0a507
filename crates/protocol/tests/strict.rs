//! What is not the one encoding of a thing is refused, whatever it might have meant.

use std::collections::BTreeMap;

use asterism_protocol::{
    DecodeError, Input, Out, Outcome, Task, Value, Workflow, blob_cid, content_cid, decode, encode,
    from_value, json_of,
    limits::{FRAME_BYTES_MAX, NAME_BYTES_MAX, VALUE_DEPTH_MAX},
    message::{ToCoordinator, ToExecutor, decode_frame},
    to_value, value_of_json,
};

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("it is hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[track_caller]
fn check_refused(hex: &str) {
    let decoded = decode::<Value>("value", &bytes_of_hex(hex), 1 << 20);
    assert!(
        matches!(decoded, Err(DecodeError::Malformed { .. })),
        "{decoded:?}"
    );
}

#[test]
fn what_is_canonical_passes() {
    let value = decode::<Value>(
        "value",
        &bytes_of_hex("a3 61 62 01 61 63 20 62 61 61 fb 3ff8000000000000"),
        64,
    );
    let expected = [
        ("b", Value::Integer(1)),
        ("c", Value::Integer(-1)),
        ("aa", Value::Float(1.5)),
    ];
    assert_eq!(
        value,
        Ok(Value::Map(
            expected.map(|(key, value)| (key.to_owned(), value)).into()
        ))
    );
}

#[test]
fn what_is_refused_is_told_in_words() {
    let told = |error: DecodeError| {
        let text = error.to_string();
        assert!(!text.contains(['{', '}', '"']), "{text}");
        text
    };
    for (hex, said) in [
        ("a2 61 62 01 61 61 02", "keys of a map are not in order"),
        ("18 01", "is not written in its shortest form"),
        ("61 ff", "a text is not UTF-8"),
        ("f9 3c00", "a float of fewer than 64 bits has no place"),
        ("d8 2b 00", "a tag that is not that of a link"),
    ] {
        let refused = decode::<Value>("value", &bytes_of_hex(hex), 64).expect_err(hex);
        let text = told(refused);
        assert!(text.contains(said), "{hex}: {text}");
    }
    for (hex, said) in [("01", "an integer where"), ("61 61", ""), ("80", "")] {
        let refused = decode_frame::<ToCoordinator>(&bytes_of_hex(hex)).expect_err(hex);
        let text = told(refused);
        assert!(text.contains(said), "{hex}: {text}");
    }
}

#[test]
fn keys_out_of_order_are_refused() {
    check_refused("a2 61 62 01 61 61 02");
    check_refused("a2 62 61 61 01 61 62 02"); // Bytewise sorted, but the longer one first.
}

#[test]
fn equal_keys_are_refused() {
    check_refused("a2 61 61 01 61 61 02");
}

#[test]
fn keys_that_are_no_strings_are_refused() {
    check_refused("a1 01 02");
    check_refused("a1 41 61 02");
}

#[test]
fn trailing_bytes_are_refused() {
    check_refused("01 01");
    check_refused("80 f6");
}

#[test]
fn longer_forms_than_needed_are_refused() {
    for hex in [
        "18 01",
        "19 0018",
        "1b 0000000000000001",
        "38 01",
        "58 01 61",
        "78 01 61",
        "98 01 01",
        "b8 00",
    ] {
        check_refused(hex);
    }
}

#[test]
fn indefinite_lengths_are_refused() {
    for hex in ["9f 01 ff", "bf 61 61 01 ff", "5f 41 61 ff", "7f 61 61 ff"] {
        check_refused(hex);
    }
}

#[test]
fn floats_that_have_no_place_are_refused() {
    for hex in [
        "fb 7ff8000000000000", // NaN
        "fb 7ff0000000000000", // infinities
        "fb fff0000000000000",
        "fb 8000000000000000", // -0.0
        "f9 3c00",             // 1.0 in 16 and in 32 bits
        "fa 3f800000",
    ] {
        check_refused(hex);
    }
}

#[test]
fn simple_values_and_tags_that_have_no_place_are_refused() {
    for hex in [
        "f7",
        "e0",
        "f8 20",
        "c0 60",
        "c2 41 01",
        "d8 2b 41 00",
        "d8 2a 41 00",
        "d8 2a 60",
    ] {
        check_refused(hex);
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    check_refused("61 ff");
}

#[test]
fn bytes_that_end_too_early_are_refused() {
    let whole = encode(&workflow());
    for end in 0..whole.len() {
        assert!(
            decode::<Workflow>("workflow", &whole[..end], whole.len()).is_err(),
            "{end}"
        );
    }
}

#[test]
fn more_entries_than_bytes_are_refused_before_they_are_allocated() {
    for hex in [
        "9b 7fffffffffffffff",
        "bb 7fffffffffffffff",
        "9a ffffffff 00",
        "bb ffffffffffffffff",
        "5b ffffffffffffffff",
    ] {
        check_refused(hex);
    }
}

#[test]
fn too_many_bytes_are_refused_by_number_alone() {
    let frame = vec![0; FRAME_BYTES_MAX + 1];
    let error = DecodeError::TooLarge {
        what: "message",
        size: FRAME_BYTES_MAX + 1,
        max: FRAME_BYTES_MAX,
    };
    assert_eq!(decode_frame::<ToCoordinator>(&frame), Err(error));
}

#[test]
fn a_hundred_thousand_levels_are_an_error_not_a_stack_overflow() {
    let lists = [vec![0x81; 100_000], vec![0x80]].concat();
    let maps = [b"\xa1\x61a".repeat(100_000), vec![0xa0]].concat();
    let tags = [b"\xd8\x2a".repeat(100_000), vec![0x40]].concat();
    for bytes in [lists, maps, tags] {
        assert!(decode::<Value>("value", &bytes, bytes.len()).is_err());
        assert!(decode::<Workflow>("workflow", &bytes, bytes.len()).is_err());
        assert!(decode_frame::<ToCoordinator>(&bytes).is_err());
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{\"/\":", "}")] {
        let json = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        assert!(value_of_json(json.as_bytes()).is_err());
    }
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]))
}

#[test]
fn json_as_deep_as_allowed_passes_and_no_deeper() {
    let json = |levels: usize| format!("{}null{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(
        value_of_json(json(VALUE_DEPTH_MAX).as_bytes()),
        Ok(nested(VALUE_DEPTH_MAX))
    );
    assert!(value_of_json(json(VALUE_DEPTH_MAX + 1).as_bytes()).is_err());
}

#[test]
fn equal_keys_and_other_mistakes_in_json_are_refused() {
    for json in [
        r#"{"a":1,"a":2}"#,
        r#"{"/":"bafy"}"#,
        r#"{"/":{"bytes":"?"}}"#,
        "1 2",
        "[1",
        "1e400",
        "NaN",
        "",
    ] {
        assert!(value_of_json(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn whole_numbers_beyond_64_bits_are_not_rounded_without_a_word() {
    for json in [
        "18446744073709551617",
        "99999999999999999999",
        "-9223372036854775809",
        r#"{"a\\\"5":["\\",-18446744073709551617]}"#,
    ] {
        let error = value_of_json(json.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains("is a whole number beyond 64 bits"),
            "{error}"
        );
    }
    for (json, float) in [
        ("18446744073709551616", 18_446_744_073_709_551_616.0),
        // As JavaScript writes it.
        ("18446744073709552000", 18_446_744_073_709_551_616.0),
        ("99999999999999999999.0", 100_000_000_000_000_000_000.0),
        ("1e300", 1e300),
    ] {
        assert_eq!(
            value_of_json(json.as_bytes()),
            Ok(Value::Float(float)),
            "{json}"
        );
    }
    let quoted = r#"[1e300,"99999999999999999999",18446744073709551615,-9223372036854775808]"#;
    assert!(value_of_json(quoted.as_bytes()).is_ok());
}

#[test]
fn a_key_that_stands_twice_in_json_is_told_by_its_name() {
    for (json, name) in [
        (r#"{"k":1,"k":2}"#, "k"),
        (
            r#"[{"a":{"b":[0.5,-1,null,true,""]}},{"k":{},"k":[]}]"#,
            "k",
        ),
        ("{\"a\\nb\":1,\"a\\u000ab\":1}", r"a\nb"),
    ] {
        let error = value_of_json(json.as_bytes()).unwrap_err().to_string();
        let told = format!("not a valid DAG-JSON value: the key `{name}` stands twice in one map");
        assert_eq!(error, told);
    }
}

#[test]
fn base64_with_padding_is_refused_with_the_right_form() {
    for (bytes, told) in [
        (
            "AA==",
            r#"`AA==` is padded, and base64 in DAG-JSON is not: write {"/": {"bytes": "AA"}}"#,
        ),
        (
            "AQI=",
            r#"`AQI=` is padded, and base64 in DAG-JSON is not: write {"/": {"bytes": "AQI"}}"#,
        ),
        ("A-_", "`A-_` is no base64 ("),
        ("A A=", "`A A=` is no base64 ("),
        ("AAAAA", "`AAAAA` is no base64 of whole bytes"),
        // Without the padding they would be refused as well.
        ("A===", "`A===` is no base64 of whole bytes"),
        ("AB==", "`AB==` is no base64 of whole bytes"),
        ("AAB=", "`AAB=` is no base64 of whole bytes"),
        ("AA`A", "`AA`A` is no base64 ("),
    ] {
        let json = format!(r#"[{{"/":{{"bytes":"{bytes}"}}}}]"#);
        let error = value_of_json(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let long = format!(r#"{{"/":{{"bytes":"{}="}}}}"#, "A".repeat(1_000_003));
    let error = value_of_json(long.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("is padded") && error.len() < 300, "{error}");
}

#[test]
fn zero_has_no_sign_in_json() {
    let value = value_of_json(b"[-0.0,{\"a\":-0.0}]").expect("it is JSON");
    assert_eq!(json_of(&value), r#"[0.0,{"a":0.0}]"#);
}

fn outcome() -> Outcome {
    let out = Out::Ok(Value::Null);
    Outcome {
        instruction: content_cid(b"instruction"),
        out,
        fuel: None,
        metering: "m".into(),
    }
}

fn workflow() -> Workflow {
    let json = r#"{"tasks":[{"cause":null,"meta":{},"prf":[],"run":{"input":{"args":[1],"func":"f"},"nnc":"","op":"wasm/run",
        "rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}}]}"#;
    let value = value_of_json(json.as_bytes()).expect("it is JSON");
    from_value("workflow", value).expect("it is a workflow")
}

/// The value of a map, for changing it.
fn entries(value: &mut Value) -> &mut BTreeMap<String, Value> {
    match value {
        Value::Map(map) => map,
        other => panic!("{other:?} is no map"),
    }
}

#[test]
fn fields_that_are_unknown_or_absent_are_refused() {
    let task = to_value(&workflow().tasks[0]);
    let refused = |task: Value| {
        assert!(
            from_value::<Task>("task", task.clone()).is_err(),
            "{task:?}"
        );
        assert!(
            decode::<Task>("task", &encode(&task), 1 << 20).is_err(),
            "{task:?}"
        );
    };
    for field in ["cause", "meta", "prf", "run"] {
        let mut short = task.clone();
        entries(&mut short).remove(field);
        refused(short);
    }
    let mut long = task.clone();
    entries(&mut long).insert("x".into(), Value::Null);
    refused(long);
    for field in ["rsc", "op", "input", "nnc"] {
        let mut short = task.clone();
        entries(entries(&mut short).get_mut("run").expect("a task has it")).remove(field);
        refused(short);
    }

    let mut short = to_value(&outcome());
    entries(&mut short).remove("fuel");
    assert!(decode::<Outcome>("outcome", &encode(&short), 1 << 20).is_err());
}

#[test]
fn nonces_of_other_lengths_are_refused() {
    let mut task = to_value(&workflow().tasks[0]);
    let mut with = |nnc: Value| {
        entries(entries(&mut task).get_mut("run").expect("a task has it"))
            .insert("nnc".into(), nnc);
        from_value::<Task>("task", task.clone()).is_ok()
    };
    assert!(with(Value::Bytes(vec![0; 12])) && with(Value::Bytes(vec![0; 16])));
    assert!(!with(Value::Bytes(vec![0; 13])) && !with(Value::Bytes(vec![])));
    assert!(
        with(Value::String("x".repeat(NAME_BYTES_MAX)))
            && !with(Value::String("x".repeat(NAME_BYTES_MAX + 1)))
    );
    assert!(!with(Value::Null) && !with(Value::Integer(0)));
}

#[test]
fn a_branch_other_than_ok_and_error_is_refused() {
    let mut value = to_value(&outcome());
    entries(&mut value).insert(
        "out".into(),
        Value::List(vec![Value::String("fine".into()), Value::Null]),
    );
    assert!(from_value::<Outcome>("outcome", value.clone()).is_err());
    entries(&mut value).insert("out".into(), Value::List(vec![Value::String("ok".into())]));
    assert!(from_value::<Outcome>("outcome", value.clone()).is_err());
    let three = vec![Value::String("ok".into()), Value::Null, Value::Null];
    entries(&mut value).insert("out".into(), Value::List(three));
    assert!(decode::<Outcome>("outcome", &encode(&value), 1 << 20).is_err());
}

#[test]
fn an_enum_has_one_form() {
    // A variant without fields is its name, not a map; one with fields is a map, not its name and then a value.
    assert_eq!(
        decode_frame(&bytes_of_hex("65 6c65617665")),
        Ok(ToCoordinator::Leave)
    );
    for hex in [
        "a1 65 6c65617665 f6",
        "a1 65 6c65617665",
        "69 686561727462656174 a1 66 6c6561736573 80",
    ] {
        assert!(
            decode_frame::<ToCoordinator>(&bytes_of_hex(hex)).is_err(),
            "{hex}"
        );
    }
    assert!(
        decode_frame::<ToExecutor>(&bytes_of_hex("65 6c65617665")).is_err(),
        "that is said the other way"
    );
}

#[test]
fn links_to_other_kinds_of_cid_are_refused_where_ours_are_wanted() {
    let mut task = to_value(&workflow().tasks[0]);
    for (text, ours) in [
        (
            "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
            true,
        ),
        ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKhCG7", false),
        ("bafkqaaa", false),
    ] {
        let json = format!(r#"{{"/":"{text}"}}"#);
        let Ok(link) = value_of_json(json.as_bytes()) else {
            panic!("{text} is a CID of some kind")
        };
        entries(&mut task).insert("cause".into(), link);
        assert_eq!(
            from_value::<Task>("task", task.clone()).is_ok(),
            ours,
            "{text}"
        );
    }
}

#[test]
fn a_link_with_bytes_behind_its_cid_is_refused() {
    let link = encode(&Value::Link(blob_cid(b"component").to_link()));
    // The string of 37 bytes grows by one.
    let mut longer = link.clone();
    assert_eq!(longer[..4], [0xd8, 42, 0x58, 37]);
    longer[3] += 1;
    longer.push(0);
    assert!(decode::<Value>("value", &link, link.len()).is_ok());
    assert!(decode::<Value>("value", &longer, longer.len()).is_err());
}

#[test]
fn no_files_have_one_encoding() {
    let input = |files: &str| format!(r#"{{"func":"f","args":[]{files}}}"#);
    let value = |files: &str| value_of_json(input(files).as_bytes()).expect("it is JSON");
    let none = from_value::<Input>("input", value("")).expect("it is an input");
    assert!(none.files.is_empty());
    assert_eq!(to_value(&none), value(""));
    for empty in [r#","files":{}"#, r#","files":null"#] {
        assert!(from_value::<Input>("input", value(empty)).is_err());
        let bytes = encode(&value(empty));
        let decoded = decode::<Input>("input", &bytes, bytes.len());
        assert!(
            matches!(decoded, Err(DecodeError::Malformed { .. })),
            "{decoded:?}"
        );
    }
    let some = value(r#","files":{"a":"b"}"#);
    let bytes = encode(&some);
    let read: Input = decode("input", &bytes, bytes.len()).expect("it is an input");
    assert_eq!(to_value(&read), some);
    assert_eq!(encode(&read), bytes);
}
