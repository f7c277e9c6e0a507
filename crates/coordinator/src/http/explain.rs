//! Why a task is where it is, in words.

use asterism_protocol::view::{ExecutorView, RunId, TaskState, TaskView};
use asterism_scheduler::Scheduler;

use super::answer::title;
use crate::limits::PART_TASKS;

/// Most promises, attempts or executors that are told one by one.
const SHOWN: usize = 8;

/// Sentences, the most important first. `needs` are the tasks that it needs, `is_withheld` whether its executor has an outcome
/// that others have to confirm, `now` is what ages are counted from.
pub(super) fn explain(
    task: &TaskView,
    needs: &[TaskView],
    is_withheld: bool,
    executors: &[ExecutorView],
    now: asterism_protocol::Timestamp,
) -> Vec<String> {
    let mut why = Vec::new();
    let executor = |key| {
        let known = executors.iter().find(|executor| Some(executor.key) == key);
        match (known.filter(|executor| !executor.name.is_empty()), key) {
            (Some(executor), _) => format!("executor `{}`", executor.name),
            (None, Some(key)) => format!("executor {key}"),
            (None, None) => "an executor".to_owned(),
        }
    };
    let seconds = |since: Option<asterism_protocol::Timestamp>| {
        since.map_or_else(String::new, |since| {
            format!(" for {:.1} s", now.since_ms(since) as f64 / 1e3)
        })
    };
    match task.state {
        TaskState::Waiting => {
            let open: Vec<&TaskView> = needs
                .iter()
                .filter(|need| {
                    matches!(
                        need.state,
                        TaskState::Waiting | TaskState::Ready | TaskState::Leased
                    )
                })
                .collect();
            for need in open.iter().take(SHOWN) {
                why.push(format!(
                    "it waits for {}, which is {}",
                    title(need),
                    word(need.state)
                ));
            }
            if open.len() > SHOWN {
                why.push(format!("and for {} more", open.len() - SHOWN));
            }
        }
        TaskState::Ready => {
            why.push(format!(
                "it is ready{}, and nobody has taken it yet",
                seconds(task.ready)
            ));
            let here: Vec<&ExecutorView> = executors
                .iter()
                .filter(|executor| executor.connected)
                .collect();
            if here.is_empty() {
                why.push(NOBODY.to_owned());
            } else {
                let threads: u32 = here.iter().map(|executor| executor.threads).sum();
                let leases: u32 = here.iter().map(|executor| executor.leases).sum();
                let (are, hold) = if here.len() == 1 {
                    ("is", "holds")
                } else {
                    ("are", "hold")
                };
                why.push(format!(
                    "{} with {} {are} here, and {hold} {}",
                    some(here.len(), "executor"),
                    some(threads as usize, "thread"),
                    some(leases as usize, "other task")
                ));
            }
        }
        // It is done with it: nothing is told, lest others copy it.
        TaskState::Leased if is_withheld => why.push(format!(
            "{} has an outcome, which is withheld until somebody else has one: it waits for that answer",
            executor(task.executor)
        )),
        TaskState::Leased => why.push(format!(
            "{} holds it{}",
            executor(task.executor),
            seconds(task.leased)
        )),
        TaskState::Provisional => {
            why.push("there is an outcome, and it is being verified".to_owned());
        }
        TaskState::Computed => {
            let us = task.remark.as_ref().map_or(0, |remark| remark.elapsed_us);
            let took = if us > 0 {
                format!(" in {:.1} ms", us as f64 / 1e3)
            } else {
                String::new()
            };
            why.push(format!("{} computed it{took}", executor(task.executor)));
        }
        TaskState::Replayed => {
            why.push(
                "what it comes to was known: the receipt was replayed, nothing was computed"
                    .to_owned(),
            );
        }
        TaskState::Skipped => {
            why.push("it was skipped: what it feeds was known already".to_owned());
        }
        TaskState::Failed => {
            let mut failed = needs
                .iter()
                .filter(|need| need.state == TaskState::Failed || is_error(need));
            if task.attempts.is_empty()
                && let Some(need) = failed.next()
            {
                why.push(format!("{} failed, whose outcome it needs", title(need)));
            }
        }
        // Of a task that was cancelled alone, its reason says so.
        TaskState::Cancelled if !task.reason.is_empty() => {}
        TaskState::Cancelled => why.push("the run was cancelled before it was done".to_owned()),
    }
    if is_error(task) {
        why.push("it came to an error, which is its outcome".to_owned());
    }
    if !task.reason.is_empty() {
        why.push(task.reason.clone());
    }
    let skipped = task.attempts.len().saturating_sub(SHOWN);
    for (number, attempt) in (1..).zip(&task.attempts).skip(skipped) {
        why.push(format!(
            "attempt {number} by {} came to nothing: {}",
            executor(Some(attempt.executor)),
            attempt.fault.message
        ));
    }
    why
}

