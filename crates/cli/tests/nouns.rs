//! Commands by their nouns, through the real program: what each writes to standard output and standard error, and how it
//! ends, as a transcript. What differs each time (names of signed things, times, ports) is written as what it is.

mod served;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use served::Served;

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
    server: Served,
    names: BTreeMap<String, String>,
    transcript: String,
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
        let args = [server, &["--in-memory"]].concat();
        let (server, _) = Served::start(folder.path(), &args);
        Self {
            folder,
            server,
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
            .env("XDG_DATA_HOME", self.folder.path().join("share"))
            .env("ASTERISM_COORDINATOR", &self.server.url)
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
        let text = text.replace(&self.server.url, "URL");
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
        } else if word.len() == 64 && word.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return "TOKEN".to_owned();
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
    place.run(&format!(
        "receipt verify {receipt} --rerun --workflow twice.yaml"
    ));
    place.run(&format!(
        "receipt verify {receipt} --rerun --workflow wrong.json"
    ));
    place.run("receipt verify nonsense");
    let blob = place.run("blob put twice.yaml");
    place.run(&format!("blob get {}", blob.trim()));
    place.run("workflow lst");
    for folder in ["guest", "elsewhere"] {
        fs::create_dir(place.folder.path().join(folder)).unwrap();
    }
    place.run("fn call guest sum 1 2");
    place.run("fn call elsewhere sum 1 2");
    place.run("executor drain dev");
    place.run("executor drain dev --undo");
    place.run("executor drain deb");
    place.run("--json executor ban dev --reason noise");
    place.run("--json executor ban dev --undo");
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
    place.run("workflow pause --all");
    place.run("task explain 2 first");
    place.run("workflow resume --all");
    place.run("workflow pause");
    place.run("workflow pause 2 --all");
    place.run("task cancel 2 first");
    place.run("task cancel 2 first");
    place.run("task cancel 2 frist");
    place.run("task explain 2 first");
    place.run("task explain 2 second");
    place.run("workflow watch 2");
    place.run("workflow list");
    place.run("--json executor list");
    insta::assert_snapshot!(place.transcript);
}

/// What no executor here offers.
const ELSEWHERE: &str = "tasks:
  - run: { name: far, input: { func: sum, args: [1, 2] } }
    meta: { requires: { labels: { region: mars } } }
";

#[test]
fn what_nobody_may_perform_says_so_while_it_is_waited_for() {
    // Much longer than the two seconds that a run is idle before somebody asks why.
    let patience = "--timeout 10000";
    let mut place = Place::new(&["dev", "guest.wat", "--port", "0", "--threads", "1"]);
    fs::write(place.folder.path().join("elsewhere.yaml"), ELSEWHERE).unwrap();
    // Who is there is a part of why, and `dev` listens before its executor is.
    let told = place.transcript.len();
    let begun = Instant::now();
    while place.run("--json executor list").trim() == "[]" {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody comes");
    }
    place.transcript.truncate(told);
    place.run(&format!("run elsewhere.yaml {patience}"));
    place.run("task explain 1 far");
    let mut empty = Place::new(&["coordinator", "--listen", "127.0.0.1:0"]);
    empty.run("fn add guest.wat");
    empty.run(&format!("run twice.yaml {patience}"));
    insta::assert_snapshot!(place.transcript + &empty.transcript);
}

#[test]
fn what_not_everybody_may_wants_a_token() {
    let token = "a-token-of-an-operator";
    let mut place = Place::new(&[
        "coordinator",
        "--listen",
        "127.0.0.1:0",
        "--require-operator-token",
        "--operator-token",
        token,
    ]);
    fs::write(place.folder.path().join("token"), format!("{token}\n")).unwrap();
    place.run("fn add guest.wat");
    let told = place.transcript.len();
    let started = place.run("--json run twice.yaml --detach");
    place.transcript.truncate(told);
    let started: serde_json::Value = serde_json::from_str(&started).unwrap();
    let own = started["token"].as_str().unwrap();
    place.run("workflow cancel 1");
    place.run("workflow pause 1 --run-token another-token-of-nobody");
    place.run(&format!("workflow pause 1 --run-token {own}"));
    place.run("workflow resume 1 --operator-token-file token");
    place.run("executor ban nobody");
    place.run("executor ban nobody --operator-token-file absent");
    place.run("executor ban nobody --operator-token-file token");
    place.run(&format!("workflow pause --all --run-token {own}"));
    place.run("workflow pause --all --operator-token-file token");
    place.run("task cancel 1 first");
    place.run(&format!("task cancel 1 first --run-token {own}"));
    place.run(&format!("workflow cancel 1 --run-token {own}"));
    insta::assert_snapshot!(place.transcript);
}

