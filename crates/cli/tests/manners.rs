//! How the command line behaves: where words go, what wins over what, what a mistake is answered with.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

/// A command that sees nothing of whoever runs the tests.
fn asterism(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ASTERISM_") {
            command.env_remove(name);
        }
    }
    command
        .args(args)
        .current_dir(folder)
        .env("XDG_CONFIG_HOME", folder.join("user"))
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn flag_before_variable_before_project_before_user_before_default() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    std::fs::create_dir_all(folder.path().join("user/asterism")).unwrap();
    std::fs::create_dir_all(project.join("deep/er")).unwrap();
    let here = project.join("deep/er");
    let url = |args: &[&str], variables: &[(&str, &str)]| {
        // Nobody is at port 1 to 5: the error tells which address was meant.
        let mut all = vec!["blob", "put", "/dev/null"];
        all.extend(args);
        let mut variables = variables.to_vec();
        let user = folder.path().join("user");
        variables.push(("XDG_CONFIG_HOME", user.to_str().unwrap()));
        let output = asterism(&here, &all, &variables);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let said = stderr(&output);
        let (_, rest) = said.split_once("http://").unwrap();
        rest.split(": ").next().unwrap().to_owned()
    };
    std::fs::write(
        folder.path().join("user/asterism/config.toml"),
        "coordinator = 'http://127.0.0.1:2'",
    )
    .unwrap();
    assert_eq!(url(&[], &[]), "127.0.0.1:2", "the user's file");
    std::fs::write(
        project.join("asterism.toml"),
        "coordinator = 'http://127.0.0.1:3'",
    )
    .unwrap();
    assert_eq!(url(&[], &[]), "127.0.0.1:3", "the project's, from below it");
    std::fs::write(
        here.join("other.toml"),
        "coordinator = 'http://127.0.0.1:6'",
    )
    .unwrap();
    let other = ["--config", "other.toml"];
    assert_eq!(url(&other, &[]), "127.0.0.1:6", "the file that is named");
    let variable = [("ASTERISM_CONFIG", "other.toml")];
    assert_eq!(url(&[], &variable), "127.0.0.1:6", "by the variable, too");
    let variable = [("ASTERISM_COORDINATOR", "http://127.0.0.1:4")];
    assert_eq!(url(&[], &variable), "127.0.0.1:4", "the variable");
    let flag = ["--coordinator", "http://127.0.0.1:5"];
    assert_eq!(url(&flag, &variable), "127.0.0.1:5", "the flag");

    let shown = asterism(&here, &["config", "show", "--origin"], &variable);
    let shown = stdout(&shown);
    assert!(
        shown.contains("--coordinator http://127.0.0.1:4  (ASTERISM_COORDINATOR)"),
        "{shown}"
    );
    assert!(
        shown.contains("--listen 127.0.0.1:3000  (default)"),
        "{shown}"
    );
}

#[test]
fn mistakes_on_the_command_line_say_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let check = |args: &[&str], words: &[&str]| {
        let output = asterism(folder.path(), args, &[]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "errors are not data");
        for word in words {
            assert!(said.contains(word), "{args:?}: {word:?} is not in {said}");
        }
    };
    check(
        &["rum", "a.json"],
        &[
            "error: could not understand the command line because",
            "hint: ",
            "'run'",
        ],
    );
    check(
        &["run", "a.json", "--tiemout", "3"],
        &["hint: ", "'--timeout'"],
    );
    check(&["run"], &["<FILE>", "hint: Usage: asterism run"]);
    check(&["run", "a.json", "--timeout", "soon"], &["'soon'"]);
    check(
        &["fn", "add", "a.wat", "--name", "a/b"],
        &["it has a `/`", "1 to 256 bytes"],
    );
    check(
        &["component", "add", "a.wasm", "--name", ""],
        &["it is empty"],
    );
    check(&["--json", "rum"], &["\"code\":\"usage\"", "\"hint\":"]);
}

