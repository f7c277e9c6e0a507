//! A simulated executor: a real session over the null host, on a machine that may close or freeze.

use std::collections::BTreeMap;

use asterism_executor::{Attempt, Host, METERING, NullHost, Session, ThreadId, session};
use asterism_protocol::{
    Cid, Identity, Timestamp,
    message::{Capabilities, Fault, LeaseId},
};

/// What came of a job.
pub(super) type Attempted = Result<Box<Attempt>, Fault>;

/// An executor that may be closed.
pub(super) struct Executor {
    pub(super) identity: Identity,
    pub(super) session: Option<Session>,
    /// Counts up whenever it is closed: what was under way for an earlier life is nobody's.
    pub(super) life: u64,
    /// The connection that it believes in.
    pub(super) link: Option<u64>,
    pub(super) frozen_until: Timestamp,
    /// What each thread does, by the number of the job.
    pub(super) jobs: BTreeMap<ThreadId, u64>,
    pub(super) next_wake: Option<Timestamp>,
    host: NullHost,
    threads: u32,
    seed: u64,
}

impl Executor {
    pub(super) fn new(number: u8, threads: u32, seed: u64) -> Self {
        Self {
            identity: Identity::from_seed(&[number + 1; 32]),
            session: None,
            life: 0,
            link: None,
            frozen_until: Timestamp::default(),
            jobs: BTreeMap::new(),
            next_wake: None,
            host: NullHost::new(),
            threads,
            seed,
        }
    }

    /// The page is opened, or the process started.
    pub(super) fn open(&mut self) {
        self.life += 1;
        self.next_wake = None;
        self.session = Some(Session::new(session::Config {
            key: self.identity.public_key(),
            name: String::new(),
            build: "simulated".into(),
            capabilities: Capabilities {
                host: NullHost::NAME.into(),
                metering: METERING.into(),
                threads: self.threads,
                memory: self.host.info().memory_max,
                ..Capabilities::default()
            },
            enrolment: String::new(),
            duty_percent: 100,
            memory_bytes: self.host.info().memory_max,
            prefetch: 2,
            seed: self.seed.wrapping_add(self.life),
        }));
    }

    /// It is gone without a word.
    pub(super) fn close(&mut self) -> Option<u64> {
        self.life += 1;
        self.session = None;
        self.jobs.clear();
        self.link.take()
    }

    pub(super) fn perform(&mut self, job: &asterism_executor::Job, component: &[u8]) -> Attempted {
        let prepared = self.host.prepare(job.component, component);
        prepared.expect("the null host takes any component");
        self.host.run(job).map(Box::new)
    }
}

/// Something that a session waits for.
pub(super) enum Coming {
    Signed(session::SignId, asterism_protocol::Signature),
    Fetched(Cid, bool),
    Uploaded(Cid),
    Ended {
        thread: ThreadId,
        job: u64,
        lease: LeaseId,
        result: Attempted,
    },
}
