//! Policies, terms and requirements, as authors write them.

use asterism_protocol::{
    Basis, Effects, HTTP, Meta, Policy, Requirements, Task, Terms, from_value, value_of_json,
};

fn task(meta: &str) -> Task {
    let json = r#"{"cause":null,"meta":{},"prf":[],"run":{"input":{"args":[1],"func":"f"},"nnc":"","op":"wasm/run",
        "rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}}"#;
    let value = value_of_json(json.as_bytes()).expect("it is JSON");
    let mut task: Task = from_value("task", value).expect("it is a task");
    let meta = value_of_json(meta.as_bytes()).expect("it is JSON");
    let asterism_protocol::Value::Map(meta) = meta else {
        panic!("meta is a map")
    };
    task.meta = Meta(meta);
    task
}

#[test]
fn a_policy_is_written_and_read_in_one_form() {
    let policies = [
        ("any", Policy::Any),
        ("trusted", Policy::Trusted),
        ("quorum:2/3", Policy::Quorum { agree: 2, of: 3 }),
        ("spot:5%", Policy::Spot { per_mille: 50 }),
        ("spot:0.1%", Policy::Spot { per_mille: 1 }),
        ("spot:100%", Policy::Spot { per_mille: 1_000 }),
    ];
    for (text, policy) in policies {
        assert_eq!(text.parse(), Ok(policy), "{text}");
        assert_eq!(policy.to_string(), text);
    }
}

#[test]
fn a_policy_that_cannot_be_satisfied_is_refused() {
    for text in [
        "quorum:1/3",
        "quorum:4/3",
        "quorum:2/17",
        "quorum:0/0",
        "spot:0%",
        "spot:100.1%",
        "spot:5",
        "spot:0.25%",
        "everybody",
        "quorum",
        "",
    ] {
        let error = text.parse::<Policy>().expect_err(text).to_string();
        assert!(error.starts_with("verify: "), "{error}");
    }
    let told = |text: &str| text.parse::<Policy>().expect_err(text).to_string();
    let within = "cannot be: 0.1% to 100% can";
    assert_eq!(
        told("spot:500%"),
        format!("verify: a rate of 500% {within}")
    );
    assert_eq!(
        told("spot:100.1%"),
        format!("verify: a rate of 100.1% {within}")
    );
}

#[test]
fn stronger_evidence_answers_weaker_policies_and_not_the_other_way() {
    let quorum = Policy::Quorum { agree: 2, of: 3 };
    let spot = Policy::Spot { per_mille: 1 };
    let table = [
        (Basis::Unverified, [true, false, false, false]),
        (Basis::Sampled { passed: 9 }, [true, true, false, false]),
        (Basis::Agreed { executors: 2 }, [true, true, true, false]),
        (Basis::Trusted, [true, true, false, true]),
    ];
    for (basis, expected) in table {
        let policies = [Policy::Any, spot, quorum, Policy::Trusted];
        assert_eq!(
            policies.map(|policy| basis.satisfies(&policy)),
            expected,
            "{basis:?}"
        );
    }
    let larger = Policy::Quorum { agree: 3, of: 5 };
    assert!(!Basis::Agreed { executors: 2 }.satisfies(&larger));
}

#[test]
fn requirements_are_read_from_the_meta_of_a_task() {
    let requires = |text: &str| Requirements::of_task(&task(text));
    assert_eq!(requires("{}"), Ok(Requirements::default()));
    let all = r#"{"requires": {"capabilities": ["npu", "gpu"], "labels": {"region": "eu"}, "trust": "trusted", "executor": "rack-3"}}"#;
    let expected = Requirements {
        capabilities: ["gpu".to_owned(), "npu".to_owned()].into(),
        labels: [("region".to_owned(), "eu".to_owned())].into(),
        trusted: true,
        executor: "rack-3".into(),
    };
    assert_eq!(requires(all), Ok(expected));
}

#[test]
fn effects_are_required_of_an_executor_and_nothing_else_requires_them() {
    let mut effectful = task(r#"{"requires": {"capabilities": ["gpu"]}}"#);
    effectful.run.input.effects = Effects::from([HTTP.to_owned()]);
    let requirements = Requirements::of_task(&effectful).expect("it says what it requires");
    assert_eq!(
        requirements.capabilities,
        ["gpu".to_owned(), HTTP.to_owned()].into()
    );
    assert!(requirements.is_effectful());
    assert!(!Requirements::of_task(&task("{}")).unwrap().is_effectful());

    let listed = r#"{"requires": {"capabilities": ["wasi:http"]}}"#;
    let error = Requirements::of_task(&task(listed)).expect_err("its guest could not use it");
    assert_eq!(
        error.to_string(),
        "meta.requires.capabilities: `wasi:http` is an effect: write `effects: [wasi:http]` beside `func` and `args` \
         instead, which requires it, too"
    );
    effectful.meta = task(listed).meta;
    assert!(Requirements::of_task(&effectful).is_ok());
}

#[test]
fn requirements_that_mean_nothing_are_refused_with_their_place() {
    for (text, place) in [
        (r#"{"requires": ["gpu"]}"#, "meta.requires: "),
        (
            r#"{"requires": {"gpu": true}}"#,
            "meta.requires.gpu: not known here, only capabilities",
        ),
        (
            r#"{"requires": {"label": {}}}"#,
            "meta.requires.label: not known here, did you mean `labels`?",
        ),
        (
            r#"{"requires": {"capabilities": "gpu"}}"#,
            "meta.requires.capabilities: ",
        ),
        (
            r#"{"requires": {"capabilities": [1]}}"#,
            "meta.requires.capabilities: ",
        ),
        (
            r#"{"requires": {"labels": {"region": 1}}}"#,
            "meta.requires.labels: ",
        ),
        (
            r#"{"requires": {"trust": "much"}}"#,
            "meta.requires.trust: ",
        ),
        (
            r#"{"requires": {"executor": 7}}"#,
            "meta.requires.executor: ",
        ),
    ] {
        let error = Requirements::of_task(&task(text))
            .expect_err(text)
            .to_string();
        assert!(error.starts_with(place), "{error}");
        let workflow = asterism_protocol::Workflow {
            tasks: vec![task(text)],
        };
        assert!(workflow.check().is_err(), "a workflow with it is refused");
    }
    let many: Vec<String> = (0..33).map(|n| format!("\"c{n}\"")).collect();
    let text = format!(
        r#"{{"requires": {{"capabilities": [{}]}}}}"#,
        many.join(",")
    );
    assert!(
        Requirements::of_task(&task(&text)).is_err(),
        "33 are too many"
    );
}

#[test]
fn terms_out_of_bounds_are_refused() {
    let terms = |priority| Terms {
        priority,
        ..Terms::default()
    };
    assert_eq!(terms(-100).check(), Ok(()));
    assert_eq!(terms(100).check(), Ok(()));
    assert!(terms(101).check().is_err());
    assert!(terms(i32::MIN).check().is_err());
    let verify = Some(Policy::Quorum { agree: 3, of: 2 });
    assert!(
        Terms {
            verify,
            ..Terms::default()
        }
        .check()
        .is_err()
    );
}
