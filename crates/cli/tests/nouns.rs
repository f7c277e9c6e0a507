//! Commands by their nouns, through the real program: what each writes to standard output and standard error, and how it
//! ends, as a transcript. What differs each time (names of signed things, times, ports) is written as what it is.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

/// `sum` adds, `fail` traps, `say` logs.
const GUEST: &str = r#"(component
  (import "wasi:logging/logging" (instance $log
    (type $level' (enum "trace" "debug" "info" "warn" "error" "critical"))
    (export "level" (type $level (eq $level')))
    (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 0) "guest:watsaid"))
  (core instance $libc (instantiate $libc))
  (core func $log (canon lower (func $log "log") (memory (core memory $libc "memory"))))
  (core module $m
    (import "log" "log" (func $log (param i32 i32 i32 i32 i32)))
    (func (export "sum") (param f64 f64) (result f64)
      (call $log (i32.const 2) (i32.const 0) (i32.const 9) (i32.const 9) (i32.const 4))
      (f64.add (local.get 0) (local.get 1)))
    (func (export "fail") unreachable))
  (core instance $i (instantiate $m (with "log" (instance (export "log" (func $log))))))
  (func (export "sum") (param "a" f64) (param "b" f64) (result f64) (canon lift (core func $i "sum")))
  (func (export "fail") (canon lift (core func $i "fail"))))"#;

const TWICE: &str = r#"{
  "tasks": [
    { "run": { "name": "first", "input": { "func": "sum", "args": [1, "{{args.start}}"] } } },
    { "run": { "name": "second", "input": { "func": "sum", "args": ["{{needs.first.output}}", 4] } } }
  ]
}
"#;

const TWICE_YAML: &str = "tasks:
  - run: { name: first, input: { func: sum, args: [1, 2] } }
  - run: { name: second, input: { func: sum, args: ['{{needs.first.output}}', 4] } }
";

const FAILS: &str = r#"{ "tasks": [
  { "run": { "name": "broken", "input": { "func": "fail", "args": [] } } },
  { "run": { "name": "after", "input": { "func": "sum", "args": ["{{needs.broken.output}}", 4] } } }
] }
"#;

const WRONG: &str = r#"{ "tasks": [
  { "run": { "name": "first", "input": { "func": "summ", "args": [1, 2] } } },
  { "run": { "name": "second", "input": { "func": "sum", "args": ["{{needs.frist.output}}"] } } }
] }
"#;

