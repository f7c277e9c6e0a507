//! From a source file to a result, in every language and by the clock; and what has not changed is not built again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

/// The longest from a source file to its first result, its builder fetched on the way: on a machine with other things to do.
const WITHIN: Duration = Duration::from_secs(300);

/// An author's folder; builders are the repository's.
struct Author {
    folder: tempfile::TempDir,
    target: PathBuf,
}

impl Author {
    fn new() -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
        Self {
            folder: tempfile::tempdir().unwrap(),
            target: target.unwrap().to_owned(),
        }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
        command
            .args(words.split(' '))
            .current_dir(self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env("XDG_CACHE_HOME", self.target.join("tools/cache"))
            .env("CARGO_TARGET_DIR", self.target.join("tmp/readmes"));
        command
    }

    fn run(&self, words: &str) -> String {
        succeeded(words, &self.command(words).output().unwrap())
    }

    /// Where nothing can be built.
    fn run_alone(&self, words: &str) -> Output {
        let mut command = self.command(words);
        command.env("TMPDIR", self.folder.path().join("nothing"));
        command.output().unwrap()
    }
}

fn succeeded(words: &str, output: &Output) -> String {
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {talk}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_language_comes_from_a_source_file_to_a_result() {
    let author = Author::new();
    let write = |name: &str, text: &str| fs::write(author.folder.path().join(name), text).unwrap();
    write("sum.c", "int sum(int a, int b) { return a + b; }\n");
    write(
        "sum.wat",
        "(module (func (export \"sum\") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))",
    );
    let greeting = "Hello, world!\n";
    for (language, new, call, result) in [
        ("Rust", "rust hello", "hello greet world", greeting),
        (
            "TypeScript",
            "ts greet-ts",
            "greet-ts/greet-ts.ts greet world",
            greeting,
        ),
        (
            "Python",
            "py greet-py",
            "greet-py/greet_py.py greet world",
            greeting,
        ),
        ("C", "", "sum.c sum 1 2", "3\n"),
        ("WebAssembly text", "", "sum.wat sum 1 2", "3\n"),
    ] {
        let started = Instant::now();
        if !new.is_empty() {
            author.run(&format!("fn new --lang {new}"));
        }
        assert_eq!(author.run(&format!("fn call {call}")), result, "{language}");
        let first = started.elapsed();
        let started = Instant::now();
        assert_eq!(author.run(&format!("fn call {call}")), result, "{language}");
        println!(
            "{language}: {:.1} s to the first result, {:.1} s to the second",
            first.as_secs_f64(),
            started.elapsed().as_secs_f64()
        );
        assert!(first < WITHIN, "{language} took {} s", first.as_secs());
    }
    for (call, source, more) in [
        (
            "greet-ts/greet-ts.ts greet world",
            "greet-ts/greet-ts.ts",
            "\n// changed\n",
        ),
        (
            "greet-py/greet_py.py greet world",
            "greet-py/beside.py",
            "# new\n",
        ),
    ] {
        let words = format!("fn call {call}");
        // What `fn build` leaves beside a source is none of it, and larger than a source may be.
        let made = author
            .folder
            .path()
            .join(source)
            .with_file_name("made.wasm");
        fs::write(made, vec![0; 9 << 20]).unwrap();
        // What was built is found without its builder.
        let known = author.run_alone(&words);
        assert_eq!(succeeded(&words, &known), greeting);
        let file = author.folder.path().join(source);
        let before = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, before + more).unwrap();
        // Another source is built.
        let changed = author.run_alone(&words);
        let said = String::from_utf8_lossy(&changed.stderr).into_owned();
        assert_ne!(changed.status.code(), Some(0), "{words}");
        assert!(said.contains("no temporary folder"), "{words}: {said}");
    }
}
