//! What a workflow comes to, found out the simplest way: one task after the other, on one host, without a scheduler.

use std::collections::BTreeMap;

use asterism_executor::{Host, Job, NullHost, session::links};
use asterism_protocol::{Cid, Out, Task, Workflow};
use serde_bytes::ByteBuf;

/// What every instruction of `workflow` comes to; those whose promises are broken come to nothing.
pub(super) fn outcomes(workflow: &Workflow) -> BTreeMap<Cid, Out> {
    let mut host = NullHost::new();
    let mut outs: BTreeMap<Cid, Out> = BTreeMap::new();
    let mut blobs: BTreeMap<Cid, ByteBuf> = BTreeMap::new();
    let mut left: Vec<(Cid, &Task)> = workflow
        .tasks
        .iter()
        .map(|task| (task.run.cid(), task))
        .collect();
    loop {
        let before = outs.len();
        left.retain(|(instruction, task)| {
            let instruction = *instruction;
            if outs.contains_key(&instruction) {
                return false;
            }
            let Ok(input) = task.run.resolve(&|cid| outs.get(&cid).cloned()) else {
                return true;
            };
            let needed = links(input.values())
                .into_iter()
                .map(|cid| (cid, blobs[&cid].clone()))
                .collect();
            let component = task.run.component();
            let component = component.expect("simulated tasks name one");
            host.prepare(component, b"any")
                .expect("the null host takes any component");
            let job = Job {
                instruction,
                component,
                func: input.func,
                args: input.args,
                files: input.files,
                effects: input.effects,
                blobs: needed,
                limits: task.limits(),
            };
            let attempt = host
                .run(&job)
                .expect("no function of these workflows faults");
            blobs.extend(attempt.blobs);
            outs.insert(instruction, attempt.outcome.out);
            false
        });
        if outs.len() == before {
            return outs;
        }
    }
}
