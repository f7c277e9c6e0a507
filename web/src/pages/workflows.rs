//! All runs, and the way to submit another.

use asterism_protocol::view::RunSummary;
use js_sys::Uint8Array;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::HtmlInputElement;

use super::{
    absent::NoCoordinator,
    ui::{Clock, Constellation, CountsBar, Icon, RunBadge, Said, counts_text, icon},
};
use crate::{
    coordinator::Coordinator,
    format::{ago, count, duration_ms, ellipsis, plural},
    route::{Link, Route, Router},
    watch::Reach,
};

/// A workflow to begin with: its function is that of the `math` example.
const SAMPLE: &str = r#"{
  "tasks": [
    { "run": { "name": "sum", "input": { "func": "add", "args": [3.1, 5.2] } } },
    { "run": { "name": "more", "input": { "func": "add", "args": ["{{needs.sum.output}}", 1] } } }
  ]
}"#;

/// All runs.
#[component]
pub fn WorkflowsPage() -> impl IntoView {
    let known = expect_context::<Coordinator>().known;
    let submitting = RwSignal::new(false);
    let heard = move || matches!(known.reach.get(), Reach::Live | Reach::Lost | Reach::Here);
    let count_of_runs = Memo::new(move |_| known.runs.with(|runs| runs.len() as u64));
    view! {
        <header class="page-head">
            <div>
                <h1>"Workflows"</h1>
                <p class="lead">
                    {move || match count_of_runs.get() {
                        0 => "Graphs of tasks, computed by whoever has time.".to_owned(),
                        runs => plural(runs, "run", "runs"),
                    }}
                </p>
            </div>
            <button
                class="button primary"
                aria-expanded=move || submitting.get().to_string()
                disabled=move || !heard()
                on:click=move |_| submitting.update(|open| *open = !*open)
            >
                <Icon path=icon::PLUS/> "Submit a workflow"
            </button>
        </header>
        <Show when=move || submitting.get()>
            <Submit/>
        </Show>
        {move || match (known.reach.get(), count_of_runs.get() == 0) {
            (Reach::Seeking, true) => view! { <p class="muted" role="status">"Looking for the coordinator…"</p> }.into_any(),
            (Reach::Absent, true) => view! { <NoCoordinator/> }.into_any(),
            (Reach::Live | Reach::Lost | Reach::Here, true) => view! { <NoRuns/> }.into_any(),
            (_, false) => view! { <Runs/> }.into_any(),
        }}
    }
}

#[component]
fn Runs() -> impl IntoView {
    let known = expect_context::<Coordinator>().known;
    let numbers = Memo::new(move |_| {
        known
            .runs
            .with(|runs| runs.keys().map(|run| run.0).collect::<Vec<_>>())
    });
    view! {
        <ul class="rows">
            <For
                each=move || numbers.get()
                key=|run| *run
                children=move |run| {
                    let summary = Memo::new(move |_| known.runs.with(|runs| runs.get(&std::cmp::Reverse(run)).cloned()));
                    view! { <li>{move || summary.get().map(|summary| view! { <Row summary=summary/> })}</li> }
                }
            />
        </ul>
    }
}

#[component]
fn Row(summary: RunSummary) -> impl IntoView {
    let clock = expect_context::<Clock>();
    let name = if summary.name.is_empty() {
        format!("Run {}", summary.run.0)
    } else {
        ellipsis(&summary.name, 80)
    };
    let submitter = if summary.submitter.is_empty() {
        "someone unnamed".to_owned()
    } else {
        ellipsis(&summary.submitter, 60)
    };
    let (submitted, finished) = (summary.submitted, summary.finished);
    let when = move || match finished {
        Some(finished) => format!(
            "{} · took {}",
            ago(submitted, clock.now.get()),
            duration_ms(finished.since_ms(submitted))
        ),
        None => format!(
            "{} so far",
            duration_ms(clock.now.get().since_ms(submitted))
        ),
    };
    view! {
        <Link to=Route::Run(summary.run) class="row run-row">
            <span class="row-main">
                <span class="row-title"><Said text=name/> " " <span class="muted">"#" {summary.run.0}</span></span>
                <span class="muted">"by " <Said text=submitter/> " · " {when}</span>
            </span>
            <span class="row-side">
                <RunBadge state=summary.state/>
                <CountsBar counts=summary.counts/>
                <span class="muted counts">{counts_text(&summary.counts)}</span>
            </span>
        </Link>
    }
}

