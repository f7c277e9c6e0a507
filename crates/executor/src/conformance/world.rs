//! Cases about handles, and about what guests ask of their world.

use asterism_protocol::{Files, LogLevel, TrapKind, Value, blob_cid, json_of};

use super::{Case, Expect, Subject, cases::pattern};

fn handles(func: &str, args: &str, value: &str) -> Case {
    Case::new(Subject::Resources, func, args, Expect::Ok(value.to_owned()))
}

fn broken(func: &str, args: &str, words: &str) -> Case {
    let expect = Expect::Trap(TrapKind::InvalidAbi, words.to_owned());
    Case::new(Subject::Resources, func, args, expect)
}

fn guest(func: &str, args: &str, expect: Expect) -> Case {
    Case::new(Subject::Wasip2, func, args, expect)
}

fn gives(func: &str, args: &str, value: &str) -> Case {
    guest(func, args, Expect::Ok(value.to_owned()))
}

/// Whatever it gives, it must be what is recorded.
fn gives_recorded(func: &str, args: &str) -> Case {
    guest(func, args, Expect::Recorded)
}

fn line(level: LogLevel, context: &str, message: &str) -> (LogLevel, String, String) {
    (level, context.to_owned(), message.to_owned())
}

/// Handles of resources that the component defines, and of the world's.
pub(super) fn resources() -> Vec<Case> {
    let out_of_fuel = |func: &str, args: &str| {
        let expect = Expect::Trap(TrapKind::OutOfFuel, String::new());
        Case::new(Subject::Resources, func, args, expect)
    };
    vec![
        handles("next-handle", "[]", "3"),
        handles("rep-of", "[4294967295]", "4294967295"),
        handles("destroyed", "[41]", "42"),
        Case::new(
            Subject::Resources,
            "destroyed",
            "[666]",
            Expect::Trap(TrapKind::Unreachable, String::new()),
        ),
        broken("drop-twice", "[]", ""),
        broken("rep-after-drop", "[]", ""),
        handles("rep-of-handle", "[1]", "1"),
        broken("rep-of-handle", "[0]", ""),
        broken("rep-of-handle", "[2]", ""),
        broken("rep-of-handle", "[4294967295]", ""),
        broken("rep-of-other", "[]", ""),
        handles("many", "[100000]", "100000"),
        broken("many", "[100001]", ""),
        handles("wait", "[0]", "0"),
        handles("wait", "[1]", "1"),
        handles("wait", "[5000000]", "5000000"),
        // Waiting costs fuel: this takes a day and more.
        out_of_fuel("wait", "[100000000000000]"),
        out_of_fuel("wait-again-and-again", "[1]").limited(|limits| limits.fuel = 100_000),
        out_of_fuel("wait-again-and-again", "[1000000000]"),
        broken("wait-for-nothing", "[]", "wasi:io/poll@0.2.0#poll"),
        broken("wait-for-dropped", "[]", ""),
        broken("wait-for-thing", "[]", ""),
        handles("subscribe-many", "[10000]", "10000"),
        broken("subscribe-many", "[10001]", "10000 resources"),
        broken("lists-of-other-types", "[]", ""),
        broken("results-of-other-types", "[]", ""),
    ]
}

/// Whichever versions of WASI 0.2 a component was built for.
pub(super) fn versions() -> Vec<Case> {
    let case = |func: &str, args: &str, expect| Case::new(Subject::Versions, func, args, expect);
    let mut all: Vec<_> = ["wait-v0", "wait-v3", "wait-v6", "wait-v10"]
        .into_iter()
        .map(|func| case(func, "[5000000]", Expect::Ok("5000000".to_owned())))
        .collect();
    all.push(case("random", "[]", Expect::Recorded));
    let broken = Expect::Trap(TrapKind::InvalidAbi, String::new());
    all.push(case("wait-for-other", "[]", broken));
    all
}

