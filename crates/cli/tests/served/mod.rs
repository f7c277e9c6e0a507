//! The real program as a server: a child that ends with the test.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A server and its address. Dropping it is signal 9: nothing is written after it.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Starts it in a folder, where its caches are as well, and gives the line with which it says that it listens.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> (Self, Value) {
        Self::start_with(folder, args, &[])
    }

    /// As [`Served::start`], with more in its environment.
    pub(crate) fn start_with(
        folder: &Path,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> (Self, Value) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_asterism"))
            .arg("--json")
            .args(args)
            .current_dir(folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("XDG_DATA_HOME", folder.join("share"))
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let url = said["listening"].as_str().unwrap().to_owned();
        (Self { child, url }, said)
    }
}