#[test]
fn a_template_is_validated_with_the_values_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let template = r#"{"tasks": [{"run": {"name": "a", "input":
  {"func": "add", "args": ["{{args.a}}", "{{args.b}}"]}}}]}"#;
    std::fs::write(folder.path().join("t.json"), template).unwrap();
    let validate = |args: &[&str]| {
        let mut all = vec!["workflow", "validate", "--offline", "t.json"];
        all.extend(args);
        asterism(folder.path(), &all, &[])
    };
    let whole = validate(&["--arg", "a=1", "--arg", "b=2"]);
    assert!(whole.status.success(), "{}", stderr(&whole));
    let open = validate(&["--arg", "a=1"]);
    assert_eq!(open.status.code(), Some(5));
    assert_eq!(
        stdout(&open),
        "t.json:2:42: tasks[0].run.input.args[1]: `{{args.b}}` has no value \
         (`--arg b=VALUE` gives it one, here as in `asterism run`)\n"
    );
    let unasked = validate(&["--arg", "c=1"]);
    assert_eq!(unasked.status.code(), Some(5));
    let said = stderr(&unasked);
    assert!(said.contains("nothing in it says {{args.c}}"), "{said}");
}

#[test]
fn settings_that_are_not_understood_stop_everything_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("asterism.toml");
    std::fs::write(&file, "[command.run]\ntimeout = = 4\n").unwrap();
    let output = asterism(folder.path(), &["blob", "put", "/dev/null"], &[]);
    assert_eq!(output.status.code(), Some(5));
    let said = stderr(&output);
    assert!(
        said.starts_with("error: could not read the settings in "),
        "{said}"
    );
    assert!(said.contains("line 2, column 11"), "{said}");
}

#[test]
fn quiet_and_no_color_are_heard() {
    let folder = tempfile::tempdir().unwrap();
    let output = asterism(
        folder.path(),
        &["-q", "config", "show"],
        &[("NO_COLOR", "1")],
    );
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
    assert!(!stdout(&output).contains('\x1b'));
}

#[test]
fn data_is_kept_where_the_user_keeps_data() {
    let folder = tempfile::tempdir().unwrap();
    let check = |variables: &[(&str, &str)], expected: &str| {
        // There is nothing there: the error tells where it was looked for.
        let output = asterism(folder.path(), &["doctor"], variables);
        let said = stderr(&output);
        assert!(
            said.contains(&format!("look at {expected} because")),
            "{said}"
        );
    };
    let share = ("XDG_DATA_HOME", "/nowhere/share");
    let home = ("HOME", "/nowhere/home");
    check(&[home, share], "/nowhere/share/asterism");
    check(
        &[home, ("XDG_DATA_HOME", "")],
        "/nowhere/home/.local/share/asterism",
    );
    // What is not absolute is none.
    check(
        &[home, ("XDG_DATA_HOME", "share")],
        "/nowhere/home/.local/share/asterism",
    );
    check(&[share, ("ASTERISM_DATA", "here")], "here");
}

#[test]
fn the_password_of_a_database_is_never_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let url = "postgres://me:s3cret@127.0.0.1:1/jobs";
    let told = |args: &[&str], variables: &[(&str, &str)], words: &str| {
        let output = asterism(at, args, variables);
        let said = stdout(&output) + &stderr(&output);
        assert!(said.contains(words), "{args:?}: {said}");
        assert!(!said.contains("s3cret"), "{args:?}: {said}");
    };
    let serve = ["coordinator", "--listen", "127.0.0.1:0", "--data", "data"];
    let with = |url| [&serve[..], &["--journal", url]].concat();
    told(&with(url), &[], "at postgres://me@127.0.0.1:1/jobs");
    told(&serve, &[("ASTERISM_JOURNAL", url)], "is PostgreSQL there");
    for mistaken in [
        "host=db password=a s3cret",
        "postgres://me:a@s3cret@db/jobs",
    ] {
        told(&with(mistaken), &[], "not of the form postgres://");
    }
    let show = ["config", "show"];
    told(&show, &[("ASTERISM_JOURNAL", url)], "--journal (secret)");
    std::fs::write(at.join("asterism.toml"), format!("journal = '{url}'")).unwrap();
    told(&show, &[], "--journal (secret)");
    told(&["coordinator", "--help"], &[], "--journal <URL>");
    told(&serve, &[], "at postgres://me@127.0.0.1:1/jobs");
}

#[test]
fn a_list_that_lacks_something_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let read = stream.read(&mut [0; 1 << 12]).unwrap();
            assert_ne!(read, 0, "it asks for the list");
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2";
            let missing = "asterism-missing-partitions: 0, 3\r\nconnection: close";
            let _ = write!(stream, "{head}\r\n{missing}\r\n\r\n[]");
        }
    });
    for noun in ["workflow", "executor"] {
        let output = asterism(folder.path(), &[noun, "list", "--coordinator", &url], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("partition 0, 3"), "{noun}");
        assert!(!stdout(&output).contains("partition"), "{noun}");
    }
}
