//! Cases about components that are composed of several.

use asterism_protocol::TrapKind;

use super::{Case, Expect, Subject};

fn gives(func: &str, args: &str, value: &str) -> Case {
    case(func, args, Expect::Ok(value.to_owned()))
}

fn traps(func: &str, kind: TrapKind) -> Case {
    case(func, "[]", Expect::Trap(kind, String::new()))
}

fn case(func: &str, args: &str, expect: Expect) -> Case {
    let case = Case::new(Subject::Composed, func, args, expect);
    let name = format!("composed: {}", case.name);
    case.named(&name)
}

/// Cases of [`super::COMPOSED_WAT`] and [`super::JOINED_WAT`]. Apart from the others, because what passes values between the two has several
/// memories, which not every engine has (node's only from version 22 on).
#[must_use]
pub fn composed_cases() -> Vec<Case> {
    let mut all = of_two();
    all.extend(super::joined::cases());
    all
}

fn of_two() -> Vec<Case> {
    let long = format!("\"{}\"", "Zürich 🛰 ".repeat(10_000));
    vec![
        gives("echo", r#"[""]"#, r#""""#),
        gives("echo", r#"["aé→🛰z"]"#, r#""aé→🛰z""#),
        gives("echo", &format!("[{long}]"), &long).named("composed: long text goes there and back"),
        traps("echo-beyond", TrapKind::InvalidAbi),
        traps("echo-broken", TrapKind::InvalidAbi),
        gives("sum", "[[]]", "0"),
        gives("sum", "[[1,2,4294967295]]", "4294967298"),
        traps("sum-unaligned", TrapKind::InvalidAbi),
        gives(
            "mirror",
            r#"[[1.5,-2.5,"Zürich"]]"#,
            r#"[-2.5,1.5,"Zürich"]"#,
        ),
        traps("fail", TrapKind::Unreachable),
        traps("spin", TrapKind::OutOfFuel),
        case(
            "echo",
            r#"["both memories count"]"#,
            Expect::Trap(TrapKind::OutOfMemory, String::new()),
        )
        .named("composed: the limit is that of both memories")
        .limited(|limits| limits.memory = (2 << 16) - 1)
        .refused(),
    ]
}
