//! The coordinator as others see it: over a port, by HTTP and WebSocket.

mod authority;
#[path = "../common/mod.rs"]
mod common;
mod content;
mod gateway;
mod large;
mod mistakes;
mod quota;
mod refusals;
mod rpc;
mod runs;
mod watchers;

use common::{task, workflow};

pub(crate) fn sum() -> String {
    workflow(&[task("add", "add", "[3.1, 5.2]")])
}

pub(crate) fn two_steps() -> String {
    workflow(&[
        task("add", "add", "[1, 2]"),
        task("half", "divide", r#"["{{needs.add.output}}", 2]"#),
    ])
}
