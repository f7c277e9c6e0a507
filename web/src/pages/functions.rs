//! Components and their functions: what can be called, a form to call it, a place to add more.

use asterism_component::component_name;
use asterism_protocol::view::{ComponentView, Determinism, FunctionView};
use js_sys::Uint8Array;
use leptos::prelude::*;

use super::{
    schema::{Field, Kind, fields_of},
    ui::{CidText, Constellation, Icon, Said, icon},
    workflows::{all_chosen, chosen, read},
};
use crate::{
    coordinator::Coordinator,
    format::{bytes, plural},
    route::{Link, Route, Router},
    watch::Reach,
};

/// Components and their functions.
#[component]
pub fn FunctionsPage() -> impl IntoView {
    let known = expect_context::<Coordinator>().known;
    view! {
        <header class="page-head">
            <div>
                <h1>"Functions"</h1>
                <p class="lead">"What tasks can call: the exports of the WebAssembly components that were added."</p>
            </div>
        </header>
        <Show when=move || matches!(known.reach.get(), Reach::Live | Reach::Lost | Reach::Here)>
            <AddComponent/>
        </Show>
        {move || {
            let components = known.components.get();
            match (components.is_empty(), known.reach.get()) {
                (true, Reach::Seeking) => view! { <p class="muted" role="status">"Looking for the coordinator…"</p> }.into_any(),
                (true, Reach::Absent) => view! {
                    <section class="empty">
                        <Constellation/>
                        <h2>"No coordinator answers"</h2>
                        <p>"Components can be added to this tab instead: " <Link to=Route::Here>"Run here"</Link></p>
                    </section>
                }
                .into_any(),
                (true, reach) => view! {
                    <section class="empty">
                        <Constellation/>
                        <h2>"No component yet"</h2>
                        <p>{match reach {
                            // The encoder of components is more than the whole worker.
                            Reach::Here => "Add a .wasm file above: a component. A core module is made into one by a coordinator, or with `asterism fn build`.",
                            _ => "Add a .wasm file above. A core module is made into a component first.",
                        }}</p>
                    </section>
                }
                .into_any(),
                // The one that was added last is the one that tasks get.
                (false, _) => components.into_iter().rev().map(|component| view! { <Component component=component/> }).collect_view().into_any(),
            }
        }}
    }
}

#[component]
fn AddComponent() -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let word = RwSignal::new(Ok::<String, String>(String::new()));
    let over = RwSignal::new(false);
    let add = move |file: web_sys::File| {
        word.set(Ok(format!("Adding {}…", file.name())));
        leptos::task::spawn_local(async move {
            let name = component_name(file.name().trim_end_matches(".wasm"));
            let added = match read(&file).await {
                Ok(bytes) => coordinator.add_component(name.clone(), bytes).await,
                Err(reason) => Err(reason),
            };
            let _ = word.try_set(added.map(|()| format!("{name} is added.")));
        });
    };
    let dropped = move |event: web_sys::DragEvent| {
        event.prevent_default();
        over.set(false);
        let file = event
            .data_transfer()
            .and_then(|transfer| transfer.files())
            .and_then(|files| files.get(0));
        file.into_iter().for_each(add);
    };
    view! {
        <div
            class="drop" class:over=move || over.get()
            on:dragover=move |event: web_sys::DragEvent| { event.prevent_default(); over.set(true); }
            on:dragleave=move |_| over.set(false)
            on:drop=dropped
        >
            <label class="field">
                <span><Icon path=icon::PLUS/> " Add a component: drop a .wasm file here, or choose one"</span>
                <input type="file" accept=".wasm,application/wasm" on:change=move |event| chosen(&event).into_iter().for_each(add)/>
            </label>
            <p role="status" class=move || if word.read().is_err() { "trouble" } else { "hint" }>
                {move || match word.get() { Ok(text) | Err(text) => text }}
            </p>
        </div>
    }
}

