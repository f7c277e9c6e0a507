//! Components as workers made them ready: at hand for the other workers of this tab, and in the browser's cache for the next
//! visit. There it is not believed unread: a torn or rotten entry would make this tab a liar.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use asterism_host_browser::{Code, Rewritten};
use asterism_protocol::{Cid, decode, encode};
use js_sys::{ArrayBuffer, Promise, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise, spawn_local};
use web_sys::{Cache, CacheStorage, Request, Response, SubtleCrypto, WorkerGlobalScope};

use crate::compute::message::About;

/// Names of caches begin with it and end with the build: what one build rewrote is not for another.
const CACHE: &str = "asterism-programs-";

/// The name of an entry in its cache: the component, and how many bytes its code has.
fn entry(component: Cid, size: u64) -> String {
    format!("programs/{size}/{component}")
}

/// What an entry's address tells.
fn of_entry(url: &str) -> Option<(Cid, u64)> {
    let mut segments = url.rsplit('/');
    let component = segments.next()?.parse().ok()?;
    Some((component, segments.next()?.parse().ok()?))
}

/// Least code that is kept for the next visit, in bytes: less is rewritten as fast as it is read.
const STORED_BYTES_MIN: u64 = 512 << 10;

/// Most code that is kept for the next visit, in bytes: a handful of language runtimes.
const STORED_BYTES_MAX: u64 = 256 << 20;

/// Most code at hand: what a worker holds itself.
const AT_HAND_BYTES_MAX: u64 = 128 << 20;

/// Most of an entry's list of modules.
const ABOUT_BYTES_MAX: usize = 64 << 10;

/// SHA-256, before everything it is of.
const DIGEST_BYTES: u32 = 32;

/// Components that were made ready.
#[derive(Clone)]
pub(super) struct Programs {
    shared: Rc<Shared>,
    /// Settled when it is known what is stored.
    opened: Promise,
}

#[derive(Default)]
struct Shared {
    /// The one used longest ago first.
    at_hand: RefCell<Vec<(Cid, Vec<Rewritten>)>>,
    store: RefCell<Option<Store>>,
    recalled: Cell<u32>,
}

struct Store {
    cache: Cache,
    subtle: SubtleCrypto,
    /// Components and the bytes of their code, the one stored longest ago first.
    entries: Vec<(Cid, u64)>,
}

impl Programs {
    /// Those that the browser has for this build, a promise of a text: none where there is none, or where the browser keeps
    /// nothing (its owner's wish, a private window, an origin that is not secure).
    pub(super) fn open(build: Promise) -> Self {
        let shared = Rc::<Shared>::default();
        let opening = shared.clone();
        let opened = future_to_promise(async move {
            if let Ok(store) = Store::open(build).await {
                opening.store.replace(Some(store));
            }
            Ok(JsValue::UNDEFINED)
        });
        Self { shared, opened }
    }

    /// The modules of a component, if they are at hand.
    pub(super) fn of(&self, component: Cid) -> Vec<Rewritten> {
        let mut at_hand = self.shared.at_hand.borrow_mut();
        let Some(place) = at_hand.iter().position(|(cid, _)| *cid == component) else {
            return Vec::new();
        };
        let entry = at_hand.remove(place);
        let modules = entry.1.clone();
        at_hand.push(entry);
        modules
    }

    /// Gets the modules of a component that may be stored, so that they are at hand.
    pub(super) async fn recall(&self, component: Cid) {
        let _ = JsFuture::from(self.opened.clone()).await;
        let reading = match &*self.shared.store.borrow() {
            Some(store) => store.read(component),
            None => None,
        };
        let Some((cache, subtle, size)) = reading else {
            return;
        };
        let name = entry(component, size);
        let Some(modules) = read(&cache, &subtle, &name).await else {
            // It is made again, and stored again.
            forget(&cache, &name);
            if let Some(store) = &mut *self.shared.store.borrow_mut() {
                store.entries.retain(|(cid, _)| *cid != component);
            }
            return;
        };
        self.shared.recalled.set(self.shared.recalled.get() + 1);
        self.keep(component, modules);
    }

    /// How many were stored by an earlier visit and recalled by this one.
    pub(super) fn recalled(&self) -> u32 {
        self.shared.recalled.get()
    }

    /// A worker made a component ready: keeps the compiled modules for others here, and their bytes for the next visit.
    pub(super) fn learn(&self, component: Cid, compiled: Vec<Rewritten>, bytes: Vec<Rewritten>) {
        self.keep(component, compiled);
        let size = size(&bytes);
        if !(STORED_BYTES_MIN..=STORED_BYTES_MAX).contains(&size) {
            return;
        }
        let programs = self.clone();
        spawn_local(async move {
            // Failing costs time at the next visit, nothing else.
            let _ = programs.store(component, &bytes).await;
        });
    }

    fn keep(&self, component: Cid, modules: Vec<Rewritten>) {
        let mut at_hand = self.shared.at_hand.borrow_mut();
        at_hand.retain(|(cid, _)| *cid != component);
        at_hand.push((component, modules));
        let mut bytes: u64 = at_hand.iter().map(|(_, modules)| size(modules)).sum();
        while bytes > AT_HAND_BYTES_MAX && at_hand.len() > 1 {
            bytes -= size(&at_hand.remove(0).1);
        }
    }

