//! Threads at work: what they begin, what they came to, and when they are stopped.

use super::*;

impl Session {
    /// A thread is free; what it came to is looked at when it has its next task.
    pub(super) fn ended(
        &mut self,
        thread: ThreadId,
        lease: LeaseId,
        result: Result<Box<Attempt>, Farewell>,
        now: Timestamp,
    ) {
        let Some(state) = self.threads.get_mut(&thread) else {
            return self.release_made(&result);
        };
        if let Some(work) = state.work.take_if(|work| work.lease == lease) {
            let wall_us = now.since_ms(work.doing.since).saturating_sub(1) * 1_000;
            let took_us = result
                .as_ref()
                .map_or(0, |attempt| attempt.remark.elapsed_us)
                .clamp(wall_us, wall_us + 2_000);
            self.rest(thread, took_us, now);
            self.task_us = Some(
                self.task_us
                    .map_or(took_us, |known| (known * 3 + took_us) / 4),
            );
            self.take_next(thread, now);
        } else if state.next.take_if(|next| next.lease == lease).is_none() {
            return self.release_made(&result);
        }
        self.ended.push_back(Ended {
            lease,
            result,
            at: now,
        });
    }

    /// A thread found that its host cannot run the component of what it was given.
    pub(super) fn learn_unfit(
        &mut self,
        thread: ThreadId,
        lease: LeaseId,
        reason: &str,
        now: Timestamp,
    ) {
        let Some(state) = self.threads.get(&thread) else {
            return;
        };
        let mut given = state.work.iter().chain(&state.next);
        if let Some(work) = given.find(|work| work.lease == lease) {
            self.leave_to_others(work.component, reason, now);
        }
    }

    /// Remembers that a component cannot run here, and refuses what waits for a thread with it.
    fn leave_to_others(&mut self, component: Cid, reason: &str, now: Timestamp) {
        if self.unfit.len() >= UNFIT_KEPT_MAX && !self.unfit.contains_key(&component) {
            self.unfit.pop_first();
        }
        let reason = cut(reason.to_owned(), TEXT_BYTES_MAX);
        self.unfit
            .insert(component, (reason.clone(), now.after_ms(UNFIT_MS)));
        let waiting = self.fetching.union(&self.ready).filter(|id| {
            let lease = self.leases.get(id);
            lease.and_then(|lease| lease.blobs.first()) == Some(&component)
        });
        let waiting: Vec<_> = waiting.copied().collect();
        for id in waiting {
            self.end(id, Farewell::Refuse(reason.clone()));
        }
    }

    /// A thread has begun what it was given beforehand; if that is not wanted any more, nothing but its end stops it.
    fn take_next(&mut self, thread: ThreadId, now: Timestamp) {
        let next = self.threads.get_mut(&thread).and_then(|t| t.next.take());
        let Some(mut next) = next else {
            return;
        };
        if self.is_running(next.lease) {
            next.begin(now);
            self.threads.entry(thread).or_default().work = Some(next);
        } else {
            self.outputs.push_back(Output::Kill { thread });
        }
    }

    pub(super) fn look_at(&mut self, ended: Ended) {
        let Ended { lease, result, at } = ended;
        let made = result.as_ref().map_or(Vec::new(), |attempt| {
            attempt.blobs.keys().copied().collect()
        });
        self.take_result(lease, result, at);
        self.release_unneeded(made);
    }

    pub(super) fn release_made(&mut self, result: &Result<Box<Attempt>, Farewell>) {
        if let Ok(attempt) = result {
            self.release_unneeded(attempt.blobs.keys().copied().collect());
        }
    }

    /// The shell keeps what an attempt made until it is told otherwise, also where the attempt came to nothing.
    pub(super) fn release_unneeded(&mut self, made: Vec<Cid>) {
        for cid in made {
            if !self.uploads.contains(cid) && !self.fetches.contains(cid) {
                self.outputs.push_back(Output::Release { cid });
            }
        }
    }

    pub(super) fn take_result(
        &mut self,
        id: LeaseId,
        result: Result<Box<Attempt>, Farewell>,
        now: Timestamp,
    ) {
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        match result {
            Ok(mut attempt) if attempt.outcome.instruction == lease.instruction => {
                let wanted = lease.memory_bytes;
                if attempt.conditions.growth_refused && attempt.conditions.memory < wanted {
                    // With its own limit it could have come to something else.
                    let most = attempt.conditions.memory >> 20;
                    let reason =
                        format!("it wants more memory than the {most} MiB that are allowed here");
                    self.end(id, Farewell::Refuse(reason));
                    return;
                }
                attempt.conditions.memory = wanted;
                self.conclude(id, *attempt, now)
            }
            Ok(attempt) => {
                let other = attempt.outcome.instruction;
                self.fault(
                    id,
                    FaultKind::Host,
                    &format!("the host answered for instruction {other} instead"),
                );
            }
            Err(Farewell::Fault(fault)) if fault.kind == FaultKind::TimeLimit => {
                self.out_of_time(id)
            }
            Err(farewell) => self.end(id, farewell),
        }
    }

