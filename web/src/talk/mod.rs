//! The talking worker: it holds the connection, the blobs and the key, and gives work to compute workers. It goes on
//! while the tab is hidden, where a page's own timers nearly stop. With no coordinator to talk to, it is one itself
//! ([`crate::here`]).

mod blobs;
mod key;
mod line;
pub mod message;
mod pool;
mod shell;
mod worker;

use std::{cell::RefCell, rc::Rc};

use asterism_executor::Input;
use asterism_protocol::encode;
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

pub use self::worker::TalkWorker;
pub(crate) use self::{blobs::cid_of, shell::Shell};
use self::{
    key::Key,
    message::{FromTalk, Place, ToTalk},
    shell::{Allowed, Line},
};
use crate::{here::Here, js::Listener};

/// Serves the page until the worker is ended. `early` is what the page said while this program was loading.
pub fn start(early: &js_sys::Array) {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let talk = Rc::new(RefCell::new(Talk::default()));
    for data in early.iter() {
        Talk::hear(&talk, &data);
    }
    Listener::new(&scope, "message", move |event| {
        Talk::hear(&talk, &event.unchecked_into::<MessageEvent>().data())
    })
    .forever();
}

/// Says something to the page.
pub(crate) fn say(said: &FromTalk) {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let bytes = Uint8Array::from(encode(said).as_slice());
    let _ = scope.post_message_with_transfer(&bytes, &js_sys::Array::of1(&bytes.buffer()));
}

/// Where the worker stands.
#[derive(Default)]
struct Talk {
    shell: Option<Rc<Shell>>,
    here: Option<Rc<Here>>,
    /// What came before the session could start.
    waiting: Vec<ToTalk>,
}

impl Talk {
    fn hear(talk: &Rc<RefCell<Self>>, data: &JsValue) {
        let bytes = match data.dyn_ref::<Uint8Array>() {
            Some(bytes) => bytes.to_vec(),
            None => data
                .dyn_ref::<ArrayBuffer>()
                .map(|buffer| Uint8Array::new(buffer).to_vec())
                .unwrap_or_default(),
        };
        match asterism_protocol::decode(
            "message of the page",
            &bytes,
            asterism_protocol::limits::BLOB_BYTES_MAX as usize,
        ) {
            Ok(told) => Self::handle(talk, told),
            Err(error) => say(&FromTalk::Broken(format!(
                "page and worker do not understand each other, load the page again: {error}"
            ))),
        }
    }

    fn handle(talk: &Rc<RefCell<Self>>, told: ToTalk) {
        if let ToTalk::Start {
            place,
            threads,
            duty_percent,
            name,
        } = told
        {
            let allowed = Allowed {
                threads,
                duty_percent,
                name,
            };
            spawn_local(Self::start(talk.clone(), place, allowed));
            return;
        }
        let (shell, here) = (talk.borrow().shell.clone(), talk.borrow().here.clone());
        let Some(shell) = shell else {
            talk.borrow_mut().waiting.push(told);
            return;
        };
        match (told, here) {
            (ToTalk::Threads(threads), _) => {
                shell.tell(Input::Threads(threads));
                shell.resize(threads);
            }
            (ToTalk::Duty(percent), _) => shell.tell(Input::Duty(percent)),
            (ToTalk::Leave { finish }, _) => shell.tell(Input::Leave { finish }),
            (ToTalk::Watch { run }, Some(here)) => here.watch(run),
            (ToTalk::Ask { id, ask }, Some(here)) => here.ask(id, ask),
            // Only a coordinator in the tab is asked through the worker; `Start` was taken above.
            (ToTalk::Watch { .. } | ToTalk::Ask { .. }, None) | (ToTalk::Start { .. }, _) => {}
        }
    }

    async fn start(talk: Rc<RefCell<Self>>, place: Place, allowed: Allowed) {
        let key = Key::load_or_make().await;
        say(&FromTalk::Key(key.public()));
        let (line, here) = match place {
            Place::Server { base } => (
                Line::Server {
                    base,
                    connection: RefCell::new(None),
                },
                None,
            ),
            Place::Here => {
                let here = Here::start();
                (Line::Here(here.clone()), Some(here))
            }
        };
        let shell = Shell::start(line, key, &allowed);
        let waiting = {
            let mut talk = talk.borrow_mut();
            (talk.shell, talk.here) = (Some(shell), here);
            std::mem::take(&mut talk.waiting)
        };
        waiting
            .into_iter()
            .for_each(|told| Self::handle(&talk, told));
    }
}