/// What Rust's standard library and WASI's interfaces make of the virtual world.
pub(super) fn wasip2() -> Vec<Case> {
    let refused =
        |func: &str, args: &str, error: &str| guest(func, args, Expect::Err(format!("{error:?}")));
    let printed = vec![
        line(LogLevel::Error, "stderr", "hello, to stderr"),
        line(LogLevel::Debug, "guest:rust:print", "hello"),
        line(LogLevel::Info, "stdout", "hello again"),
        line(LogLevel::Info, "stdout", "without an end"),
    ];
    vec![
        Case {
            logs: vec![line(LogLevel::Info, "guest:rust:add", "3.1 + 5.2 = 8.3")],
            ..gives("add", "[3.1,5.2]", "8.3")
        },
        Case {
            logs: printed,
            ..gives("print-lines", "[\"hello\"]", "null")
        },
        gives("surroundings", "[]", "[0,0,\"\"]"),
        gives("sleep-for", "[0]", "[0,0]"),
        gives("sleep-for", "[1500000]", "[1500000000,1500000000]"),
        guest(
            "sleep-for-ever",
            "[]",
            Expect::Trap(TrapKind::OutOfFuel, String::new()),
        ),
        gives("first-of", "[[3000,1000,2000,1000]]", "[[1,3],1000000]"),
        gives("first-of", "[[5,0]]", "[[1],0]"),
        gives_recorded("both-clocks", "[]"),
        gives_recorded("hash-order", r#"[["a","b","c","d","e","f","g","h"]]"#),
        gives_recorded("random-bytes", "[100]"),
        guest(
            "random-bytes",
            "[1048577]",
            Expect::Trap(TrapKind::InvalidAbi, "1048576 are the most".into()),
        ),
        refused("open-file", "[\"/etc/passwd\"]", "entity not found"),
        refused("connect-to", "[\"127.0.0.1\",80]", "permission denied"),
        refused("connect-to", "[\"localhost\",80]", "permission denied"),
        refused("fetch", "[\"localhost\"]", "ErrorCode::HttpRequestDenied"),
        guest(
            "exit-with",
            "[0]",
            Expect::Trap(TrapKind::Exit, "exited with code 0".into()),
        ),
        guest(
            "exit-with",
            "[3]",
            Expect::Trap(TrapKind::Exit, "exited with code".into()),
        ),
    ]
}

/// Files that a task names: looked at, read, missed, and not to be changed.
pub(super) fn files() -> Vec<Case> {
    // Longer than what one call reads.
    let long = pattern((3 << 20) + 3);
    let link = |bytes: &[u8]| Value::Link(blob_cid(bytes).to_link());
    let here: Files = [
        ("data/in.csv", Value::String("a,b\n1,2\n".into())),
        ("data/long", link(&long)),
        ("data-2", Value::Bytes(vec![49, 50, 51])),
        ("data/more/empty", Value::String(String::new())),
        ("z", Value::String("last".into())),
    ]
    .map(|(path, file)| (path.to_owned(), file))
    .into();
    let looked = |func: &str, args: &str, value: &str| {
        let case = Case::new(Subject::Files, func, args, Expect::Ok(value.to_owned()));
        Case {
            name: format!("{} of files", case.name),
            files: here.clone(),
            blobs: vec![long.clone()],
            ..case
        }
    };
    let found = [
        ("data-2", 3, "123"),
        ("data/", 0, ""),
        ("data/in.csv", 8, "a,b\\n"),
        ("data/long", long.len(), "\\u0000\\u001f>]"),
        ("data/more/", 0, ""),
        ("data/more/empty", 0, ""),
        ("z", 4, "last"),
    ]
    .map(|(path, size, begin)| {
        format!(r#"{{"path":"/{path}","size":{size},"is-new":true,"begin":"{begin}"}}"#)
    });
    let read_only = "read-only filesystem or storage medium";
    let failed = [
        ("read what is not there", "entity not found"),
        ("read a directory", "is a directory"),
        ("look into a file", "not a directory"),
        ("list a file", "not a directory"),
        ("write a new file", read_only),
        ("write over a file", read_only),
        ("open a file to write", read_only),
        ("remove a file", read_only),
        ("rename a file", read_only),
        ("make a directory", read_only),
    ]
    .map(|(what, error)| format!(r#""{what}: {error}""#));
    let in_vain = Expect::Trap(
        TrapKind::BadArguments,
        "files.f: a file is bytes or a text, and this is a number".to_owned(),
    );
    vec![
        looked("visit", "[\"/\"]", &format!("[{}]", found.join(","))),
        looked(
            "read-part",
            "[\"/data/more/../long\",3,4294967295]",
            &json_of(&link(&long[3..])),
        ),
        looked(
            "fail-at",
            "[\"data/in.csv\"]",
            &format!("[{}]", failed.join(",")),
        ),
        // What a promise came to, and no author wrote.
        Case {
            name: "read-part of a file that is a number".to_owned(),
            files: [("f".to_owned(), Value::Integer(1))].into(),
            ..Case::new(Subject::Files, "read-part", "[\"f\",0,1]", in_vain)
        },
    ]
}
