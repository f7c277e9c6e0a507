//! Executors' machines: what their sessions ask for, and what comes of it.

use asterism_executor::{Session, TransferError, session, session::Input as Heard};

use super::{Happening, World};
use crate::executor::Coming;

impl World {
    /// An executor's page is opened, unless it is open.
    pub(crate) fn open(&mut self, executor: usize) {
        if self.executors[executor].session.is_none() {
            self.executors[executor].open();
            self.drain_executor(executor);
        }
    }

    /// It is closed without a word, and opened again some time.
    pub(crate) fn close(&mut self, executor: usize) {
        self.disasters += 1;
        let link = self.executors[executor].close();
        self.cut(link);
        let ms = self.random.below(10_000);
        self.later(ms, Happening::Reopen(executor));
    }

    /// It sleeps: nothing reaches it, no time passes for it.
    pub(crate) fn freeze(&mut self, executor: usize, ms: u64) {
        self.disasters += 1;
        self.executors[executor].frozen_until = self.now.after_ms(ms);
    }

    pub(super) fn executor_wakes(&mut self, executor: usize, life: u64) {
        let machine = &mut self.executors[executor];
        if machine.life != life || machine.next_wake != Some(self.now) {
            return;
        }
        machine.next_wake = None;
        if machine.frozen_until > self.now {
            return self.wake_executor(executor);
        }
        if let Some(session) = &mut machine.session {
            session.handle_timeout(self.now);
            self.drain_executor(executor);
        }
    }

    pub(super) fn come(&mut self, executor: usize, life: u64, coming: Box<Coming>) {
        let machine = &mut self.executors[executor];
        if machine.life != life {
            return;
        }
        if machine.frozen_until > self.now {
            let thaw = machine.frozen_until;
            return self.at(
                thaw,
                Happening::Coming {
                    executor,
                    life,
                    coming,
                },
            );
        }
        let heard = match *coming {
            Coming::Signed(id, signature) => Heard::Signed { id, signature },
            Coming::Fetched(cid, true) => Heard::Fetched { cid },
            Coming::Fetched(cid, false) => Heard::FetchFailed {
                cid,
                error: TransferError::Failed("the network broke".into()),
            },
            Coming::Uploaded(cid) => Heard::Uploaded { cid },
            Coming::Ended {
                thread,
                job,
                lease,
                result,
            } => {
                let given = machine.jobs.entry(thread).or_default();
                if given.pop_front_if(|(first, _)| *first == job).is_none() {
                    return;
                }
                if let Ok(attempt) = &result {
                    self.blobs.extend(attempt.blobs.clone());
                }
                Heard::Ended {
                    thread,
                    lease,
                    result,
                }
            }
        };
        self.tell_executor(executor, heard);
    }

    pub(crate) fn tell_executor(&mut self, executor: usize, input: Heard) {
        if let Some(session) = &mut self.executors[executor].session {
            session.handle(input, self.now);
            self.drain_executor(executor);
        }
    }

    fn drain_executor(&mut self, executor: usize) {
        while let Some(output) = self.executors[executor]
            .session
            .as_mut()
            .and_then(Session::poll_output)
        {
            self.perform(executor, output);
        }
        self.wake_executor(executor);
    }

    fn perform(&mut self, executor: usize, output: session::Output) {
        let life = self.executors[executor].life;
        match output {
            session::Output::Connect => {
                let ms = self.delay();
                self.later(ms, Happening::Connect { executor, life });
            }
            session::Output::Disconnect => self.close_below(executor),
            session::Output::Send(message) => self.send_up(executor, &message),
            session::Output::Sign { id, bytes } => {
                let signature = self.executors[executor].identity.sign(&bytes);
                let ms = self.random.below(3);
                self.coming(executor, ms, Coming::Signed(id, signature));
            }
            session::Output::Fetch { cid } => {
                if !self.components.contains(&cid) {
                    self.executors[executor].fetch(cid);
                }
                let loss = self.scenario.loss_per_mille;
                let (ms, found) = (self.delay(), !self.random.chance(loss));
                self.coming(executor, ms, Coming::Fetched(cid, found));
            }
            session::Output::Upload { cid } => {
                let ms = self.delay();
                self.coming(executor, ms, Coming::Uploaded(cid));
            }
            session::Output::Run {
                thread,
                lease,
                mut job,
                blobs,
            } => {
                for cid in blobs {
                    let bytes = self
                        .blobs
                        .get(&cid)
                        .expect("what is linked to was uploaded before");
                    job.blobs.insert(cid, bytes.clone());
                }
                let component = &self.blobs[&job.component];
                let result = self.executors[executor].perform(&job, component);
                self.next += 1;
                let job = self.next;
                let pipeline = self.executors[executor].pipeline;
                let ms = if self.random.chance(if pipeline { 10 } else { 100 }) {
                    self.random.below(20_000)
                } else {
                    self.random.below(if pipeline { 3 } else { 300 })
                };
                let given = self.executors[executor].jobs.entry(thread).or_default();
                let begins = given.back().map_or(self.now, |(_, at)| self.now.max(*at));
                let ends = begins.after_ms(ms);
                given.push_back((job, ends));
                let ms = ends.since_ms(self.now);
                self.coming(
                    executor,
                    ms,
                    Coming::Ended {
                        thread,
                        job,
                        lease,
                        result,
                    },
                );
            }
            session::Output::Kill { thread } => {
                self.executors[executor].jobs.remove(&thread);
            }
            session::Output::Finished => {
                let link = self.executors[executor].close();
                self.cut(link);
                let ms = self.random.below(5_000);
                self.later(ms, Happening::Reopen(executor));
            }
            session::Output::Release { .. } | session::Output::Changed => {}
        }
    }

    fn coming(&mut self, executor: usize, ms: u64, coming: Coming) {
        let life = self.executors[executor].life;
        self.later(
            ms,
            Happening::Coming {
                executor,
                life,
                coming: Box::new(coming),
            },
        );
    }

    fn wake_executor(&mut self, executor: usize) {
        let machine = &self.executors[executor];
        let Some((at, _)) = machine.session.as_ref().and_then(Session::poll_timeout) else {
            return;
        };
        let at = at.max(self.now).max(machine.frozen_until);
        if machine.next_wake.is_none_or(|wake| wake > at) {
            let life = machine.life;
            self.executors[executor].next_wake = Some(at);
            self.at(at, Happening::ExecutorWakes(executor, life));
        }
    }
}
