//! Values go in and out by type, without loss.

use std::collections::BTreeMap;

use asterism_component::{
    Function, Type, Val, args_of_values, can_come_to, canonical_args, out_of_val, val_of_value,
    value_of_val,
};
use asterism_protocol::{
    Await, Out, Promise, Value, blob_cid, content_cid, encode, json_of, value_of_json,
};
use proptest::prelude::*;
use serde_bytes::ByteBuf;

fn function(types: &[Type]) -> Function {
    let params = types
        .iter()
        .enumerate()
        .map(|(n, ty)| (format!("p{n}"), ty.clone()));
    Function {
        name: "f".into(),
        params: params.collect(),
        result: None,
    }
}

fn json(text: &str) -> Value {
    value_of_json(text.as_bytes()).expect("the text of the test is DAG-JSON")
}

fn args(text: &str) -> Vec<Value> {
    match json(text) {
        Value::List(args) => args,
        other => panic!("arguments are a list, not {other:?}"),
    }
}

/// Reads one argument and writes it again.
fn there_and_back(ty: &Type, text: &str) -> Result<String, String> {
    let val = val_of_value(ty, &json(text), &BTreeMap::new(), "args[0]");
    val.map(|val| json_of(&value_of_val(ty, &val)))
        .map_err(|error| error.to_string())
}

fn list(ty: Type) -> Type {
    Type::List(Box::new(ty))
}

fn option(ty: Type) -> Type {
    Type::Option(Box::new(ty))
}

fn result(ok: Option<Type>, err: Option<Type>) -> Type {
    Type::Result {
        ok: ok.map(Box::new),
        err: err.map(Box::new),
    }
}

fn point() -> Type {
    Type::Record(vec![
        ("x".into(), Type::F64),
        ("line-width".into(), Type::U8),
        ("label".into(), option(Type::String)),
    ])
}

