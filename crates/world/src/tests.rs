use asterism_protocol::{LogLevel, content_cid, limits};

use super::*;

fn log(world: &mut World, message: &str) {
    let args = [
        Val::Enum(2),
        Val::String("guest:test".into()),
        Val::String(message.into()),
    ];
    assert_eq!(world.call("wasi:logging/logging", "log", &args), Ok(vec![]));
}

fn world() -> World {
    World::new(content_cid(b"an instruction"), Tree::default())
}

#[test]
fn logging_is_provided_with_and_without_its_version() {
    assert!(provides("wasi:logging/logging", "log"));
    assert!(provides("wasi:logging/logging@0.1.0-draft", "log"));
    assert!(!provides("wasi:logging/logging@9.0.0", "log"));
    assert!(!provides("wasi:logging/logging", "erase"));
    assert!(!provides("wasi:http/outgoing-handler", "handle"));
    assert!(!provides("", "log"));
}

#[test]
fn what_is_not_provided_is_denied_by_name() {
    let denied = world().call("wasi:http/types", "get", &[]).unwrap_err();
    assert_eq!(denied.to_string(), "wasi:http/types#get: not provided");
}

#[test]
fn arguments_of_another_interface_are_denied() {
    let args = [
        Val::Enum(9),
        Val::String(String::new()),
        Val::String(String::new()),
    ];
    assert!(world().call("wasi:logging/logging", "log", &args).is_err());
    assert!(
        world()
            .call("wasi:logging/logging", "log", &[Val::U8(1)])
            .is_err()
    );
}

#[test]
fn lines_keep_level_context_and_text() {
    let mut world = world();
    log(&mut world, "3.1 + 5.2 = 8.3");
    let line = LogLine {
        level: LogLevel::Info,
        context: "guest:test".into(),
        message: "3.1 + 5.2 = 8.3".into(),
    };
    assert_eq!(world.into_logs(), [line]);
}

#[test]
fn more_lines_than_the_limit_are_dropped_and_counted() {
    let mut world = world();
    for n in 0..limits::LOG_LINES_MAX + 5 {
        log(&mut world, &n.to_string());
    }
    let lines = world.into_logs();
    assert_eq!(lines.len(), limits::LOG_LINES_MAX);
    assert_eq!(
        lines.last().map(|line| line.message.as_str()),
        Some("6 more lines were dropped")
    );
}

#[test]
fn long_lines_are_cut_between_characters() {
    let mut world = world();
    log(&mut world, &"é".repeat(limits::LOG_BYTES_MAX));
    log(&mut world, "after");
    let lines = world.into_logs();
    let bytes: usize = lines
        .iter()
        .map(|line| line.context.len() + line.message.len())
        .sum();
    assert!(bytes <= limits::LOG_BYTES_MAX + 64, "{bytes}");
    assert!(lines[0].message.ends_with('é'));
    assert!(
        lines
            .last()
            .is_some_and(|line| line.message.contains("dropped"))
    );
}

fn import(interface: &str, func: &str) -> Import {
    Import {
        interface: interface.into(),
        func: func.into(),
    }
}

/// The only result of a call that returns.
pub(crate) fn one(world: &mut World, interface: &str, func: &str, args: &[Val]) -> Val {
    let results = world.call(interface, func, args);
    match results.map(|mut results| (results.pop(), results.len())) {
        Ok((Some(result), 0)) => result,
        other => panic!("{interface}#{func} gave {other:?}"),
    }
}

pub(crate) fn borrowed(handle: &Val) -> Val {
    match handle {
        Val::Own(number) => Val::Borrow(*number),
        other => panic!("{other:?} is no handle"),
    }
}

const MONOTONIC: &str = "wasi:clocks/monotonic-clock@0.2.3";
const WALL: &str = "wasi:clocks/wall-clock@0.2.0";
const POLL: &str = "wasi:io/poll@0.2.12";
const STREAMS: &str = "wasi:io/streams@0.2.0";
const RANDOM: &str = "wasi:random/random@0.2.6";
const HTTP: &str = "wasi:http/types@0.2.4";

