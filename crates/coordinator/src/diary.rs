//! What happens, told to whoever reads the log: workflows, receipts, and what guests say. For people who develop;
//! a busy coordinator has better things to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use asterism_protocol::{
    LogLevel, Out, json_of,
    message::Change,
    view::{RunId, RunState, RunSummary, TaskState, TaskView},
};
use tokio::sync::broadcast::error::RecvError;
use tracing::{debug, info, warn};

use crate::app::App;

/// Runs that are followed at the same time; of others only the end is told.
const FOLLOWED_MAX: usize = 64;

/// The target of guests' log lines: `RUST_LOG=guest=off` leaves them out.
const GUEST: &str = "guest";

/// A result is shown up to this many characters.
const SHOWN_CHARS: usize = 120;

/// Tells until the coordinator stops.
pub(crate) async fn keep(app: Arc<App>) {
    let mut changes = app.hub.subscribe();
    let mut diary = Diary {
        app: &app,
        told: BTreeMap::new(),
    };
    loop {
        let published = tokio::select! {
            published = changes.recv() => published,
            () = app.closed() => return,
        };
        match published {
            Ok((_, batch)) => {
                for change in batch.iter() {
                    diary.tell(change).await;
                }
            }
            // What was missed is told at the end of its run.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

struct Diary<'a> {
    app: &'a App,
    /// The tasks of each run that is followed that were told of.
    told: BTreeMap<RunId, BTreeSet<u32>>,
}

impl Diary<'_> {
    async fn tell(&mut self, change: &Change) {
        match change {
            Change::Run(summary) => self.tell_run(summary).await,
            Change::Task { run, task } => self.tell_task(*run, task),
            Change::Executor(_)
            | Change::ExecutorGone(_)
            | Change::Component(_)
            | Change::Paused(_) => {}
        }
    }

    async fn tell_run(&mut self, summary: &RunSummary) {
        let RunSummary {
            run,
            workflow,
            name,
            state,
            counts,
            ..
        } = summary;
        let is_new = !self.told.contains_key(run);
        if is_new && (*state != RunState::Running || self.told.len() < FOLLOWED_MAX) {
            info!(run = run.0, %workflow, "workflow started: {name}");
            self.told.insert(*run, BTreeSet::new());
            self.app.driver.watch(*run).await;
        }
        if *state == RunState::Running {
            return;
        }
        // What was replayed at once, or missed.
        let (run, number) = (*run, run.0);
        if let Ok((Some(view), _)) = self
            .app
            .driver
            .look(move |scheduler| scheduler.run_view(run))
            .await
        {
            for task in &view.tasks {
                self.tell_task(run, task);
            }
        }
        self.told.remove(&run);
        self.app.driver.unwatch(run).await;
        let (computed, replayed) = (counts.computed, counts.replayed);
        match state {
            RunState::Done => {
                info!(
                    run = number,
                    computed, replayed, "workflow completed: {name}"
                );
            }
            RunState::Failed => {
                warn!(run = number, computed, replayed, "workflow failed: {name}");
            }
            RunState::Cancelled => info!(run = number, "workflow cancelled: {name}"),
            RunState::Running => {}
        }
    }

    fn tell_task(&mut self, run: RunId, task: &TaskView) {
        let is_final = match task.state {
            TaskState::Computed | TaskState::Replayed | TaskState::Failed => true,
            TaskState::Waiting
            | TaskState::Ready
            | TaskState::Leased
            | TaskState::Provisional
            | TaskState::Skipped
            | TaskState::Cancelled => false,
        };
        let told = self.told.get_mut(&run);
        if !is_final || !told.is_some_and(|told| told.insert(task.index)) {
            return;
        }
        let name = if task.name.is_empty() {
            format!("tasks[{}]", task.index)
        } else {
            task.name.clone()
        };
        let func = task.func.as_str();
        for line in task.remark.iter().flat_map(|remark| &remark.logs) {
            let (category, text) = (line.context.as_str(), line.message.as_str());
            let (subject, guest_level) = ("wasm_execution", level_of(line.level));
            // A guest's errors are none of ours: its lines have a target of their own, and are no louder than what is told
            // of the workflow.
            match line.level {
                LogLevel::Critical | LogLevel::Error | LogLevel::Warn | LogLevel::Info => {
                    info!(target: GUEST, subject, category, guest_level, task = name, "{text}");
                }
                LogLevel::Debug | LogLevel::Trace => {
                    debug!(target: GUEST, subject, category, guest_level, task = name, "{text}");
                }
            }
        }
        let receipt = task.receipt.map(|cid| cid.to_string());
        let receipt = receipt.as_deref();
        let out = task.out.as_ref().map(|out| shown(&json_of(out.value())));
        let out = out.as_deref().unwrap_or_default();
        match (task.state, &task.out) {
            (TaskState::Replayed, _) => {
                info!(task = name, func, receipt, "replaying receipt: {out}");
            }
            (_, Some(Out::Ok(_))) => {
                info!(
                    task = name,
                    func,
                    receipt,
                    fuel = task.fuel,
                    "computed receipt: {out}"
                );
            }
            (_, Some(Out::Error(_))) => {
                warn!(
                    task = name,
                    func, receipt, "computed receipt of an error: {out}"
                );
            }
            (_, None) => warn!(task = name, func, "task failed: {}", task.reason),
        }
    }
}

fn level_of(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Critical => "critical",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
