//! The page: what is around every page of the panel, and which one is shown.

use leptos::prelude::*;

use crate::{
    coordinator::Coordinator,
    donate::{Donation, State, page::DonatePage},
    pages::{
        executors::ExecutorsPage,
        functions::FunctionsPage,
        here::HerePage,
        run::{RunPage, WorkflowPage},
        simulate::SimulatePage,
        ui::{Clock, Constellation, Icon, Notice, Tone, icon},
        workflows::WorkflowsPage,
    },
    route::{Link, Route, Router},
    watch::Reach,
};

/// Shows the panel in this document.
pub fn start() {
    leptos::mount::mount_to_body(App);
}

#[component]
fn App() -> impl IntoView {
    let router = Router::start();
    provide_context(router);
    provide_context(Clock::start());
    let coordinator = Coordinator::find(&router.base());
    provide_context(coordinator);
    provide_context(Donation::new(coordinator.base()));
    let known = coordinator.known;
    let skip = |event: web_sys::MouseEvent| {
        event.prevent_default();
        let main = document().get_element_by_id("main");
        if let Some(main) =
            main.and_then(|main| wasm_bindgen::JsCast::dyn_into::<web_sys::HtmlElement>(main).ok())
        {
            let _ = main.focus();
        }
    };
    view! {
        <a class="skip" href="#main" on:click=skip>"Skip to content"</a>
        <Top/>
        <main id="main" tabindex="-1">
            <Show when=move || known.reach.get() == Reach::Lost>
                <Notice tone=Tone::Bad>
                    <p>{move || match known.turned_away.get() {
                        reason if reason.is_empty() => "The coordinator does not answer.".to_owned(),
                        reason => format!("The coordinator closed the connection: {reason}."),
                    }}
                    " What you see is what was known; it is called again by itself."</p>
                </Notice>
            </Show>
            <Show when=move || !known.trouble.read().is_empty()>
                <Notice tone=Tone::Bad>
                    <p>{move || known.trouble.get()}</p>
                </Notice>
            </Show>
            <Show when=move || known.paused.get() && known.reach.get() == Reach::Live>
                <Notice tone=Tone::Calm>
                    <p>"The coordinator is paused: it leases nothing until its operator resumes it."</p>
                </Notice>
            </Show>
            {move || match router.route() {
                Route::Donate => view! { <DonatePage/> }.into_any(),
                Route::Workflows => view! { <WorkflowsPage/> }.into_any(),
                Route::Run(run) => view! { <RunPage run=run/> }.into_any(),
                Route::Workflow(workflow) => view! { <WorkflowPage workflow=workflow/> }.into_any(),
                Route::Functions => view! { <FunctionsPage/> }.into_any(),
                Route::Executors => view! { <ExecutorsPage/> }.into_any(),
                Route::Here => view! { <HerePage/> }.into_any(),
                Route::Simulate => view! { <SimulatePage/> }.into_any(),
                Route::Unknown => view! {
                    <section class="empty">
                        <Constellation/>
                        <h1>"There is no such page"</h1>
                        <p><Link to=Route::Workflows>"Workflows"</Link></p>
                    </section>
                }
                .into_any(),
            }}
        </main>
        <footer class="foot">
            <p>
                "Asterism " {env!("CARGO_PKG_VERSION")} " · the same bytes in a tab and on a server · "
                <Link to=Route::Here>"Run here"</Link> " · " <Link to=Route::Simulate>"Simulate"</Link>
            </p>
        </footer>
    }
}

#[component]
fn Top() -> impl IntoView {
    let donation = expect_context::<Donation>();
    let giving = move || match donation.state.get() {
        State::Off | State::Elsewhere => None,
        State::Starting | State::On | State::Finishing | State::Stopping | State::Frozen => Some(
            view! { <span class="giving" title="This tab is donating"><Icon path=icon::STAR/><span class="visually-hidden">" (donating)"</span></span> },
        ),
    };
    view! {
        <header class="top">
            <Link to=Route::Workflows class="brand">
                <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
                    <path class="line" d="M6 22.5 13 10.5 20 17.5 26 8M20 17.5 23 26"/>
                    <circle cx="6" cy="22.5" r="2"/>
                    <circle cx="26" cy="8" r="2"/>
                    <circle cx="23" cy="26" r="1.8"/>
                    <circle cx="20" cy="17.5" r="2"/>
                    <path class="star" d="M13 4.500c.6 3.9 2.1 5.4 6 6-3.9.6-5.4 2.1-6 6-.6-3.9-2.1-5.4-6-6 3.9-.6 5.4-2.1 6-6z"/>
                </svg>
                <span>"Asterism"</span>
            </Link>
            <nav class="nav" aria-label="Pages">
                <Link to=Route::Donate nav=true>"Donate" {giving}</Link>
                <Link to=Route::Workflows nav=true>"Workflows"</Link>
                <Link to=Route::Functions nav=true>"Functions"</Link>
                <Link to=Route::Executors nav=true>"Executors"</Link>
            </nav>
            <div class="top-end">
                <ReachPill/>
                <Theme/>
            </div>
        </header>
    }
}

#[component]
fn ReachPill() -> impl IntoView {
    let known = expect_context::<Coordinator>().known;
    let look = move || match known.reach.get() {
        Reach::Seeking => ("Connecting", "pill"),
        Reach::Live => ("Live", "pill live"),
        Reach::Lost => ("Reconnecting", "pill lost"),
        Reach::Absent => ("No coordinator", "pill"),
        Reach::Here => ("In this tab", "pill here"),
    };
    view! { <span class=move || look().1 role="status"><span class="pill-dot"></span><span class="pill-text">{move || look().0}</span></span> }
}

/// Light, dark, or as the system has it.
#[component]
fn Theme() -> impl IntoView {
    const STORED: &str = "asterism.theme";
    let storage = || window().local_storage().ok().flatten();
    let theme = RwSignal::new(
        storage()
            .and_then(|storage| storage.get_item(STORED).ok()?)
            .unwrap_or_default(),
    );
    Effect::new(move || {
        let theme = theme.get();
        if let Some(root) = document().document_element() {
            let _ = if theme.is_empty() {
                root.remove_attribute("data-theme")
            } else {
                root.set_attribute("data-theme", &theme)
            };
        }
        if let Some(storage) = storage() {
            let _ = storage.set_item(STORED, &theme);
        }
    });
    let look = move || match theme.read().as_str() {
        "light" => (icon::SUN, "Theme: light"),
        "dark" => (icon::MOON, "Theme: dark"),
        _ => (icon::AUTO, "Theme: as the system"),
    };
    let next = move |_| {
        theme.update(|theme| {
            *theme = match theme.as_str() {
                "" => "light",
                "light" => "dark",
                _ => "",
            }
            .to_owned();
        });
    };
    view! {
        <button class="theme" type="button" aria-label=move || look().1 title=move || look().1 on:click=next>
            {move || view! { <Icon path=look().0/> }}
        </button>
    }
}
