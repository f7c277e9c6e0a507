//! The panel's way to its coordinator, whether that is a server or in this tab: pages ask here and know no difference.

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, decode,
    limits::{BLOB_BYTES_MAX, MEMORY_BYTES_DEFAULT},
    view::{RunId, RunSummary},
};
use gloo_timers::callback::Timeout;
use js_sys::Uint8Array;
use leptos::prelude::*;
use wasm_bindgen::JsValue;

use crate::{
    js::{self, Method, random, request, request_as},
    talk::{
        Program, TalkWorker,
        message::{Answer, Ask, FromTalk, ToTalk},
    },
    watch::{Heard, Known, Reach, Watcher},
};

/// Status of HTTP.
const UNAUTHORIZED: u16 = 401;

/// Mistakes that are told one by one.
const MISTAKES_TOLD: usize = 12;

/// Most runs of this page that are remembered as its own.
const TOKENS_MAX: usize = 1_000;

/// First and longest pause before the coordinator is called again, in milliseconds.
const PAUSE_MS: u32 = 500;
const PAUSE_MS_MAX: u32 = 15_000;

/// The coordinator of this panel.
#[derive(Clone, Copy)]
pub struct Coordinator {
    /// What is known of it.
    pub known: Known,
    base: StoredValue<String>,
    line: StoredValue<Line, LocalStorage>,
    /// What proves that runs are this page's to end, as long as it is open.
    tokens: StoredValue<BTreeMap<RunId, String>>,
    /// The operator's, if somebody gave it since the page was opened.
    operator_token: StoredValue<Option<String>>,
}

#[derive(Default)]
struct Line {
    watcher: Option<Watcher>,
    here: Option<TalkWorker>,
    retry: Option<Timeout>,
    failures: u32,
    /// The run that is shown, and from which of its tasks on.
    run: Option<(RunId, u32)>,
}

impl Coordinator {
    /// Looks for the coordinator that this page came from.
    #[must_use]
    pub fn find(base: &str) -> Self {
        let origin = window().location().origin().unwrap_or_default();
        let coordinator = Self {
            known: Known::default(),
            base: StoredValue::new(format!("{origin}{base}")),
            line: StoredValue::new_local(Line::default()),
            tokens: StoredValue::default(),
            operator_token: StoredValue::default(),
        };
        coordinator.call();
        coordinator
    }

    /// Its absolute address; ends with `/`.
    #[must_use]
    pub fn base(self) -> String {
        self.base.get_value()
    }

    /// Is it in this tab?
    #[must_use]
    pub fn is_here(self) -> bool {
        self.known.reach.get() == Reach::Here
    }

    /// Shows everything about this run and its tasks from a place on, or no run.
    pub fn watch(self, run: Option<(RunId, u32)>) {
        let shown = self
            .known
            .watched
            .with_untracked(|watched| watched.as_ref().map(|watched| watched.run));
        // Its other tasks take the place of these when they are here.
        if shown != run.map(|(run, _)| run) {
            self.known.watched.set(None);
        }
        self.line.update_value(|line| {
            line.run = run;
            if let Some(watcher) = &line.watcher {
                watcher.watch(run);
            }
            if let Some(here) = &line.here {
                let (run, from) = run.unzip();
                let from = from.unwrap_or_default();
                here.tell(&ToTalk::Watch { run, from });
            }
        });
    }

    /// Becomes a coordinator in this tab, with this many compute workers.
    ///
    /// # Errors
    /// The browser does not start workers here, in its words.
    pub fn be_here(self, threads: u32) -> Result<(), String> {
        if self.line.with_value(|line| line.here.is_some()) {
            return Ok(());
        }
        let known = self.known;
        let here = TalkWorker::start(Program::Here, &self.base(), move |said| match said {
            FromTalk::Watched(frame) => match decode(
                "what the worker tells",
                &frame.to_vec(),
                BLOB_BYTES_MAX as usize,
            ) {
                Ok(told) => known.hear(told),
                Err(error) => known.trouble.set(format!("Load the page again: {error}")),
            },
            FromTalk::Broken(reason) => known.trouble.set(reason),
            FromTalk::Key(_)
            | FromTalk::Status(_)
            | FromTalk::Answer { .. }
            | FromTalk::Finished => {}
        })?;
        here.tell(&ToTalk::Start {
            base: self.base(),
            threads,
            duty_percent: 100,
            memory_bytes: MEMORY_BYTES_DEFAULT,
            name: "this tab".to_owned(),
        });
        self.line.update_value(|line| {
            *line = Line {
                here: Some(here),
                ..Line::default()
            };
        });
        self.known.watched.set(None);
        self.known.reach.set(Reach::Here);
        Ok(())
    }

