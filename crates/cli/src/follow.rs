//! A run as it happens: the coordinator's event stream, read across its restarts, and how it is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use asterism_protocol::one_line;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{
    client::{Coordinator, Patience, json_of},
    console::Console,
    failure::Failure,
};

/// The coordinator says something at least this often.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// A run of which nothing is performed for this long is asked why; again after as long.
const ASK_AFTER: Duration = Duration::from_secs(2);

/// Most bytes of one event: a task's view with its values is smaller than a frame of the protocol.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// Runs with more tasks are told of in numbers, not one by one.
const TOLD_ONE_BY_ONE_MAX: u64 = 50;

/// Between two lines of numbers.
const NUMBERS_EVERY: Duration = Duration::from_secs(2);

/// How often a progress bar is drawn anew.
const TICK: Duration = Duration::from_millis(250);

/// Names on a progress bar.
const NAMES_SHOWN: usize = 3;

/// One event of a stream.
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// Follows a run to its end and gives the data of `end`. A coordinator that goes away is waited for.
pub(crate) async fn follow(
    coordinator: &Coordinator,
    run: u64,
    console: &Console,
    mut tell: impl FnMut(&Event),
) -> Result<Value, Failure> {
    let path = format!("/workflows/{run}/events");
    let mut patience = Patience::new(console);
    let mut idle = Idle::new(coordinator, run, console);
    loop {
        let mut response = match coordinator.open(&path).await {
            Ok(response) => response,
            Err(reason) => {
                patience.wait(reason).await?;
                continue;
            }
        };
        patience.renew();
        let mut text = Vec::new();
        let mut heard = Instant::now();
        let broken = loop {
            let chunk = tokio::select! {
                chunk = timeout_at(heard + SILENCE_MAX, response.chunk()) => chunk,
                () = idle.ask() => continue,
            };
            let chunk = match chunk {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => break coordinator.broke_off("it ended too early"),
                Ok(Err(error)) => break coordinator.broke_off(&error.without_url().to_string()),
                Err(_) => break coordinator.broke_off("nothing was heard for too long"),
            };
            heard = Instant::now();
            text.extend_from_slice(&chunk);
            if text.len() > EVENT_BYTES_MAX {
                return Err(Failure::other("an event is larger than any may be"));
            }
            while let Some(event) = take_event(&mut text) {
                match event.name.as_str() {
                    "end" => {
                        tell(&event);
                        return Ok(event.data);
                    }
                    "trouble" => {
                        let status = event.data["status"].as_u64().unwrap_or(500);
                        let status = u16::try_from(status).unwrap_or(500);
                        let error = event.data["error"].to_string();
                        patience
                            .wait(crate::client::NoAnswer::of_answer(status, error.as_bytes()))
                            .await?;
                    }
                    _ => {
                        idle.hear(&event);
                        tell(&event);
                    }
                }
            }
        };
        patience.wait(broken).await?;
    }
}

/// What is said of a run of which nothing is performed: nobody may be there who can.
struct Idle<'a> {
    coordinator: &'a Coordinator,
    run: u64,
    console: &'a Console,
    /// Places of tasks that somebody could take, and of those that nobody else is wanted for.
    open: BTreeSet<u64>,
    held: BTreeSet<u64>,
    since: Instant,
    said: String,
}

impl<'a> Idle<'a> {
    fn new(coordinator: &'a Coordinator, run: u64, console: &'a Console) -> Self {
        Self {
            coordinator,
            run,
            console,
            open: BTreeSet::new(),
            held: BTreeSet::new(),
            since: Instant::now(),
            said: String::new(),
        }
    }

    fn hear(&mut self, event: &Event) {
        if event.name != "task" {
            return;
        }
        let place = event.data["index"].as_u64().unwrap_or_default();
        let state = event.data["state"].as_str().unwrap_or_default();
        let has_reason = event.data["reason"]
            .as_str()
            .is_some_and(|why| !why.is_empty());
        // One that is held and says why it waits is compared: it may want one more executor than can have it.
        let is_open = match state {
            "ready" => true,
            "waiting" | "leased" | "provisional" => has_reason,
            _ => false,
        };
        let is_held = state == "leased" && !has_reason;
        for (places, is_in) in [(&mut self.open, is_open), (&mut self.held, is_held)] {
            if is_in {
                places.insert(place);
            } else {
                places.remove(&place);
            }
        }
        self.since = Instant::now();
    }

    /// Once nothing was performed for a while: says why the first task that could be waits, if that was not said.
    async fn ask(&mut self) {
        let first = match self.open.first() {
            Some(first) if self.held.is_empty() => *first,
            _ => return std::future::pending().await,
        };
        tokio::time::sleep_until(self.since + ASK_AFTER).await;
        self.since = Instant::now();
        let (run, place) = (self.run.to_string(), first.to_string());
        // Whatever goes wrong here goes wrong with what is followed, too, and is said there.
        let Ok(answer) = self
            .coordinator
            .get_at(&["workflows", &run, "tasks", &place])
            .await
        else {
            return;
        };
        let answer = json_of(&answer).unwrap_or_default();
        let why = answer["waits"].as_str().unwrap_or_default();
        if why.is_empty() || self.said == why {
            return;
        }
        self.said = why.to_owned();
        self.console
            .say(&format!("{} waits: {why}", title(&answer["task"])));
    }
}

