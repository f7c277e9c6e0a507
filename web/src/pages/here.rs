//! "Run here": the whole of Asterism in this tab, without any server.

use asterism_protocol::view::RunId;
use js_sys::Uint8Array;
use leptos::prelude::*;

use super::ui::{Icon, Notice, Tone, icon};
use crate::{
    coordinator::Coordinator,
    donate::Donation,
    js::{Method, request},
    route::{Link, Route, Router},
    watch::Reach,
};

/// The example that comes with the page, below its base.
const COMPONENT: &str = "examples/image.wasm";
const PICTURE: &str = "examples/picture.png";
const WORKFLOWS: [(&str, &str); 2] = [
    ("crop, rotate, blur", "examples/crop-rotate-blur.json"),
    (
        "crop, rotate, grayscale",
        "examples/crop-rotate-grayscale.json",
    ),
];

/// The whole of Asterism in this tab.
#[component]
pub fn HerePage() -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let donation = expect_context::<Donation>();
    let router = expect_context::<Router>();
    let step = RwSignal::new(String::new());
    let trouble = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let is_here = move || coordinator.known.reach.get() == Reach::Here;
    let run = move |workflow: usize| {
        busy.set(true);
        trouble.set(String::new());
        leptos::task::spawn_local(async move {
            let say = move |text: &str| drop(step.try_set(text.to_owned()));
            match run_example(coordinator, donation.threads.get_untracked(), workflow, say).await {
                Ok(run) => router.go(Route::Run(run)),
                Err(reason) => drop(trouble.try_set(reason)),
            }
            let _ = step.try_set(String::new());
            let _ = busy.try_set(false);
        });
    };
    let only_be_here = move |_| match coordinator.be_here(donation.threads.get_untracked()) {
        Ok(()) => router.go(Route::Functions),
        Err(reason) => trouble.set(reason),
    };
    view! {
        <header class="page-head centred">
            <h1>"Run here"</h1>
            <p class="lead">
                "No server, no account: the scheduler of a coordinator and the sandbox of an executor, both in this tab. What you choose stays in it."
            </p>
        </header>
        <Show when=move || !trouble.read().is_empty()>
            <Notice tone=Tone::Bad><p>{move || trouble.get()}</p></Notice>
        </Show>
        <div class="here-cards">
            <section class="card">
                <h2>"An example"</h2>
                <p>
                    "A photograph is cropped, turned and blurred by a Rust component: three tasks, each waiting for the one before. "
                    "Run the second workflow afterwards: two of its three tasks are known already and are replayed."
                </p>
                <div class="form-actions start">
                    <button class="button primary big" disabled=move || busy.get() on:click=move |_| run(0)>
                        <Icon path=icon::PLAY/> "Run here"
                    </button>
                    <Show when=is_here>
                        <button class="button" disabled=move || busy.get() on:click=move |_| run(1)>
                            <Icon path=icon::REPLAY/> "Run the second workflow"
                        </button>
                    </Show>
                </div>
                <p class="hint" role="status">{move || step.get()}</p>
            </section>
            <section class="card">
                <h2>"Your own"</h2>
                <p>"Add any component and call its functions, or paste a workflow. Everything is forgotten when the tab is closed."</p>
                <div class="form-actions start">
                    <Show
                        when=is_here
                        fallback=move || view! {
                            <button class="button" on:click=only_be_here><Icon path=icon::PLUS/> "Add a component"</button>
                        }
                    >
                        <Link to=Route::Functions class="button"><Icon path=icon::PLUS/> "Add a component"</Link>
                        <Link to=Route::Workflows class="button">"Workflows"</Link>
                        <button class="button quiet" on:click=move |_| coordinator.leave_here()>
                            <Icon path=icon::STOP/> "Stop and forget"
                        </button>
                    </Show>
                </div>
            </section>
        </div>
    }
}

async fn run_example(
    coordinator: Coordinator,
    threads: u32,
    workflow: usize,
    say: impl Fn(&str),
) -> Result<RunId, String> {
    let (name, path) = WORKFLOWS[workflow];
    say("Fetching the example…");
    let text = String::from_utf8_lossy(&asset(coordinator, path).await?.to_vec()).into_owned();
    let has_example = coordinator
        .known
        .components
        .with_untracked(|components| components.iter().any(|component| component.name == "image"));
    let here = coordinator.known.reach.get_untracked() == Reach::Here;
    if !here || !has_example {
        let component = asset(coordinator, COMPONENT).await?;
        let picture = asset(coordinator, PICTURE).await?;
        say("Starting workers…");
        coordinator.be_here(threads)?;
        say("Reading the component…");
        coordinator
            .add_component("image".to_owned(), component)
            .await?;
        coordinator.put_blob(picture).await?;
    }
    say("Submitting…");
    coordinator.run(text, name.to_owned()).await
}

/// A file that comes with the page.
async fn asset(coordinator: Coordinator, path: &str) -> Result<Uint8Array, String> {
    let answer = request(Method::GET, &format!("{}{path}", coordinator.base()), None).await?;
    // A server that answers every unknown path with the page has no such file either.
    let is_page = answer
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/html"));
    if answer.is_ok() && !is_page {
        return Ok(answer.body);
    }
    Err(format!(
        "The example did not come with this page: {path} is missing. Add a component of your own instead."
    ))
}