    /// Leaves the coordinator in this tab, and looks for that of the page again.
    pub fn leave_here(self) {
        self.line.update_value(|line| *line = Line::default());
        let known = Known::default();
        self.known.runs.set(known.runs.get_untracked());
        self.known.executors.update(|executors| executors.clear());
        self.known
            .components
            .update(|components| components.clear());
        self.known.trouble.set(String::new());
        self.known.watched.set(None);
        self.known.reach.set(Reach::Seeking);
        self.call();
    }

    /// Runs a workflow, either form, as JSON text.
    ///
    /// # Errors
    /// It was refused, and why.
    pub async fn run(self, workflow: String, name: String) -> Result<RunId, String> {
        if let Some(answer) = self.ask(|| Ask::Run {
            workflow: workflow.clone(),
            name: name.clone(),
        }) {
            return run_of(answer.await);
        }
        let name = js_sys::encode_uri_component(&name);
        // The panel watches the run; nobody waits for its result here.
        let url = format!("{}run?timeout=0&submitter=panel&name={name}", self.base());
        let answer = request(
            Method::POST,
            &url,
            Some(("application/json", &workflow.into())),
        )
        .await?;
        if let Some(run) = answer
            .header("asterism-run")
            .and_then(|run| run.parse().ok())
        {
            let run = RunId(run);
            if let Some(token) = answer.header("asterism-run-token") {
                self.tokens.update_value(|tokens| {
                    tokens.insert(run, token);
                    if tokens.len() > TOKENS_MAX {
                        tokens.pop_first();
                    }
                });
            }
            return Ok(run);
        }
        let text = answer.text();
        let details = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
        match details["details"]["run"].as_u64() {
            Some(run) => Ok(RunId(run)),
            None => Err(refusal(&answer)),
        }
    }

    /// Takes the operator's token, until the page is closed.
    pub fn show(self, operator_token: String) {
        self.operator_token.set_value(Some(operator_token));
    }

    /// Ends a run.
    ///
    /// # Errors
    /// It was refused, and why.
    pub async fn cancel(self, summary: RunSummary) -> Result<(), Refusal> {
        if let Some(answer) = self.ask(|| Ask::Cancel(summary.run)) {
            return Ok(run_of(answer.await).map(drop)?);
        }
        let url = format!(
            "{}workflows/{}/cancel?run={}",
            self.base(),
            summary.workflow,
            summary.run.0
        );
        let own = self
            .tokens
            .with_value(|tokens| tokens.get(&summary.run).cloned());
        let operator = self.operator_token.get_value();
        let shown: Vec<String> = own.into_iter().chain(operator).collect();
        let ask = async |token: Option<&str>| request_as(token, Method::POST, &url, None).await;
        let is_denied = |answer: &js::Answer| answer.status == UNAUTHORIZED;
        let answer = in_turn(&shown, is_denied, ask).await?;
        if answer.is_ok() {
            return Ok(());
        }
        let wants_token = is_denied(&answer);
        if wants_token {
            // They stay wrong.
            self.tokens.update_value(|tokens| {
                tokens.remove(&summary.run);
            });
            self.operator_token.set_value(None);
        }
        // Of a token the hint says how programs show it.
        let reason = if wants_token {
            format!("{}.", message_of(&answer).unwrap_or_default())
        } else {
            refusal(&answer)
        };
        Err(Refusal {
            reason,
            wants_token,
        })
    }

    /// Adds a component.
    ///
    /// # Errors
    /// It was refused, and why.
    pub async fn add_component(self, name: String, bytes: Uint8Array) -> Result<(), String> {
        if let Some(answer) = self.ask(|| Ask::AddComponent {
            name: name.clone(),
            bytes: bytes.clone(),
        }) {
            return kept(answer.await).map(drop);
        }
        let url = format!(
            "{}components?name={}",
            self.base(),
            js_sys::encode_uri_component(&name)
        );
        let body: JsValue = bytes.into();
        done(&request(Method::POST, &url, Some(("application/wasm", &body))).await?)
    }

