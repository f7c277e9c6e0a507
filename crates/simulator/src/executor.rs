//! A simulated executor: a real session over the null host, on a machine that may close, freeze or lie.

use std::collections::{BTreeMap, VecDeque};

use asterism_executor::{Attempt, Host, METERING, NullHost, Session, ThreadId, session};
use asterism_protocol::{
    Cid, Identity, Out, Timestamp, Value,
    message::{Capabilities, Fault, LeaseId},
};

use super::Random;

/// How many blobs an executor keeps that nobody needs, and how many components it keeps compiled.
const KEPT_MAX: usize = 64;
const COMPILED_MAX: usize = 32;

/// What came of a job.
pub(super) type Attempted = Result<Box<Attempt>, Fault>;

/// What an executor makes of its outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honesty {
    /// It tells what it computed.
    Honest,
    /// It never does.
    Lies,
    /// It lies about so many of a thousand.
    LiesSometimes(u64),
    /// It is honest so many times first.
    LiesAfter(u64),
    /// It lies, and so does everybody of the same conspiracy, alike.
    Conspires(u64),
}

/// An executor that may be closed.
pub(super) struct Executor {
    pub(super) identity: Identity,
    pub(super) honesty: Honesty,
    pub(super) session: Option<Session>,
    /// Counts up whenever it is closed: what was under way for an earlier life is nobody's.
    pub(super) life: u64,
    /// The connection that it believes in.
    pub(super) link: Option<u64>,
    pub(super) frozen_until: Timestamp,
    /// What each thread was given, in order: the number of the job, and when it is done.
    pub(super) jobs: BTreeMap<ThreadId, VecDeque<(u64, Timestamp)>>,
    /// Every fourth, as a tab does, give a thread its next task beforehand, and have short tasks.
    pub(super) pipeline: bool,
    pub(super) next_wake: Option<Timestamp>,
    /// What it keeps of what it fetched and made, and what it keeps compiled; the longest unused first.
    kept: VecDeque<Cid>,
    compiled: VecDeque<Cid>,
    /// How many inputs it fetched, and how many components it compiled, in all of its lives.
    pub(super) fetched: u64,
    pub(super) compilations: u64,
    threads: u32,
    host: NullHost,
    seed: u64,
    attempts: u64,
}

impl Executor {
    pub(super) fn new(number: u32, threads: u32, seed: u64, honesty: Honesty) -> Self {
        let mut secret = [1; 32];
        secret[..4].copy_from_slice(&number.to_le_bytes());
        Self {
            identity: Identity::from_seed(&secret),
            honesty,
            session: None,
            life: 0,
            link: None,
            frozen_until: Timestamp::default(),
            jobs: BTreeMap::new(),
            pipeline: number % 4 == 1,
            next_wake: None,
            kept: VecDeque::new(),
            compiled: VecDeque::new(),
            fetched: 0,
            compilations: 0,
            threads,
            host: NullHost::new(),
            seed,
            attempts: 0,
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
            time_ms: u64::MAX,
            prefetch: 2,
            pipeline: self.pipeline,
            seed: self.seed.wrapping_add(self.life),
        }));
    }

    /// It is gone without a word.
    pub(super) fn close(&mut self) -> Option<u64> {
        self.life += 1;
        self.session = None;
        self.jobs.clear();
        self.kept.clear();
        self.compiled.clear();
        self.link.take()
    }

    /// An input is needed: it is fetched unless it is kept.
    pub(super) fn fetch(&mut self, blob: Cid) {
        self.fetched += u64::from(!touch(&mut self.kept, blob, KEPT_MAX));
    }

    pub(super) fn perform(&mut self, job: &asterism_executor::Job, component: &[u8]) -> Attempted {
        let compiled = touch(&mut self.compiled, job.component, COMPILED_MAX);
        self.compilations += u64::from(!compiled);
        let prepared = self.host.prepare(job.component, component);
        prepared.expect("the null host takes any component");
        let mut attempt = self.host.run(job)?;
        for blob in attempt.blobs.keys() {
            touch(&mut self.kept, *blob, KEPT_MAX);
        }
        if let Some(lie) = self.lie(job.instruction) {
            attempt.outcome.out = lie;
            attempt.blobs.clear();
        }
        Ok(Box::new(attempt))
    }

    /// What it says instead of what it computed.
    fn lie(&mut self, instruction: Cid) -> Option<Out> {
        self.attempts += 1;
        let digest = instruction.digest();
        let mut random = Random::new(u64::from_le_bytes(
            digest[..8].try_into().expect("a digest has 32 bytes"),
        ));
        let salt = match self.honesty {
            Honesty::Honest => return None,
            Honesty::Lies => self.seed,
            Honesty::LiesSometimes(per_mille) => {
                let mut mood = Random::new(self.seed ^ self.attempts);
                return mood
                    .chance(per_mille)
                    .then(|| lie(mood.number() ^ random.number()));
            }
            Honesty::LiesAfter(honest) if self.attempts <= honest => return None,
            Honesty::LiesAfter(_) => self.seed,
            Honesty::Conspires(conspiracy) => conspiracy,
        };
        Some(lie(random.number() ^ salt))
    }
}

/// Keeps something as what was used last; was it there?
fn touch(kept: &mut VecDeque<Cid>, cid: Cid, most: usize) -> bool {
    let place = kept.iter().position(|other| *other == cid);
    if let Some(place) = place {
        kept.remove(place);
    } else if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(cid);
    place.is_some()
}

/// A value that nothing comes to.
fn lie(number: u64) -> Out {
    Out::Ok(Value::List(vec![Value::String(format!("lie {number}"))]))
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
