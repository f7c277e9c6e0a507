//! `asterism dev` as an author has it: the real program, its words, its answers, its end.
#![cfg(unix)]

mod served;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use served::Served;

/// The longest wait for anything, builds of others beside it.
const WITHIN: Duration = Duration::from_secs(120);

const ADD: &str = r#"(component
  (core module $m
    (func (export "add") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1))))
  (core instance $i (instantiate $m))
  (func (export "add") (param "a" f64) (param "b" f64) (result f64) (canon lift (core func $i "add"))))"#;

struct Dev {
    child: Child,
    url: String,
    curl: String,
    said: Arc<Mutex<String>>,
}

impl Dev {
    fn start(folder: &Path, args: &[&str]) -> Self {
        fs::write(folder.join("math.wat"), ADD).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_asterism"))
            .args(["--json", "dev", "--fn", "math.wat", "--threads", "1"])
            .args(args)
            .current_dir(folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .env("XDG_DATA_HOME", folder.join("share"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut stderr, heard) = (child.stderr.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read @ 1..) = stderr.read(&mut bytes) {
                *heard.lock().unwrap() += &String::from_utf8_lossy(&bytes[..read]);
            }
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let first: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(first["functions"][0], "math/add(a: f64, b: f64) -> f64");
        let text = |name: &str| first[name].as_str().unwrap().to_owned();
        Self {
            child,
            url: text("listening"),
            curl: text("curl"),
            said,
        }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn wait_for(&self, word: &str) {
        let started = Instant::now();
        while !self.said().contains(word) {
            assert!(started.elapsed() < WITHIN, "no {word:?} in {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The signal of Ctrl-C.
    fn interrupt(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
        assert!(sent.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of the line that it prints for a shell.
async fn ask(dev: &Dev) -> String {
    let (_, body) = dev.curl.split_once("--data '").unwrap();
    let answer = reqwest::Client::new()
        .post(format!("{}/run", dev.url))
        .body(body.trim_end_matches('\'').to_owned())
        .send()
        .await
        .unwrap();
    answer.text().await.unwrap()
}

#[tokio::test]
async fn a_source_answers_replays_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), &["--port", "0"]);
    assert_eq!(ask(&dev).await, "4");
    dev.wait_for("computed receipt: 4.0");
    assert_eq!(ask(&dev).await, "4");
    dev.wait_for("replaying receipt: 4.0");
    assert_eq!(dev.interrupt(), Some(0));
    let ignored = fs::read_to_string(folder.path().join(".asterism/.gitignore")).unwrap();
    assert_eq!(ignored, "*\n");
}

#[tokio::test]
async fn debug_computes_everything_anew_and_logs_are_json_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "--port",
        "0",
        "--debug",
        "--in-memory",
        "--log-format",
        "json",
    ];
    let dev = Dev::start(folder.path(), &args);
    for _ in 0..2 {
        assert_eq!(ask(&dev).await, "4");
    }
    let started = Instant::now();
    while dev.said().matches("computed receipt").count() < 2 {
        assert!(started.elapsed() < WITHIN, "{}", dev.said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!dev.said().contains("replaying receipt"));
    let said = dev.said();
    let line = said.lines().find(|line| line.contains("computed receipt"));
    let line: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
    assert_eq!(line["func"], "add");
    assert!(!folder.path().join(".asterism").exists(), "nothing is kept");
}

#[test]
fn a_busy_port_is_said_and_the_next_free_one_taken() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dev = Dev::start(folder.path(), &["--port", &port.to_string(), "--in-memory"]);
    dev.wait_for(&format!("port {port} is taken: this is at "));
    assert_ne!(dev.url, format!("http://127.0.0.1:{port}"));
}

#[tokio::test]
async fn what_changes_is_built_again_and_what_breaks_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), &["--port", "0", "--in-memory", "--watch"]);
    let source = folder.path().join("math.wat");
    fs::write(&source, ADD.replace("f64.add", "f64.oops")).unwrap();
    dev.wait_for("could not build math.wat because line 3");
    dev.wait_for("what was there before goes on");
    assert_eq!(ask(&dev).await, "4");
    fs::write(&source, ADD.replace("f64.add", "f64.mul")).unwrap();
    dev.wait_for("changed: math/add(a: f64, b: f64) -> f64");
    assert_eq!(ask(&dev).await, "3.75", "1.5 times 2.5");
}

#[test]
fn settings_name_functions_beside_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    fs::create_dir(&project).unwrap();
    for name in ["one.wat", "two.wat"] {
        fs::write(project.join(name), ADD).unwrap();
    }
    fs::write(
        project.join("settings.toml"),
        "[command.dev]\nfn = ['one.wat', 'two.wat']\nport = 0\nin-memory = true\nthreads = 1\n",
    )
    .unwrap();
    let args = ["dev", "--config", "project/settings.toml"];
    let (dev, first) = Served::start(folder.path(), &args);
    assert!(!dev.url.ends_with(":3000"), "the port is the file's");
    let functions = first["functions"].as_array().unwrap();
    assert_eq!(functions[0], "one/add(a: f64, b: f64) -> f64");
    assert_eq!(functions[1], "two/add(a: f64, b: f64) -> f64");
}
