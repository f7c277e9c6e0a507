//! Leases that come: what they ask for, and the blobs that they need.

use super::*;

impl Session {
    pub(super) fn assigned(&mut self, leases: Vec<Leased>, now: Timestamp) {
        let Connection::Welcomed {
            poll, poll_from, ..
        } = &mut self.connection
        else {
            return;
        };
        let asked = poll.take();
        if leases.is_empty() && asked.is_some_and(|asked| now.since_ms(asked.sent) < POLL_PAUSE_MS)
        {
            *poll_from = now.after_ms(POLL_PAUSE_MS);
        }
        let mut wanted = asked.map_or(0, |asked| asked.slots);
        let (mut refused, mut left) = (false, false);
        for lease in leases {
            let (id, instruction) = (lease.id, lease.task.run.cid());
            let (memory_bytes, time_ms) = (lease.limits.memory, lease.limits.time_ms);
            if self.leases.contains_key(&id) {
                continue;
            }
            let (workflow, submitter) = (lease.workflow.clone(), lease.submitter.clone());
            let commit = lease.commit;
            let (phase, blobs) = if wanted == 0 || !self.may_begin() {
                (Phase::Ending(Farewell::HandBack), Vec::new())
            } else {
                let job = match self.why_unfit(&lease, now) {
                    Some(reason) => {
                        left = true;
                        Err(reason)
                    }
                    None => {
                        let job = self.job_of(lease, instruction);
                        refused |= job.is_err();
                        job
                    }
                };
                match job {
                    Ok((job, blobs)) => (Phase::Fetching { job, missing: 0 }, blobs),
                    Err(reason) => (
                        Phase::Ending(Farewell::Refuse(cut(reason, TEXT_BYTES_MAX))),
                        Vec::new(),
                    ),
                }
            };
            wanted = wanted.saturating_sub(1);
            if matches!(phase, Phase::Ending(_)) {
                self.ending.insert(id);
            } else {
                self.fetching.insert(id);
            }
            self.leases.insert(
                id,
                Lease {
                    instruction,
                    memory_bytes,
                    time_ms,
                    workflow,
                    submitter,
                    commit,
                    blobs,
                    phase,
                },
            );
            self.need_blobs(id);
        }
        if refused {
            self.refusals_in_a_row = (self.refusals_in_a_row + 1).min(8);
            self.pause_polls(POLL_PAUSE_MS << (self.refusals_in_a_row - 1), now);
        } else if left {
            // Of a large workflow each is offered once: others have work here as well.
            self.pause_polls(POLL_PAUSE_MS, now);
        }
    }

    /// Why the component of a lease is known not to run here, if it is.
    fn why_unfit(&self, lease: &Leased, now: Timestamp) -> Option<String> {
        // Nearly always: the text need not be read twice.
        if self.unfit.is_empty() {
            return None;
        }
        let component = lease.task.run.component().ok()?;
        let (reason, until) = self.unfit.get(&component)?;
        (now < *until).then(|| reason.clone())
    }