const NOBODY: &str =
    "no executor is here: open /donate in a browser, or start one with `asterism executor start`";

/// What keeps a task that somebody could take from being taken, without what changes by itself: for whoever waits. Empty where
/// it is just not its turn. `is_short` is whether it wants one more executor than can have it, `nobody` whether no executor is
/// here.
pub(super) fn waits(task: &TaskView, is_short: bool, nobody: bool) -> String {
    let could = is_short || matches!(task.state, TaskState::Ready | TaskState::Waiting);
    if could && !task.reason.is_empty() {
        return task.reason.clone();
    }
    match task.state {
        TaskState::Ready if nobody => NOBODY.to_owned(),
        _ => String::new(),
    }
}

/// The first task of a run that [`waits`], and why: in one sentence, and of those that are looked at. Somebody is here.
pub(super) fn first_that_waits(scheduler: &Scheduler, run: RunId) -> Option<String> {
    (0..PART_TASKS as u32).find_map(|index| {
        let view = scheduler.part_view(run, index, 1)?;
        let task = view.tasks.first()?;
        let is_short = scheduler.lacks_executors(run, index);
        let why = waits(task, is_short, false);
        (!why.is_empty()).then(|| format!("{} waits: {why}", title(task)))
    })
}

/// `1 thread`, `2 threads`.
fn some(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn is_error(task: &TaskView) -> bool {
    matches!(task.out, Some(asterism_protocol::Out::Error(_)))
}

fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting itself",
        TaskState::Ready => "ready and not taken yet",
        TaskState::Leased => "being performed",
        TaskState::Provisional => "being verified",
        TaskState::Computed => "computed",
        TaskState::Replayed => "replayed",
        TaskState::Skipped => "skipped",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{Files, Limits, Requirements, Timestamp, blob_cid, content_cid};

    use super::*;

    fn leased() -> TaskView {
        TaskView {
            index: 0,
            name: "a".to_owned(),
            instruction: content_cid(b"instruction"),
            component: blob_cid(b"component"),
            func: "f".to_owned(),
            args: Vec::new(),
            files: Files::default(),
            needs: Vec::new(),
            limits: Limits::default(),
            requires: Requirements::default(),
            state: TaskState::Leased,
            reason: String::new(),
            out: None,
            fuel: None,
            receipt: None,
            outcome: None,
            basis: None,
            executor: None,
            remark: None,
            attempts: Vec::new(),
            ready: None,
            leased: Some(Timestamp(1_000)),
            started: None,
            computed: None,
            delivered: None,
            verified: None,
            finished: None,
        }
    }

    #[test]
    fn whoever_waits_hears_of_a_quorum_that_nobody_here_completes() {
        let task = TaskView {
            reason: "another owner is needed".to_owned(),
            ..leased()
        };
        assert_eq!(waits(&task, false, true), "", "as many are at it as may be");
        assert_eq!(waits(&task, true, true), "another owner is needed");
    }

    #[test]
    fn who_is_done_with_it_does_not_hold_it() {
        let why = |is_withheld| explain(&leased(), &[], is_withheld, &[], Timestamp(3_000));
        assert_eq!(why(false), ["an executor holds it for 2.0 s"]);
        assert_eq!(
            why(true),
            [
                "an executor has an outcome, which is withheld until somebody else has one: it waits for that answer"
            ]
        );
    }
}