#[test]
fn every_accepted_form_becomes_the_canonical_one() {
    let shape = Type::Variant(vec![
        ("circle".into(), Some(Type::F64)),
        ("nothing".into(), None),
    ]);
    let pairs = list(Type::Tuple(vec![Type::String, Type::U32]));
    let either = result(Some(Type::U32), Some(Type::String));
    for (ty, given, canonical) in [
        (&Type::U8, "5.0", "5"),
        (
            &Type::S64,
            "\"-9223372036854775808\"",
            "-9223372036854775808",
        ),
        (
            &Type::U64,
            "\"18446744073709551615\"",
            "18446744073709551615",
        ),
        (&Type::F64, "5", "5.0"),
        (&Type::F64, "\"NaN\"", "\"NaN\""),
        (&Type::F32, "\"-Infinity\"", "\"-Infinity\""),
        (&Type::F32, "0.1", "0.10000000149011612"),
        (&Type::F32, "16777216", "16777216.0"),
        (&Type::Char, "\"🛰\"", "\"🛰\""),
        (&Type::String, "\"null\"", "\"null\""),
        (&list(Type::U8), "[]", r#"{"/":{"bytes":""}}"#),
        (&list(Type::U8), "[0,255]", r#"{"/":{"bytes":"AP8"}}"#),
        (&pairs, r#"{"b":2,"a":1}"#, r#"[["a",1],["b",2]]"#),
        (
            &point(),
            r#"{"x":1,"lineWidth":2}"#,
            r#"{"label":null,"line-width":2,"x":1.0}"#,
        ),
        (
            &point(),
            r#"{"x":1,"line_width":2,"label":"l"}"#,
            r#"{"label":"l","line-width":2,"x":1.0}"#,
        ),
        (&shape, "\"nothing\"", r#"{"nothing":null}"#),
        (&shape, r#"{"circle":2}"#, r#"{"circle":2.0}"#),
        (
            &Type::Enum(vec!["red".into(), "green".into()]),
            "\"green\"",
            "\"green\"",
        ),
        (
            &Type::Flags(vec!["read".into(), "write".into()]),
            r#"["write","read"]"#,
            r#"["read","write"]"#,
        ),
        (&either, "[1,null]", r#"{"ok":1}"#),
        (&either, "[null,\"e\"]", r#"{"err":"e"}"#),
        (
            &result(None, Some(Type::String)),
            r#"{"ok":null}"#,
            r#"{"ok":null}"#,
        ),
        (&option(Type::U8), "null", "null"),
        (&option(option(Type::U8)), "[]", "[]"),
        (&option(option(Type::U8)), "[null]", "[null]"),
        (&option(option(Type::U8)), "[7]", "[7]"),
        (&option(option(option(Type::U8))), "null", "null"),
        (&option(option(option(Type::U8))), "[]", "[]"),
    ] {
        assert_eq!(
            there_and_back(ty, given).as_deref(),
            Ok(canonical),
            "{given} as {ty}"
        );
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let points = list(point());
    for (ty, given, reason) in [
        (&Type::U8, "300", "args[0]: 300 does not fit u8"),
        (
            &Type::U8,
            "1.5",
            "args[0]: 1.5 is not a whole number, u8 is",
        ),
        (
            &Type::U64,
            "\"12a\"",
            "args[0]: \"12a\" is not a decimal number",
        ),
        (
            &Type::S64,
            "-9223372036854775808.0",
            "args[0]: -9.223372036854776e18 may have been rounded: write a whole number of more than 53 bits without a \
             fraction or an exponent, or as a text",
        ),
        (
            &list(Type::U64),
            "[9007199254740991.0,9007199254740993.0]",
            "args[0][1]: 9007199254740992.0 may have been rounded",
        ),
        (
            &list(Type::S64),
            "[1,9223372036854775808]",
            "args[0][1]: 9223372036854775808 does not fit s64",
        ),
        (
            &Type::U64,
            "18446744073709551616",
            "args[0]: 1.8446744073709552e19 does not fit u64",
        ),
        (&Type::F32, "1e300", "args[0]: 1e300 does not fit f32"),
        (&Type::F32, "16777217", "args[0]: 16777217 has no exact f32"),
        (
            &Type::F64,
            "9007199254740993",
            "args[0]: 9007199254740993 has no exact f64",
        ),
        (&Type::Char, "\"ab\"", "is not one character"),
        (
            &list(Type::U8),
            "[1,256]",
            "args[0][1]: 256 does not fit u8",
        ),
        (&list(Type::U8), "\"AP8\"", "a string is not bytes"),
        (
            &points,
            r#"[{"x":1,"line-width":2},{"x":1,"line-width":300}]"#,
            "args[0][1].line-width: 300 does not fit u8",
        ),
        (
            &points,
            r#"[{"x":1}]"#,
            "args[0][0]: the field `line-width` is missing",
        ),
        (
            &points,
            r#"[{"x":1,"line-width":2,"z":3}]"#,
            "there is no field `z`, only x, line-width, label",
        ),
        (
            &points,
            r#"[{"x":1,"line-width":2,"lineWidth":2}]"#,
            "given twice",
        ),
        (&Type::Tuple(vec![Type::U8]), "[1,2]", "a list of 2"),
        (&result(None, None), "[null,null]", "{\"ok\": value}"),
        (&option(option(Type::U8)), "null", "[] or [value]"),
    ] {
        let error = there_and_back(ty, given).expect_err(given);
        assert!(error.contains(reason), "{given} as {ty}: {error}");
    }
}

#[test]
fn what_a_task_came_to_is_read_where_a_result_is_wanted() {
    let numbers = result(Some(Type::U32), Some(Type::String));
    let texts = result(Some(Type::String), None);
    let maybe = result(Some(option(Type::U8)), Some(Type::U8));
    let bare = result(None, None);
    for (ty, given, canonical) in [
        (&numbers, r#"["ok",1]"#, r#"{"ok":1}"#),
        (&numbers, r#"["error","e"]"#, r#"{"err":"e"}"#),
        (&list(numbers.clone()), r#"[["ok",1]]"#, r#"[{"ok":1}]"#),
        (&option(numbers.clone()), r#"["ok",1]"#, r#"{"ok":1}"#),
        (&bare, r#"["ok",null]"#, r#"{"ok":null}"#),
        (&bare, r#"["error",null]"#, r#"{"err":null}"#),
        (&maybe, r#"["ok",null]"#, r#"{"ok":null}"#),
        // No text without a payload: the success with that text, as Homestar writes it.
        (&texts, r#"["ok",null]"#, r#"{"ok":"ok"}"#),
        (&texts, r#"["ok","ok"]"#, r#"{"ok":"ok"}"#),
    ] {
        assert_eq!(
            there_and_back(ty, given).as_deref(),
            Ok(canonical),
            "{given} as {ty}"
        );
    }
    for (ty, given, reason) in [
        (
            &numbers,
            r#"["okay",1]"#,
            "{\"ok\": value} or {\"err\": value}",
        ),
        (
            &numbers,
            r#"["error",5]"#,
            "args[0][1]: 5 where string is wanted",
        ),
        (
            &numbers,
            r#"["ok",null]"#,
            "args[0][1]: null where u32 is wanted",
        ),
        (
            &texts,
            r#"["error",null]"#,
            "args[0]: [\"error\", null] may be {\"ok\": \"error\"} as well as {\"err\": null}",
        ),
    ] {
        let error = there_and_back(ty, given).expect_err(given);
        assert!(error.contains(reason), "{given} as {ty}: {error}");
    }
}

#[test]
fn promises_that_no_outcome_keeps_are_known_by_type() {
    let returns = |ty| Function {
        result: ty,
        ..function(&[])
    };
    let fallible = returns(Some(result(Some(Type::U32), Some(Type::String))));
    let point_of = |ty| Type::Record(vec![("x".into(), ty)]);
    for (source, branch, wanted, can) in [
        (&returns(Some(Type::String)), Await::Ok, Type::U32, false),
        (&returns(Some(Type::U64)), Await::Ok, Type::F32, true),
        (&returns(Some(Type::U8)), Await::Ok, Type::String, false),
        // NaN is a text.
        (&returns(Some(Type::F64)), Await::Ok, Type::String, true),
        (&returns(Some(Type::U8)), Await::Ok, option(Type::S8), true),
        (&returns(Some(option(Type::U8))), Await::Ok, Type::S8, true),
        (&returns(None), Await::Ok, Type::Bool, false),
        (&returns(None), Await::Ok, option(Type::Bool), true),
        // It may be empty.
        (
            &returns(Some(list(Type::String))),
            Await::Ok,
            list(Type::U32),
            true,
        ),
        (
            &returns(Some(list(Type::U8))),
            Await::Ok,
            list(Type::U32),
            false,
        ),
        (
            &returns(Some(point_of(Type::Bool))),
            Await::Ok,
            point_of(Type::U8),
            false,
        ),
        (
            &returns(Some(point_of(Type::F32))),
            Await::Ok,
            point_of(Type::U8),
            true,
        ),
        (
            &returns(Some(point_of(Type::F32))),
            Await::Ok,
            point(),
            false,
        ),
        (&fallible, Await::Ok, Type::U32, true),
        (&fallible, Await::Ok, Type::Bool, false),
        (&fallible, Await::Error, Type::String, true),
        (&fallible, Await::Error, Type::Bool, false),
        // A trap is told as a map of texts.
        (
            &fallible,
            Await::Error,
            Type::Map(Box::new(Type::String), Box::new(Type::String)),
            true,
        ),
        (
            &fallible,
            Await::Any,
            fallible.result.clone().unwrap(),
            true,
        ),
        (
            &fallible,
            Await::Any,
            Type::Tuple(vec![Type::String, Type::U32]),
            true,
        ),
        (&fallible, Await::Any, Type::U32, false),
        (&fallible, Await::Any, option(Type::U32), false),
    ] {
        assert_eq!(
            can_come_to(source, branch, &wanted),
            can,
            "{} on {branch:?} as {wanted}",
            source.signature()
        );
    }
}

#[test]
fn the_number_of_arguments_is_checked() {
    let error = args_of_values(&function(&[Type::U8]), &args("[1,2]"), &BTreeMap::new())
        .expect_err("one too many");
    assert_eq!(
        error.to_string(),
        "args: `f(p0: u8)` takes 1 argument, 2 are given"
    );
}

#[test]
fn links_are_looked_up_where_bytes_are_wanted() {
    let cid = blob_cid(b"picture");
    let link = Value::Link(cid.to_link());
    let blobs = BTreeMap::from([(cid, ByteBuf::from(b"picture".to_vec()))]);
    let bytes = function(&[list(Type::U8)]);
    assert_eq!(
        args_of_values(&bytes, std::slice::from_ref(&link), &blobs),
        Ok(vec![Val::Bytes(b"picture".to_vec())])
    );
    assert!(args_of_values(&bytes, std::slice::from_ref(&link), &BTreeMap::new()).is_err());
    assert!(args_of_values(&function(&[Type::String]), &[link], &blobs).is_err());
}

#[test]
fn canonical_arguments_keep_promises_and_links_where_they_stand() {
    let promise = Promise {
        branch: Await::Ok,
        instruction: content_cid(b"another"),
    }
    .to_value();
    let link = Value::Link(blob_cid(b"picture").to_link());
    let nested = |width: Value| {
        Value::Map(BTreeMap::from([
            ("x".into(), promise.clone()),
            ("lineWidth".into(), width),
        ]))
    };
    let function = function(&[Type::F64, list(Type::U8), point(), Type::U8]);
    let given = [
        Value::Integer(5),
        link.clone(),
        nested(Value::Float(2.0)),
        promise.clone(),
    ];
    let canonical = canonical_args(&function, &given).expect("they fit");
    assert_eq!(canonical[0], Value::Float(5.0));
    assert_eq!(canonical[1], link);
    let expected = [
        ("label", Value::Null),
        ("line-width", Value::Integer(2)),
        ("x", promise.clone()),
    ];
    assert_eq!(
        canonical[2],
        Value::Map(expected.map(|(key, value)| (key.to_owned(), value)).into())
    );
    assert_eq!(canonical[3], promise);
    let wrong = canonical_args(
        &function,
        &[promise.clone(), link, promise, Value::Integer(256)],
    );
    assert_eq!(
        wrong.expect_err("256").to_string(),
        "args[3]: 256 does not fit u8"
    );
}

#[test]
fn the_functions_own_result_is_the_branch_of_the_outcome() {
    let with = |ty| Function {
        result: ty,
        ..function(&[])
    };
    let text = |text: &str| Some(Box::new(Val::String(text.into())));
    let either = with(Some(result(Some(Type::String), Some(Type::String))));
    assert_eq!(
        out_of_val(&either, Some(&Val::Result(Ok(text("fine"))))),
        Out::Ok(Value::String("fine".into()))
    );
    assert_eq!(
        out_of_val(&either, Some(&Val::Result(Err(text("bad"))))),
        Out::Error(Value::String("bad".into()))
    );
    let bare = with(Some(result(None, None)));
    assert_eq!(
        out_of_val(&bare, Some(&Val::Result(Err(None)))),
        Out::Error(Value::Null)
    );
    assert_eq!(out_of_val(&with(None), None), Out::Ok(Value::Null));
    // Only at the top; deeper it is a value like others.
    let nested = with(Some(list(result(None, Some(Type::String)))));
    let val = Val::List(vec![Val::Result(Err(text("e")))]);
    assert_eq!(
        json_of(out_of_val(&nested, Some(&val)).value()),
        r#"[{"err":"e"}]"#
    );
}

#[test]
fn the_schema_names_what_is_accepted() {
    let schema = function(&[Type::U8, option(Type::String), list(Type::U8)]).schema();
    assert_eq!(schema["required"], serde_json::json!(["p0", "p2"]));
    assert_eq!(
        schema["propertyOrder"],
        serde_json::json!(["p0", "p1", "p2"])
    );
    assert_eq!(schema["properties"]["p0"]["maximum"], 255);
    let bytes = &schema["properties"]["p2"]["oneOf"][0]["properties"]["/"]["properties"]["bytes"];
    assert_eq!(bytes["contentEncoding"], "base64");
}

/// A type and a value of it.
fn typed() -> impl Strategy<Value = (Type, Val)> {
    types().prop_flat_map(|ty| {
        let val = val(&ty);
        (Just(ty), val)
    })
}

fn types() -> impl Strategy<Value = Type> {
    use Type::{Bool, Char, F32, F64, S8, S16, S32, S64, String, U8, U16, U32, U64};
    let names = |n: usize| (0..n).map(|i| format!("n{i}")).collect::<Vec<_>>();
    let leaf = prop_oneof![
        prop::sample::select(vec![
            Bool, S8, U8, S16, U16, S32, U32, S64, U64, F32, F64, Char, String
        ]),
        (1..5usize).prop_map(move |n| Type::Enum(names(n))),
        (1..5usize).prop_map(move |n| Type::Flags(names(n))),
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let many = prop::collection::vec(inner.clone(), 1..4);
        let maybe = prop::option::of(inner.clone());
        prop_oneof![
            inner.clone().prop_map(list),
            inner.clone().prop_map(option),
            (inner.clone(), 1..4_u32).prop_map(|(ty, n)| Type::FixedList(Box::new(ty), n)),
            inner.prop_map(|ty| Type::Map(Box::new(Type::String), Box::new(ty))),
            many.clone().prop_map(Type::Tuple),
            many.prop_map(move |types| Type::Record(
                names(types.len()).into_iter().zip(types).collect()
            )),
            prop::collection::vec(maybe.clone(), 1..4).prop_map(move |types| Type::Variant(
                names(types.len()).into_iter().zip(types).collect()
            )),
            (maybe.clone(), maybe).prop_map(|(ok, err)| result(ok, err)),
        ]
    })
}

fn val(ty: &Type) -> BoxedStrategy<Val> {
    let payload = |ty: &Option<Type>| match ty {
        Some(ty) => val(ty).prop_map(|val| Some(Box::new(val))).boxed(),
        None => Just(None).boxed(),
    };
    let fields = |types: Vec<&Type>| types.into_iter().map(val).collect::<Vec<_>>();
    match ty {
        Type::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Type::S8 => any::<i8>().prop_map(Val::S8).boxed(),
        Type::U8 => any::<u8>().prop_map(Val::U8).boxed(),
        Type::S16 => any::<i16>().prop_map(Val::S16).boxed(),
        Type::U16 => any::<u16>().prop_map(Val::U16).boxed(),
        Type::S32 => any::<i32>().prop_map(Val::S32).boxed(),
        Type::U32 => any::<u32>().prop_map(Val::U32).boxed(),
        Type::S64 => any::<i64>().prop_map(Val::S64).boxed(),
        Type::U64 => any::<u64>().prop_map(Val::U64).boxed(),
        // NaN is not equal to itself; the tables above have it.
        Type::F32 => any::<f32>()
            .prop_filter("a number", |x| !x.is_nan())
            .prop_map(Val::F32)
            .boxed(),
        Type::F64 => any::<f64>()
            .prop_filter("a number", |x| !x.is_nan())
            .prop_map(Val::F64)
            .boxed(),
        Type::Char => any::<char>().prop_map(Val::Char).boxed(),
        Type::String => any::<String>().prop_map(Val::String).boxed(),
        Type::List(_) if ty.is_bytes() => any::<Vec<u8>>().prop_map(Val::Bytes).boxed(),
        Type::List(element) => prop::collection::vec(val(element), 0..4)
            .prop_map(Val::List)
            .boxed(),
        Type::FixedList(_, length) if ty.is_bytes() => {
            prop::collection::vec(any::<u8>(), *length as usize)
                .prop_map(Val::Bytes)
                .boxed()
        }
        Type::FixedList(element, length) => prop::collection::vec(val(element), *length as usize)
            .prop_map(Val::List)
            .boxed(),
        Type::Map(_, item) => prop::collection::btree_map(any::<String>(), val(item), 0..4)
            .prop_map(|map| {
                let pair = |(key, val)| (Val::String(key), val);
                Val::Map(map.into_iter().map(pair).collect())
            })
            .boxed(),
        Type::Record(types) => fields(types.iter().map(|(_, ty)| ty).collect())
            .prop_map(Val::Record)
            .boxed(),
        Type::Tuple(types) => fields(types.iter().collect()).prop_map(Val::Tuple).boxed(),
        Type::Variant(cases) => {
            let case = |(n, (_, ty)): (usize, &(String, Option<Type>))| {
                payload(ty)
                    .prop_map(move |val| Val::Variant(n as u32, val))
                    .boxed()
            };
            proptest::strategy::Union::new(cases.iter().enumerate().map(case)).boxed()
        }
        Type::Enum(names) => (0..names.len() as u32).prop_map(Val::Enum).boxed(),
        Type::Flags(names) => prop::collection::vec(any::<bool>(), names.len())
            .prop_map(Val::Flags)
            .boxed(),
        Type::Option(inner) => prop::option::of(val(inner).prop_map(Box::new))
            .prop_map(Val::Option)
            .boxed(),
        Type::Result { ok, err } => {
            let unboxed = |ty: &Option<Box<Type>>| ty.as_deref().cloned();
            let ok = payload(&unboxed(ok)).prop_map(|val| Val::Result(Ok(val)));
            let err = payload(&unboxed(err)).prop_map(|val| Val::Result(Err(val)));
            prop_oneof![ok, err].boxed()
        }
    }
}

proptest! {
    /// Whatever is read somewhere is no promise that cannot be kept there.
    #[test]
    fn a_promise_that_can_be_kept_is_never_told_to_be_none((from, val) in typed(), other in types()) {
        let source = Function { result: Some(from.clone()), ..function(&[]) };
        let out = out_of_val(&source, Some(&val));
        let branch = if matches!(out, Out::Ok(_)) { Await::Ok } else { Await::Error };
        let optional = option(from.clone());
        for wanted in [&from, &optional, &other] {
            for (branch, value) in [(branch, out.value().clone()), (Await::Any, out.to_value())] {
                let fits = val_of_value(wanted, &value, &BTreeMap::new(), "args[0]").is_ok();
                prop_assert!(!fits || can_come_to(&source, branch, wanted), "{branch:?} of {from} as {wanted}");
            }
        }
    }

    #[test]
    fn what_comes_out_goes_in_again_unchanged((ty, val) in typed()) {
        let value = value_of_val(&ty, &val);
        let again = val_of_value(&ty, &value, &BTreeMap::new(), "args[0]");
        prop_assert_eq!(again.as_ref(), Ok(&val));
        // And it has one encoding.
        let function = function(std::slice::from_ref(&ty));
        let canonical = canonical_args(&function, std::slice::from_ref(&value)).expect("it fits");
        prop_assert_eq!(encode(&canonical), encode(&vec![value]));
    }
}