/// `describe` takes an object as JSON and gives one; `both` is over truths.
const MODULE: &str = r#"(module
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 1024))
  (data (i32.const 0) "\10\00\00\00\0a\00\00\00")
  (data (i32.const 16) "{\"area\":6}")
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (local.get $at))
  (func (export "describe") (param i32 i32) (result i32)
    (if (i32.ne (i32.load8_u (local.get 0)) (i32.const 123)) (then unreachable))
    (i32.const 0))
  (func (export "both") (param i32 i32) (result i32) (i32.and (local.get 0) (local.get 1)))
  (func (export "length") (param i32 i32) (result i32) (local.get 1))
  (@custom "asterism_functions" "export describe: func(rect: string) -> string; export both: func(a: s32, b: s32) -> s32; export length: func(text: string) -> s32;"))"#;

/// A server that never stops sending; its address.
fn endless() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/module.wasm", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            // Until whoever asked has had enough.
            while stream.write_all(&[0; 1 << 16]).is_ok() {}
        }
    });
    url
}

#[test]
fn task_files_of_corebrum_say_what_is_run() {
    let mut place = Place::new(&["dev", "--port", "0", "--threads", "1"]);
    let write = |place: &Place, name: &str, text: &str| {
        fs::write(place.folder.path().join(name), text).unwrap();
    };
    write(&place, "module.wat", MODULE);
    let task = |outputs: &str, func: &str, inputs: &str| {
        format!(
            "name: {func}\ninputs: {inputs}\noutputs: {outputs}\ncompute_logic:\n  type: wasm\n  function_name: {func}\n  wasm_source: {{ type: file, path: module.wat }}\n"
        )
    };
    let rect = "[{ name: rect, type: object }]";
    write(
        &place,
        "object.yaml",
        &task("[{ name: area, type: object }]", "describe", rect),
    );
    place.run(r#"submit --file object.yaml --input {"rect":{"width":2,"height":3}}"#);
    let sides = "[{ name: width, type: integer }, { name: height, type: integer, default: 3 }]";
    write(
        &place,
        "several.yaml",
        &task("[{ name: area, type: integer }]", "describe", sides),
    );
    place.run(r#"submit --file several.yaml --input {"width":2}"#);
    let truths = "[{ name: a, type: boolean }, { name: b, type: boolean }]";
    write(
        &place,
        "truths.yaml",
        &task("[{ name: both, type: boolean }]", "_both", truths),
    );
    place.run(r#"submit --file truths.yaml --input {"a":true,"b":false}"#);
    place.run(r#"submit --file truths.yaml --input {"a":true,"b":1}"#);
    write(&place, "input.json", r#"{"a": true, "b": true}"#);
    place.run("submit --file truths.yaml --input @input.json");
    write(
        &place,
        "wrong.yaml",
        &task("[{ name: both, type: string }]", "both", truths),
    );
    place.run(r#"submit --file wrong.yaml --input {"a":true,"b":true}"#);

    // The longer form, as JSON, its module at an address of the coordinator.
    let module = place.run("blob put module.wat").trim().to_owned();
    let url = format!("{}/blobs/{module}", place.server.url);
    let long = |cid: &str| {
        serde_json::json!({ "task_definition": {
            "name": "describe",
            "compute_logic": {
                "type": "wasm",
                "entry_point": "describe",
                "code_source": { "type": "url", "url": url, "cid": cid },
                "wasm_config": { "memory_limit": "64MB", "timeout_ms": 5000, "allow_networking": false },
                "input_schema": { "type": "object", "properties": { "width": { "type": "integer", "minimum": 1 } }, "required": ["width"] },
                "output_schema": { "type": "object", "properties": { "area": { "type": "integer", "maximum": 5 } } }
            },
            "resources": { "timeout_seconds": 10 }
        } })
        .to_string()
    };
    write(&place, "long.json", &long(&module));
    place.run(r#"submit --file long.json --input {"width":2}"#);
    place.run(r#"submit --file long.json --input {"width":2} --allow-http"#);
    place.run(r#"submit --file long.json --input {"width":0} --allow-http"#);
    let other = place.run("blob put object.yaml").trim().to_owned();
    write(&place, "other.json", &long(&other));
    place.run(r#"submit --file other.json --input {"width":2} --allow-http --refetch"#);

    let pipeline = "tasks:
  - name: describe
    inputs: [{ name: rect, type: object }]
    outputs: [{ name: area, type: string }]
    compute_logic: { type: wasm, function_name: describe, wasm_source: { type: file, path: module.wat } }
  - name: length
    inputs: [{ name: area, type: string }]
    outputs: [{ name: letters, type: integer }]
    compute_logic: { type: wasm, function_name: length, wasm_source: { type: file, path: module.wat } }
";
    write(&place, "pipeline.yaml", pipeline);
    place.run(r#"submit --file pipeline.yaml --input {"rect":{"width":2}}"#);
    place.run_with(r#"submit --file - --input {"rect":{}} --quiet"#, pipeline);
    place.run("task get 1 0");
    insta::assert_snapshot!(place.transcript);

    let endless = endless();
    let text =
        format!("compute_logic: {{ type: wasm, wasm_source: {{ type: url, url: '{endless}' }} }}");
    write(&place, "endless.yaml", &text);
    let told = place.transcript.len();
    place.run("submit --file endless.yaml --allow-http");
    // In the words of curl or in ours, whoever has enough first.
    let said = &place.transcript[told..];
    assert!(
        said.contains("larger than") || said.contains("cannot be fetched"),
        "{said}"
    );
    assert!(said.ends_with("exit 5\n\n"), "{said}");
}

#[test]
fn who_adds_a_component_again_is_told_that_it_keeps_its_name() {
    let mut place = Place::new(&["coordinator", "--listen", "127.0.0.1:0"]);
    for command in ["component add guest.wat", "fn add guest.wat"] {
        place.run(&format!("{command} --name first"));
        let told = place.transcript.len();
        place.run(&format!("{command} --name other"));
        let said = &place.transcript[told..];
        let keeps =
            "! it is not called `other`: its bytes were here before and keep their name, `first`\n";
        assert!(said.contains(keeps), "{said}");
    }
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

#[test]
fn a_template_is_validated_as_it_would_run_and_mistakes_are_where_they_stand_in_the_file() {
    let mut place = Place::new(&["coordinator", "--listen", "127.0.0.1:0"]);
    place.run("fn add guest.wat");
    let mut found = |args: &str| place.run(&format!("workflow validate twice.json {args}"));
    assert_eq!(found("--arg start=2"), "");
    let at = "twice.json:3:71: tasks[0].run.input.args[1]: ";
    let wrong = found("--arg start=two");
    let said = format!("{at}`--arg start`: ");
    assert!(wrong.starts_with(&said), "{wrong}");
    // As it is told when it is run.
    place.run("run twice.json --arg start=two");
    let told = &place.transcript[place.transcript.rfind("$ ").unwrap_or_default()..];
    let said = "because 3:71: tasks[0].run.input.args[1]: `--arg start`: ";
    assert!(told.contains(said), "{told}");
    let mut found = |args: &str| place.run(&format!("workflow validate twice.json {args}"));
    let open = found("");
    let said = format!("{at}`{{{{args.start}}}}` has no value (`--arg start=VALUE`");
    assert!(open.starts_with(&said), "{open}");
    assert_eq!(open.lines().count(), 1, "{open}");
}
