//! A task that somebody performed, performed here: the outcomes have to be the same.

use std::collections::BTreeMap;

use asterism_executor::{Job, links};
use asterism_protocol::{Cid, Out, Outcome, Receipt, Task, Workflow, from_json, json_of};

use crate::{
    client::{Coordinator, json_of as json_of_answer},
    commands::{executor::HttpAllowed, receipt::fetched},
    failure::{Doing as _, Exit, Failure},
    local,
};

/// Where the task of a receipt is looked for: a receipt names it by its CID only.
pub(crate) enum From<'a> {
    /// All runs that the coordinator keeps.
    Any,
    /// This run.
    Run(&'a str),
    /// A workflow, as it was written.
    Workflow(Vec<u8>),
}

/// Performs the task of a receipt and compares.
///
/// # Errors
/// The task or what it needs cannot be had, or the outcome is another one.
pub(crate) async fn rerun(
    receipt: &Receipt,
    from: &From<'_>,
    coordinator: &Coordinator,
) -> Result<(), Failure> {
    let theirs = receipt
        .outcome()
        .ok_or_else(|| Failure::other("it tells no outcome of ours"))?;
    let task = task_of(theirs.instruction, from, coordinator).await?;
    if task.run.is_effectful() {
        let effects: Vec<_> = task.run.input.effects.into_iter().collect();
        return Err(Failure::invalid(format!(
            "its task has effects ({}): done again it would have them again, and what it came to then could not be compared",
            effects.join(", ")
        ))
        .hint("without `--rerun` its signature is verified"));
    }
    let mut outs: BTreeMap<Cid, Out> = BTreeMap::new();
    for promise in task.run.promises() {
        let awaited = promise.instruction;
        // Signed as well: whoever lies about an input lies about the outcome.
        let (input, _) = fetched(awaited, coordinator)
            .await
            .doing(format_args!("verify the input {awaited}"))?;
        outs.insert(awaited, input.out);
    }
    let input = task.run.resolve(&|cid| outs.get(&cid).cloned());
    let input = input.map_err(|promise| {
        Failure::other(format!(
            "its input {} did not come to what it awaits",
            promise.instruction
        ))
    })?;
    let mut blobs = BTreeMap::new();
    for link in links(input.values()) {
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
        func: input.func,
        args: input.args,
        files: input.files,
        effects: input.effects,
        blobs,
        limits: task.limits(),
    };
    let ours = local::perform(job, bytes.into(), &HttpAllowed::default())
        .await?
        .outcome;
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

/// The task with this instruction, by the document that it is in. That it is this one is recomputed.
async fn task_of(
    instruction: Cid,
    from: &From<'_>,
    coordinator: &Coordinator,
) -> Result<Task, Failure> {
    let of_run = async |run: &str| coordinator.get_at(&["workflows", run, "document"]).await;
    let (place, answer) = match from {
        From::Workflow(written) => {
            let prepared = coordinator.post("/workflow", &[], written.clone()).await;
            ("the workflow".to_owned(), prepared?)
        }
        From::Run(run) => (format!("run {run}"), of_run(run).await?),
        From::Any => {
            let cid = instruction.to_string();
            let found = coordinator.get_at(&["receipts", &cid, "task"]).await?;
            let run = json_of_answer(&found)?["run"].to_string();
            (format!("run {run}"), of_run(&run).await?)
        }
    };
    let document = json_of_answer(&answer)?;
    let workflow: Workflow = from_json("workflow", document["workflow"].to_string().as_bytes())
        .map_err(|error| Failure::other(error.to_string()))?;
    let mut tasks = workflow.tasks.into_iter();
    tasks
        .find(|task| task.run.cid() == instruction)
        .ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("{place} has no task with the instruction {instruction}"),
            )
        })
}
