//! The browser's host in node.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::{
    ANSWER_BYTES_MAX,
    remote::{Link, RemoteHost},
};

/// The performer in this folder, which `cargo xtask conformance` makes, in a process of this node.
#[must_use]
pub fn node(program: &Path, performer: &Path) -> RemoteHost {
    node_with(program, performer, &[])
}

/// As above, with flags for node or its engine.
#[must_use]
pub fn node_with(program: &Path, performer: &Path, flags: &[&str]) -> RemoteHost {
    let (program, performer) = (program.to_owned(), performer.to_owned());
    let flags: Vec<String> = flags.iter().copied().map(String::from).collect();
    RemoteHost::new("node", move || {
        Ok(Box::new(Node::start(&program, &performer, &flags)?))
    })
}

struct Node {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Node {
    fn start(program: &Path, performer: &Path, flags: &[String]) -> io::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("performer/node.mjs");
        let mut child = Command::new(program)
            .args(flags)
            .arg(script)
            .arg(performer)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let piped = || io::Error::other("node has no pipes");
        Ok(Self {
            stdin: child.stdin.take().ok_or_else(piped)?,
            stdout: child.stdout.take().ok_or_else(piped)?,
            child,
        })
    }
}

impl Link for Node {
    fn ask(&mut self, question: &[u8]) -> io::Result<Vec<u8>> {
        let length = u32::try_from(question.len()).map_err(io::Error::other)?;
        self.stdin.write_all(&length.to_le_bytes())?;
        self.stdin.write_all(question)?;
        self.stdin.flush()?;
        let mut length = [0; 4];
        self.stdout.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        self.stdout.read_exact(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