#[component]
fn NoRuns() -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let command = format!(
        "curl {}run -H 'content-type: application/json' \\\n  -d '{{\"tasks\":[{{\"run\":{{\"name\":\"sum\",\"input\":{{\"func\":\"add\",\"args\":[3.1,5.2]}}}}}}]}}'",
        coordinator.base()
    );
    view! {
        <section class="empty">
            <Constellation/>
            <h2>"Nothing was run yet"</h2>
            <p>
                "A workflow is JSON: tasks that call functions, and what needs what. Paste one with the button above"
                {(!coordinator.is_here()).then_some(", or from a terminal:")}
            </p>
            {(!coordinator.is_here()).then(|| view! { <pre class="value" tabindex="0">{command}</pre> })}
            <p class="hint">
                "Its functions come from components: see " <Link to=Route::Functions>"Functions"</Link> "."
            </p>
        </section>
    }
}

/// The form for a workflow.
#[component]
fn Submit() -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let router = expect_context::<Router>();
    let text = RwSignal::new(String::new());
    let name = RwSignal::new(String::new());
    let trouble = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let submit = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        busy.set(true);
        trouble.set(String::new());
        leptos::task::spawn_local(async move {
            match coordinator
                .run(text.get_untracked(), name.get_untracked())
                .await
            {
                Ok(run) => router.go(Route::Run(run)),
                Err(reason) => {
                    let _ = trouble.try_set(reason);
                }
            }
            let _ = busy.try_set(false);
        });
    };
    let choose = move |event: web_sys::Event| {
        let Some(file) = chosen(&event) else { return };
        leptos::task::spawn_local(async move {
            match read(&file).await {
                Ok(bytes) => {
                    let _ = text.try_set(String::from_utf8_lossy(&bytes.to_vec()).into_owned());
                    let _ = name.try_set(file.name().trim_end_matches(".json").to_owned());
                }
                Err(reason) => drop(trouble.try_set(reason)),
            }
        });
    };
    view! {
        <form class="card form" on:submit=submit>
            <label class="field">
                <span>"Workflow (JSON)"</span>
                <textarea
                    rows="10" spellcheck="false" autocomplete="off" required=true placeholder=SAMPLE
                    prop:value=move || text.get()
                    on:input=move |event| text.set(event_target_value(&event))
                ></textarea>
            </label>
            <div class="form-row">
                <label class="field">
                    <span>"Name, for people"</span>
                    <input
                        type="text" maxlength="256" prop:value=move || name.get()
                        on:input=move |event| name.set(event_target_value(&event))
                    />
                </label>
                <label class="field">
                    <span>"Or choose a file"</span>
                    <input type="file" accept=".json,application/json" on:change=choose/>
                </label>
            </div>
            <Show when=move || !trouble.read().is_empty()>
                <p class="trouble" role="alert">{move || trouble.get()}</p>
            </Show>
            <div class="form-actions">
                <button class="button quiet" type="button" on:click=move |_| text.set(SAMPLE.to_owned())>"Use the sample"</button>
                <button class="button primary" type="submit" disabled=move || busy.get() || text.read().trim().is_empty()>
                    {move || if busy.get() { "Submitting…" } else { "Submit" }}
                </button>
            </div>
            <p class="hint">
                "Task " <code>"b"</code> " takes what task " <code>"a"</code> " came to by writing "
                <code>"\"{{needs.a.output}}\""</code> " for an argument. Up to " {count(1_000_000)} " tasks."
            </p>
        </form>
    }
}

/// The file of a file input.
#[must_use]
pub fn chosen(event: &web_sys::Event) -> Option<web_sys::File> {
    all_chosen(event).into_iter().next()
}

/// The files that an input of files has, in its order.
pub fn all_chosen(event: &web_sys::Event) -> Vec<web_sys::File> {
    let input = event
        .target()
        .and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
    let Some(files) = input.and_then(|input| input.files()) else {
        return Vec::new();
    };
    (0..files.length())
        .filter_map(|index| files.get(index))
        .collect()
}

/// The bytes of a file.
///
/// # Errors
/// It cannot be read, in the browser's words.
pub async fn read(file: &web_sys::File) -> Result<Uint8Array, String> {
    let buffer = wasm_bindgen_futures::JsFuture::from(file.array_buffer()).await;
    buffer
        .map(|buffer| Uint8Array::new(&buffer))
        .map_err(|error| crate::js::message_of(&error))
}
