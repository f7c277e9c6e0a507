//! Who is here, and what they do.

use asterism_protocol::{
    PublicKey,
    view::{ExecutorView, Standing},
};
use leptos::prelude::*;

use super::ui::{Clock, Constellation, Copy, Said};
use crate::{
    coordinator::Coordinator,
    donate::Donation,
    format::{count, duration_ms, fuel, plural, short_func, short_key},
    route::{Link, Route},
    watch::Reach,
};

/// Who is here.
#[component]
pub fn ExecutorsPage() -> impl IntoView {
    let known = expect_context::<Coordinator>().known;
    let keys = Memo::new(move |_| {
        known
            .executors
            .with(|executors| executors.keys().copied().collect::<Vec<_>>())
    });
    let lead = move || {
        let (executors, threads) = known.executors.with(|executors| {
            (
                executors.len() as u64,
                executors
                    .values()
                    .map(|executor| u64::from(executor.threads))
                    .sum::<u64>(),
            )
        });
        match executors {
            0 => "Tabs and servers that give their time.".to_owned(),
            _ => format!(
                "{} with {}",
                plural(executors, "executor", "executors"),
                plural(threads, "thread", "threads")
            ),
        }
    };
    let child = move |key: PublicKey| {
        let executor = Memo::new(move |_| {
            known
                .executors
                .with(|executors| executors.get(&key).cloned())
        });
        view! { <li>{move || executor.get().map(|executor| view! { <Row executor=executor/> })}</li> }
    };
    view! {
        <header class="page-head">
            <div>
                <h1>"Executors"</h1>
                <p class="lead">{lead}</p>
            </div>
        </header>
        <Show
            when=move || !keys.read().is_empty()
            fallback=move || match known.reach.get() {
                Reach::Seeking => view! { <p class="muted" role="status">"Looking for the coordinator…"</p> }.into_any(),
                Reach::Absent => view! {
                    <section class="empty">
                        <Constellation/>
                        <h2>"No coordinator answers"</h2>
                        <p>"It is called again by itself. Meanwhile you can " <Link to=Route::Here>"run something here"</Link> "."</p>
                    </section>
                }
                .into_any(),
                Reach::Live | Reach::Lost | Reach::Here => view! {
                    <section class="empty">
                        <Constellation/>
                        <h2>"Nobody is here"</h2>
                        <p>"Tasks wait until somebody has time. " <Link to=Route::Donate>"Donate this tab"</Link> ", or start one on a server:"</p>
                        <pre class="value" tabindex="0">"asterism executor start"</pre>
                    </section>
                }
                .into_any(),
            }
        >
            <ul class="rows executors">
                <For each=move || keys.get() key=|key| *key children=child/>
            </ul>
        </Show>
    }
}

#[component]
fn Row(executor: ExecutorView) -> impl IntoView {
    let clock = expect_context::<Clock>();
    let mine = expect_context::<Donation>().key;
    let key = executor.key;
    let kind = match executor.host.as_str() {
        "browser" => "Browser tab",
        "wasmtime" => "Server",
        _ => "Executor",
    };
    let name = if executor.name.is_empty() {
        kind.to_owned()
    } else {
        executor.name.clone()
    };
    let since = executor.since;
    let doing: Vec<&str> = executor.doing.iter().map(|func| short_func(func)).collect();
    let doing = match doing.as_slice() {
        [] if executor.leases == 0 => "idle".to_owned(),
        [] => plural(executor.leases.into(), "lease", "leases"),
        some => format!(
            "{} ({})",
            some.join(", "),
            plural(executor.leases.into(), "lease", "leases")
        ),
    };
    let standing = match executor.standing {
        Standing::Trusted => Some(("tag mine", "trusted")),
        Standing::Stranger => None,
        Standing::Excluded => Some(("tag bad", "excluded")),
    };
    let owner = executor.owner.clone();
    let reason = executor.reason.clone();
    let offers = executor.offers.iter().cloned();
    let offers = offers.map(|name| {
        view! { " " <span class="tag" title="Tasks that require it may come here">"offers " <Said text=name/></span> }
    });
    let offers = offers.collect_view();
    let connected = executor.connected;
    view! {
        <article class="row executor">
            <span class="row-main">
                <span class="row-title">
                    <Said text=name/> " " <span class="tag"><Said text=executor.host/></span>
                    {offers}
                    {standing.map(|(class, word)| view! { " " <span class=class>{word}</span> })}
                    {move || (mine.get() == Some(key)).then(|| view! { " " <span class="tag mine">"this browser"</span> })}
                </span>
                <span class="muted">
                    <code title=key.did()>{short_key(&key)}</code> <Copy text=key.did() what="key"/>
                    {if connected { " here for " } else { " gone, excluded for " }}
                    {move || duration_ms(clock.now.get().since_ms(since))}
                    {(!owner.is_empty()).then(|| view! { " · owner: " <Said text=owner/> })}
                </span>
                {(!reason.is_empty()).then(|| view! { <span class="notice bad"><Said text=reason/></span> })}
            </span>
            <dl class="figures">
                <div><dt>"Doing"</dt><dd><Said text=doing/></dd></div>
                <div><dt>"Threads"</dt><dd>{executor.threads}</dd></div>
                <div><dt>"Tasks"</dt><dd>{count(executor.tasks)}</dd></div>
                <div><dt>"Fuel"</dt><dd>{fuel(executor.fuel)}</dd></div>
                <div><dt>"Trust"</dt><dd>{format!("{} %", executor.trust / 10)}</dd></div>
            </dl>
        </article>
    }
}