#[component]
fn Component(component: ComponentView) -> impl IntoView {
    let ComponentView {
        cid,
        name,
        bytes: size,
        determinism,
        effects,
        functions,
    } = component;
    let depends = match determinism {
        Determinism::Pure => "Its results depend on its arguments alone",
        Determinism::Virtual => {
            "Clocks and random numbers that it sees are made of the task: its results depend on its arguments alone"
        }
        Determinism::Effectful => "Its results depend on the world outside and are not remembered",
    };
    // What is pure imports no file system.
    let takes_files = determinism != Determinism::Pure;
    let effects: Vec<String> = effects.into_iter().collect();
    let effects = (!effects.is_empty()).then(|| {
        let effects = effects.join(", ");
        let why = "A task that asks for it reaches the world outside, on an executor that offers it. What it comes to is not compared, and \
                   is replayed under the same nonce alone";
        view! { " · " <span title=why>"may ask for " {effects}</span> }
    });
    view! {
        <section class="card component">
            <header class="component-head">
                <h2><Said text=name/></h2>
                <p class="muted">
                    {plural(functions.len() as u64, "function", "functions")} " · " {bytes(size)} " · " <span title=depends>{determinism.name()}</span> {effects} " " <span class="nowrap">"· " <CidText cid=cid what="component CID"/></span>
                </p>
            </header>
            <ul class="functions">
                {functions.into_iter().map(|function| view! { <li><Function function=function component=cid takes_files=takes_files/></li> }).collect_view()}
            </ul>
        </section>
    }
}

#[component]
fn Function(
    function: FunctionView,
    component: asterism_protocol::Cid,
    takes_files: bool,
) -> impl IntoView {
    let open = RwSignal::new(false);
    let fields = fields_of(&function.schema);
    let name = function.name.clone();
    view! {
        <div class="function">
            <button
                type="button" class="signature" aria-expanded=move || open.get().to_string()
                on:click=move |_| open.update(|open| *open = !*open)
            >
                <code>{function.signature}</code>
                <span class="hint">{move || if open.get() { "Close" } else { "Try it" }}</span>
            </button>
            <Show when=move || open.get()>
                <CallForm fields=fields.clone() name=name.clone() component=component takes_files=takes_files/>
            </Show>
        </div>
    }
}

/// What was given for a parameter.
#[derive(Clone)]
struct Given {
    field: Field,
    text: RwSignal<String>,
    file: RwSignal<Option<web_sys::File>, LocalStorage>,
}

#[component]
fn CallForm(
    fields: Vec<Field>,
    name: String,
    component: asterism_protocol::Cid,
    takes_files: bool,
) -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let router = expect_context::<Router>();
    let trouble = RwSignal::new(String::new());
    let busy = RwSignal::new(false);
    let files = RwSignal::new_local(Vec::new());
    let given: Vec<Given> = fields
        .into_iter()
        .map(|field| {
            let first = match &field.kind {
                Kind::Bool => "false".to_owned(),
                Kind::Choice(names) => names.first().cloned().unwrap_or_default(),
                Kind::Whole { .. } | Kind::Number | Kind::Text | Kind::Bytes | Kind::Json => {
                    String::new()
                }
            };
            Given {
                field,
                text: RwSignal::new(first),
                file: RwSignal::new_local(None),
            }
        })
        .collect();
    let inputs = given
        .iter()
        .cloned()
        .map(|given| view! { <Input given=given/> })
        .collect_view();
    let run = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        let (given, name) = (given.clone(), name.clone());
        busy.set(true);
        trouble.set(String::new());
        leptos::task::spawn_local(async move {
            match call(
                coordinator,
                &given,
                &files.get_untracked(),
                &name,
                component,
            )
            .await
            {
                Ok(run) => router.go(Route::Run(run)),
                Err(reason) => drop(trouble.try_set(reason)),
            }
            let _ = busy.try_set(false);
        });
    };
    view! {
        <form class="form call" on:submit=run>
            {inputs}
            {takes_files.then(|| view! {
                <label class="field">
                    <span>"Files " <small class="muted">"that the function may look for under /, by their names"</small></span>
                    <input type="file" multiple on:change=move |event| files.set(all_chosen(&event))/>
                </label>
            })}
            <Show when=move || !trouble.read().is_empty()>
                <p class="trouble" role="alert">{move || trouble.get()}</p>
            </Show>
            <div class="form-actions">
                <button class="button primary" type="submit" disabled=move || busy.get()><Icon path=icon::PLAY/> "Run"</button>
            </div>
        </form>
    }
}