/// Submits a workflow and gives the number of its run and the coordinator's answer.
pub(crate) async fn submit(
    coordinator: &Coordinator,
    query: Vec<(&str, String)>,
    body: Vec<u8>,
    console: &Console,
) -> Result<(u64, Value), Failure> {
    let mut query = query;
    query.push(("wait", "false".to_owned()));
    query.extend(std::env::var("USER").map(|user| ("submitter", user)));
    let started = coordinator
        .post_patiently("/run", &query, body, console)
        .await?;
    let started = json_of(&started)?;
    match note(&started, console) {
        Some(run) => Ok((run, started)),
        None => Err(Failure::other("the coordinator's answer is not understood")),
    }
}

/// The number of a run that was started, which whoever stops waiting for it is told.
pub(crate) fn note(started: &Value, console: &Console) -> Option<u64> {
    let run = started["run"].as_u64()?;
    // Who is the operator by sitting at the coordinator's machine needs none.
    let wanted = started["needs_token"] != false;
    let token = started["token"].as_str().filter(|_| wanted);
    console.note_run(run, token);
    Some(run)
}

/// The data of `end` tells whether a run came to a result, with the coordinator's own words where not.
pub(crate) fn ended(end: &Value) -> Result<(), Failure> {
    let Some(error) = end.get("error") else {
        return Ok(());
    };
    let status = end["status"]
        .as_u64()
        .and_then(|status| u16::try_from(status).ok());
    let error = error.to_string();
    Err(Failure::of_answer(status.unwrap_or(500), error.as_bytes()))
}

/// Takes the first whole event off the text.
fn take_event(text: &mut Vec<u8>) -> Option<Event> {
    loop {
        let end = text.windows(2).position(|pair| pair == b"\n\n")?;
        let event: Vec<u8> = text.drain(..end + 2).collect();
        let event = String::from_utf8_lossy(&event);
        let field = |name: &str| {
            let lines = event.lines().filter_map(|line| line.strip_prefix(name));
            let lines: Vec<&str> = lines
                .map(|line| line.strip_prefix(' ').unwrap_or(line))
                .collect();
            lines.join("\n")
        };
        // Comments keep the connection alive, and are no events.
        let name = field("event:");
        if name.is_empty() {
            continue;
        }
        let data = serde_json::from_str(&field("data:")).unwrap_or_default();
        return Some(Event { name, data });
    }
}

/// How a run is shown on standard error: a bar and the running tasks on a terminal, lines elsewhere.
pub(crate) struct Progress<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
    /// States of tasks that were told, by place.
    told: BTreeMap<u64, String>,
    running: BTreeMap<u64, String>,
    tasks: u64,
    numbers_at: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(console: &'a Console) -> Self {
        let bar = console.is_watched().then(|| {
            let style =
                ProgressStyle::with_template("{prefix}{bar:30} {pos}/{len} {elapsed} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // Time passes also while nothing happens.
            bar.enable_steady_tick(TICK);
            bar.with_style(style)
        });
        Self {
            console,
            bar,
            told: BTreeMap::new(),
            running: BTreeMap::new(),
            tasks: 0,
            numbers_at: None,
        }
    }

    pub(crate) fn tell(&mut self, event: &Event) {
        match event.name.as_str() {
            "run" => self.run(&event.data),
            "task" => self.task(&event.data),
            "end" => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    fn run(&mut self, summary: &Value) {
        let count = |name: &str| summary["counts"][name].as_u64().unwrap_or(0);
        let Counted {
            ended: done,
            all: tasks,
            ..
        } = counted(summary);
        self.tasks = tasks;
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("run {} ", summary["run"]));
            bar.set_length(self.tasks);
            bar.set_position(done);
            return;
        }
        let due = self
            .numbers_at
            .is_none_or(|at| at.elapsed() >= NUMBERS_EVERY);
        if self.tasks > TOLD_ONE_BY_ONE_MAX && due {
            self.numbers_at = Some(Instant::now());
            let (computed, replayed, failed) =
                (count("computed"), count("replayed"), count("failed"));
            self.console.say(&format!(
                "{done} of {} tasks: {computed} computed, {replayed} replayed, {failed} failed",
                self.tasks
            ));
        }
    }

    fn task(&mut self, task: &Value) {
        let place = task["index"].as_u64().unwrap_or_default();
        let state = task["state"].as_str().unwrap_or_default();
        if state == "leased" {
            self.running.insert(place, title(task));
        } else {
            self.running.remove(&place);
        }
        if let Some(bar) = &self.bar {
            let names: Vec<&str> = self
                .running
                .values()
                .take(NAMES_SHOWN)
                .map(String::as_str)
                .collect();
            let more = self.running.len().saturating_sub(NAMES_SHOWN);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            bar.set_message(format!("{}{more}", names.join(", ")));
            return;
        }
        let is_news = self.told.get(&place).map(String::as_str) != Some(state);
        if self.tasks <= TOLD_ONE_BY_ONE_MAX && is_news && is_final(state) {
            self.told.insert(place, state.to_owned());
            self.console.say(&line_of(task));
        }
    }
}

