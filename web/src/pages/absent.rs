//! What stands where runs would, while no coordinator answers.

use leptos::prelude::*;

use super::ui::{Constellation, Icon, icon};
use crate::{
    coordinator::Coordinator,
    route::{Link, Route},
};

/// No coordinator answers, or none has room; what can be done without one.
#[component]
pub fn NoCoordinator() -> impl IntoView {
    let known = expect_context::<Coordinator>().known;
    let turned_away = move || known.turned_away.get();
    view! {
        <section class="empty">
            <Constellation/>
            <h2>{move || if turned_away().is_empty() { "No coordinator answers" } else { "The coordinator closed the connection" }}</h2>
            <p>
                {move || match turned_away() {
                    reason if reason.is_empty() => "This page came without one, or it is down; it is called again by itself.".to_owned(),
                    reason => format!("It said: {reason}. It is called again by itself."),
                }}
            </p>
            <p>"Asterism works without a server too: the same scheduler and the same sandbox run inside this tab."</p>
            <p><Link to=Route::Here class="button primary"><Icon path=icon::PLAY/> "Run here"</Link></p>
        </section>
    }
}
