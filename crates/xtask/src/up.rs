//! `cargo xtask up`: from a clone to a running coordinator with one executor.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    bundle, examples,
    process::{Running, Step, on_path},
    signals, workspace,
};

/// A coordinator reads its journal before it listens; a long one on a slow disk takes a while.
const LISTEN_WITHIN: Duration = Duration::from_mins(2);

/// Handing leases back and closing the store takes less.
const STOP_WITHIN: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(100);

/// How to start.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Port of the coordinator on this machine; 0 takes a free one
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Folder of what is kept
    #[arg(long, default_value_os_t = workspace::root().join("data"))]
    data: PathBuf,
    /// Start no executor here: browser tabs do the work
    #[arg(long)]
    no_executor: bool,
    /// Do not open a browser
    #[arg(long)]
    no_open: bool,
}

/// Sets up, starts, watches, and stops on Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<()> {
    let asterism = set_up()?;
    let data = std::path::absolute(&args.data).context("failed to understand --data")?;
    signals::watch()?;

    // Whoever starts both trusts the executor that is started here.
    let trusted = match args.no_executor {
        true => Vec::new(),
        false => {
            let key = Step::new("read the executor's key", &asterism)
                .args(["executor", "key", "--data"])
                .arg(data.join("executor"))
                .remedy("what it says above")
                .read()?;
            vec!["--trust".to_owned(), key.trim().to_owned()]
        }
    };
    let (coordinator, lines) = Step::new("keep the coordinator running", &asterism)
        .args([
            "coordinator",
            "--json",
            "--listen",
            &format!("127.0.0.1:{}", args.port),
            "--data",
        ])
        .arg(&data)
        .arg("--panel")
        .arg(workspace::dist())
        .args(&trusted)
        .remedy("`cargo xtask up --port 0` if the port is taken")
        .start_piped()?;
    // The executor is behind the coordinator, so that it is stopped first and can hand its leases back.
    let mut parts = vec![("coordinator", coordinator)];
    let result = serve(args, &asterism, &data, &lines, &mut parts);
    let stopped = stop(parts);
    result.and(stopped)
}

fn serve(
    args: &Args,
    asterism: &Path,
    data: &Path,
    lines: &Receiver<String>,
    parts: &mut Vec<(&'static str, Running)>,
) -> Result<()> {
    let Some(listening) = wait_until_it_listens(lines, &mut parts[0].1)? else {
        return Ok(());
    };
    if !args.no_executor {
        let executor = Step::new("keep the executor running", asterism)
            .args(["executor", "start", "--coordinator", &listening, "--data"])
            .arg(data.join("executor"))
            .remedy("`cargo xtask up --no-executor` to go on without it")
            .start()?;
        parts.push(("executor", executor));
    }
    let address = listening.replace("127.0.0.1", "localhost");
    println!("Asterism is at    {address}");
    println!("Donate a tab at   {address}/donate");
    add_examples(asterism, &listening)?;
    println!("Ask it by         curl {address}/run -d @examples/math/add.json");
    if args.no_executor {
        println!("Nothing is computed here until a tab donates (--no-executor).");
    }
    eprintln!("Data is in {}. Ctrl-C stops.", data.display());
    if !args.no_open {
        open(&address);
    }
    while !signals::interrupted() {
        for (_, part) in parts.iter_mut() {
            if let Some(error) = part.error_if_ended()? {
                return Err(error);
            }
        }
        relay(lines, POLL);
    }
    Ok(())
}

/// What somebody who just came can ask for: functions, and the picture that some of them work on. Adding what is there
/// already changes nothing.
fn add_examples(asterism: &Path, coordinator: &str) -> Result<()> {
    let add = |what: &[&str], file: PathBuf| {
        Step::new("add the examples", asterism)
            .args(what)
            .arg(file)
            .args(["--quiet", "--coordinator", coordinator])
            .remedy("`cargo xtask up` again")
            .read()
    };
    for component in ["math.wasm", "image.wasm"] {
        add(&["fn", "add"], examples::file(component))?;
    }
    add(&["blob", "put"], examples::file("picture.png"))?;
    Ok(())
}

/// Panel and program at the same time: each of both ends with a link step that leaves a core idle.
fn set_up() -> Result<PathBuf> {
    thread::scope(|scope| {
        let panel = scope.spawn(bundle::build_if_stale);
        let program = program();
        let panel = panel
            .join()
            .map_err(|_| anyhow!("failed to build the panel because its thread panicked"))?;
        panel.and(program)
    })
}

/// The `asterism` binary. Unoptimised but for its dependencies: tests use the same build, and it is there sooner.
pub(crate) fn program() -> Result<PathBuf> {
    let messages = Step::cargo("build asterism")
        .args([
            "build",
            "--bin",
            "asterism",
            "--message-format=json-render-diagnostics",
        ])
        .remedy("it again, when what it says above is mended")
        .read()?;
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "asterism")
            .then(|| message["executable"].as_str().map(PathBuf::from))
            .flatten()
    });
    executable.context("failed to find asterism because cargo did not name the binary it built")
}

/// The coordinator's address, or none when somebody stopped us meanwhile.
fn wait_until_it_listens(
    lines: &Receiver<String>,
    coordinator: &mut Running,
) -> Result<Option<String>> {
    let deadline = Instant::now() + LISTEN_WITHIN;
    while Instant::now() < deadline && !signals::interrupted() {
        match lines.recv_timeout(POLL) {
            Ok(line) => match listening(&line) {
                Some(address) => return Ok(Some(address)),
                None => eprintln!("{line}"),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
        }
        if let Some(error) = coordinator.error_if_ended()? {
            return Err(error);
        }
    }
    if signals::interrupted() {
        return Ok(None);
    }
    bail!(
        "failed to start the coordinator because it did not listen within {} s; run it with RUST_LOG=debug",
        LISTEN_WITHIN.as_secs()
    )
}

/// The address in `{"listening":"http://127.0.0.1:3000"}`.
fn listening(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(line.get("listening")?.as_str()?.to_owned())
}

fn relay(lines: &Receiver<String>, patience: Duration) {
    match lines.recv_timeout(patience) {
        Ok(line) => eprintln!("{line}"),
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => thread::sleep(patience),
    }
}

/// Stops all, the last started first; the first trouble is the result.
fn stop(mut parts: Vec<(&'static str, Running)>) -> Result<()> {
    let mut result = Ok(());
    while let Some((name, mut part)) = parts.pop() {
        if let Ok(None) = part.error_if_ended() {
            eprintln!("stopping the {name}");
            result = result.and(part.stop(STOP_WITHIN));
        }
    }
    result
}

/// Opens the page where there is somebody to look at it.
fn open(address: &str) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let has_display = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| env::var_os(name).is_some());
    if has_display && on_path(opener).is_some() {
        // A courtesy: the address is printed anyhow.
        let _ = Command::new(opener)
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_from_the_line_of_json() {
        assert_eq!(
            listening(r#"{"listening":"http://127.0.0.1:41"}"#).as_deref(),
            Some("http://127.0.0.1:41")
        );
        assert_eq!(listening("ready"), None);
        assert_eq!(listening(r#"{"level":"info"}"#), None);
    }
}