/// A coordinator, a folder of files, and what was said there.
struct Place {
    folder: tempfile::TempDir,
    server: Child,
    url: String,
    names: BTreeMap<String, String>,
    transcript: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Place {
    fn new(server: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("guest.wat", GUEST),
            ("twice.json", TWICE),
            ("twice.yaml", TWICE_YAML),
            ("fails.json", FAILS),
            ("wrong.json", WRONG),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mut server = Command::new(env!("CARGO_BIN_EXE_asterism"))
            .args(server)
            .args(["--json", "--in-memory"])
            .current_dir(folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .env("XDG_CONFIG_HOME", folder.path().join("config"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let url = said["listening"].as_str().unwrap().to_owned();
        Self {
            folder,
            server,
            url,
            names: BTreeMap::new(),
            transcript: String::new(),
        }
    }

    /// Runs a command, with `text` as its standard input, and writes down what came of it. Gives its standard output.
    fn run_with(&mut self, line: &str, text: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"))
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env_remove("USER")
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env("ASTERISM_COORDINATOR", &self.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Most read nothing of it.
        let _ = command.stdin.take().unwrap().write_all(text.as_bytes());
        let output = command.wait_with_output().unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        let mut said = format!("$ asterism {line}\n{out}");
        for line in err.lines() {
            said += &format!("! {line}\n");
        }
        match output.status.code() {
            Some(0) => {}
            code => said += &format!("exit {}\n", code.unwrap_or(-1)),
        }
        let said = self.redacted(&said);
        self.transcript += &format!("{said}\n");
        out
    }

    fn run(&mut self, line: &str) -> String {
        self.run_with(line, "")
    }

    /// Names by content and keys are numbered as they come, times and the address are told as what they are.
    fn redacted(&mut self, text: &str) -> String {
        let text = text.replace(&self.url, "URL");
        let (mut said, mut word) = (String::new(), String::new());
        for c in text.chars().chain([' ']) {
            if c.is_ascii_alphanumeric() {
                word.push(c);
                continue;
            }
            said += &self.name(&word, &said);
            word.clear();
            said.push(c);
        }
        said.pop();
        said.lines()
            .map(|line| format!("{}\n", without_times(line)))
            .collect()
    }

    fn name(&mut self, word: &str, before: &str) -> String {
        let kind = if word.len() > 40 && word.starts_with("baf") {
            "CID"
        } else if before.ends_with("did:key:") {
            "KEY"
        } else if word.len() == 13 && word.parse::<u64>().is_ok() {
            return "TIME".to_owned();
        } else {
            return word.to_owned();
        };
        let number = self.names.len() + 1;
        let name = || format!("{kind}-{number}");
        self.names
            .entry(word.to_owned())
            .or_insert_with(name)
            .clone()
    }
}

/// `in 12 µs` and `for 0.1 s` as `in TIME` and `for TIME`.
fn without_times(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    for at in 2..words.len() {
        let is_unit = ["µs", "ms", "s"].contains(&words[at].trim_end_matches(','));
        let is_time =
            ["in", "for"].contains(&words[at - 2]) && words[at - 1].parse::<f64>().is_ok();
        if is_unit && is_time {
            (words[at - 1], words[at]) = ("SOME", "TIME");
        }
    }
    words.join(" ")
}

#[test]
fn what_runs_is_told_and_asked_about() {
    let mut place = Place::new(&["dev", "guest.wat", "--port", "0", "--threads", "1"]);
    place.run("run twice.json --arg start=2");
    place.run("run twice.json --arg start=2 --quiet");
    place.run_with("run - --wait --name piped", TWICE_YAML);
    place.run("run twice.yaml -o json");
    place.run("run twice.yaml -o jsonl --quiet");
    place.run("run twice.json");
    place.run("run twice.json --arg start");
    place.run("run twice.json --arg start=2 --arg stop=3");
    place.run_with("run - --no-input", TWICE_YAML);
    place.run("run fails.json");
    place.run("--json run fails.json");
    place.run("run wrong.json");
    place.run("workflow list");
    place.run("workflow list --state failed");
    place.run("workflow list --state finished");
    place.run("workflow get 1");
    place.run("workflow watch 1");
    place.run("workflow rerun 1");
    place.run("workflow rerun 1 --detach");
    place.run("workflow get 99");
    place.run("workflow graph 1");
    place.run("workflow graph twice.yaml --format dot");
    place.run("workflow graph 1 --format svg");
    place.run("workflow validate twice.yaml");
    place.run("workflow validate wrong.json");
    place.run("--json workflow validate wrong.json --quiet");
    place.run("workflow validate wrong.json --offline");
    place.run("task get 1 second");
    place.run("task logs 1 first");
    place.run("task explain 1 second");
    place.run("task get 1 secnd");
    let failed = place.run("--json workflow list --state failed");
    let failed: serde_json::Value = serde_json::from_str(&failed).unwrap();
    let failed = failed[0]["run"].to_string();
    place.run(&format!("task explain {failed} after"));
    let told = place.transcript.len();
    let task = place.run("--json task get 1 second");
    // It tells of more times than can be told apart here.
    place.transcript.truncate(told);
    let task: serde_json::Value = serde_json::from_str(&task).unwrap();
    let receipt = task["receipt"].as_str().unwrap();
    place.run(&format!("receipt verify {receipt}"));
    place.run(&format!("receipt verify {receipt} --rerun"));
    place.run(&format!("receipt verify {receipt} --rerun --run 99"));
    place.run("receipt verify nonsense");
    let blob = place.run("blob put twice.yaml");
    place.run(&format!("blob get {}", blob.trim()));
    place.run("workflow lst");
    place.run("executor drain dev");
    place.run("executor drain dev --undo");
    place.run("executor drain deb");
    place.run("--json executor ban dev --reason noise");
    insta::assert_snapshot!(place.transcript);
}

#[test]
fn what_waits_is_explained_paused_and_cancelled() {
    let mut place = Place::new(&["coordinator", "--listen", "127.0.0.1:0"]);
    place.run("fn add guest.wat");
    place.run("run twice.yaml --detach");
    place.run("run twice.yaml --timeout 50");
    place.run("--json run twice.yaml --detach --quiet");
    place.run("task explain 1 first");
    place.run("task explain 1 second");
    place.run("workflow pause 1");
    place.run("workflow resume 1");
    place.run("workflow cancel 1");
    place.run("workflow cancel 1");
    place.run("workflow watch 1");
    place.run("workflow get 1");
    place.run("--json executor list");
    insta::assert_snapshot!(place.transcript);
}

#[test]
fn dag_cbor_is_a_workflow_as_well() {
    let mut place = Place::new(&["dev", "guest.wat", "--port", "0", "--threads", "1"]);
    let value =
        asterism_protocol::value_of_json(TWICE.replace("\"{{args.start}}\"", "2").as_bytes());
    let bytes = asterism_protocol::encode(&value.unwrap());
    fs::write(place.folder.path().join("twice.cbor"), bytes).unwrap();
    assert_eq!(place.run("run twice.cbor"), "7\n");
    assert_eq!(place.run("workflow validate twice.cbor"), "");
}
