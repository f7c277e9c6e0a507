//! The page's end of a talking worker.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use asterism_protocol::{encode, limits::BLOB_BYTES_MAX};
use js_sys::{Array, Function, Promise, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{MessageEvent, Worker, WorkerOptions, WorkerType};

use super::message::{Answer, Ask, FromTalk, ToTalk};
use crate::js::{Listener, message_of};

/// Largest message that a worker may send: a blob and a little around it.
const MESSAGE_BYTES_MAX: usize = BLOB_BYTES_MAX as usize + (1 << 20);

/// A talking worker; it is ended when this is dropped.
pub struct TalkWorker {
    worker: Worker,
    asked: Rc<RefCell<BTreeMap<u32, Asked>>>,
    next: Cell<u32>,
    _listeners: [Listener; 2],
}

/// A question without its answer yet.
struct Asked {
    resolve: Function,
    answer: Rc<RefCell<Option<Answer>>>,
}

impl TalkWorker {
    /// Starts one; `hear` is called with all that it says but answers.
    ///
    /// # Errors
    /// The browser does not start workers here, in its words.
    pub fn start(base: &str, hear: impl Fn(FromTalk) + 'static) -> Result<Self, String> {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        options.set_name("asterism talk");
        let worker = Worker::new_with_options(&format!("{base}talk.js"), &options)
            .map_err(|error| message_of(&error))?;
        let asked: Rc<RefCell<BTreeMap<u32, Asked>>> = Rc::default();
        let hear = Rc::new(hear);
        let (answered, broken) = (asked.clone(), hear.clone());
        let listeners = [
            Listener::new(&worker, "message", move |event| {
                let data = event.unchecked_into::<MessageEvent>().data();
                let bytes = data
                    .dyn_ref::<Uint8Array>()
                    .map(Uint8Array::to_vec)
                    .unwrap_or_default();
                match asterism_protocol::decode("message of the worker", &bytes, MESSAGE_BYTES_MAX)
                {
                    Ok(FromTalk::Answer { id, answer }) => {
                        let asked = answered.borrow_mut().remove(&id);
                        if let Some(asked) = asked {
                            asked.answer.replace(Some(answer));
                            let _ = asked.resolve.call0(&JsValue::NULL);
                        }
                    }
                    Ok(said) => hear(said),
                    Err(error) => hear(FromTalk::Broken(format!("load the page again: {error}"))),
                }
            }),
            Listener::new(&worker, "error", move |event| {
                // A script that does not load says nothing of itself.
                let message = message_of(&event);
                let message = if message.is_empty() {
                    "its script did not load".to_owned()
                } else {
                    message
                };
                broken(FromTalk::Broken(format!("the worker broke: {message}")));
            }),
        ];
        Ok(Self {
            worker,
            asked,
            next: Cell::new(1),
            _listeners: listeners,
        })
    }

    /// Tells it something.
    pub fn tell(&self, told: &ToTalk) {
        let bytes = Uint8Array::from(encode(told).as_slice());
        // Fails for what cannot be cloned only.
        let _ = self
            .worker
            .post_message_with_transfer(&bytes, &Array::of1(&bytes.buffer()));
    }

    /// Asks it something; the answer comes when the future is awaited, after this is borrowed no more.
    pub fn ask(&self, ask: Ask) -> impl Future<Output = Answer> + 'static + use<> {
        let id = self.next.replace(self.next.get().wrapping_add(1));
        let answer: Rc<RefCell<Option<Answer>>> = Rc::default();
        let promise = Promise::new(&mut |resolve, _| {
            self.asked.borrow_mut().insert(
                id,
                Asked {
                    resolve,
                    answer: answer.clone(),
                },
            );
        });
        self.tell(&ToTalk::Ask { id, ask });
        async move {
            let _ = JsFuture::from(promise).await;
            answer
                .take()
                .unwrap_or_else(|| Answer::Refused("the worker gave no answer".to_owned()))
        }
    }
}

impl Drop for TalkWorker {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}
