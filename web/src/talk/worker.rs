//! The page's end of a talking worker.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use js_sys::{Function, Promise};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{MessageEvent, Worker};

use super::message::{Answer, Ask, FromTalk, ToTalk, of_js, to_js};
use crate::js::{Listener, message_of, module_worker, why_broken};

/// The program of a talking worker: the script that starts it, beside the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// It talks with a coordinator behind a network.
    Talk,
    /// It has a coordinator of its own.
    Here,
}

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
    pub fn start(
        program: Program,
        base: &str,
        hear: impl Fn(FromTalk) + 'static,
    ) -> Result<Self, String> {
        let (script, name) = match program {
            Program::Talk => ("talk.js", "asterism talk"),
            Program::Here => ("here.js", "asterism here"),
        };
        let worker =
            module_worker(&format!("{base}{script}"), name).map_err(|error| message_of(&error))?;
        let asked: Rc<RefCell<BTreeMap<u32, Asked>>> = Rc::default();
        let hear = Rc::new(hear);
        let (answered, broken) = (asked.clone(), hear.clone());
        let listeners = [
            Listener::new(&worker, "message", move |event| {
                match of_js(event.unchecked_into::<MessageEvent>().data()) {
                    Ok(FromTalk::Answer { id, answer }) => {
                        let asked = answered.borrow_mut().remove(&id);
                        if let Some(asked) = asked {
                            asked.answer.replace(Some(answer));
                            let _ = asked.resolve.call0(&JsValue::NULL);
                        }
                    }
                    Ok(said) => hear(said),
                    Err(error) => hear(FromTalk::Broken(format!(
                        "page and worker do not understand each other, load the page again: {error}"
                    ))),
                }
            }),
            Listener::new(&worker, "error", move |event| {
                broken(FromTalk::Broken(why_broken(&event)));
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
        // Fails for what cannot be cloned only.
        let _ = self.worker.post_message(&to_js(told));
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
