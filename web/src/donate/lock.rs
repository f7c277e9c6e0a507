//! The Web Lock of the tab that gives. While it is held, the browser does not freeze the page to save energy.

use std::{cell::RefCell, rc::Rc};

use js_sys::{Array, Function, Object, Promise, Reflect};
use leptos::prelude::window;
use wasm_bindgen::{JsCast as _, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::js::get;

const NAME: &str = "asterism.donate";

#[wasm_bindgen]
extern "C" {
    /// `navigator.locks`, whose types web-sys still keeps apart.
    type LockManager;

    #[wasm_bindgen(method)]
    fn request(this: &LockManager, name: &str, options: &Object, callback: &Function) -> Promise;

    #[wasm_bindgen(method)]
    fn query(this: &LockManager) -> Promise;
}

/// The lock; it is let go when this is dropped.
pub(super) struct Lock {
    release: Option<Function>,
}

impl Lock {
    /// The lock, if no other tab holds it.
    pub(super) async fn take() -> Option<Self> {
        // Without locks (an origin that is not secure) tabs do not know of each other.
        let Some(locks) = locks() else {
            return Some(Self { release: None });
        };
        let release: Rc<RefCell<Option<Function>>> = Rc::default();
        let slot = release.clone();
        let decided = Promise::new(&mut |decide, _| {
            let slot = slot.clone();
            let granted = Closure::once_into_js(move |lock: JsValue| -> JsValue {
                let held = (!lock.is_null()).then(|| {
                    Promise::new(&mut |release, _| {
                        slot.replace(Some(release));
                    })
                });
                let _ = decide.call0(&JsValue::NULL);
                held.map_or(JsValue::UNDEFINED, Into::into)
            });
            let _ = locks.request(
                NAME,
                &options("ifAvailable", &JsValue::TRUE),
                granted.unchecked_ref(),
            );
        });
        let _ = JsFuture::from(decided).await;
        let release = release.take()?;
        Some(Self {
            release: Some(release),
        })
    }

    /// Does another tab hold it?
    pub(super) async fn is_taken() -> bool {
        let Some(locks) = locks() else { return false };
        let Ok(snapshot) = JsFuture::from(locks.query()).await else {
            return false;
        };
        let held: Array = get(&snapshot, "held").unchecked_into();
        held.iter().any(|lock| get(&lock, "name") == NAME)
    }

    /// Comes back when no tab holds it.
    pub(super) async fn wait_until_free() {
        let Some(locks) = locks() else { return };
        let nothing = Closure::once_into_js(|| ());
        let options = options("mode", &"shared".into());
        let _ = JsFuture::from(locks.request(NAME, &options, nothing.unchecked_ref())).await;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(release) = &self.release {
            let _ = release.call0(&JsValue::NULL);
        }
    }
}

fn locks() -> Option<LockManager> {
    let locks = get(&window().navigator(), "locks");
    locks.is_object().then(|| locks.unchecked_into())
}

fn options(name: &str, value: &JsValue) -> Object {
    let options = Object::new();
    // Fails for frozen objects only.
    let _ = Reflect::set(&options, &name.into(), value);
    options
}