#[component]
fn Input(given: Given) -> impl IntoView {
    let Given { field, text, file } = given;
    let label = match &field.kind {
        Kind::Whole { min, max } if !max.is_empty() => format!("whole number, {min} to {max}"),
        Kind::Whole { .. } => "whole number".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Bool => "yes or no".to_owned(),
        Kind::Choice(_) => "one of these".to_owned(),
        Kind::Bytes => "bytes: a file, or text".to_owned(),
        Kind::Json => "JSON".to_owned(),
    };
    let optional = if field.optional { ", may be empty" } else { "" };
    let write = move |event: web_sys::Event| text.set(event_target_value(&event));
    let control = match field.kind {
        Kind::Bool => view! {
            <input type="checkbox" on:change=move |event| text.set(event_target_checked(&event).to_string())/>
        }
        .into_any(),
        Kind::Choice(names) => view! {
            <select on:change=write>{names.into_iter().map(|name| view! { <option>{name}</option> }).collect_view()}</select>
        }
        .into_any(),
        Kind::Bytes => view! {
            <input type="file" on:change=move |event| file.set(chosen(&event))/>
            <input type="text" autocomplete="off" on:input=write/>
        }
        .into_any(),
        Kind::Json => view! { <textarea rows="3" spellcheck="false" autocomplete="off" on:input=write></textarea> }.into_any(),
        Kind::Text => view! { <textarea rows="1" autocomplete="off" on:input=write></textarea> }.into_any(),
        Kind::Whole { .. } | Kind::Number => view! {
            <input type="text" inputmode="decimal" autocomplete="off" required=!field.optional on:input=write/>
        }
        .into_any(),
    };
    view! {
        <label class="field">
            <span><code>{field.name}</code> " " <small class="muted">{label} {optional}</small></span>
            {control}
        </label>
    }
}

/// Runs a function with what was given, as a workflow of one task.
async fn call(
    coordinator: Coordinator,
    given: &[Given],
    files: &[web_sys::File],
    name: &str,
    component: asterism_protocol::Cid,
) -> Result<asterism_protocol::view::RunId, String> {
    let mut args = Vec::new();
    for Given { field, text, file } in given {
        let text = text.get_untracked();
        if field.kind != Kind::Bytes {
            args.push(field.json_of(&text)?);
            continue;
        }
        let bytes = match file.get_untracked() {
            Some(file) => read(&file).await?,
            None => Uint8Array::from(text.as_bytes()),
        };
        let cid = coordinator.put_blob(bytes).await?;
        args.push(format!(r#"{{"/":"{cid}"}}"#));
    }
    let mut entries = Vec::new();
    for file in files {
        let path = serde_json::Value::from(file.name());
        let cid = coordinator.put_blob(read(file).await?).await?;
        entries.push(format!(r#"{path}:{{"/":"{cid}"}}"#));
    }
    let files = if entries.is_empty() {
        String::new()
    } else {
        format!(r#","files":{{{}}}"#, entries.join(","))
    };
    let func = serde_json::Value::from(name);
    let workflow = format!(
        r#"{{"tasks":[{{"run":{{"rsc":"ipfs://{component}","input":{{"func":{func},"args":[{}]{files}}}}}}}]}}"#,
        args.join(",")
    );
    coordinator
        .run(workflow, crate::format::short_func(name).to_owned())
        .await
}
