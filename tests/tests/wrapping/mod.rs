//! Calls of core modules that were wrapped, and what must come of them.

use std::collections::BTreeMap;

use asterism_executor::{Host, Job};
use asterism_protocol::{
    Effects, Files, Limits, Value, blob_cid, content_cid, json_of, value_of_json,
};
use asterism_tests::guests;

/// Component, function, arguments and outcome in DAG-JSON.
type Case = (&'static [u8], &'static str, &'static str, &'static str);

const CASES: [Case; 7] = [
    (
        guests::GREET,
        "greet",
        r#"["Ада 🛰"]"#,
        r#"["ok","Hello, Ада 🛰!"]"#,
    ),
    (
        guests::GREET,
        "area",
        r#"["{\"width\":2.5,\"height\":4}"]"#,
        r#"["ok","{\"area\":10}"]"#,
    ),
    (
        guests::GREET_C,
        "greet",
        r#"["Ада 🛰"]"#,
        r#"["ok","Hello, Ада 🛰!"]"#,
    ),
    (guests::GREET_C, "greet", r#"[""]"#, r#"["ok","Hello, !"]"#),
    (
        guests::GREET_C,
        "checksum",
        r#"[[1,2,3]]"#,
        r#"["ok",1456420779]"#,
    ),
    (
        guests::GREET_C,
        "_factorial",
        "[20]",
        r#"["ok",2432902008176640000]"#,
    ),
    (
        guests::GREET_C,
        "factorial",
        "[-1]",
        r#"["error",{"func":"factorial","trap":"bad-arguments"}]"#,
    ),
];

pub(crate) fn check(host: &mut dyn Host) {
    for (component, func, args, expected) in CASES {
        assert!(
            !component.is_empty(),
            "there was no clang when this was built: install clang and lld"
        );
        let cid = blob_cid(component);
        host.prepare(cid, component)
            .expect("what was wrapped is fit");
        let Ok(Value::List(args)) = value_of_json(args.as_bytes()) else {
            panic!("{args} are no arguments")
        };
        let job = Job {
            instruction: content_cid(func.as_bytes()),
            component: cid,
            func: func.to_owned(),
            args,
            files: Files::new(),
            effects: Effects::new(),
            blobs: BTreeMap::new(),
            limits: Limits::default(),
        };
        let attempt = host.run(&job).expect("an outcome");
        let out = json_of(&attempt.outcome.out.to_value());
        assert_eq!(out, expected, "{func}: {:?}", attempt.remark);
    }
}