    /// A thread that computed rests, so that it computes only its share of the time.
    pub(super) fn rest(&mut self, thread: ThreadId, took_us: u64, now: Timestamp) {
        let duty = u64::from(self.config.duty_percent);
        let Some(thread) = self.threads.get_mut(&thread) else {
            return;
        };
        thread.owed_us = thread
            .owed_us
            .saturating_add(took_us.saturating_mul(100 - duty) / duty);
        thread.rest_until = now.after_ms(thread.owed_us / 1_000);
        thread.owed_us %= 1_000;
    }

    pub(super) fn conclude(&mut self, id: LeaseId, attempt: Attempt, now: Timestamp) {
        let Attempt {
            outcome,
            conditions,
            remark,
            blobs,
        } = attempt;
        if let Err(error) = outcome.check() {
            self.fault(
                id,
                FaultKind::Host,
                &format!("the host made an outcome that may not be: {error}"),
            );
            return;
        }
        let statement = Statement {
            outcome: outcome.cid(),
            conditions,
        };
        let commit = self.leases.get(&id).is_some_and(|lease| lease.commit);
        let delivery = Delivery {
            lease: id,
            outcome,
            conditions,
            remark: remark.cut(),
            salt: commit.then(|| self.salt(id)),
        };
        let size = encode(&delivery).len();
        if size > FRAME_BYTES_MAX - FRAME_ROOM_BYTES {
            let message =
                format!("the host made an outcome of {size} bytes, which no frame can carry");
            self.fault(id, FaultKind::Host, &message);
            return;
        }
        self.strip(id);
        let uploads: Vec<Cid> = blobs.into_keys().collect();
        let missing = uploads
            .iter()
            .filter(|cid| !self.uploads.need(**cid, id))
            .count();
        let stage = Stage::Uploading { missing };
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.phase = Phase::Concluded(Box::new(Concluded {
            delivery,
            statement,
            size,
            uploads,
            stage,
        }));
        self.unaccepted_bytes += size;
        self.sign_if_uploaded(id, now);
    }

    pub(super) fn uploaded(&mut self, cid: Cid, now: Timestamp) {
        for id in self.uploads.done(cid) {
            if let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get_mut(&id)
                && let Stage::Uploading { missing } = &mut concluded.stage
            {
                *missing -= 1;
            }
            self.sign_if_uploaded(id, now);
        }
    }