    /// Keeps bytes, for a workflow to link to.
    ///
    /// # Errors
    /// They were refused, and why.
    pub async fn put_blob(self, bytes: Uint8Array) -> Result<Cid, String> {
        if let Some(answer) = self.ask(|| Ask::PutBlob(bytes.clone())) {
            return kept(answer.await);
        }
        let cid = crate::talk::cid_of(&bytes);
        let body: JsValue = bytes.into();
        let url = format!("{}blobs/{cid}", self.base());
        done(&request(Method::PUT, &url, Some(("application/octet-stream", &body))).await?)
            .map(|()| cid)
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// It is not there, or cannot be reached.
    pub async fn blob(self, cid: Cid) -> Result<Uint8Array, String> {
        if let Some(answer) = self.ask(|| Ask::GetBlob(cid)) {
            return match answer.await {
                Answer::Blob(bytes) => Ok(bytes),
                other => Err(refused(other)),
            };
        }
        let answer = request(Method::GET, &format!("{}blobs/{cid}", self.base()), None).await?;
        if answer.is_ok() {
            Ok(answer.body)
        } else {
            Err(refusal(&answer))
        }
    }

    fn ask(self, ask: impl FnOnce() -> Ask) -> Option<impl Future<Output = Answer>> {
        self.line
            .with_value(|line| line.here.as_ref().map(|here| here.ask(ask())))
    }

    fn call(self) {
        let opened = Watcher::open(&self.base(), move |heard| match heard {
            Heard::Opened => self.line.update_value(|line| {
                if let (Some(watcher), Some(run)) = (&line.watcher, line.run) {
                    watcher.watch(Some(run));
                }
            }),
            Heard::Told(told) => {
                // Only a coordinator that speaks is one: a development server accepts any upgrade.
                if self.known.reach.get_untracked() != Reach::Live {
                    self.line.update_value(|line| line.failures = 0);
                    self.known.reach.set(Reach::Live);
                }
                self.known.hear(told);
            }
            Heard::Closed(reason) => {
                self.known.turned_away.set(reason);
                self.call_again();
            }
        });
        match opened {
            Ok(watcher) => self.line.update_value(|line| line.watcher = Some(watcher)),
            Err(_) => self.call_again(),
        }
    }

    fn call_again(self) {
        let reach = match self.known.reach.get_untracked() {
            Reach::Live | Reach::Lost => Reach::Lost,
            Reach::Seeking | Reach::Absent => Reach::Absent,
            // The tab became the coordinator while this connection was ending.
            Reach::Here => return,
        };
        self.known.reach.set(reach);
        self.line.update_value(|line| {
            let longest = PAUSE_MS
                .saturating_mul(1 << line.failures.min(8))
                .min(PAUSE_MS_MAX);
            line.failures += 1;
            // Between half and all of it, so that a thousand panels do not come back at once.
            let pause = longest / 2 + u32::from_le_bytes(random()) % (longest / 2);
            line.retry = Some(Timeout::new(pause, move || {
                if self.known.reach.get_untracked() != Reach::Here {
                    self.call();
                }
            }));
        });
    }
}

/// Why something was not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// With a token that is not known here it would be.
    pub wants_token: bool,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self {
            reason,
            wants_token: false,
        }
    }
}

/// Asks with each of these tokens in turn, and then with none, as long as who asks is denied it: a coordinator that keeps nothing
/// may have come back, with other tokens, and from its own machine none is needed. In the end it is told what came of the last
/// token, since that it is wrong is to be known.
async fn in_turn<A>(
    tokens: &[String],
    is_denied: impl Fn(&A) -> bool,
    ask: impl AsyncFn(Option<&str>) -> Result<A, String>,
) -> Result<A, String> {
    let mut denied = None;
    for token in tokens {
        let answer = ask(Some(token)).await?;
        if !is_denied(&answer) {
            return Ok(answer);
        }
        denied = Some(answer);
    }
    let answer = ask(None).await?;
    Ok(match denied {
        Some(denied) if is_denied(&answer) => denied,
        _ => answer,
    })
}

