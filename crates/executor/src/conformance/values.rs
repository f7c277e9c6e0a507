//! Cases of [`VALUES_WAT`](super::VALUES_WAT) and [`LATIN1_WAT`](super::LATIN1_WAT): strings in every encoding, types that
//! compilers do not offer yet, and what is no value.

use asterism_protocol::{
    TrapKind::{self, InvalidAbi, OutputTooLarge},
    limits::OUTCOME_BYTES_MAX,
};

use super::{Case, Expect, Subject};

/// How strings stand in a guest's memory, in names of functions.
const ENCODINGS: [&str; 3] = ["utf8", "utf16", "latin1"];

fn case(func: &str, args: &str, expect: Expect) -> Case {
    let subject = if func.contains("latin1") || func == "surrogate-tagged" {
        Subject::Latin1
    } else {
        Subject::Values
    };
    Case::new(subject, func, args, expect)
}

fn ok(func: &str, args: &str, value: &str) -> Case {
    case(func, args, Expect::Ok(value.to_owned()))
}

fn trap(func: &str, args: &str, kind: TrapKind) -> Case {
    case(func, args, Expect::Trap(kind, String::new()))
}

fn bad(func: &str, args: &str, words: &str) -> Case {
    let expect = Expect::Trap(TrapKind::BadArguments, words.to_owned());
    Case::new(Subject::Values, func, args, expect)
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = strings();
    all.extend(no_values());
    all.extend(too_much());
    all.extend(types());
    all
}

fn strings() -> Vec<Case> {
    let mut all = Vec::new();
    // In UTF-8, UTF-16 and Latin-1 or UTF-16 (tagged): the length that the guest sees, and how often it is asked for
    // memory, which decides its fuel.
    let tag = 1_u32 << 31;
    let texts = [
        ("", [0, 0, 0], [1, 1, 1]),
        ("plain", [5, 5, 5], [1, 1, 1]),
        ("ÿé", [4, 2, 2], [1, 2, 2]),
        ("Zürich", [7, 6, 6], [1, 2, 2]),
        ("→", [3, 1, tag | 1], [1, 2, 3]),
        ("aé→z", [7, 4, tag | 4], [1, 2, 3]),
        ("🛰", [4, 2, tag | 2], [1, 2, 3]),
        (
            "𝛼\u{0}\u{10ffff}\u{d7ff}\u{e000}",
            [15, 7, tag | 7],
            [1, 2, 3],
        ),
    ];
    for (text, lengths, asked) in texts {
        let text = asterism_protocol::json_of(&text.to_owned().into());
        for (encoding, (length, asked)) in ENCODINGS.iter().zip(lengths.into_iter().zip(asked)) {
            let args = format!("[{text}]");
            all.push(ok(&format!("echo-{encoding}"), &args, &text));
            all.push(ok(
                &format!("length-{encoding}"),
                &args,
                &length.to_string(),
            ));
            all.push(ok(&format!("asked-{encoding}"), &args, &asked.to_string()));
        }
    }
    let list = r#"["","a","é","→","🛰 and back"]"#;
    for encoding in ENCODINGS {
        all.push(ok(&format!("list-{encoding}"), &format!("[{list}]"), list));
        let long = format!("\"{}\"", "aé→🛰".repeat(20_000));
        let name = format!("200 KB of text come back in {encoding}");
        all.push(ok(&format!("echo-{encoding}"), &format!("[{long}]"), &long).named(&name));
    }
    all
}

