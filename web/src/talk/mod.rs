//! The talking worker: it holds the connection, the blobs and the key, and gives work to compute workers. It goes on
//! while the tab is hidden, where a page's own timers nearly stop. Another program has a coordinator of its own beside it
//! ([`crate::here`]): most visitors never load that.

mod blobs;
mod key;
mod line;
pub mod message;
mod pool;
mod programs;
mod shell;
mod worker;

use std::{cell::RefCell, rc::Rc};

use asterism_executor::Input;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

pub use self::worker::{Program, TalkWorker};
pub(crate) use self::{
    blobs::cid_of,
    shell::{Line, Shell},
};
use self::{
    key::Key,
    line::Server,
    message::{FromTalk, ToTalk, of_js, to_js},
    shell::Allowed,
};
use crate::js::Listener;

/// Talks for the page with the coordinator behind a network, until the worker is ended. `early` is what the page said while
/// this program was loading.
pub fn start(early: &js_sys::Array) {
    serve(early, |base| Rc::new(Server::new(base)));
}

/// Serves the page over the line that `open` makes to the coordinator at a base.
pub(crate) fn serve(early: &js_sys::Array, open: fn(String) -> Rc<dyn Line>) {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let talk = Rc::new(RefCell::new(Talk {
        open,
        shell: None,
        line: None,
        waiting: Vec::new(),
    }));
    for data in early.iter() {
        Talk::hear(&talk, data);
    }
    Listener::new(&scope, "message", move |event| {
        Talk::hear(&talk, event.unchecked_into::<MessageEvent>().data())
    })
    .forever();
}

/// Says something to the page.
pub(crate) fn say(said: &FromTalk) {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    // Fails for what cannot be cloned only.
    let _ = scope.post_message(&to_js(said));
}

/// Where the worker stands.
struct Talk {
    open: fn(String) -> Rc<dyn Line>,
    shell: Option<Rc<Shell>>,
    line: Option<Rc<dyn Line>>,
    /// What came before the session could start.
    waiting: Vec<ToTalk>,
}

impl Talk {
    fn hear(talk: &Rc<RefCell<Self>>, data: JsValue) {
        match of_js(data) {
            Ok(told) => Self::handle(talk, told),
            Err(error) => say(&FromTalk::Broken(format!(
                "page and worker do not understand each other, load the page again: {error}"
            ))),
        }
    }

    fn handle(talk: &Rc<RefCell<Self>>, told: ToTalk) {
        if let ToTalk::Start {
            base,
            threads,
            duty_percent,
            memory_bytes,
            name,
        } = told
        {
            let allowed = Allowed {
                threads,
                duty_percent,
                memory_bytes,
                name,
            };
            spawn_local(Self::start(talk.clone(), base, allowed));
            return;
        }
        let (shell, line) = (talk.borrow().shell.clone(), talk.borrow().line.clone());
        let (Some(shell), Some(line)) = (shell, line) else {
            talk.borrow_mut().waiting.push(told);
            return;
        };
        match told {
            // It was taken above.
            ToTalk::Start { .. } => {}
            ToTalk::Threads(threads) => {
                shell.tell(Input::Threads(threads));
                shell.resize(threads);
            }
            ToTalk::Duty(percent) => shell.tell(Input::Duty(percent)),
            ToTalk::Memory(bytes) => shell.tell(Input::Memory(bytes)),
            ToTalk::Pause { reason } => shell.tell(Input::Pause { reason }),
            ToTalk::Resume => shell.tell(Input::Resume),
            ToTalk::Leave { finish } => shell.tell(Input::Leave { finish }),
            ToTalk::Watch { run, from } => line.watch(run, from),
            ToTalk::Ask { id, ask } => line.ask(id, ask),
        }
    }

    async fn start(talk: Rc<RefCell<Self>>, base: String, allowed: Allowed) {
        let open = talk.borrow().open;
        let line = open(base);
        let key = Key::load_or_make().await;
        say(&FromTalk::Key(key.public()));
        let shell = Shell::start(line.clone(), key, &allowed);
        let waiting = {
            let mut talk = talk.borrow_mut();
            (talk.shell, talk.line) = (Some(shell), Some(line));
            std::mem::take(&mut talk.waiting)
        };
        waiting
            .into_iter()
            .for_each(|told| Self::handle(&talk, told));
    }
}
