//! Cases of [`LENT_WAT`](super::LENT_WAT): what an instance may do with a handle that it was lent, and what its owner may
//! not do meanwhile.

use asterism_protocol::TrapKind;

use super::{Case, Expect, Subject};

fn ok(func: &str, args: &str, value: &str) -> Case {
    let func = format!("lender#{func}");
    Case::new(Subject::Lent, &func, args, Expect::Ok(value.to_owned()))
}

fn broken(func: &str, args: &str) -> Case {
    let expect = Expect::Trap(TrapKind::InvalidAbi, String::new());
    Case::new(Subject::Lent, &format!("lender#{func}"), args, expect)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        ok("use", "[21]", "42"),
        ok("number", "[]", "311"),
        // A borrowed handle is gone with its drop, and no later call has it.
        broken("use-remembered", "[]"),
        broken("drop-remembered", "[]"),
        broken("use-dropped", "[]"),
        broken("drop-twice", "[]"),
        // It is to be dropped before the call returns, and never to be given away.
        broken("keep", "[]"),
        broken("give", "[]"),
        ok("use-both", "[]", "37"),
        ok("use-one-as-both", "[]", "39"),
        broken("keep-one", "[]"),
        ok("use-and-take", "[]", "7"),
        ok("take-and-use", "[]", "7"),
        // What is lent is not given away in the same call, and what is given away is not lent.
        broken("give-what-is-lent", "[]"),
        broken("lend-what-is-given", "[]"),
        // Nor is it while the call goes on: nobody is called from where memory is asked for.
        ok("while-lent", "[0]", "7"),
        broken("while-lent", "[1]"),
        broken("while-lent", "[2]"),
        broken("use-after-drop", "[]"),
        ok("destroyed", "[41]", "41"),
        // A borrowed handle is lent on.
        ok("pass-on", "[5]", "15"),
        broken("pass-on-and-keep", "[]"),
        broken("pass-on-to-a-keeper", "[]"),
    ]
}