#[test]
fn every_patch_of_wasi_0_2_is_provided_and_nothing_else() {
    for version in ["0.2.0", "0.2.9", "0.2.12", "0.2.345"] {
        assert!(provides(&format!("wasi:cli/exit@{version}"), "exit"));
    }
    for version in [
        "0.2.",
        "0.2",
        "0.2.0-rc-2023-11-10",
        "0.3.0",
        "0.2.x",
        "1.0.0",
        "",
    ] {
        assert!(!provides(&format!("wasi:cli/exit@{version}"), "exit"));
    }
    assert!(!provides("wasi:cli/exit", "exit"));
    assert!(!provides("wasi:keyvalue/store@0.2.0", "open"));
}

#[test]
fn every_interface_and_function_is_listed_once() {
    let mut seen = std::collections::BTreeSet::new();
    for interface in INTERFACES.iter().copied().flatten() {
        for (func, _) in interface.functions {
            assert!(
                seen.insert((interface.name, func)),
                "{}#{func}",
                interface.name
            );
        }
    }
    assert!(seen.len() > 150);
}

#[test]
fn classes_follow_from_imports() {
    let log = import("wasi:logging/logging@0.1.0-draft", "log");
    let now = import(WALL, "now");
    let other = import("wasi:keyvalue/store@0.2.0", "open");
    assert_eq!(determinism(&[]), Determinism::Pure);
    assert_eq!(determinism(std::slice::from_ref(&log)), Determinism::Pure);
    assert_eq!(determinism(&[log, now.clone()]), Determinism::Virtual);
    assert_eq!(determinism(&[now, other]), Determinism::Effectful);
}

#[test]
fn effects_follow_from_imports() {
    let types = import("wasi:http/types@0.2.4", "[constructor]fields");
    let handle = import("wasi:http/outgoing-handler@0.2.4", "handle");
    let both = [types.clone(), handle];
    assert_eq!(effects(std::slice::from_ref(&types)), Effects::new());
    assert_eq!(effects(&both), Effects::from(["wasi:http".to_owned()]));
    assert!(has_effect(&both, "wasi:http") && !has_effect(&both, "wasi:sockets"));
    // Without a task that has it, there is none.
    assert_eq!(determinism(&both), Determinism::Virtual);
}

#[test]
fn time_passes_by_waiting_alone_and_costs_fuel() {
    let mut world = world();
    let start = one(&mut world, MONOTONIC, "now", &[]);
    assert_eq!(one(&mut world, MONOTONIC, "now", &[]), start);
    let Val::U64(start) = start else {
        panic!("an instant is a u64")
    };
    let wall = one(&mut world, WALL, "now", &[]);
    assert_eq!(world.take_fuel(), 0);

    let second = 1_000_000_000;
    let timer = one(
        &mut world,
        MONOTONIC,
        "subscribe-duration",
        &[Val::U64(second + 1)],
    );
    let timer = borrowed(&timer);
    let ready = "[method]pollable.ready";
    assert_eq!(
        one(&mut world, POLL, ready, std::slice::from_ref(&timer)),
        Val::Bool(false)
    );
    let block = world.call(POLL, "[method]pollable.block", std::slice::from_ref(&timer));
    assert_eq!(block, Ok(vec![]));
    assert_eq!(world.take_fuel(), 1_000_001);
    assert_eq!(world.take_fuel(), 0);
    assert_eq!(one(&mut world, POLL, ready, &[timer]), Val::Bool(true));
    assert_eq!(
        one(&mut world, MONOTONIC, "now", &[]),
        Val::U64(start + second + 1)
    );
    let later = one(&mut world, WALL, "now", &[]);
    let (Val::Record(wall), Val::Record(later)) = (wall, later) else {
        panic!("a time is a record")
    };
    let (Val::U64(wall), Val::U64(later_seconds)) = (&wall[0], &later[0]) else {
        panic!("seconds are a u64")
    };
    assert_eq!(later_seconds - wall, 1);
    assert_eq!(later[1], Val::U32(1));
    // 2020-09-13 to 2024-12-15.
    assert!((1_600_000_000..1_734_217_728).contains(wall), "{wall}");
}

#[test]
fn a_wait_until_the_end_of_time_is_no_overflow() {
    let mut world = world();
    for _ in 0..2 {
        let timer = one(
            &mut world,
            MONOTONIC,
            "subscribe-duration",
            &[Val::U64(u64::MAX)],
        );
        let block = world.call(POLL, "[method]pollable.block", &[borrowed(&timer)]);
        assert_eq!(block, Ok(vec![]));
        one(&mut world, WALL, "now", &[]);
    }
    assert!(world.take_fuel() > 18_000_000_000_000_000);
}

