//! Bounds of what may be said: what is beyond them is refused with its place, what is at them passes.

use asterism_protocol::{
    Conditions, LogLevel, LogLine, Out, Outcome, PublicKey, Remark, Signature, Value, Workflow,
    content_cid, decode, encode, from_value,
    limits::{INLINE_BYTES_MAX, VALUE_DEPTH_MAX},
    message::{
        Capabilities, Delivery, Fault, FaultKind, Hello, LeaseId, ToCoordinator, decode_frame,
    },
    value_of_json,
};

#[test]
fn messages_beyond_their_bounds_are_refused_with_their_place() {
    let leases = vec![LeaseId(1); 1_025];
    let fault = |kind, message: String| ToCoordinator::Fault {
        lease: LeaseId(1),
        fault: Fault { kind, message },
    };
    for (message, text) in [
        (
            ToCoordinator::Poll {
                slots: 257,
                wait_ms: 0,
            },
            "poll.slots: 257 leases are more than the 256 allowed",
        ),
        (
            ToCoordinator::Poll {
                slots: 1,
                wait_ms: u64::MAX,
            },
            "poll.wait_ms: 18446744073709551615 milliseconds are more than the 60000 allowed",
        ),
        (
            ToCoordinator::Heartbeat {
                leases: leases.clone(),
            },
            "heartbeat.leases: 1025 leases are more than the 1024 allowed",
        ),
        (
            ToCoordinator::Started {
                leases: leases.clone(),
            },
            "started.leases: 1025 leases are more than the 1024 allowed",
        ),
        (
            ToCoordinator::HandBack { leases },
            "hand-back.leases: 1025 leases are more than the 1024 allowed",
        ),
        (
            ToCoordinator::Refuse {
                lease: LeaseId(1),
                reason: "x".repeat(8_193),
            },
            "refuse.reason: 8193 bytes are more than the 8192 allowed",
        ),
        (
            fault(FaultKind::Host, "x".repeat(8_193)),
            "fault.message: 8193 bytes are more than the 8192 allowed",
        ),
        (
            fault(FaultKind::Lost, String::new()),
            "fault.kind: only the coordinator says that executors are lost or disagree",
        ),
        (
            fault(FaultKind::Disagreement, String::new()),
            "fault.kind: only the coordinator says that executors are lost or disagree",
        ),
        (
            ToCoordinator::Commit { items: vec![] },
            "commit.items: a commitment is to at least one outcome",
        ),
        (
            hello(|hello| hello.enrolment = "x".repeat(257)),
            "hello.enrolment: 257 bytes are more than the 256 allowed",
        ),
        (
            hello(|hello| {
                hello.capabilities.offers = (0..33).map(|n| n.to_string()).collect();
            }),
            "hello.capabilities.capabilities: 33 names are more than the 32 allowed",
        ),
        (
            ToCoordinator::Deliver {
                items: vec![],
                signature: Signature::new([0; 64]),
            },
            "deliver.items: a delivery holds at least one outcome",
        ),
        (
            delivery(|item| item.outcome.metering = "x".repeat(257)),
            "deliver.items[1].outcome.metering: 257 bytes are more than the 256 allowed",
        ),
        (
            delivery(|item| item.outcome.out = Out::Error(nested(65))),
            "deliver.items[1].outcome.out: 65 levels are more than the 64 allowed",
        ),
        (
            delivery(|item| {
                item.outcome.out = Out::Ok(Value::Bytes(vec![0; INLINE_BYTES_MAX + 1]))
            }),
            "deliver.items[1].outcome.out: 16385 bytes in one string of bytes that is not a link are more than the 16384 allowed",
        ),
        (
            delivery(|item| item.outcome.out = Out::Ok(Value::String("x".repeat(2 << 20)))),
            "deliver.items[1].outcome.out: 2097161 bytes are more than the 2097152 allowed",
        ),
        (
            delivery(|item| item.remark.backtrace = vec!["x".repeat(4_097); 2]),
            "deliver.items[1].remark.backtrace: 8194 bytes are more than the 8192 allowed",
        ),
        (
            delivery(|item| item.remark.logs = vec![line(""); 1_001]),
            "deliver.items[1].remark.logs: 1001 lines are more than the 1000 allowed",
        ),
        (
            delivery(|item| item.remark.logs = vec![line(&"x".repeat(65_537))]),
            "deliver.items[1].remark.logs: 65537 bytes are more than the 65536 allowed",
        ),
        (
            hello(|hello| hello.name = "x".repeat(257)),
            "hello.name: 257 bytes are more than the 256 allowed",
        ),
        (
            hello(|hello| hello.capabilities.host = "x".repeat(257)),
            "hello.capabilities.host: 257 bytes are more than the 256 allowed",
        ),
    ] {
        assert_eq!(
            message.check().map_err(|error| error.to_string()),
            Err(text.to_owned())
        );
    }
}

