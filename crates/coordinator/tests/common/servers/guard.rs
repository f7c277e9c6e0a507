//! What ends a server when its test ends, also where the test is killed.

use std::process::{Child, ChildStdin, Command, Stdio};

/// A process beside the test.
pub(super) struct Guard {
    process: Child,
    /// It ends the server when this closes.
    alive: Option<ChildStdin>,
}

impl Guard {
    /// Starts it. The command has to end the server when its standard input ends, and only then.
    pub(super) fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
        let alive = process.stdin.take();
        Self { process, alive }
    }

    /// Has the server ended now.
    pub(super) fn end(&mut self) {
        drop(self.alive.take());
        let _ = self.process.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end();
    }
}