    pub(super) fn sign_if_uploaded(&mut self, id: LeaseId, now: Timestamp) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Phase::Concluded(concluded) = &mut lease.phase else {
            return;
        };
        if concluded.stage != (Stage::Uploading { missing: 0 }) {
            return;
        }
        let uploads = std::mem::take(&mut concluded.uploads);
        if lease.commit {
            concluded.stage = Stage::Committing;
            self.committing.insert(id);
            return self.release_uploads(id, &uploads);
        }
        concluded.stage = Stage::Ready;
        self.release_uploads(id, &uploads);
        if self.concluded.is_empty() {
            self.concluded_since = now;
        }
        self.concluded.insert(id);
    }

    /// Gives what is ready to threads that are free and rested, then to those that will be soon.
    pub(super) fn begin(&mut self, now: Timestamp) {
        if !self.may_begin() {
            return;
        }
        let free = self
            .allowed_threads()
            .filter(|(_, t)| t.work.is_none() && t.rest_until <= now);
        let free: Vec<ThreadId> = free.map(|(id, _)| id).collect();
        for thread in free {
            let Some(work) = self.give(thread, now) else {
                break;
            };
            self.threads.entry(thread).or_default().work = Some(work);
        }
        if !self.has_pipelines() {
            return;
        }
        let soon: Vec<(ThreadId, Cid)> = self
            .allowed_threads()
            .filter(|(_, thread)| thread.next.is_none())
            .filter_map(|(id, thread)| Some((id, thread.work.as_ref()?)))
            .filter(|(_, work)| !work.announced)
            .map(|(id, work)| (id, work.component))
            .collect();
        for (thread, component) in soon {
            // With another component, making that ready would count as the first task's time.
            if self.first_ready() != Some(component) {
                continue;
            }
            let next = self.give(thread, now);
            self.threads.entry(thread).or_default().next = next;
        }
    }

    /// Are tasks so short that threads shall have the next one beforehand?
    fn has_pipelines(&self) -> bool {
        self.config.pipeline
            && self.config.duty_percent == 100
            && self.task_us.is_some_and(|task_us| task_us < PIPELINE_US)
    }

    /// The component of the task whose turn it is.
    fn first_ready(&self) -> Option<Cid> {
        match &self.leases.get(self.ready.first()?)?.phase {
            Phase::Ready { job } => Some(job.component),
            _ => None,
        }
    }

    /// Hands the task whose turn it is to a thread; `None` if there is none.
    fn give(&mut self, thread: ThreadId, now: Timestamp) -> Option<Work> {
        loop {
            let id = self.ready.pop_first()?;
            let Some(lease) = self.leases.get_mut(&id) else {
                continue;
            };
            let phase = std::mem::replace(&mut lease.phase, Phase::Running { thread });
            let Phase::Ready { mut job } = phase else {
                lease.phase = phase;
                continue;
            };
            job.limits.memory = job.limits.memory.min(self.config.memory_bytes);
            job.limits.time_ms = job.limits.time_ms.min(self.config.time_ms);
            let mut work = Work {
                lease: id,
                component: job.component,
                doing: Doing {
                    func: job.func.clone(),
                    workflow: lease.workflow.clone(),
                    submitter: lease.submitter.clone(),
                    since: now,
                },
                time_ms: job.limits.time_ms,
                deadline: now,
                preparing: false,
                announced: false,
            };
            work.begin(now);
            let blobs = job.links();
            self.outputs.push_back(Output::Run {
                thread,
                lease: id,
                job,
                blobs,
            });
            self.refusals_in_a_row = 0;
            self.changed = true;
            return Some(work);
        }
    }

    pub(super) fn stop_overdue(&mut self, now: Timestamp) {
        let overdue = self.works().filter(|(_, work)| work.deadline <= now);
        let overdue: Vec<_> = overdue
            .map(|(_, work)| (work.lease, work.preparing.then_some(work.component)))
            .collect();
        for (id, preparing) in overdue {
            if let Some(component) = preparing {
                self.not_ready_in_time(id, component, now);
            } else {
                self.out_of_time(id);
            }
            self.changed = true;
        }
        let threads = self.config.capabilities.threads;
        self.threads
            .retain(|id, thread| id.0 < threads || thread.work.is_some());
    }

    /// That says something of this machine and what else it does now, and nothing of the task. It may be tried again here: some hosts
    /// go on making the component ready, and are done then. Where that does not help, the component cannot run here.
    fn not_ready_in_time(&mut self, id: LeaseId, component: Cid, now: Timestamp) {
        let reason = format!("its component was not made ready within {PREPARE_MS} ms here");
        if self.may_postpone(component) {
            self.trouble(format!("a task was handed back: {reason}"));
            self.end(id, Farewell::HandBack);
            self.pause_polls(POSTPONED_PAUSE_MS, now);
        } else {
            self.end(id, Farewell::Refuse(reason.clone()));
            self.leave_to_others(component, &reason, now);
        }
    }

    /// A task took as long as it may: as it asks for itself, or as its executor's owner allows.
    fn out_of_time(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        let (wanted, allowed) = (lease.time_ms, self.config.time_ms);
        if allowed < wanted {
            let reason = format!("it takes longer than the {allowed} ms that are allowed here");
            self.end(id, Farewell::Refuse(reason));
        } else {
            let message = format!("stopped after {wanted} ms, the time limit of the task");
            self.fault(id, FaultKind::TimeLimit, &message);
        }
    }

    pub(super) fn announce(&mut self, now: Timestamp) {
        let works = self
            .threads
            .values_mut()
            .filter_map(|thread| thread.work.as_mut());
        let due =
            works.filter(|work| !work.announced && work.doing.since.after_ms(STARTED_MS) <= now);
        let leases: Vec<_> = due
            .map(|work| {
                work.announced = true;
                work.lease
            })
            .collect();
        if leases.is_empty() {
            return;
        }
        // What waits behind a task that turns out to be long is left to others.
        let stuck: Vec<_> = self
            .threads
            .values()
            .filter(|thread| thread.work.as_ref().is_some_and(|work| work.announced))
            .filter_map(|thread| thread.next.as_ref())
            .map(|work| work.lease)
            .filter(|id| self.is_running(*id))
            .collect();
        stuck
            .into_iter()
            .for_each(|id| self.end(id, Farewell::HandBack));
        self.send(ToCoordinator::Started { leases });
    }
}

impl Work {
    /// Its time counts from now.
    fn begin(&mut self, now: Timestamp) {
        self.doing.since = now;
        self.deadline = now.after_ms(self.time_ms).after_ms(GRACE_MS);
    }
}
