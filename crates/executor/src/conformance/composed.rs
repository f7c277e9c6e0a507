//! Cases of [`COMPOSED_WAT`](super::COMPOSED_WAT): values, strings above all, and resources that pass from one component to
//! another, and what ends a call in the inner one.

use asterism_protocol::{
    TrapKind::{self, BadArguments, InvalidAbi, OutOfFuel, OutOfMemory, Unreachable},
    json_of,
    message::FaultKind,
};

use super::{Case, Expect, Subject};

/// How strings stand in a component's memory, in names of instances.
const ENCODINGS: [&str; 3] = ["utf8", "utf16", "latin1"];

const PAGE: u64 = 1 << 16;

/// Memories of a page each: of three callees, and of a caller for each pair.
const MEMORIES: u64 = 12;

fn case(func: &str, args: &str, expect: Expect) -> Case {
    Case::new(Subject::Composed, func, args, expect)
}

fn ok(func: &str, args: &str, value: &str) -> Case {
    case(func, args, Expect::Ok(value.to_owned()))
}

fn trap(func: &str, args: &str, kind: TrapKind) -> Case {
    case(func, args, Expect::Trap(kind, String::new()))
}

/// Cases of components that are composed of several. Apart from the others, because what passes values between them has
/// several memories, which not every engine has (node's only from version 22 on).
#[must_use]
pub fn composed_cases() -> Vec<Case> {
    let mut all = Vec::new();
    for caller in ENCODINGS {
        for callee in ENCODINGS {
            let func = |name: &str| format!("{caller}-to-{callee}#{name}");
            all.extend(values(&func));
            all.extend(no_texts(&func, caller, callee));
        }
    }
    all.extend(ends());
    all.extend(resources());
    all.extend(super::lent::cases());
    all
}

/// What goes through two components comes back as it went in.
fn values(func: &dyn Fn(&str) -> String) -> Vec<Case> {
    let mut all = Vec::new();
    for text in [
        "",
        "plain",
        "ÿé",
        "Zürich",
        "aé→z",
        "🛰",
        "𝛼\u{0}\u{10ffff}\u{d7ff}\u{e000}",
    ] {
        let text = json_of(&text.to_owned().into());
        let args = format!("[{text}]");
        all.push(ok(&func("echo"), &args, &text));
        // How often the inner one is asked for memory.
        all.push(case(&func("asked"), &args, Expect::Recorded));
    }
    let long = format!("\"{}\"", "aé→🛰".repeat(2_000));
    let long_back = ok(&func("echo"), &format!("[{long}]"), &long);
    all.push(long_back.named(&format!("20 KB of text come back by {}", func("echo"))));
    let list = r#"["","a","é","→","🛰 and back"]"#;
    let note = r#"{"count":4294967295,"name":"Ада 🛰","tags":["","ß"],"time":18446744073709551615}"#;
    let bare = r#"{"count":0,"name":"","tags":[],"time":null}"#;
    let bytes = r#"{"/":{"bytes":"AAH/"}}"#;
    for (name, value) in [
        ("list", list),
        ("note", note),
        ("note", bare),
        ("bytes", bytes),
    ] {
        all.push(ok(&func(name), &format!("[{value}]"), value));
    }
    all.push(ok(&func("some"), "[\"é→\"]", "\"é→\""));
    all.push(case(&func("some"), "[\"\"]", Expect::Err("7".to_owned())));
    all
}

/// What is no text ends the call, in whichever direction it goes; and what is one, though it was not meant to be.
fn no_texts(func: &dyn Fn(&str) -> String, caller: &str, callee: &str) -> Vec<Case> {
    let mut all = Vec::new();
    // `raw` comes from the inner component, `send` goes to it.
    for (name, from) in [("raw", callee), ("send", caller)] {
        let func = func(name);
        let broken = |args: &str| trap(&func, args, InvalidAbi);
        // A byte that is no UTF-8.
        all.push(match from {
            "utf8" => broken("[40,1]"),
            _ => ok(&func, "[40,1]", "\"ÿ\""),
        });
        // Half a character; as Latin-1 it is another one.
        all.push(match from {
            "utf16" => broken("[32,1]"),
            _ => ok(&func, "[32,1]", "\"\\u0000\""),
        });
        if from == "latin1" {
            all.push(broken("[32,2147483649]"));
        }
        all.push(match from {
            "utf16" => broken("[41,1]"),
            "latin1" => broken("[41,2147483649]"),
            _ => broken("[65530,7]"),
        });
        all.push(broken("[65530,8]"));
        all.push(broken("[4294967295,1]"));
        all.push(broken("[0,4294967295]"));
    }
    all
}

/// What ends a call in the inner component is the outcome of the outer one's function.
fn ends() -> Vec<Case> {
    let func = |name: &str| format!("utf8-to-utf16#{name}");
    let mut all = vec![
        trap(&func("trap"), "[]", Unreachable),
        ok(&func("letter"), "[128752]", "\"🛰\""),
        trap(&func("letter"), "[55296]", InvalidAbi),
        trap(&func("letter"), "[1114112]", InvalidAbi),
        ok(&func("work"), "[1000]", "0"),
        case(
            &func("recurse"),
            "[]",
            Expect::Fault(FaultKind::StackOverflow),
        ),
        case(
            &func("note"),
            r#"[{"count":-1,"name":"","tags":[],"time":null}]"#,
            Expect::Trap(BadArguments, "args[0].count".to_owned()),
        ),
        case(
            &func("list"),
            r#"[["",5]]"#,
            Expect::Trap(BadArguments, "args[0][1]".to_owned()),
        ),
        trap("utf8-to-utf16#sing", "[]", TrapKind::UnknownFunction),
        trap("utf8-to-utf7#echo", "[\"\"]", TrapKind::UnknownFunction),
    ];
    for fuel in [0, 1, 5, 10, 20, 40, 80, 1_000, 100_000] {
        let starved = trap(&func("work"), "[4294967295]", OutOfFuel);
        let name = format!("the inner component ends when {fuel} fuel is consumed");
        all.push(starved.limited(|limits| limits.fuel = fuel).named(&name));
    }
    let within = |case: Case, pages: u64| {
        let name = format!("{} within {pages} pages", case.name);
        case.limited(|limits| limits.memory = pages * PAGE)
            .named(&name)
    };
    // All memories share one limit.
    all.extend([
        within(ok(&func("grow"), "[2]", "1"), MEMORIES + 2),
        within(ok(&func("grow"), "[3]", "-1").refused(), MEMORIES + 2),
        within(ok(&func("grow"), "[0]", "1"), MEMORIES),
        within(
            trap(&func("grow"), "[0]", OutOfMemory).refused(),
            MEMORIES - 1,
        ),
    ]);
    all
}

/// Resources that one component makes and another uses.
fn resources() -> Vec<Case> {
    vec![
        ok("user#through", "[21]", "42"),
        ok("user#next-handle", "[]", "1"),
        ok("user#destroyed", "[41]", "42"),
        trap("user#destroyed", "[666]", Unreachable),
        trap("user#look-after-take", "[]", InvalidAbi),
        trap("user#take-twice", "[]", InvalidAbi),
        ok("user#look-at", "[1]", "1"),
        trap("user#look-at", "[0]", InvalidAbi),
        trap("user#look-at", "[2]", InvalidAbi),
    ]
}