/// A task in one line: what it is and where.
pub(crate) fn line_of(task: &Value) -> String {
    let state = task["state"].as_str().unwrap_or_default();
    let us = task["remark"]["elapsed_us"]
        .as_u64()
        .filter(|_| state == "computed");
    let took = us
        .map(|us| match us {
            0..1_000 => format!(" in {us} µs"),
            _ => format!(" in {:.1} ms", us as f64 / 1e3),
        })
        .unwrap_or_default();
    let error = task["out"][1].is_null();
    let failed = task["out"][0] == "error" && !error;
    let error = if failed { ", to an error" } else { "" };
    format!("{}: {state}{took}{error}", title(task))
}

/// What a task is called, on one line: its name, or its place and function.
pub(crate) fn title(task: &Value) -> String {
    match task["name"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => one_line(name),
        None => format!(
            "tasks[{}] {}",
            task["index"],
            one_line(task["func"].as_str().unwrap_or_default())
        ),
    }
}

/// A line of a guest's log, whatever the guest wrote: `info guest:rust:add 3.1 + 5.2 = 8.3`.
pub(crate) fn guest_line(line: &Value) -> String {
    let text = |name: &str| one_line(line[name].as_str().unwrap_or_default());
    format!("{} {} {}", text("level"), text("context"), text("message"))
}

/// Tasks of a run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counted {
    /// Something came of them, or nobody needed it.
    pub(crate) done: u64,
    /// Those, and those that never will be: failed or cancelled.
    pub(crate) ended: u64,
    pub(crate) all: u64,
}

/// How far a run is.
pub(crate) fn counted(summary: &Value) -> Counted {
    let counts = summary["counts"].as_object().into_iter().flatten();
    // Errors are a part of those that are computed or replayed.
    let states = counts.filter(|(state, _)| *state != "errors");
    states.fold(Counted::default(), |counted, (state, count)| {
        let count = count.as_u64().unwrap_or(0);
        let of = |is_counted: bool| if is_counted { count } else { 0 };
        Counted {
            done: counted.done + of(DONE.contains(&state.as_str())),
            ended: counted.ended + of(is_final(state)),
            all: counted.all + count,
        }
    })
}

const DONE: [&str; 3] = ["computed", "replayed", "skipped"];

/// Will a task in this state stay in it?
pub(crate) fn is_final(state: &str) -> bool {
    DONE.contains(&state) || ["failed", "cancelled"].contains(&state)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_guest_says_is_one_line() {
        let line = json!({ "level": "info", "context": "a\u{202e}", "message": "b\ncritical c \u{1b}[2J" });
        assert_eq!(guest_line(&line), r"info a\u202e b\ncritical c \u001b[2J");
        assert_eq!(
            title(&json!({ "name": "a\nb: computed" })),
            r"a\nb: computed"
        );
    }

    #[test]
    fn what_is_compared_is_asked_about_while_somebody_is_at_it() {
        let coordinator = Coordinator::at("http://127.0.0.1:3000");
        let console = Console::default();
        let mut idle = Idle::new(&coordinator, 1, &console);
        let mut hear = |state: &str, reason: &str| {
            let data = serde_json::json!({ "index": 0, "state": state, "reason": reason });
            let name = "task".to_owned();
            idle.hear(&Event { name, data });
            (!idle.open.is_empty(), !idle.held.is_empty())
        };
        assert_eq!(hear("ready", ""), (true, false));
        assert_eq!(hear("leased", ""), (false, true));
        assert_eq!(hear("leased", "another owner is needed"), (true, false));
        assert_eq!(hear("provisional", ""), (false, false));
        assert_eq!(hear("computed", ""), (false, false));
    }

    #[test]
    fn events_are_read_as_they_come() {
        let mut text = b":\n\nevent: task\ndata: {\"index\":1}\n\nevent: e".to_vec();
        let event = take_event(&mut text).unwrap();
        assert_eq!(
            (event.name.as_str(), &event.data["index"]),
            ("task", &Value::from(1))
        );
        assert!(take_event(&mut text).is_none());
        text.extend_from_slice(b"nd\ndata: {}\n\n");
        assert_eq!(take_event(&mut text).unwrap().name, "end");
        assert!(text.is_empty());
    }
}