    /// What a lease asks for, or why it is declined.
    pub(super) fn job_of(
        &self,
        lease: Leased,
        instruction: Cid,
    ) -> Result<(Box<Job>, Vec<Cid>), String> {
        let run = lease.task.into_inner().run;
        if run.op != OPERATION {
            return Err(format!(
                "op `{}` is not known here, `{OPERATION}` is",
                run.op
            ));
        }
        let component = run.component().map_err(|error| error.to_string())?;
        check_files(&run.input.files).map_err(|error| error.to_string())?;
        // What is not known is offered by nobody.
        let offers = &self.config.capabilities.offers;
        let missing = |name: &&String| !is_effect(name) || !offers.contains(*name);
        if let Some(name) = run.input.effects.iter().find(missing) {
            return Err(format!("the effect `{name}` is not offered here"));
        }
        let Limits {
            fuel,
            memory,
            time_ms: _,
        } = lease.limits;
        if fuel > FUEL_MAX {
            return Err(format!("a fuel limit of {fuel} is more than {FUEL_MAX}"));
        }
        if memory > self.config.capabilities.memory {
            let most = self.config.capabilities.memory;
            return Err(format!(
                "a memory limit of {memory} bytes is more than the {most} that this host can keep"
            ));
        }
        let outs: BTreeMap<Cid, _> = lease
            .inputs
            .into_iter()
            .map(|kept| (kept.instruction, kept.out.into_inner()))
            .collect();
        let input = run
            .resolve(&|cid| outs.get(&cid).cloned())
            .map_err(|promise| {
                format!(
                    "the lease does not keep its promise {} of {}",
                    promise.branch.key(),
                    promise.instruction
                )
            })?;
        let mut blobs = vec![component];
        blobs.extend(
            links(input.values())
                .into_iter()
                .filter(|cid| *cid != component),
        );
        if blobs.len() > BLOBS_MAX {
            return Err(format!(
                "the task needs {} blobs, {BLOBS_MAX} is the most",
                blobs.len()
            ));
        }
        if let Some(other) = blobs.iter().find(|cid| !cid.is_blob()) {
            return Err(format!(
                "arguments or files link to {other}, which is not a blob"
            ));
        }
        let limits = lease.limits;
        let asterism_protocol::Input {
            func,
            args,
            files,
            effects,
        } = input;
        Ok((
            Box::new(Job {
                instruction,
                component,
                func,
                args,
                files,
                effects,
                blobs: BTreeMap::new(),
                limits,
            }),
            blobs,
        ))
    }

    pub(super) fn need_blobs(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Phase::Fetching { missing, .. } = &mut lease.phase else {
            return;
        };
        *missing = lease
            .blobs
            .iter()
            .filter(|cid| !self.fetches.need(**cid, id))
            .count();
        self.ready_if_complete(id);
    }

    pub(super) fn fetched(&mut self, cid: Cid) {
        for id in self.fetches.done(cid) {
            if let Some(Lease {
                phase: Phase::Fetching { missing, .. },
                ..
            }) = self.leases.get_mut(&id)
            {
                *missing -= 1;
            }
            self.ready_if_complete(id);
        }
    }

    pub(super) fn ready_if_complete(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.phase = match std::mem::replace(&mut lease.phase, Phase::Ending(Farewell::HandBack)) {
            Phase::Fetching { job, missing: 0 } => {
                self.fetching.remove(&id);
                self.ready.insert(id);
                Phase::Ready { job }
            }
            other => other,
        };
    }

    pub(super) fn transfer_failed(
        &mut self,
        failed: transfers::Failed,
        error: &TransferError,
        message: &str,
        now: Timestamp,
    ) {
        let users = match failed {
            transfers::Failed::Goes => return,
            transfers::Failed::GivenUp(users) => users,
        };
        for id in users {
            match error {
                TransferError::Unavailable(_) if self.may_postpone_lease(id) => {
                    self.trouble(message.to_owned());
                    self.end(id, Farewell::HandBack);
                    self.pause_polls(POSTPONED_PAUSE_MS, now);
                }
                TransferError::Unavailable(_) | TransferError::Failed(_) => {
                    self.fault(id, FaultKind::Blob, message);
                }
            }
        }
    }

    /// Others have time to take what is not done here.
    pub(super) fn pause_polls(&mut self, pause_ms: u64, now: Timestamp) {
        if let Connection::Welcomed { poll_from, .. } = &mut self.connection {
            *poll_from = (*poll_from).max(now.after_ms(pause_ms));
        }
    }

    fn may_postpone_lease(&mut self, id: LeaseId) -> bool {
        let instruction = self.leases.get(&id).map(|lease| lease.instruction);
        instruction.is_some_and(|instruction| self.may_postpone(instruction))
    }

    /// Nobody is to blame for what cannot be done now: may what has to do with this instruction or component be handed back
    /// once more?
    pub(super) fn may_postpone(&mut self, what: Cid) -> bool {
        if self.postponed.len() >= POSTPONED_KEPT_MAX && !self.postponed.contains_key(&what) {
            self.postponed.pop_first();
        }
        let times = self.postponed.entry(what).or_default();
        *times += 1;
        if *times > POSTPONED_MAX {
            self.postponed.remove(&what);
            return false;
        }
        true
    }
}
