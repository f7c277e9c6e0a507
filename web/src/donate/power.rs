//! Whether the computer runs on its battery, where the browser tells (Chromium does).

use js_sys::{Function, Promise};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::JsFuture;
use web_sys::EventTarget;

use crate::js::{Listener, get};

/// Keeps the signal as the battery has it.
pub(super) fn follow(on_battery: RwSignal<Option<bool>>) {
    // Behind a name only: web-sys has no types for it.
    let navigator = window().navigator();
    let Ok(ask) = get(&navigator, "getBattery").dyn_into::<Function>() else {
        return;
    };
    let Some(asked) = ask
        .call0(&navigator)
        .ok()
        .and_then(|asked| asked.dyn_into::<Promise>().ok())
    else {
        return;
    };
    leptos::task::spawn_local(async move {
        let Ok(battery) = JsFuture::from(asked).await else {
            return;
        };
        let battery: EventTarget = battery.unchecked_into();
        let read = {
            let battery = battery.clone();
            move || on_battery.set(Some(get(&battery, "charging").is_falsy()))
        };
        read();
        Listener::new(&battery, "chargingchange", move |_| read()).forever();
    });
}
