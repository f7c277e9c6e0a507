//! Coordinators, executors and servers as processes of their own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use super::{Api, root};

/// The `asterism` binary, built once for each test program.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn asterism() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        // What cargo told this process of its package is not said to another one, which would build again whatever asks for it.
        build.env_remove("OUT_DIR");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(name);
            }
        }
        // Not `--package`: the features of the whole workspace, so that what `cargo test` compiled is used again.
        build.args([
            "build",
            "--quiet",
            "--bin",
            "asterism",
            "--message-format=json",
            "--manifest-path",
        ]);
        build.arg(root().join("Cargo.toml"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let output = build.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(
            output.status.success(),
            "the asterism binary does not build"
        );
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "asterism")
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo names the binary it built")
    })
}

/// What `asterism` prints for these arguments.
///
/// # Panics
/// If it does not end well.
#[must_use]
pub fn asterism_says(arguments: &[&str]) -> String {
    let output = Command::new(asterism()).args(arguments).output();
    let output = output.expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// What comes of these arguments in such an environment.
///
/// # Panics
/// If the binary does not start.
#[must_use]
pub fn asterism_in(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(asterism());
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

/// Why `asterism` does not do it.
///
/// # Panics
/// If it does.
#[must_use]
pub fn asterism_fails(arguments: &[&str]) -> String {
    let output = Command::new(asterism()).args(arguments).output();
    let output = output.expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    text
}

/// A child that dies with its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log_file(data: &Path, name: &str) -> Stdio {
    std::fs::create_dir_all(data).expect("the data directory can be made");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join(name));
    Stdio::from(file.expect("a log file can be made"))
}

/// A coordinator with its own data directory.
pub struct Coordinator {
    child: Owned,
    url: String,
    data: PathBuf,
    panel: Option<PathBuf>,
    arguments: Vec<String>,
}

impl Coordinator {
    /// Starts one on a free port, without a panel.
    ///
    /// # Panics
    /// If it does not come up; its log is part of the message.
    #[must_use]
    pub fn start(data: &Path) -> Self {
        Self::start_that(data, &[])
    }

    /// As above, with further arguments.
    ///
    /// # Panics
    /// As [`Coordinator::start`].
    #[must_use]
    pub fn start_that(data: &Path, arguments: &[&str]) -> Self {
        Self::start_at(data, "127.0.0.1:0", None, arguments)
    }

    /// Starts one that serves the bundled panel.
    ///
    /// # Panics
    /// As [`Coordinator::start`], and if the panel is not bundled.
    #[must_use]
    pub fn start_with_panel(data: &Path) -> Self {
        Self::start_with(data, &super::panel())
    }

    /// Starts one that serves these files.
    ///
    /// # Panics
    /// As [`Coordinator::start`].
    #[must_use]
    pub fn start_with(data: &Path, panel: &Path) -> Self {
        Self::start_at(data, "127.0.0.1:0", Some(panel), &[])
    }

    fn start_at(data: &Path, listen: &str, panel: Option<&Path>, arguments: &[&str]) -> Self {
        let mut command = Command::new(asterism());
        command
            .args(["coordinator", "--json", "--listen", listen, "--data"])
            .arg(data)
            .args(arguments);
        if let Some(panel) = panel {
            command.arg("--panel").arg(panel);
        }
        command
            .stdout(Stdio::piped())
            .stderr(log_file(data, "coordinator.log"));
        let mut child = Owned(command.spawn().expect("the coordinator starts"));
        let stdout = child.0.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("stdout can be read");
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let log = std::fs::read_to_string(data.join("coordinator.log")).unwrap_or_default();
            panic!("the coordinator did not say where it listens, but {line:?}; its log:\n{log}")
        });
        let url = said["listening"].as_str().expect("an address").to_owned();
        Self {
            child,
            url,
            data: data.to_owned(),
            panel: panel.map(Path::to_owned),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    /// Its address: `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its HTTP interface.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&self.url)
    }

    /// Ends it by signal 9 and starts it again on the same port and data.
    #[must_use]
    pub fn kill_and_restart(mut self) -> Self {
        self.child.0.kill().expect("it was running");
        self.child.0.wait().expect("it can be waited for");
        let listen = self.url.trim_start_matches("http://").to_owned();
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Self::start_at(&self.data, &listen, self.panel.as_deref(), &arguments)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }
}

/// A native executor with its own key.
pub struct Executor {
    _child: Owned,
}

impl Executor {
    /// Starts one with `threads` threads.
    ///
    /// # Panics
    /// If the binary does not start.
    #[must_use]
    pub fn start(coordinator: &str, data: &Path, threads: u32) -> Self {
        Self::start_with(coordinator, data, threads, &[])
    }

    /// As above, with further arguments.
    ///
    /// # Panics
    /// If the binary does not start.
    #[must_use]
    pub fn start_with(coordinator: &str, data: &Path, threads: u32, arguments: &[&str]) -> Self {
        let mut command = Command::new(asterism());
        command.args([
            "executor",
            "start",
            "--coordinator",
            coordinator,
            "--threads",
            &threads.to_string(),
        ]);
        command.arg("--data").arg(data).args(["--name", "native"]);
        command.args(arguments);
        command
            .stdout(Stdio::null())
            .stderr(log_file(data, "executor.log"));
        Self {
            _child: Owned(command.spawn().expect("the executor starts")),
        }
    }
}

/// The panel behind `trunk serve`, as a developer has it.
pub struct TrunkServer {
    child: Child,
    url: String,
}

impl TrunkServer {
    /// Builds and serves the panel on a free port; the bundle goes to `dist`.
    ///
    /// # Panics
    /// If it does not come up within five minutes.
    #[must_use]
    pub fn start(dist: &Path) -> Self {
        use std::os::unix::process::CommandExt as _;
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(root()).args([
            "xtask",
            "trunk",
            "serve",
            "--release",
            "--no-autoreload",
            "true",
            "--port",
        ]);
        command
            .arg(port.to_string())
            .arg("--dist")
            .arg(dist)
            .arg("--ignore")
            .arg(root());
        // A group of its own: trunk and the builds below it end together.
        command
            .stdin(Stdio::null())
            .stdout(log_file(dist, "../trunk.log"))
            .stderr(log_file(dist, "../trunk.log"));
        let child = command.process_group(0).spawn().expect("cargo xtask runs");
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TrunkServer {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-TERM", "--", &group]).status();
        let _ = self.child.wait();
    }
}