/// The same failure on every host, whatever an engine would say.
fn no_values() -> Vec<Case> {
    let mut all = vec![
        trap("surrogate", "[]", InvalidAbi),
        trap("surrogate-tagged", "[]", InvalidAbi),
        ok("surrogate-as-latin1", "[]", "\"\\u0000\""),
        trap("no-utf8", "[]", InvalidAbi),
        trap("no-utf8-as-latin1", "[]", InvalidAbi),
        trap("odd-address", "[]", InvalidAbi),
        trap("outside-list", "[]", InvalidAbi),
        trap("outside-bytes", "[]", InvalidAbi),
        trap("odd-result", "[]", InvalidAbi),
        ok("char-of", "[128752]", "\"🛰\""),
        trap("char-of", "[55296]", InvalidAbi),
        trap("char-of", "[1114112]", InvalidAbi),
        ok("bool-of", "[256]", "true"),
        ok("s8-of", "[65408]", "-128"),
        ok("u16-of", "[4294901761]", "1"),
        ok("hues#enum-of", "[2]", "\"blue\""),
        trap("hues#enum-of", "[3]", InvalidAbi),
    ];
    for encoding in ENCODINGS {
        all.push(trap(&format!("outside-{encoding}"), "[]", InvalidAbi));
    }
    all
}

/// What no outcome can hold is found out before it is copied.
fn too_much() -> Vec<Case> {
    let values = OUTCOME_BYTES_MAX;
    vec![
        // A list that leads out of memory, if it were not too long already.
        trap("longest-list", "[]", OutputTooLarge),
        trap("longest-utf8", "[]", OutputTooLarge),
        trap("longest-latin1", "[]", OutputTooLarge),
        ok("many-bools", "[2]", "[null,null]"),
        trap("many-bools-grown", &format!("[{values}]"), OutputTooLarge),
        trap("many-bools-grown", "[4294967295]", OutputTooLarge),
        trap("many-bytes-grown", "[134217729]", OutputTooLarge),
        trap("many-bytes-grown", "[4294967295]", OutputTooLarge),
        // A byte that the memory does not have.
        trap("many-bytes-grown", "[16777217]", InvalidAbi),
    ]
}

fn types() -> Vec<Case> {
    let numbers: Vec<String> = (0..32).map(|n| n.to_string()).collect();
    let names: Vec<String> = (0..9).map(|n| format!("\"name {n}\"")).collect();
    let (numbers, names) = (numbers.join(","), format!("[{}]", names.join(",")));
    let grid = "[[1,2,3],[4,5,6],[7,8,9],[10,11,12],[13,14,15],[0,65535,0]]";
    vec![
        ok("echo-by-name", "[{}]", "{}"),
        ok("echo-by-name", r#"[{"b":2,"a":1}]"#, r#"{"a":1,"b":2}"#),
        ok("echo-by-name", r#"[[["b",2],["a",1]]]"#, r#"{"a":1,"b":2}"#),
        ok("echo-by-number", "[[[2,20],[1,10]]]", "[[1,10],[2,20]]"),
        ok(
            "echo-by-char",
            r#"[[["ß",["a","b"]]]]"#,
            r#"[["ß",["a","b"]]]"#,
        ),
        ok(
            "echo-nested",
            r#"[{"x":[[1,2]],"":[]}]"#,
            r#"{"":[],"x":[[1,2]]}"#,
        ),
        // Of equal keys the last counts.
        ok("twice", "[]", "[[1,11],[2,12]]"),
        bad("echo-by-name", r#"[[["a",1],["a",2]]]"#, "given twice"),
        bad("echo-by-name", r#"[{"a":-1}]"#, "args[0].a"),
        bad("echo-by-number", r#"[{"1":2}]"#, "args[0]"),
        bad("echo-by-number", "[[[1,2],[3,-4]]]", "args[0][1][1]"),
        bad("echo-by-number", "[[[1]]]", "args[0][0]"),
        ok("echo-triple", "[[1,2,65535]]", "[1,2,65535]"),
        bad("echo-triple", "[[1,2]]", "list<u16, 3>"),
        bad("echo-triple", "[[1,2,65536]]", "args[0][2]"),
        ok(
            "echo-address",
            "[[127,0,0,1]]",
            r#"{"/":{"bytes":"fwAAAQ"}}"#,
        ),
        bad("echo-address", r#"[{"/":{"bytes":"fwAA"}}]"#, "list<u8, 4>"),
        ok(
            "echo-hash",
            &format!("[[{numbers}]]"),
            r#"{"/":{"bytes":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}}"#,
        ),
        ok("echo-names", &format!("[{names}]"), &names),
        ok("echo-grid", &format!("[{grid}]"), grid),
    ]
}