    async fn store(&self, component: Cid, modules: &[Rewritten]) -> Result<(), JsValue> {
        JsFuture::from(self.opened.clone()).await?;
        let (cache, subtle) = {
            let mut store = self.shared.store.borrow_mut();
            let Some(store) = &mut *store else {
                return Ok(());
            };
            store.make_room(component, size(modules));
            (store.cache.clone(), store.subtle.clone())
        };
        let body = body(modules);
        let rest = body.subarray(DIGEST_BYTES, body.length());
        body.set(&digest(&subtle, &rest).await?.into(), 0);
        let response = Response::new_with_opt_buffer_source(Some(&body))?;
        let name = entry(component, size(modules));
        JsFuture::from(cache.put_with_str(&name, &response)).await?;
        Ok(())
    }
}

impl Store {
    async fn open(build: Promise) -> Result<Self, JsValue> {
        let build = JsFuture::from(build).await?.as_string();
        let build = build.ok_or(JsValue::UNDEFINED)?;
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        let subtle = scope.crypto()?.subtle();
        let caches: CacheStorage = scope.caches()?;
        if subtle.is_undefined() || caches.is_undefined() {
            return Err(JsValue::UNDEFINED);
        }
        let name = format!("{CACHE}{build}");
        for other in JsFuture::from(caches.keys())
            .await?
            .unchecked_into::<js_sys::Array>()
        {
            let other = other.as_string().unwrap_or_default();
            if other.starts_with(CACHE) && other != name {
                JsFuture::from(caches.delete(&other)).await?;
            }
        }
        let cache: Cache = JsFuture::from(caches.open(&name)).await?.unchecked_into();
        let mut entries = Vec::new();
        for key in JsFuture::from(cache.keys())
            .await?
            .unchecked_into::<js_sys::Array>()
        {
            let url = key.unchecked_into::<Request>().url();
            entries.extend(of_entry(&url));
        }
        Ok(Self {
            cache,
            subtle,
            entries,
        })
    }

    /// What it takes to read an entry, if there is one.
    fn read(&self, component: Cid) -> Option<(Cache, SubtleCrypto, u64)> {
        let (_, size) = self.entries.iter().find(|(cid, _)| *cid == component)?;
        Some((self.cache.clone(), self.subtle.clone(), *size))
    }

    /// Notes an entry of this size, and drops the oldest where they come to too much.
    fn make_room(&mut self, component: Cid, size: u64) {
        self.entries.retain(|(cid, _)| *cid != component);
        self.entries.push((component, size));
        let mut bytes: u64 = self.entries.iter().map(|(_, size)| size).sum();
        while bytes > STORED_BYTES_MAX {
            let (oldest, size) = self.entries.remove(0);
            forget(&self.cache, &entry(oldest, size));
            bytes -= size;
        }
    }
}

fn size(modules: &[Rewritten]) -> u64 {
    modules.iter().map(|module| u64::from(module.size)).sum()
}

fn forget(cache: &Cache, name: &str) {
    // A browser that does not delete it gives it back once more, and it is not believed once more.
    let _ = cache.delete_with_str(name);
}

async fn digest(subtle: &SubtleCrypto, bytes: &Uint8Array) -> Result<Uint8Array, JsValue> {
    let digest = subtle.digest_with_str_and_buffer_source("SHA-256", bytes)?;
    let digest = JsFuture::from(digest).await?;
    Ok(Uint8Array::new(digest.unchecked_ref::<ArrayBuffer>()))
}

/// Room for the digest, the length of the list of modules (four bytes, little endian), that list, and all code.
fn body(modules: &[Rewritten]) -> Uint8Array {
    let about: Vec<_> = modules.iter().map(About::from).collect();
    let about = encode(&about);
    let before = DIGEST_BYTES + 4 + about.len() as u32;
    let body = Uint8Array::new_with_length(before + size(modules) as u32);
    let length = (about.len() as u32).to_le_bytes();
    body.set(&Uint8Array::from(&length[..]), DIGEST_BYTES);
    body.set(&Uint8Array::from(&about[..]), DIGEST_BYTES + 4);
    let mut at = before;
    for module in modules {
        if let Code::Bytes(bytes) = &module.code {
            body.set(bytes, at);
        }
        at += module.size;
    }
    body
}

/// An entry, if it is whole.
async fn read(cache: &Cache, subtle: &SubtleCrypto, name: &str) -> Option<Vec<Rewritten>> {
    let found = cache.match_with_str(name);
    let found: Response = JsFuture::from(found).await.ok()?.dyn_into().ok()?;
    let buffer = JsFuture::from(found.array_buffer().ok()?).await.ok()?;
    let body = Uint8Array::new(buffer.unchecked_ref::<ArrayBuffer>());
    let rest = body.subarray(DIGEST_BYTES, body.length());
    let digest = digest(subtle, &rest).await.ok()?;
    if digest.to_vec() != body.subarray(0, DIGEST_BYTES).to_vec() {
        return None;
    }
    let length = rest.subarray(0, 4).to_vec().try_into().ok()?;
    let mut at = 4 + u32::from_le_bytes(length);
    let about = rest.subarray(4, at).to_vec();
    let about: Vec<About> = decode("list of modules", &about, ABOUT_BYTES_MAX).ok()?;
    let mut modules = Vec::with_capacity(about.len());
    for about in about {
        let code = rest.subarray(at, at.checked_add(about.size)?);
        at += about.size;
        modules.push(Rewritten {
            initial_bytes: about.initial_bytes,
            size: about.size,
            code: Code::Bytes(code),
        });
    }
    Some(modules)
}
