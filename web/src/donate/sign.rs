//! The signs that a hidden tab can give: its title and its icon.

use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlLinkElement;

use super::{Donation, State};
use crate::route::Router;

/// The icon with its star in another colour; `#` is `%23` in an address.
fn icon(sky: &str, star: &str) -> String {
    format!(
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>\
         <rect width='32' height='32' rx='8' fill='%23{sky}'/>\
         <path d='M7 21.5 13 10.5 19.5 17 25 8.5M19.5 17 22.5 25' fill='none' stroke='%238f96d8' stroke-width='1.4'/>\
         <g fill='%23fff'><circle cx='7' cy='21.5' r='2'/><circle cx='25' cy='8.5' r='2'/>\
         <circle cx='22.5' cy='25' r='1.8'/><circle cx='19.5' cy='17' r='2'/></g>\
         <path fill='%23{star}' d='M13 5.4c.5 3.3 1.8 4.6 5.1 5.1-3.3.5-4.6 1.8-5.1 5.1-.5-3.3-1.8-4.6-5.1-5.1 \
         3.3-.5 4.6-1.8 5.1-5.1z'/></svg>"
    )
}

/// Keeps title and icon as the donation stands.
pub(super) fn follow(donation: Donation) {
    let router = expect_context::<Router>();
    Effect::new(move || {
        let page = router.route().title();
        let (mark, sky, star) = match donation.state.get() {
            State::Off | State::Elsewhere => ("", "171c3a", "ffc857"),
            State::Starting | State::Stopping | State::Finishing | State::Frozen => {
                ("… ", "171c3a", "9aa0c8")
            }
            State::On
                if donation
                    .work
                    .with(|work| work.paused && work.doing.is_empty()) =>
            {
                ("‖ ", "171c3a", "9aa0c8")
            }
            State::On if donation.work.with(|work| work.doing.is_empty()) => {
                ("◦ ", "171c3a", "9aa0c8")
            }
            State::On => ("✦ ", "14532d", "86efac"),
        };
        document().set_title(&format!("{mark}{page} · Asterism"));
        let link = document().query_selector("link[rel~=icon]").ok().flatten();
        if let Some(link) = link.and_then(|link| link.dyn_into::<HtmlLinkElement>().ok()) {
            link.set_href(&icon(sky, star));
        }
    });
}