fn run_of(answer: Answer) -> Result<RunId, String> {
    match answer {
        Answer::Run(run) => Ok(run),
        other => Err(refused(other)),
    }
}

fn kept(answer: Answer) -> Result<Cid, String> {
    match answer {
        Answer::Kept(cid) => Ok(cid),
        other => Err(refused(other)),
    }
}

fn refused(answer: Answer) -> String {
    match answer {
        Answer::Refused(reason) => reason,
        Answer::Run(_) | Answer::Kept(_) | Answer::Blob(_) => {
            "the worker answered something else".to_owned()
        }
    }
}

fn done(answer: &js::Answer) -> Result<(), String> {
    if answer.is_ok() {
        Ok(())
    } else {
        Err(refusal(answer))
    }
}

/// What a coordinator says when it refuses: every mistake in a line of its own, or its message and hint, or the status where it
/// was something else that answered.
fn refusal(answer: &js::Answer) -> String {
    let body = serde_json::from_str::<serde_json::Value>(&answer.text()).unwrap_or_default();
    let findings = body["details"]["findings"].as_array();
    if let Some(findings) = findings.filter(|findings| !findings.is_empty()) {
        let mut lines: Vec<String> = findings.iter().take(MISTAKES_TOLD).map(line_of).collect();
        if findings.len() > MISTAKES_TOLD {
            lines.push(format!("and {} more", findings.len() - MISTAKES_TOLD));
        }
        return lines.join("\n");
    }
    match (body["message"].as_str(), body["hint"].as_str()) {
        (Some(message), Some(hint)) => format!("{message} ({hint})"),
        (Some(message), None) => message.to_owned(),
        (None, _) => format!("the server answered with {}", answer.status),
    }
}

fn message_of(answer: &js::Answer) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(&answer.text()).ok()?;
    Some(body["message"].as_str()?.to_owned())
}

/// One mistake: where it is, what it is, and what to do about it.
fn line_of(finding: &serde_json::Value) -> String {
    let text = |field: &str| finding[field].as_str().unwrap_or_default();
    let place = match (finding["line"].as_u64(), finding["column"].as_u64()) {
        (Some(line @ 1..), Some(column)) => format!("Line {line}, column {column}: "),
        _ => String::new(),
    };
    let hint = match text("hint") {
        "" => String::new(),
        hint => format!(" ({hint})"),
    };
    let path = match text("path") {
        "" => String::new(),
        path => format!("{path}: "),
    };
    format!("{place}{path}{}{hint}", text("message"))
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// Asks a coordinator that takes this token or, if it is none, whoever sits at its machine. Gives its answer and what it was
    /// shown.
    fn asked(tokens: &[&str], right: Option<&str>) -> (Result<String, String>, Vec<String>) {
        let tokens: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
        let shown = RefCell::new(Vec::new());
        let ask = async |token: Option<&str>| {
            let name = token.unwrap_or("none");
            shown.borrow_mut().push(name.to_owned());
            let word = if token == right { "done" } else { "denied" };
            Ok(format!("{word} with {name}"))
        };
        let asking = pin!(in_turn(
            &tokens,
            |answer: &String| answer.starts_with("denied"),
            ask
        ));
        let answer = match asking.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("nothing in it waits"),
        };
        (answer, shown.take())
    }

    #[test]
    fn stale_tokens_are_in_nobodys_way() {
        let check = |tokens: &[&str], right: Option<&str>, answer: &str, shown: &[&str]| {
            let (is, was_shown) = asked(tokens, right);
            assert_eq!(is.as_deref(), Ok(answer), "{tokens:?}");
            assert_eq!(was_shown, shown, "{tokens:?}");
        };
        let both = &["own", "operator"];
        check(both, Some("own"), "done with own", &["own"]);
        check(both, Some("operator"), "done with operator", both);
        // At its own machine nobody is asked for a token.
        let all = &["own", "operator", "none"];
        check(both, None, "done with none", all);
        check(&[], None, "done with none", &["none"]);
        // Whoever gave one hears that it is wrong.
        check(both, Some("new"), "denied with operator", all);
        check(&[], Some("new"), "denied with none", &["none"]);
    }
}
