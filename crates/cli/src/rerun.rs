//! A task that somebody performed, performed here: the outcomes have to be the same.

use std::collections::BTreeMap;

use asterism_executor::{Job, links};
use asterism_protocol::{Cid, Out, Outcome, Receipt, Task, Workflow, from_json, json_of};

use crate::{
    client::{Coordinator, json_of as json_of_answer},
    commands::receipt::fetched,
    failure::{Doing as _, Exit, Failure},
    local,
};

/// Most runs that are looked through for a task.
const RUNS_MAX: usize = 100;

/// Performs the task of a receipt and compares.
///
/// # Errors
/// The task or what it needs cannot be had, or the outcome is another one.
pub(crate) async fn rerun(
    receipt: &Receipt,
    run: Option<&str>,
    coordinator: &Coordinator,
) -> Result<(), Failure> {
    let theirs = receipt
        .outcome()
        .ok_or_else(|| Failure::other("it tells no outcome of ours"))?;
    let task = task_of(theirs.instruction, run, coordinator).await?;
    let mut outs: BTreeMap<Cid, Out> = BTreeMap::new();
    for promise in task.run.promises() {
        let awaited = promise.instruction;
        // Signed as well: whoever lies about an input lies about the outcome.
        let (input, _) = fetched(awaited, coordinator)
            .await
            .doing(format_args!("verify the input {awaited}"))?;
        outs.insert(awaited, input.out);
    }
    let args = task.run.resolve(&|cid| outs.get(&cid).cloned());
    let args = args.map_err(|promise| {
        Failure::other(format!(
            "its input {} did not come to what it awaits",
            promise.instruction
        ))
    })?;
    let mut blobs = BTreeMap::new();
    for link in links(&args) {
        blobs.insert(link, coordinator.bytes_of(link).await?.into());
    }
    let component = task
        .run
        .component()
        .map_err(|error| Failure::other(error.to_string()))?;
    let bytes = coordinator.bytes_of(component).await?;
    let job = Job {
        instruction: theirs.instruction,
        component,
        func: task.run.input.func.clone(),
        args,
        blobs,
        limits: task.limits(),
    };
    let ours = local::perform(job, bytes.into()).await?.outcome;
    if ours.cid() == theirs.cid() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, difference(&theirs, &ours)))
}

fn difference(theirs: &Outcome, ours: &Outcome) -> String {
    let shown = |out: &Out| {
        let text = json_of(&asterism_protocol::to_value(out));
        let cut: String = text.chars().take(200).collect();
        cut
    };
    if theirs.out != ours.out {
        let (theirs, ours) = (shown(&theirs.out), shown(&ours.out));
        return format!("it says {theirs}, and performing the task here came to {ours}");
    }
    if theirs.metering == ours.metering {
        format!(
            "it says that {:?} fuel was used, and performing the task here took {:?}",
            theirs.fuel, ours.fuel
        )
    } else {
        format!(
            "it was metered by {}, and this program meters by {}: the result is the same, fuel cannot be compared",
            theirs.metering, ours.metering
        )
    }
}

/// The task with this instruction, by the document of a run. That it is this one is recomputed.
async fn task_of(
    instruction: Cid,
    run: Option<&str>,
    coordinator: &Coordinator,
) -> Result<Task, Failure> {
    let run = match run {
        Some(run) => run.to_owned(),
        None => run_with(instruction, coordinator).await?,
    };
    let answer = coordinator.get_at(&["workflows", &run, "document"]).await?;
    let document = json_of_answer(&answer)?;
    let workflow: Workflow = from_json("workflow", document["workflow"].to_string().as_bytes())
        .map_err(|error| Failure::other(error.to_string()))?;
    let mut tasks = workflow.tasks.into_iter();
    tasks
        .find(|task| task.run.cid() == instruction)
        .ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("run {run} has no task with the instruction {instruction}"),
            )
        })
}

async fn run_with(instruction: Cid, coordinator: &Coordinator) -> Result<String, Failure> {
    let runs = json_of_answer(&coordinator.get("/workflows", &[]).await?)?;
    let runs = runs.as_array().map(Vec::as_slice).unwrap_or_default();
    for run in runs.iter().take(RUNS_MAX).map(|run| run["run"].to_string()) {
        let task = instruction.to_string();
        match coordinator
            .get_at(&["workflows", &run, "tasks", &task])
            .await
        {
            Ok(_) => return Ok(run),
            Err(failure) if failure.is(Exit::NotFound) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::new(
        Exit::NotFound,
        format!("none of the latest {RUNS_MAX} runs has its task"),
    )
    .hint("name the run that has it with --run"))
}
