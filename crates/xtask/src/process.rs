//! The one way in which other programs are run.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{signals, workspace};

/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A program to run, with what it is for and what a person can do when it fails.
pub(crate) struct Step {
    purpose: String,
    remedy: String,
    command: Command,
}

impl Step {
    /// `purpose` completes "failed to …".
    pub(crate) fn new(purpose: impl Into<String>, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(workspace::root()).stdin(Stdio::null());
        // What `cargo run` tells this process about this package would mislead another cargo and rebuild things.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        Self {
            purpose: purpose.into(),
            remedy: String::new(),
            command,
        }
    }

    /// The cargo of this workspace.
    pub(crate) fn cargo(purpose: impl Into<String>) -> Self {
        Self::new(purpose, "cargo")
    }

    /// What a person can do; it completes "run …".
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets a person talk to the program.
    pub(crate) fn interactive(mut self) -> Self {
        self.command.stdin(Stdio::inherit());
        self
    }

    /// Runs to the end; anything but success is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self
            .command
            .status()
            .map_err(|error| self.not_started(&error))?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(&ended(status)))
        }
    }

    /// Runs to the end and returns what the program printed.
    pub(crate) fn read(mut self) -> Result<String> {
        let output = self
            .command
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| self.not_started(&error))?;
        if !output.status.success() {
            return Err(self.failed(&ended(output.status)));
        }
        String::from_utf8(output.stdout).map_err(|_| self.failed("printed what is not UTF-8"))
    }

    /// Starts the program in a process group of its own: Ctrl-C reaches it only through us.
    pub(crate) fn start(mut self) -> Result<Running> {
        let child = self
            .command
            .process_group(0)
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        Ok(Running { step: self, child })
    }

    /// As [`Step::start`]; lines of stdout come through the channel.
    pub(crate) fn start_piped(mut self) -> Result<(Running, mpsc::Receiver<String>)> {
        self.command.stdout(Stdio::piped());
        let mut running = self.start()?;
        let (sender, lines) = mpsc::channel();
        forward(running.child.stdout.take(), move |line| {
            sender.send(line).is_ok()
        });
        Ok((running, lines))
    }

    /// Runs for at most `limit`, showing each line of both streams `on_line` before it is printed.
    pub(crate) fn run_watched(
        mut self,
        limit: Duration,
        mut on_line: impl FnMut(&str),
    ) -> Result<()> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.start()?;
        let (sender, lines) = mpsc::channel();
        let errors = sender.clone();
        forward(running.child.stdout.take(), move |line| {
            sender.send((false, line)).is_ok()
        });
        forward(running.child.stderr.take(), move |line| {
            errors.send((true, line)).is_ok()
        });
        let deadline = Instant::now() + limit;
        let mut seen = |(is_error, line): (bool, String)| {
            on_line(&line);
            if is_error {
                eprintln!("{line}")
            } else {
                println!("{line}")
            }
        };
        let why = loop {
            match lines.recv_timeout(POLL) {
                Ok(line) => seen(line),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // Both streams are closed: the program is about to end.
                Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(POLL),
            }
            if let Some(status) = running.try_ended()? {
                // What was printed last may still be on its way; a grandchild may hold the stream open for ever.
                while let Ok(line) = lines.recv_timeout(POLL) {
                    seen(line);
                }
                break if status.success() {
                    None
                } else {
                    Some(ended(status))
                };
            }
            if signals::interrupted() {
                break Some("was interrupted".to_owned());
            }
            if Instant::now() > deadline {
                break Some(format!("took longer than {} minutes", limit.as_secs() / 60));
            }
        };
        match why {
            None => Ok(()),
            Some(why) => {
                running.kill();
                Err(running.step.failed(&why))
            }
        }
    }

    fn not_started(&self, error: &std::io::Error) -> anyhow::Error {
        self.failed(&format!("could not be started ({error})"))
    }

    fn failed(&self, why: &str) -> anyhow::Error {
        let mut text = format!(
            "failed to {} because `{}` {why}",
            self.purpose,
            show(&self.command)
        );
        if !self.remedy.is_empty() {
            let _ = write!(text, "; run {}", self.remedy);
        }
        anyhow!(text)
    }
}

