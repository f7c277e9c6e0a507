//! What is answered to those who make a mistake: one table. Each case ends in time and with its exit code, says what is
//! wrong and where, and leaves nothing behind.

mod served;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use served::Served;

/// The longest that any of them takes, builds of others beside it.
const WITHIN: Duration = Duration::from_secs(120);

/// A mistake: files that are there, words on the command line, and what is said of it. `URL` in the words is the
/// coordinator's address.
struct Case {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    args: &'static [&'static str],
    exit: i32,
    said: &'static [&'static str],
}

const fn case(
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    args: &'static [&'static str],
    exit: i32,
    said: &'static [&'static str],
) -> Case {
    Case {
        name,
        files,
        args,
        exit,
        said,
    }
}

/// A component to make mistakes with.
const GOOD: &str = r#"(component
  (core module $m
    (func (export "add") (param f64 f64) (result f64) (f64.add (local.get 0) (local.get 1)))
    (func (export "byte") (param i32) (result i32) (local.get 0))
    (func (export "draw") (param f64 i32) (result f64) (local.get 0))
    (func (export "fail") unreachable))
  (core instance $i (instantiate $m))
  (type $point' (record (field "x" f64) (field "on" bool)))
  (export $point "point" (type $point'))
  (func (export "add") (param "a" f64) (param "b" f64) (result f64) (canon lift (core func $i "add")))
  (func (export "byte") (param "n" u8) (result u8) (canon lift (core func $i "byte")))
  (func (export "draw") (param "at" $point) (result f64) (canon lift (core func $i "draw")))
  (func (export "fail") (canon lift (core func $i "fail"))))"#;

/// A workflow of one task.
macro_rules! one {
    ($task:literal) => {
        concat!(r#"{"tasks":[{"run":{"name":"a","input":"#, $task, "}}]}")
    };
}

/// `asterism run` of a workflow in `w.json`.
const RUN: &[&str] = &["run", "w.json", "--coordinator", "URL"];
const ADD: &[&str] = &["fn", "add", "c.wat", "--coordinator", "URL"];

const SUBMIT: &[&str] = &["submit", "--file", "t.yaml", "--coordinator", "URL"];

/// A task of the component that the coordinator has.
const ADDS: &str = "inputs: [{ name: a, type: number }, { name: b, type: number }]
compute_logic: { type: wasm, wasm_module: good, function_name: add }";

#[rustfmt::skip]
const CASES: &[Case] = &[
    // The command line.
    case("a command that is not there", &[], &["rum", "w.json"], 2, &["could not understand the command line", "'rum'", "hint: ", "'run'"]),
    case("no command", &[], &[], 2, &["Usage: asterism"]),
    case("a flag that is not there", &[], &["run", "w.json", "--tiemout", "3"], 2, &["'--tiemout'", "'--timeout'"]),
    case("a flag without its value", &[], &["run", "w.json", "--timeout"], 2, &["--timeout <MS>"]),
    case("words for a number", &[], &["run", "w.json", "--timeout", "soon"], 2, &["'soon'"]),
    case("a file too few", &[], &["run"], 2, &["<FILE>"]),
    case("a port beyond ports", &[], &["dev", "--port", "70000"], 2, &["70000"]),
    case("no threads at all", &[], &["dev", "--threads", "0"], 2, &["0 is not in 1..=256"]),
    case("two flags that exclude each other", &[], &["dev", "--in-memory", "--data", "d"], 2, &["cannot be used with"]),
    case("no address to listen on", &[], &["coordinator", "--listen", "here"], 2, &["'here'"]),
    case("a language nobody speaks", &[], &["fn", "new", "--lang", "cobol", "a"], 2, &["'cobol'", "rust"]),
    case("a shell nobody has", &[], &["completions", "comand.com"], 2, &["comand.com"]),
    case("a manual of nothing", &[], &["man", "rum"], 5, &["no command `rum`", "did you mean `run`?"]),
    case("a token that is guessed", &[], &["coordinator", "--in-memory", "--listen", "127.0.0.1:0", "--operator-token", "short"], 5, &["could not serve because", "16 to 1024 visible characters"]),
    // Settings.
    case("settings that are not there", &[], &["config", "show", "--config", "absent.toml"], 5, &["could not read the settings in absent.toml because"]),
    case("settings within settings", &[("asterism.toml", "config = 'x'")], &["config", "show"], 5, &["no command has a flag `--config`"]),
    case("settings that are no TOML", &[("asterism.toml", "a = = 1")], &["config", "show"], 5, &["could not read the settings in", "line 1, column 5"]),
    case("a setting that is not there", &[("asterism.toml", "coordinato = 'x'")], &["config", "show"], 5, &["--coordinato", "did you mean `coordinator`?"]),
    case("a setting of the wrong type", &[("asterism.toml", "[command.run]\ntimeout = 'soon'")], &["config", "show"], 5, &["`timeout`", "'soon'"]),
    case("a setting for no command", &[("asterism.toml", "[command.rum]\ntimeout = 1")], &["config", "show"], 5, &["`rum`", "did you mean `run`?"]),
    // The way to the coordinator.
    case("nobody listens", &[("w.json", one!(r#"{"func":"add","args":[1,2]}"#))], &["run", "w.json", "--coordinator", "http://127.0.0.1:9"], 3, &["could not run w.json because", "127.0.0.1:9", "hint: start one"]),
    case("no such host", &[("w.json", "{}")], &["run", "w.json", "--coordinator", "http://nobody.invalid"], 3, &["nobody.invalid"]),
    case("no address", &[("w.json", "{}")], &["run", "w.json", "--coordinator", "not an address"], 5, &["not an address"]),
    case("an address without its scheme", &[("w.json", "{}")], &["run", "w.json", "--coordinator", "127.0.0.1:3101"], 5, &["the coordinator's address `127.0.0.1:3101` has no scheme", "hint: write http://127.0.0.1:3101"]),
    case("an empty address", &[("w.json", "{}")], &["run", "w.json", "--coordinator", ""], 5, &["the coordinator's address is empty", "hint: write http://127.0.0.1:3000"]),
    case("an address of another kind", &[("w.json", "{}")], &["run", "w.json", "--coordinator", "ftp://a"], 5, &["http://HOST:PORT"]),
    // Workflows.
    case("no file", &[], RUN, 5, &["could not read w.json because"]),
    case("a folder for a file", &[], &["run", ".", "--coordinator", "URL"], 5, &["could not read . because"]),
    case("nothing in the file", &[("w.json", "")], RUN, 5, &["could not run w.json because"]),
    case("broken JSON", &[("w.json", "{\"tasks\":[")], RUN, 5, &["could not run w.json because"]),
    case("a number for a workflow", &[("w.json", "7")], RUN, 5, &["tasks"]),
    case("a list for a workflow", &[("w.json", "[]")], RUN, 5, &["tasks"]),
    case("tasks that are no list", &[("w.json", r#"{"tasks":{}}"#)], RUN, 5, &["`tasks`"]),
    case("no tasks", &[("w.json", r#"{"tasks":[]}"#)], RUN, 5, &["task"]),
    case("a task that is no map", &[("w.json", r#"{"tasks":[3]}"#)], RUN, 5, &["tasks[0]"]),
    case("a task that runs nothing", &[("w.json", r#"{"tasks":[{}]}"#)], RUN, 5, &["tasks[0]", "run"]),
    case("a key that is not there", &[("w.json", r#"{"tasks":[{"rum":{}}]}"#)], RUN, 5, &["tasks[0]", "rum"]),
    case("a function that is not there", &[("w.json", one!(r#"{"func":"ad","args":[1,2]}"#))], RUN, 5, &["tasks[0].run.input.func", "`ad`", "did you mean `add`?"]),
    case("too few arguments", &[("w.json", one!(r#"{"func":"add","args":[1]}"#))], RUN, 5, &["tasks[0]", "takes 2 arguments, 1 is given"]),
    case("too many arguments", &[("w.json", one!(r#"{"func":"add","args":[1,2,3]}"#))], RUN, 5, &["takes 2 arguments, 3 are given"]),
    case("300 for a u8", &[("w.json", one!(r#"{"func":"byte","args":[300]}"#))], RUN, 5, &["args[0]", "300 does not fit u8"]),
    case("-1 for a u8", &[("w.json", one!(r#"{"func":"byte","args":[-1]}"#))], RUN, 5, &["args[0]", "-1"]),
    case("a text for a number", &[("w.json", one!(r#"{"func":"add","args":["one",2]}"#))], RUN, 5, &["args[0]"]),
    case("a number in quotes for an f64", &[("w.json", one!(r#"{"func":"add","args":["1",2]}"#))], RUN, 5, &["args[0]"]),
    case("a field that is not there", &[("w.json", one!(r#"{"func":"draw","args":[{"x":1,"on":true,"y":2}]}"#))], RUN, 5, &["args[0]", "y"]),
    case("a field too few", &[("w.json", one!(r#"{"func":"draw","args":[{"x":1}]}"#))], RUN, 5, &["args[0]", "on"]),
    case("a task that needs itself", &[("w.json", one!(r#"{"func":"add","args":["{{needs.a.output}}",2]}"#))], RUN, 5, &["`a`"]),
    case("two tasks that need each other", &[("w.json", r#"{"tasks":[{"run":{"name":"a","input":{"func":"add","args":["{{needs.b.output}}",1]}}},{"run":{"name":"b","input":{"func":"add","args":["{{needs.a.output}}",1]}}}]}"#)], RUN, 5, &["`a`", "a → b → a"]),
    case("a need of nobody", &[("w.json", one!(r#"{"func":"add","args":["{{needs.b.output}}",2]}"#))], RUN, 5, &["args[0]", "`b`"]),
    case("a need within a text", &[("w.json", one!(r#"{"func":"add","args":["is {{needs.b.output}}",2]}"#))], RUN, 5, &["args[0]"]),
    case("a name twice", &[("w.json", r#"{"tasks":[{"run":{"name":"a","input":{"func":"add","args":[1,1]}}},{"run":{"name":"a","input":{"func":"add","args":[1,2]}}}]}"#)], RUN, 5, &["`a`"]),
    case("arguments that are no list", &[("w.json", one!(r#"{"func":"add","args":{"a":1}}"#))], RUN, 5, &["args"]),
    case("a component that is no CID", &[("w.json", r#"{"tasks":[{"run":{"name":"a","rsc":"ipfs://nonsense","input":{"func":"add","args":[1,2]}}}]}"#)], RUN, 5, &["tasks[0]", "rsc"]),
    case("a component that is not here", &[("w.json", r#"{"tasks":[{"run":{"name":"a","rsc":"ipfs://bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy","input":{"func":"add","args":[1,2]}}}]}"#)], RUN, 5, &["bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"]),
    case("an operation that is not there", &[("w.json", r#"{"tasks":[{"run":{"name":"a","op":"sql/run","input":{"func":"add","args":[1,2]}}}]}"#)], RUN, 5, &["op"]),
    // Components.
    case("no component", &[("c.wasm", "hello")], &["fn", "add", "c.wasm", "--coordinator", "URL"], 5, &["could not build c.wasm because", "not WebAssembly"]),
    case("an empty component", &[("c.wasm", "")], &["fn", "add", "c.wasm", "--coordinator", "URL"], 5, &["could not build c.wasm because"]),
    case("a component cut short", &[("c.wasm", "\0asm\r\0\u{1}\0\u{1}")], &["fn", "add", "c.wasm", "--coordinator", "URL"], 5, &["cut short"]),
    case("text that is no WebAssembly", &[("c.wat", "(component\n  (oops))")], ADD, 5, &["line 2, column 4"]),
    case("a component that exports nothing", &[("c.wat", "(component)")], ADD, 5, &["exports no function"]),
    case("a component that wants what nobody provides", &[("c.wat", r#"(component (import "wasi:nn/inference@0.2.0" (instance (export "compute" (func)))) (core module $m (func (export "f"))) (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"#)], ADD, 5, &["wasi:nn/inference", "compute"]),
    case("a component of resources", &[("c.wat", r#"(component (type $r' (resource (rep i32))) (export $r "r" (type $r')) (core module $m (func (export "f") (result i32) (i32.const 0))) (core instance $i (instantiate $m)) (func (export "f") (result (own $r)) (canon lift (core func $i "f"))))"#)], ADD, 5, &["f, result", "resource"]),
    case("a module for JavaScript", &[("c.wat", r#"(module (import "__wbindgen_placeholder__" "__wbindgen_throw" (func (param i32 i32))) (func (export "f")))"#)], ADD, 5, &["wasm-bindgen"]),
    case("a module of WASI's first preview", &[("c.wat", r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))) (func (export "f")))"#)], ADD, 5, &["wasi_snapshot_preview1", "wasm32-wasip2"]),
    case("a module that was not linked", &[("c.wat", r#"(module (import "env" "puts" (func (param i32))) (func (export "f")))"#)], ADD, 5, &["`env`", "puts"]),
    case("a module with threads", &[("c.wat", r#"(module (import "env" "memory" (memory 1 1 shared)) (func (export "f")))"#)], ADD, 5, &["env"]),
    // Sources.
    case("no source", &[], &["fn", "build", "absent.ts"], 5, &["could not build absent.ts because"]),
    case("a file of no language", &[("a.cob", "MOVE A TO B")], &["fn", "build", "a.cob"], 5, &["nothing is known", ".ts"]),
    case("a Rust file without its package", &[("lib.rs", "fn f() {}")], &["fn", "build", "lib.rs"], 5, &["Cargo.toml"]),
    case("a folder without a package", &[], &["fn", "build", "."], 5, &["without a Cargo.toml"]),
    case("no clang", &[("a.c", "int f(void) { return 1; }")], &["fn", "build", "a.c"], 5, &["`clang` is not installed", "apt-get install clang lld"]),
    case("no cargo", &[("Cargo.toml", "[package]\nname = \"a\"")], &["fn", "build", "Cargo.toml"], 5, &["`cargo` is not installed", "sh.rustup.rs"]),
    case("no npm", &[("a.ts", "export const a = 1;")], &["fn", "build", "a.ts"], 5, &["`npm` is not installed", "nodejs.org"]),
    case("no Python", &[("a.py", "def f() -> int: return 1")], &["fn", "build", "a.py"], 5, &["`python3` is not installed", "python.org"]),
    case("a world without its WIT", &[("a.ts", "")], &["fn", "build", "a.ts", "--world", "w"], 2, &["--wit"]),
    case("dev of what cannot be built", &[("c.wat", "(oops)")], &["dev", "c.wat"], 5, &["could not build c.wat because", "line 1, column 2"]),
    case("a name that is none", &[], &["fn", "new", "--lang", "py", "Nine Lives"], 5, &["not a name", "word-count"]),
    case("a name that is a word of Rust", &[], &["fn", "new", "--lang", "rust", "fn"], 5, &["`fn` is a word of Rust's own", "another name"]),
    case("a name that is a word of WIT", &[], &["fn", "new", "--lang", "rust", "record"], 5, &["`record` is a word of WIT's own"]),
    case("a name that is a word of Python", &[], &["fn", "new", "--lang", "py", "class"], 5, &["`class` is a word of Python's own"]),
    case("a number beyond numbers", &[("w.json", "{\"tasks\":[{\"run\":{\"name\":\"a\",\n\"input\":{\"func\":\"add\",\"args\":[1e400,2]}}}]}")], RUN, 5, &["w.json", "2:31: "]),
    case("a list beyond lists", &[("w.json", one!(r#"{"func":"add","args":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#))], RUN, 5, &["1:", "nested deeper than 64"]),
    case("a component with a table that nobody has room for", &[("c.wat", r#"(component (core module $m (table 10000001 funcref) (func (export "f"))) (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"#)], ADD, 5, &["more than 10000000 elements"]),
    case("a module whose function has no name in WIT", &[("c.wat", "(module (func (export \"\u{dc}n\u{ef}\")))")], ADD, 5, &["\u{dc}n\u{ef}"]),
    case("a project over another", &[("a/x", "")], &["fn", "new", "--lang", "py", "a"], 5, &["is there"]),
    // Calls.
    case("a function too few", &[("c.wat", GOOD)], &["fn", "call", "c.wat"], 2, &["no function is named"]),
    case("a call of nothing", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "ad", "1", "2"], 4, &["`ad`", "did you mean `add`?"]),
    case("a call with an argument too few", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "add", "1"], 5, &["2 arguments, 1 given", "add(a: f64, b: f64) -> f64"]),
    case("a call with 300 for a u8", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "byte", "300"], 5, &["args[0] (`n`)", "300 does not fit u8"]),
    case("a call with gibberish", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "draw", "{x: }"], 5, &["args[0] (`at`)", "neither JSON nor WAVE"]),
    case("a call with a whole number beyond floats", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "add", "9007199254740993", "1"], 5, &["args[0] (`a`)", "9007199254740993 has no exact f64"]),
    case("a call with one in WAVE", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "draw", "{x: 9007199254740993, on: true}"], 5, &["args[0] (`at`)", ".x: 9007199254740993 has no exact f64"]),
    case("a call with a key twice", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "draw", r#"{"x": 1, "on": true, "x": 2}"#], 5, &["args[0] (`at`)", "1:22: the key `x` stands twice"]),
    case("a call with much for a u8", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "byte", "99999999999999999999"], 5, &["99999999999999999999 does not fit u8"]),
    case("a call with an argument like a flag", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "add", "1", "-inf"], 2, &["unexpected argument '-inf'", "'-- -inf'"]),
    case("a value with half a character", &[("w.json", one!(r#"{"func":"add","args":["{{args.a}}",2]}"#))], &["run", "w.json", "--arg", r#"a="\ud800""#, "--coordinator", "URL"], 5, &[r#"`--arg a="\ud800"` is in quotes and cannot be read so"#]),
    case("a value that no float holds", &[("w.json", one!(r#"{"func":"add","args":["{{args.a}}",2]}"#))], &["run", "w.json", "--arg", "a=[18446744073709551617]", "--coordinator", "URL"], 5, &["the value of `--arg a` is JSON and cannot be read: ", "`18446744073709551617` is a whole number beyond 64 bits", "hint: in quotes it is a text"]),
    case("a call that traps", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "fail"], 1, &["could not call `fail` because", "unreachable"]),
    case("a call that comes to something else", &[("c.wat", GOOD)], &["fn", "call", "c.wat", "add", "1", "2", "--expect", "4"], 1, &["it is 3 and not 4"]),
    case("a component that nobody added", &[], &["fn", "call", "maths", "add", "1", "2", "--coordinator", "URL"], 4, &["could not find the component `maths`", "hint: "]),
    case("the schema of nothing", &[("c.wat", GOOD)], &["fn", "schema", "c.wat", "ad"], 4, &["`ad`", "did you mean `add`?"]),
    // Runs, tasks, executors.
    case("a workflow without an end", &[], &["run", "/dev/zero", "--coordinator", "URL"], 5, &["could not read /dev/zero because it is larger than"]),
    case("an argument without a value", &[("w.json", one!(r#"{"func":"add","args":["{{args.a}}",2]}"#))], RUN, 5, &["could not run w.json because `a` has no value", "hint: `--arg NAME=VALUE`"]),
    case("an argument that nobody asks for", &[("w.json", one!(r#"{"func":"add","args":[1,2]}"#))], &["run", "w.json", "--arg", "a=1", "--coordinator", "URL"], 5, &["nothing in it says {{args.a}}"]),
    case("an origin that no browser has", &[], &["coordinator", "--allow-origin", "panel.example"], 2, &["--allow-origin", "write https://HOST or http://HOST"]),
    case("a label without a name", &[], &["executor", "start", "--label", "=eu"], 2, &["--label", "write NAME=VALUE"]),
    case("a label that looks like another", &[], &["executor", "start", "--label", "re\u{200b}gion=eu"], 2, &["--label", "U+200B, which is not seen"]),
    case("a name that looks like another", &[], &["executor", "start", "--name", "rack\u{2060}"], 2, &["--name", "U+2060, which is not seen"]),
    case("an argument that is none", &[("w.json", "{}")], &["run", "w.json", "--arg", "a", "--coordinator", "URL"], 2, &["not of the form NAME=VALUE"]),
    case("waiting and not waiting", &[("w.json", "{}")], &["run", "w.json", "--wait", "--detach"], 2, &["cannot be used with"]),
    case("a form of results that is none", &[("w.json", "{}")], &["run", "w.json", "-o", "xml"], 2, &["'xml'", "jsonl"]),
    case("standard input that is not to be read", &[], &["run", "-", "--no-input"], 2, &["--no-input", "hint: name a file"]),
    case("a run that is not here", &[], &["workflow", "get", "77", "--coordinator", "URL"], 4, &["could not look at run 77 because"]),
    case("a run that is no number", &[], &["workflow", "cancel", "nonsense", "--coordinator", "URL"], 5, &["could not cancel run nonsense because"]),
    case("a run again that is not here", &[], &["workflow", "rerun", "77", "--coordinator", "URL"], 4, &["could not run 77 again because"]),
    case("a drawing of nothing", &[], &["workflow", "graph", "absent.json", "--coordinator", "URL"], 5, &["could not read absent.json because"]),
    case("a drawing of another kind", &[], &["workflow", "graph", "1", "--format", "png"], 2, &["'png'", "svg"]),
    case("a task of no run", &[], &["task", "explain", "77", "0", "--coordinator", "URL"], 4, &["could not look at task 0 of run 77 because"]),
    case("a task whose name is a path", &[], &["task", "get", "77", "../../health", "--coordinator", "URL"], 4, &["run 77 is not here"]),
    case("an executor that is not here", &[], &["executor", "drain", "nobody", "--coordinator", "URL"], 4, &["could not drain executor nobody because", "by its key"]),
    case("a wrong token where none is needed", &[], &["workflow", "pause", "--all", "--operator-token", "a-token-of-nobody", "--coordinator", "URL"], 6, &["only the operator may do this, and the token that came is not the operator's", "hint: leave the token away"]),
    case("a key that is not here", &[], &["executor", "drain", "did:key:z6MkpHbhfV2pDdZ4FUCmVhAggxcgyeZKpkBqVHkDMMfvJyH4", "--coordinator", "URL"], 4, &["is not here"]),
    case("a blob that is not here", &[], &["blob", "get", "bafkreihw6qyidyrtilymw5ys6tpvabmz4pou7przelzkumcfb3k6d4fegu", "--coordinator", "URL"], 4, &["could not get blob bafkrei"]),
    case("a blob that is no CID", &[], &["blob", "get", "nonsense", "--coordinator", "URL"], 5, &["could not get blob nonsense because"]),
    case("a rerun without asking for one", &[], &["receipt", "verify", "bafy", "--run", "1"], 2, &["--rerun"]),
    // Corebrum's task files.
    case("a task file that is not there", &[], SUBMIT, 5, &["could not read t.yaml because"]),
    case("a task of another kind", &[("t.yaml", "compute_logic: { type: docker, image: a }")], SUBMIT, 5, &["could not submit t.yaml because", "compute_logic.type", "`docker`", "only `wasm`"]),
    case("a task without logic", &[("t.yaml", "name: a")], SUBMIT, 5, &["compute_logic: it is missing"]),
    case("a task file that is a list", &[("t.yaml", "- a")], SUBMIT, 5, &["the file must be a map"]),
    case("a task file with a tab", &[("t.yaml", "name: a\ncompute_logic:\n\ttype: wasm")], SUBMIT, 5, &["3:"]),
    case("a workflow for a task file", &[("t.yaml", "run: { input: { func: add } }")], SUBMIT, 5, &["this is a workflow"]),
    case("a task whose base64 is garbage", &[("t.yaml", "compute_logic: { type: wasm, wasm_binary: 'no-base64!' }")], SUBMIT, 5, &["compute_logic.wasm_binary: it is not base64", "hint: `base64"]),
    case("a task whose base64 is something else", &[("t.yaml", "compute_logic: { type: wasm, wasm_binary: 'aGVsbG8=' }")], SUBMIT, 5, &["could not prepare task 1", "WebAssembly"]),
    case("a task for wasm-bindgen", &[("t.yaml", "compute_logic: { type: wasm, wasm_source: { type: file, path: b.wat } }"), ("b.wat", r#"(module (import "__wbindgen_placeholder__" "__wbindgen_throw" (func (param i32 i32))) (func (export "f")))"#)], SUBMIT, 5, &["could not prepare task 1", "__wbindgen_", "wasm-bindgen"]),
    case("a task without a module", &[("t.yaml", "compute_logic: { type: wasm }")], SUBMIT, 5, &["compute_logic: nothing says which module it is", "wasm_source"]),
    case("a task whose module is not there", &[("t.yaml", "compute_logic: { type: wasm, wasm_source: { type: file, path: absent.wasm } }")], SUBMIT, 5, &["absent.wasm cannot be read"]),
    case("a task whose module has no end", &[("t.yaml", "compute_logic: { type: wasm, wasm_source: { type: file, path: /dev/zero } }")], SUBMIT, 5, &["larger than"]),
    case("a task whose module is at a plain address", &[("t.yaml", "compute_logic: { type: wasm, wasm_source: { type: url, url: 'http://127.0.0.1:9/a.wasm' } }")], SUBMIT, 5, &["is not fetched", "--allow-http"]),
    case("a task whose module is of another scheme", &[("t.yaml", "compute_logic: { type: wasm, wasm_source: { type: url, url: 'file:///etc/passwd' } }")], SUBMIT, 5, &["is not fetched", "https"]),
    case("no curl", &[("t.yaml", "compute_logic: { type: wasm, wasm_source: { type: url, url: 'https://nobody.invalid/a.wasm' } }")], SUBMIT, 5, &["`curl` is not installed", "apt-get install curl"]),
    case("a task whose CID is none", &[("t.yaml", "compute_logic: { type: wasm, wasm_source: { type: url, url: 'https://a/b', cid: bafy } }")], SUBMIT, 5, &["wasm_source.cid: it is not the CID of bytes"]),
    case("a task on a component that nobody added", &[("t.yaml", "compute_logic: { type: wasm, wasm_module: maths }")], SUBMIT, 4, &["could not prepare task 1", "none of that name"]),
    case("a task that wants the network", &[("t.yaml", "compute_logic: { type: wasm, wasm_module: good, wasm_config: { allow_networking: true } }")], SUBMIT, 5, &["wasm_config.allow_networking: guests have no network"]),
    case("a task that wants files", &[("t.yaml", "compute_logic: { type: wasm, wasm_module: good, wasm_config: { allow_file_system: true } }")], SUBMIT, 5, &["wasm_config.allow_file_system: guests have no files"]),
    case("a task with much memory", &[("t.yaml", "compute_logic: { type: wasm, wasm_module: good, wasm_config: { memory_limit: lots } }")], SUBMIT, 5, &["wasm_config.memory_limit: `lots` is not a size"]),
    case("a task with less than no time", &[("t.yaml", "timeout_seconds: -1\ncompute_logic: { type: wasm, wasm_module: good }")], SUBMIT, 5, &["timeout_seconds: -1 is not a whole number"]),
    case("a task of no function", &[("t.yaml", "compute_logic: { type: wasm, wasm_module: good, function_name: ad }")], SUBMIT, 4, &["could not prepare task 1", "`ad`", "did you mean `add`?"]),
    case("a task of many functions", &[("t.yaml", "compute_logic: { type: wasm, wasm_module: good }")], SUBMIT, 5, &["several functions", "function_name"]),
    case("a task with a type that is none", &[("t.yaml", "inputs: [{ name: a, type: complex }]\ncompute_logic: { type: wasm, wasm_module: good }")], SUBMIT, 5, &["inputs[0].type: the type `complex` is not known"]),
    case("a task with inputs too many", &[("t.yaml", "inputs: [{ name: a }]\ncompute_logic: { type: wasm, wasm_module: good, function_name: add }")], SUBMIT, 5, &["inputs: 1 inputs are declared, and the function takes 2"]),
    case("a task with a schema that is none", &[("t.yaml", "input_schema: { type: 3 }\ncompute_logic: { type: wasm, wasm_module: good }")], SUBMIT, 5, &["input_schema: it is not a JSON Schema", "/type"]),
    case("a task with a schema from elsewhere", &[("t.yaml", "input_schema: { $ref: 'file:///etc/hostname' }\ncompute_logic: { type: wasm, wasm_module: good }")], SUBMIT, 5, &["input_schema: it is not a JSON Schema", "hostname"]),
    case("an input that is missing", &[("t.yaml", ADDS)], SUBMIT, 5, &["could not call `add(a: f64, b: f64) -> f64` because input.a: it is missing", "hint: --input"]),
    case("an input of another type", &[("t.yaml", ADDS)], &["submit", "--file", "t.yaml", "--coordinator", "URL", "--input", r#"{"a": "1", "b": 2}"#], 5, &["input.a: \"1\" is not of type number"]),
    case("an input that nobody takes", &[("t.yaml", ADDS)], &["submit", "--file", "t.yaml", "--coordinator", "URL", "--input", r#"{"a": 1, "b": 2, "c": 3}"#], 5, &["input.c: no task takes such an input"]),
    case("an input that is no JSON", &[("t.yaml", ADDS)], &["submit", "--file", "t.yaml", "--coordinator", "URL", "--input", "{"], 5, &["--input is not JSON", "hint: --input"]),
    case("an input that is no map", &[("t.yaml", ADDS)], &["submit", "--file", "t.yaml", "--coordinator", "URL", "--input", "[6]"], 5, &["--input must be a map"]),
    case("a pipeline of nothing", &[("t.yaml", "task_definition: { tasks: [] }")], SUBMIT, 5, &["task_definition.tasks: it has no task"]),
    case("a pipeline with a mistake inside", &[("t.yaml", "tasks: [{ compute_logic: { type: wasm, wasm_module: good, function_name: byte }, inputs: [{ name: n }] }, { task_definition: { compute_logic: 3 } }]")], SUBMIT, 5, &["tasks[1].task_definition.compute_logic: it must be a map"]),
    // Receipts and blobs.
    case("a receipt that is no CID", &[], &["receipt", "get", "nonsense", "--coordinator", "URL"], 5, &["could not get a receipt because"]),
    case("a receipt that is not here", &[], &["receipt", "get", "bafyrmihmxmsbt4n3g6dzmj7rho34mzfbaoqqbsfcq7etsogslqftbyj7du", "--coordinator", "URL"], 4, &["could not get receipt bafyrmi"]),
    case("a blob of no file", &[], &["blob", "put", "absent.png", "--coordinator", "URL"], 5, &["could not read absent.png because"]),
];

/// A coordinator that keeps nothing, in a folder of its own.
fn coordinator() -> (Served, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let args = ["coordinator", "--in-memory", "--listen", "127.0.0.1:0"];
    (Served::start(folder.path(), &args).0, folder)
}

/// Folders of one case: where it works, and where its temporary files, settings and caches go.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["work", "tmp", "home", "bin"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (name, text) in files {
            let file = folder.path().join("work").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// No program is found, nobody's settings are read.
    fn command(&self, args: &[&str], url: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
        command
            .args(
                args.iter()
                    .map(|word| if *word == "URL" { url } else { word }),
            )
            .current_dir(self.path("work"))
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null());
        command
    }
}

/// Everything below a folder, by its path in it.
fn listed(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(folder).unwrap().to_owned());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

struct Ended {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs it to its end; one that does not end is ended.
fn run(mut command: Command) -> Option<Ended> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            from.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = read(Box::new(child.stdout.take().unwrap()));
    let stderr = read(Box::new(child.stderr.take().unwrap()));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > WITHIN {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Some(Ended {
        exit: status.code(),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    })
}

/// What is wrong with how a case ended; empty when it is as the table says.
fn complaints(case: &Case, url: &str) -> Vec<String> {
    let place = Place::new(case.files);
    let before = listed(&place.path("work"));
    let Some(ended) = run(place.command(case.args, url)) else {
        return vec![format!("did not end within {} s", WITHIN.as_secs())];
    };
    let mut complaints = Vec::new();
    let said = &ended.stderr;
    if ended.exit != Some(case.exit) {
        complaints.push(format!("exit code {:?} and not {}", ended.exit, case.exit));
    }
    for word in case.said {
        if !said.contains(word) {
            complaints.push(format!("does not say {word:?}"));
        }
    }
    if said.contains("panicked") {
        complaints.push("panicked".to_owned());
    }
    // Help that is asked for by saying nothing is clap's own.
    let has_error = said.lines().any(|line| line.starts_with("error: "));
    if !has_error && !case.args.is_empty() {
        complaints.push("has no line that begins with `error: `".to_owned());
    }
    if !ended.stdout.is_empty() {
        complaints.push(format!("writes to standard output: {:?}", ended.stdout));
    }
    if listed(&place.path("work")) != before {
        complaints.push(format!("leaves {:?}", listed(&place.path("work"))));
    }
    if !listed(&place.path("tmp")).is_empty() {
        complaints.push(format!("leaves {:?}", listed(&place.path("tmp"))));
    }
    if !complaints.is_empty() {
        complaints.push(format!("it said: {said}"));
    }
    complaints
}

#[test]
fn every_mistake_is_answered_with_its_place_and_leaves_nothing() {
    assert!(CASES.len() >= 60);
    let (coordinator, _folder) = coordinator();
    let place = Place::new(&[("good.wat", GOOD)]);
    let added = run(place.command(
        &["fn", "add", "good.wat", "--coordinator", "URL"],
        &coordinator.url,
    ));
    assert_eq!(added.unwrap().exit, Some(0));
    let mut wrong = Vec::new();
    for case in CASES {
        let complaints = complaints(case, &coordinator.url);
        if !complaints.is_empty() {
            wrong.push(format!("{}:\n  {}", case.name, complaints.join("\n  ")));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        CASES.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_workflow_larger_than_may_be_is_refused() {
    let (coordinator, _folder) = coordinator();
    let place = Place::new(&[]);
    let file = fs::File::create(place.path("work/w.json")).unwrap();
    file.set_len(65 << 20).unwrap();
    let ended = run(place.command(RUN, &coordinator.url)).unwrap();
    assert_eq!(ended.exit, Some(5), "{}", ended.stderr);
    assert!(ended.stderr.contains("larger than"), "{}", ended.stderr);
}