#[test]
fn what_is_ready_first_comes_first() {
    let mut world = world();
    let mut timer = |ns| {
        let timer = one(&mut world, MONOTONIC, "subscribe-duration", &[Val::U64(ns)]);
        borrowed(&timer)
    };
    let timers = vec![timer(3_000), timer(2_000), timer(2_000)];
    let poll = |world: &mut World| one(world, POLL, "poll", &[Val::List(timers.clone())]);
    assert_eq!(poll(&mut world), Val::List(vec![Val::U32(1), Val::U32(2)]));
    assert_eq!(world.take_fuel(), 2);
    // Those are ready now: no further time passes.
    assert_eq!(poll(&mut world), Val::List(vec![Val::U32(1), Val::U32(2)]));
    assert_eq!(world.take_fuel(), 0);
    assert!(world.call(POLL, "poll", &[Val::List(vec![])]).is_err());
}

#[test]
fn randomness_follows_from_the_instruction_and_costs_fuel() {
    let bytes = |text: &[u8], count| {
        let mut world = World::new(content_cid(text), Tree::default());
        let bytes = one(&mut world, RANDOM, "get-random-bytes", &[Val::U64(count)]);
        assert_eq!(world.take_fuel(), count);
        match bytes {
            Val::Bytes(bytes) => bytes,
            other => panic!("{other:?} is not bytes"),
        }
    };
    assert_eq!(bytes(b"one", 100), bytes(b"one", 100));
    assert_eq!(bytes(b"one", 13), bytes(b"one", 100)[..13]);
    assert_ne!(bytes(b"one", 100), bytes(b"two", 100));
    assert_eq!(bytes(b"one", 0), b"");
    let most = Val::U64((1 << 20) + 1);
    assert!(world().call(RANDOM, "get-random-bytes", &[most]).is_err());
}

#[test]
fn output_becomes_lines() {
    let mut world = world();
    let out = borrowed(&one(&mut world, "wasi:cli/stdout@0.2.0", "get-stdout", &[]));
    let err = borrowed(&one(&mut world, "wasi:cli/stderr@0.2.0", "get-stderr", &[]));
    let mut write = |stream: &Val, text: &str| {
        let args = [stream.clone(), Val::Bytes(text.into())];
        let done = one(&mut world, STREAMS, "[method]output-stream.write", &args);
        assert_eq!(done, Val::Result(Ok(None)));
    };
    write(&out, "one\r\ntw");
    write(&err, "trouble");
    write(&out, "o\n\nthree");
    let lines: Vec<_> = world
        .into_logs()
        .into_iter()
        .map(|line| (line.level, line.context, line.message))
        .collect();
    let line = |level, context: &str, message: &str| (level, context.into(), message.into());
    assert_eq!(
        lines,
        [
            line(LogLevel::Info, "stdout", "one"),
            line(LogLevel::Info, "stdout", "two"),
            line(LogLevel::Info, "stdout", ""),
            line(LogLevel::Info, "stdout", "three"),
            line(LogLevel::Error, "stderr", "trouble"),
        ]
    );
}

#[test]
fn long_lines_are_broken_between_characters_and_long_writes_refused() {
    let mut world = world();
    let out = borrowed(&one(&mut world, "wasi:cli/stdout@0.2.0", "get-stdout", &[]));
    let text = "é".repeat(5_000);
    let args = [out.clone(), Val::Bytes(text.clone().into())];
    one(&mut world, STREAMS, "[method]output-stream.write", &args);
    let flush = "[method]output-stream.blocking-write-and-flush";
    assert!(world.call(STREAMS, flush, &args).is_err());
    let args = [out, Val::Bytes(vec![0x80; 70_000])];
    assert!(
        world
            .call(STREAMS, "[method]output-stream.write", &args)
            .is_err()
    );
    let lines: Vec<String> = world
        .into_logs()
        .into_iter()
        .map(|line| line.message)
        .collect();
    assert!(lines.iter().all(|line| line.len() < 4_200));
    assert_eq!(lines.concat(), text);
}

#[test]
fn input_has_ended() {
    let mut world = world();
    let input = borrowed(&one(&mut world, "wasi:cli/stdin@0.2.0", "get-stdin", &[]));
    let closed = Val::Result(Err(Some(Box::new(Val::Variant(1, None)))));
    let args = [input, Val::U64(10)];
    for read in [
        "[method]input-stream.read",
        "[method]input-stream.blocking-skip",
    ] {
        assert_eq!(one(&mut world, STREAMS, read, &args), closed);
    }
}