/// A program that is running. Dropping it kills it and what it started.
pub(crate) struct Running {
    step: Step,
    child: Child,
}

impl Running {
    /// The error that says how the program ended, if it has.
    pub(crate) fn error_if_ended(&mut self) -> Result<Option<anyhow::Error>> {
        Ok(self
            .try_ended()?
            .map(|status| self.step.failed(&ended(status))))
    }

    /// Asks the program to stop, waits, and kills it when it does not: that is an error.
    pub(crate) fn stop(mut self, patience: Duration) -> Result<()> {
        self.signal(Signal::INT);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.try_ended()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        self.kill();
        Err(self.step.failed(&format!(
            "did not stop within {} s after SIGINT and was killed",
            patience.as_secs()
        )))
    }

    /// Waits until the program has ended, however, or somebody interrupts.
    pub(crate) fn wait(mut self) {
        while matches!(self.try_ended(), Ok(None)) && !signals::interrupted() {
            thread::sleep(POLL);
        }
    }

    fn try_ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(|error| {
            self.step
                .failed(&format!("could not be waited for ({error})"))
        })
    }

    fn signal(&self, signal: Signal) {
        // It may have ended meanwhile: then there is nobody to tell.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// Does PATH hold this program?
pub(crate) fn on_path(program: &str) -> Option<std::path::PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// PATH with `dir` before everything else.
pub(crate) fn path_with(dir: &Path) -> Result<std::ffi::OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(
        [dir.to_owned()].into_iter().chain(env::split_paths(&path)),
    )?)
}

fn forward(
    stream: Option<impl Read + Send + 'static>,
    mut to: impl FnMut(String) -> bool + Send + 'static,
) {
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        let mut lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
        // Whoever listens may have gone; the pipe is emptied all the same, or the program would block.
        let mut listened = true;
        for line in &mut lines {
            if listened {
                listened = to(String::from_utf8_lossy(&line)
                    .trim_end_matches('\r')
                    .to_owned());
            }
        }
    });
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn show(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_purpose_program_and_remedy() {
        let error = Step::new("see", "false")
            .remedy("`true` instead")
            .run()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to see because `false` ended with exit code 1; run `true` instead"
        );
    }

    #[test]
    fn missing_program_is_named() {
        let error = Step::new("see", "no-such-program")
            .run()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("failed to see because `no-such-program` could not be started"),
            "{error}"
        );
    }

    #[test]
    fn lines_of_both_streams_are_seen() {
        let mut lines = Vec::new();
        let step = Step::new("print", "sh").args(["-c", "echo one; echo two >&2"]);
        step.run_watched(Duration::from_secs(60), |line| lines.push(line.to_owned()))
            .unwrap();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn hanging_program_is_killed_at_its_limit() {
        let step = Step::new("hang", "sh").args(["-c", "sleep 600 & sleep 600"]);
        let started = Instant::now();
        let error = step
            .run_watched(Duration::from_millis(200), |_| ())
            .unwrap_err()
            .to_string();
        assert!(error.contains("took longer than"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn program_that_ignores_interrupts_is_killed_and_reported() {
        let step = Step::new("stay", "sh")
            .args(["-c", "trap '' INT; echo here; while :; do sleep 0.05; done"]);
        let (running, lines) = step.start_piped().unwrap();
        assert_eq!(lines.recv_timeout(Duration::from_secs(60)).unwrap(), "here");
        let error = running
            .stop(Duration::from_millis(300))
            .unwrap_err()
            .to_string();
        assert!(error.contains("was killed"), "{error}");
    }
}