#[test]
fn messages_within_their_bounds_pass() {
    for message in [
        ToCoordinator::Poll {
            slots: 256,
            wait_ms: 60_000,
        },
        ToCoordinator::Leave,
        delivery(|_| {}),
        hello(|hello| hello.name = "x".repeat(256)),
    ] {
        assert_eq!(message.check(), Ok(()));
    }
}

#[test]
fn a_remark_that_was_cut_is_within_its_bounds_and_says_so() {
    let short = Remark {
        message: Some("m".into()),
        backtrace: vec!["f".into()],
        logs: vec![line("l")],
        elapsed_us: 1,
    };
    assert_eq!(short.clone().cut(), short);

    let long = Remark {
        message: Some("é".repeat(8_000)),
        backtrace: vec!["x".repeat(3_000); 4],
        logs: vec![line(&"x".repeat(100)); 5_000],
        elapsed_us: 1,
    };
    let cut = long.cut();
    assert_eq!(cut.check(), Ok(()));
    assert_eq!(cut.message.map(|text| text.len()), Some(8_192));
    assert_eq!(cut.backtrace.len(), 2);
    assert_eq!(cut.logs.len(), 655);
    assert_eq!(cut.logs[654].message, "4346 log lines more were too many");

    let many = Remark {
        logs: vec![line(""); 1_001],
        ..Remark::default()
    }
    .cut();
    assert_eq!((many.check(), many.logs.len()), (Ok(()), 1_000));
    assert_eq!(many.logs[999].message, "2 log lines more were too many");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test of the stack needs a thread with a small one"
)]
fn values_as_deep_as_allowed_pass_in_every_envelope_on_a_small_stack() {
    let decoding = || {
        let mut workflow = workflow();
        workflow.tasks[0].run.input.args = vec![nested(VALUE_DEPTH_MAX)];
        let bytes = encode(&workflow);
        assert_eq!(decode("workflow", &bytes, bytes.len()), Ok(workflow));

        let mut outcome = outcome();
        outcome.out = Out::Ok(nested(VALUE_DEPTH_MAX));
        let bytes = encode(&ToCoordinator::Deliver {
            items: vec![Delivery {
                lease: LeaseId(1),
                outcome,
                conditions: Conditions {
                    fuel: 1,
                    memory: 1,
                    growth_refused: false,
                },
                remark: Default::default(),
                salt: None,
            }],
            signature: Signature::new([0; 64]),
        });
        decode_frame::<ToCoordinator>(&bytes)
            .expect("it is as deep as allowed")
            .check()
    };
    // A Web Worker has 1 MiB. Unoptimised frames are larger than those that ship.
    let thread = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(decoding)
        .expect("a thread can be started");
    assert_eq!(thread.join().expect("the stack suffices"), Ok(()));
}

fn line(message: &str) -> LogLine {
    LogLine {
        level: LogLevel::Info,
        context: String::new(),
        message: message.into(),
    }
}

fn delivery(change: impl FnOnce(&mut Delivery)) -> ToCoordinator {
    let item = Delivery {
        lease: LeaseId(1),
        outcome: outcome(),
        conditions: Conditions {
            fuel: 1,
            memory: 1,
            growth_refused: false,
        },
        remark: Default::default(),
        salt: None,
    };
    let mut items = vec![item.clone(), item];
    change(&mut items[1]);
    ToCoordinator::Deliver {
        items,
        signature: Signature::new([0; 64]),
    }
}

fn hello(change: impl FnOnce(&mut Hello)) -> ToCoordinator {
    let mut hello = Hello {
        key: PublicKey::new([1; 32]),
        proof: Signature::new([2; 64]),
        build: "0.1.0".into(),
        name: "laptop".into(),
        capabilities: Capabilities {
            host: "wasmtime".into(),
            metering: "wasmtime-48".into(),
            threads: 2,
            memory: 4 << 30,
            ..Capabilities::default()
        },
        holding: vec![],
        enrolment: String::new(),
    };
    change(&mut hello);
    ToCoordinator::Hello(Box::new(hello))
}

fn outcome() -> Outcome {
    Outcome {
        instruction: content_cid(b"instruction"),
        out: Out::Ok(Value::Null),
        fuel: None,
        metering: "m".into(),
    }
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]))
}

fn workflow() -> Workflow {
    let json = r#"{"tasks":[{"cause":null,"meta":{},"prf":[],"run":{"input":{"args":[1],"func":"f"},"nnc":"","op":"wasm/run",
        "rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}}]}"#;
    let value = value_of_json(json.as_bytes()).expect("it is JSON");
    from_value("workflow", value).expect("it is a workflow")
}
