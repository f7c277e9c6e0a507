//! The browser's host as a program that others ask: in node, or in a Web Worker of Chromium. `asterism_tests::hosts` asks it.

#[cfg(target_arch = "wasm32")]
mod exports {
    use asterism_executor::{Host as _, Job};
    use asterism_host_browser::BrowserHost;
    use asterism_protocol::{blob_cid, decode, encode};
    use asterism_tests::hosts::{ANSWER_BYTES_MAX, Answer, PERFORM, PREPARE};
    use wasm_bindgen::prelude::wasm_bindgen;

    /// A host, behind bytes.
    #[wasm_bindgen]
    pub struct Performer {
        host: BrowserHost,
    }

    #[wasm_bindgen]
    impl Performer {
        /// A host that has nothing prepared.
        #[wasm_bindgen(constructor)]
        #[must_use]
        pub fn new() -> Self {
            Self {
                host: BrowserHost::new(),
            }
        }

        /// Answers a question: a byte for what is asked, then a component, or a job in DAG-CBOR.
        #[must_use]
        pub fn answer(&mut self, question: &[u8]) -> Vec<u8> {
            let answer = match question.split_first() {
                Some((&PREPARE, component)) => self.prepare(component),
                Some((&PERFORM, job)) => self.perform(job),
                _ => Answer::Unfit("nothing that is known was asked".into()),
            };
            encode(&answer)
        }

        fn prepare(&mut self, component: &[u8]) -> Answer {
            match self.host.prepare(blob_cid(component), component) {
                Ok(()) => Answer::Prepared,
                Err(unfit) => Answer::Unfit(unfit.reason),
            }
        }

        fn perform(&mut self, job: &[u8]) -> Answer {
            let job = match decode::<Job>("a job", job, ANSWER_BYTES_MAX) {
                Ok(job) => job,
                Err(error) => return Answer::Unfit(format!("it is no job: {error}")),
            };
            match self.host.run(&job) {
                Ok(attempt) => Answer::Attempt(Box::new(attempt)),
                Err(fault) => Answer::Fault(fault),
            }
        }
    }
}

fn main() {}