#[test]
fn exit_ends_the_guest_as_itself() {
    let mut world = world();
    for (func, args, code) in [
        ("exit", Val::Result(Ok(None)), 0),
        ("exit", Val::Result(Err(None)), 1),
        ("exit-with-code", Val::U8(7), 7),
    ] {
        let end = world
            .call("wasi:cli/exit@0.2.3", func, &[args])
            .unwrap_err();
        assert_eq!((end.trap(), end), (TrapKind::Exit, End::Exited(code)));
    }
}

#[test]
fn handles_of_another_kind_and_none_at_all_end_the_guest() {
    let mut world = world();
    let network = one(
        &mut world,
        "wasi:sockets/instance-network@0.2.0",
        "instance-network",
        &[],
    );
    let check = "[method]output-stream.check-write";
    for handle in [borrowed(&network), Val::Borrow(7), network, Val::U8(1)] {
        let end = world.call(STREAMS, check, &[handle]).unwrap_err();
        assert_eq!(end.trap(), TrapKind::InvalidAbi);
    }
}

#[test]
fn resources_are_bounded_and_dropping_makes_room() {
    let mut world = world();
    let subscribe = |world: &mut World| world.call(MONOTONIC, "subscribe-duration", &[Val::U64(1)]);
    for _ in 0..10_000 {
        subscribe(&mut world).unwrap();
    }
    assert!(subscribe(&mut world).is_err());
    world.drop_resource(5);
    world.drop_resource(1 << 30);
    assert_eq!(subscribe(&mut world), Ok(vec![Val::Own(5)]));
    assert!(subscribe(&mut world).is_err());
}

#[test]
fn requests_can_be_made_and_are_refused() {
    let mut world = world();
    let text = |text: &str| Val::String(text.into());
    let some = |val| Val::Option(Some(Box::new(val)));
    let fields = one(&mut world, HTTP, "[constructor]fields", &[]);
    let append = "[method]fields.append";
    let header =
        |name: &str, value: &[u8]| [borrowed(&fields), text(name), Val::Bytes(value.into())];
    let header_error = |case| Val::Result(Err(Some(Box::new(Val::Variant(case, None)))));
    let fine = Val::Result(Ok(None));
    assert_eq!(
        one(&mut world, HTTP, append, &header("Accept", b"text/plain")),
        fine
    );
    assert_eq!(
        one(&mut world, HTTP, append, &header("a b", b"")),
        header_error(0)
    );
    assert_eq!(
        one(&mut world, HTTP, append, &header("a", b"\n")),
        header_error(0)
    );
    assert_eq!(
        one(
            &mut world,
            HTTP,
            "[method]fields.get",
            &[borrowed(&fields), text("accept")]
        ),
        Val::List(vec![Val::Bytes(b"text/plain".to_vec())])
    );
    assert!(
        world
            .call(HTTP, append, &header("a", &[b'a'; 9_000]))
            .is_err()
    );

    let request = one(&mut world, HTTP, "[constructor]outgoing-request", &[fields]);
    let set = "[method]outgoing-request.set-authority";
    let args = [borrowed(&request), some(text("example.org"))];
    assert_eq!(one(&mut world, HTTP, set, &args), fine);
    let authority = "[method]outgoing-request.authority";
    assert_eq!(
        one(&mut world, HTTP, authority, &[borrowed(&request)]),
        some(text("example.org"))
    );
    let headers = one(
        &mut world,
        HTTP,
        "[method]outgoing-request.headers",
        &[borrowed(&request)],
    );
    let args = [borrowed(&headers), text("accept")];
    assert_eq!(
        one(&mut world, HTTP, "[method]fields.delete", &args),
        header_error(2)
    );

    let handle = |world: &mut World, request: &Val| {
        world.call(
            "wasi:http/outgoing-handler@0.2.0",
            "handle",
            &[request.clone(), Val::Option(None)],
        )
    };
    let denied = Val::Result(Err(Some(Box::new(Val::Variant(15, None)))));
    assert_eq!(handle(&mut world, &request), Ok(vec![denied]));
    // The handle was given away.
    assert!(handle(&mut world, &request).is_err());
}
