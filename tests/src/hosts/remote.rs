//! A host that is asked through bytes.

use std::io;

use asterism_executor::{Attempt, Host, HostInfo, Job, Unfit};
use asterism_protocol::{
    Cid, decode, encode,
    message::{Fault, FaultKind},
};

use super::{ANSWER_BYTES_MAX, Answer, PERFORM, PREPARE};

/// A way to a performer: bytes there and back.
pub(super) trait Link {
    /// Asks, and waits for the answer.
    fn ask(&mut self, question: &[u8]) -> io::Result<Vec<u8>>;
}

/// A performer in another program. When that dies over a job, it is a fault, and the next job has a new one.
pub struct RemoteHost {
    name: &'static str,
    start: Box<dyn Fn() -> io::Result<Box<dyn Link>>>,
    link: Option<Box<dyn Link>>,
    /// What the program prepared last; whatever it prepared before, it may have forgotten.
    prepared: Option<Cid>,
}

impl RemoteHost {
    pub(super) fn new(
        name: &'static str,
        start: impl Fn() -> io::Result<Box<dyn Link>> + 'static,
    ) -> Self {
        Self {
            name,
            start: Box::new(start),
            link: None,
            prepared: None,
        }
    }

    fn ask(&mut self, what: u8, bytes: &[u8]) -> io::Result<Answer> {
        let link = match &mut self.link {
            Some(link) => link,
            None => {
                self.prepared = None;
                self.link.insert((self.start)()?)
            }
        };
        let answer = link.ask(&[&[what], bytes].concat());
        let answer = answer.and_then(|bytes| {
            decode("an answer", &bytes, ANSWER_BYTES_MAX).map_err(io::Error::other)
        });
        if answer.is_err() {
            self.link = None;
        }
        answer
    }
}

impl Host for RemoteHost {
    fn info(&self) -> HostInfo {
        HostInfo {
            name: self.name,
            memory_max: 4 << 30,
        }
    }

    fn holds(&self, component: Cid) -> bool {
        self.link.is_some() && self.prepared == Some(component)
    }

    fn prepare(&mut self, component: Cid, bytes: &[u8]) -> Result<(), Unfit> {
        let unfit = |reason| Unfit { reason };
        match self.ask(PREPARE, bytes) {
            Ok(Answer::Prepared) => {
                self.prepared = Some(component);
                Ok(())
            }
            Ok(Answer::Unfit(reason)) => Err(unfit(reason)),
            Ok(answer) => Err(unfit(format!("an answer to something else: {answer:?}"))),
            Err(error) => Err(unfit(format!("{} failed: {error}", self.name))),
        }
    }

    fn run(&mut self, job: &Job) -> Result<Attempt, Fault> {
        let fault = |message| Fault {
            kind: FaultKind::Host,
            message,
        };
        match self.ask(PERFORM, &encode(job)) {
            Ok(Answer::Attempt(attempt)) => Ok(*attempt),
            Ok(Answer::Fault(fault)) => Err(fault),
            Ok(answer) => Err(fault(format!("an answer to something else: {answer:?}"))),
            Err(error) => Err(fault(format!("{} failed: {error}", self.name))),
        }
    }
}
