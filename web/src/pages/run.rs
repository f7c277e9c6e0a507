//! One run: its graph, its tasks as a list, and one task in detail.

use asterism_protocol::{
    Cid, Files, LogLevel, Out, Promise, PublicKey, Value,
    limits::WATCHED_TASKS_MAX,
    lines_of,
    message::FaultKind,
    view::{Counts, RunId, RunState, RunSummary, TaskView},
};
use leptos::prelude::*;

use super::{
    absent::NoCoordinator,
    ui::{
        CidText, Clock, Copy, CountsBar, Icon, Notice, RunBadge, Said, StateBadge, Tone,
        counts_text, icon, look_of,
    },
    value::{ValueView, pretty},
};
use crate::{
    coordinator::{Coordinator, Refusal},
    format::{ago, bytes, count, duration_ms, duration_us, ellipsis, fuel, short_func, short_key},
    graph::view::GraphView,
    route::{Link, Route},
    watch::{Reach, Watched},
};

/// Tasks listed at once; more on request, so that a workflow of thousands opens at once.
const LISTED: usize = 100;

/// The newest run of a workflow: what its name by content leads to.
#[component]
pub fn WorkflowPage(
    /// Which workflow.
    workflow: Cid,
) -> impl IntoView {
    let known = expect_context::<Coordinator>().known;
    let runs = Memo::new(move |_| {
        known.runs.with(|runs| {
            let of_it = runs.values().filter(|run| run.workflow == workflow);
            of_it.map(|run| run.run).collect::<Vec<_>>()
        })
    });
    move || {
        match runs.get().as_slice() {
        [newest, older @ ..] => {
            let newest = *newest;
            let older = older.to_vec();
            view! {
                <RunPage run=newest/>
                {(!older.is_empty()).then(|| view! {
                    <p class="hint">
                        "Earlier runs of this workflow: "
                        {older.into_iter().map(|run| view! { <Link to=Route::Run(run)>{run.0}</Link> " " }).collect_view()}
                    </p>
                })}
            }
            .into_any()
        }
        [] if matches!(known.reach.get(), Reach::Live | Reach::Here) => view! {
            <section class="empty">
                <h1>"This workflow was not run here"</h1>
                <p>"Or its runs were forgotten: a coordinator keeps the newest thousand. "<Link to=Route::Workflows>"All runs"</Link></p>
            </section>
        }
        .into_any(),
        [] if known.reach.get() == Reach::Absent => view! { <NoCoordinator/> }.into_any(),
        [] => view! { <p class="muted" role="status">"Looking for its runs…"</p> }.into_any(),
    }
    }
}

/// One run.
#[component]
pub fn RunPage(
    /// Which.
    run: RunId,
) -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let known = coordinator.known;
    let from = RwSignal::new(0);
    // Asked again whenever another coordinator is there.
    Effect::new(move || {
        let _ = known.reach.get();
        coordinator.watch(Some((run, from.get())));
    });
    on_cleanup(move || coordinator.watch(None));
    let shown = Memo::new_with_compare(
        move |_| known.watched.get().filter(|watched| watched.run == run),
        |a, b| match (a, b) {
            (Some(Some(a)), Some(Some(b))) => !std::sync::Arc::ptr_eq(&a.tasks, &b.tasks),
            (Some(None), Some(None)) => false,
            _ => true,
        },
    );
    let listed = move || {
        known
            .runs
            .with(|runs| runs.contains_key(&std::cmp::Reverse(run)))
    };
    view! {
        <nav class="crumbs" aria-label="Where you are"><Link to=Route::Workflows>"Workflows"</Link> " / run " {run.0}</nav>
        {move || match shown.get() {
            Some(watched) => view! { <RunView watched=watched from=from/> }.into_any(),
            None if matches!(known.reach.get(), Reach::Live | Reach::Here) && !listed() => view! {
                <section class="empty">
                    <h1>"There is no run " {run.0}</h1>
                    <p>"It may have been forgotten: a coordinator keeps the newest thousand. "<Link to=Route::Workflows>"All runs"</Link></p>
                </section>
            }
            .into_any(),
            None if known.reach.get() == Reach::Absent => view! { <NoCoordinator/> }.into_any(),
            None => view! { <p class="muted" role="status">"Loading the run…"</p> }.into_any(),
        }}
    }
}

#[component]
fn RunView(
    watched: Watched,
    /// The first task that is to be here.
    from: RwSignal<u32>,
) -> impl IntoView {
    let selected = RwSignal::new(None::<u32>);
    let list = watched.clone();
    let inspected = watched.clone();
    let inspector = move || {
        let signal = selected
            .get()
            .and_then(|task| inspected.tasks.get(task as usize).cloned());
        match signal {
            Some(signal) => {
                let watched = inspected.clone();
                view! { <Inspector signal=signal watched=watched selected=selected/> }.into_any()
            }
            None => view! {
                <aside class="inspector nothing">
                    <p class="muted">"Choose a task to see its inputs, its output and who computed it."</p>
                </aside>
            }
            .into_any(),
        }
    };
    view! {
        <RunHead watched=watched.clone()/>
        <div class="run-layout">
            <div class="run-main">
                <Pager watched=watched.clone() from=from/>
                <GraphView watched=watched selected=selected/>
                <TaskList watched=list selected=selected/>
            </div>
            {inspector}
        </div>
    }
}

#[component]
fn RunHead(watched: Watched) -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let clock = expect_context::<Clock>();
    let summary = watched.summary;
    let trouble = RwSignal::new(Refusal::default());
    let asked = RwSignal::new(false);
    let (name, workflow, submitter, submitted) = summary.with_untracked(|summary| {
        let name = if summary.name.is_empty() {
            format!("Run {}", summary.run.0)
        } else {
            summary.name.clone()
        };
        (
            name,
            summary.workflow,
            summary.submitter.clone(),
            summary.submitted,
        )
    });
    let times = {
        let summary = summary.clone();
        move || match summary.read().finished {
            Some(finished) => format!(
                "submitted {}, took {}",
                ago(submitted, clock.now.get()),
                duration_ms(finished.since_ms(submitted))
            ),
            None => format!(
                "running for {}",
                duration_ms(clock.now.get().since_ms(submitted))
            ),
        }
    };
    let cancel = {
        let summary = summary.clone();
        move || {
            let summary = summary.get_untracked();
            asked.set(true);
            leptos::task::spawn_local(async move {
                let ended = coordinator.cancel(summary).await;
                let _ = asked.try_set(ended.is_ok());
                let _ = trouble.try_set(ended.err().unwrap_or_default());
            });
        }
    };
    let cancel_as_operator = {
        let cancel = cancel.clone();
        move |token: String| {
            coordinator.show(token);
            cancel();
        }
    };
    let running = {
        let summary = summary.clone();
        Memo::new(move |_| summary.read().state == RunState::Running)
    };
    let (badge, bar, words, waiting) = (summary.clone(), summary.clone(), summary.clone(), summary);
    view! {
        <header class="page-head run-head">
            <div>
                <h1><Said text=ellipsis(&name, 120)/></h1>
                <p class="muted">
                    {(!submitter.is_empty()).then(|| view! { "by " <Said text=ellipsis(&submitter, 60)/> " · " })} {times} " · workflow "
                    <CidText cid=workflow what="workflow CID"/>
                </p>
            </div>
            <div class="run-state">
                {move || view! { <RunBadge state=badge.read().state/> }}
                <Show when=move || running.get()>
                    <button class="button quiet danger" disabled=move || asked.get() on:click={
                        let cancel = cancel.clone();
                        move |_| cancel()
                    }>
                        <Icon path=icon::CROSS/> "Cancel"
                    </button>
                </Show>
            </div>
        </header>
        <div class="run-progress">
            {move || view! { <CountsBar counts=bar.read().counts/> }}
            <p class="muted" role="status">{move || counts_text(&words.read().counts)}</p>
        </div>
        <Waits summary=waiting/>
        {move || {
            let Refusal { reason, wants_token } = trouble.get();
            let then = cancel_as_operator.clone();
            (!reason.is_empty()).then(|| view! {
                <Notice tone=Tone::Bad>
                    <p><Said text=reason/></p>
                    {wants_token.then(|| view! { <TokenForm then=then/> })}
                </Notice>
            })
        }}
    }
}

/// Why nothing of a run is computed, where that does not change by itself.
#[component]
fn Waits(summary: ArcRwSignal<RunSummary>) -> impl IntoView {
    let known = expect_context::<Coordinator>().known;
    let why = Memo::new(move |_| {
        let summary = summary.read();
        let Counts { ready, leased, .. } = summary.counts;
        if summary.state != RunState::Running {
            None
        } else if known.paused.get() {
            // Every page says so.
            None
        } else if summary.paused {
            Some(Why::Paused)
        } else {
            let somebody = known
                .executors
                .read()
                .values()
                .any(|executor| executor.connected);
            (ready > 0 && leased == 0 && !somebody).then_some(Why::Nobody)
        }
    });
    move || {
        why.get().map(|why| view! {
            <Notice tone=Tone::Calm>
                {match why {
                    Why::Paused => view! { <p>"The run is paused: nothing of it is leased until it is resumed."</p> }.into_any(),
                    Why::Nobody => view! {
                        <p>"Nobody is here to compute it. "<Link to=Route::Donate>"Lend this tab’s spare time"</Link>", or start an executor."</p>
                    }.into_any(),
                }}
            </Notice>
        })
    }
}

/// What a run waits for that does not come by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Paused,
    Nobody,
}

/// Asks for the operator's token.
#[component]
fn TokenForm(then: impl Fn(String) + 'static) -> impl IntoView {
    let token = RwSignal::new(String::new());
    let submit = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        then(token.get_untracked());
    };
    view! {
        <form class="token-form" on:submit=submit>
            <label class="field">
                <span>"Operator’s token"</span>
                <input type="password" autocomplete="off" required=true on:input=move |event| token.set(event_target_value(&event))/>
            </label>
            <button class="button quiet danger" type="submit">"Cancel the run with it"</button>
        </form>
    }
}

/// Which part of a large run is here, and the ways to the others.
#[component]
fn Pager(watched: Watched, from: RwSignal<u32>) -> impl IntoView {
    let all = watched
        .summary
        .with_untracked(|summary| summary.counts.total());
    let (first, here) = (watched.from, watched.tasks.len() as u32);
    let step = WATCHED_TASKS_MAX as u32;
    let last = all.saturating_sub(1) / step * step;
    let to = move |label: &'static str, place: u32, there: bool| {
        view! {
            <button class="button quiet" disabled=!there on:click=move |_| from.set(place)>{label}</button>
        }
    };
    let (back, on) = (first > 0, first + here < all);
    (here < all).then(|| {
        view! {
            <nav class="pager" aria-label="Parts of the run">
                {to("First", 0, back)}
                {to("Earlier", first.saturating_sub(step), back)}
                <span>{format!("Tasks {} to {} of {}", count(u64::from(first) + 1), count(u64::from(first + here)), count(all.into()))}</span>
                {to("Later", first + here, on)}
                {to("Last", last, on)}
            </nav>
        }
    })
}

#[component]
fn TaskList(watched: Watched, selected: RwSignal<Option<u32>>) -> impl IntoView {
    let total = watched.tasks.len();
    let shown = RwSignal::new(LISTED.min(total));
    let tasks = watched.tasks;
    let row = move |index: usize| {
        let signal = tasks[index].clone();
        let (title, func) = signal.with_untracked(|task| (title_of(task), task.func.clone()));
        let (state, measure) = (signal.clone(), signal);
        let current = move || (selected.get() == Some(index as u32)).then_some("true");
        view! {
            <tr aria-current=current>
                <th scope="row">
                    <button class="link" type="button" on:click=move |_| selected.set(Some(index as u32))><Said text=ellipsis(&title, 40)/></button>
                </th>
                <td class="wide"><code><Said text=ellipsis(short_func(&func), 40)/></code></td>
                <td>{move || view! { <StateBadge look=look_of(&state.read())/> }}</td>
                <td class="number">{move || measure.read().fuel.map_or_else(|| "–".to_owned(), fuel)}</td>
            </tr>
        }
    };
    view! {
        <section class="task-list" aria-label="Tasks">
            <table>
                <thead><tr><th scope="col">"Task"</th><th class="wide" scope="col">"Function"</th><th scope="col">"State"</th><th class="number" scope="col">"Fuel"</th></tr></thead>
                <tbody>
                    <For each=move || 0..shown.get() key=|index| *index children=row/>
                </tbody>
            </table>
            <Show when=move || shown.get() < total>
                <button class="button quiet" on:click=move |_| shown.update(|shown| *shown = (*shown * 4).min(total))>
                    "Show more of " {count(total as u64)} " tasks"
                </button>
            </Show>
        </section>
    }
}

fn title_of(task: &TaskView) -> String {
    if task.name.is_empty() {
        format!("{} #{}", short_func(&task.func), task.index)
    } else {
        task.name.clone()
    }
}

#[component]
fn Inspector(
    signal: ArcRwSignal<TaskView>,
    watched: Watched,
    selected: RwSignal<Option<u32>>,
) -> impl IntoView {
    let clock = expect_context::<Clock>();
    let known = expect_context::<Coordinator>().known;
    let fixed = signal.get_untracked();
    let title = title_of(&fixed);
    let inputs = view! {
        <Inputs args=fixed.args.clone() files=fixed.files.clone() watched=watched selected=selected/>
    };
    let head = signal.clone();
    let (out, remark, attempts, facts, cids) = (
        signal.clone(),
        signal.clone(),
        signal.clone(),
        signal.clone(),
        signal.clone(),
    );
    // Views of values are made anew only when the value is another one: a picture must not flicker.
    let out = Memo::new(move |_| out.read().out.clone());
    let remark = Memo::new(move |_| remark.read().remark.clone());
    let attempts = Memo::new(move |_| attempts.read().attempts.clone());
    let who = move |key: &PublicKey| {
        let name = known
            .executors
            .with(|executors| executors.get(key).map(|executor| executor.name.clone()));
        match name.filter(|name| !name.is_empty()) {
            Some(name) => format!("{name} ({})", short_key(key)),
            None => short_key(key),
        }
    };
    view! {
        <aside class="inspector" aria-label="Task">
            <header>
                <h2><Said text=ellipsis(&title, 60)/></h2>
                <button class="copy" type="button" aria-label="Close" on:click=move |_| selected.set(None)><Icon path=icon::CROSS/></button>
            </header>
            <p>
                {move || view! { <StateBadge look=look_of(&head.read())/> }} " "
                <span class="muted">{move || {
                    let text = signal.with(|task| {
                        if task.reason.is_empty() { look_of(task).meaning.to_owned() } else { task.reason.clone() }
                    });
                    view! { <Said text=text/> }
                }}</span>
            </p>
            <section>
                <h3>"Output"</h3>
                {move || match out.get() {
                    None => view! { <p class="muted">"Not there yet."</p> }.into_any(),
                    Some(Out::Ok(value)) => view! { <ValueView value=value/> }.into_any(),
                    Some(Out::Error(value)) => view! { <Failed value=value/> }.into_any(),
                }}
            </section>
            <section>
                <h3>"Inputs"</h3>
                {inputs}
            </section>
            {move || remark.get().map(|remark| view! { <Remarks remark=remark/> })}
            {move || {
                let attempts = attempts.get();
                (!attempts.is_empty()).then(|| view! {
                    <section>
                        <h3>"Attempts that came to nothing"</h3>
                        <ol class="attempts">
                            {attempts.into_iter().map(|attempt| view! {
                                <li>
                                    <b>{fault_name(attempt.fault.kind)}</b> " on " <code>{short_key(&attempt.executor)}</code>
                                    <br/><span class="muted"><Said text=attempt.fault.message/></span>
                                </li>
                            }).collect_view()}
                        </ol>
                    </section>
                })
            }}
            <section>
                <h3>"Facts"</h3>
                <dl class="facts">
                    <dt>"Function"</dt><dd><code><Said text=fixed.func.clone()/></code></dd>
                    {fixed.determinism().map(|class| view! {
                        <dt>"Class"</dt>
                        <dd title="It reaches the world outside: what it comes to is not compared, and is replayed under its own nonce alone">
                            {class.name()} " – not remembered"
                        </dd>
                    })}
                    {move || {
                        let task = facts.read();
                        let now = clock.now.get();
                        let mut rows = Vec::new();
                        if let Some(key) = &task.executor {
                            rows.push(("Executor", who(key)));
                        }
                        if let Some(used) = task.fuel {
                            rows.push(("Fuel", format!("{} of {}", count(used), fuel(task.limits.fuel))));
                        }
                        if let Some(remark) = &task.remark {
                            rows.push(("Computed in", duration_us(remark.elapsed_us)));
                        }
                        if let (Some(ready), Some(leased)) = (task.ready, task.leased) {
                            rows.push(("Waited", duration_ms(leased.since_ms(ready))));
                        }
                        match (task.leased, task.finished) {
                            (Some(leased), Some(finished)) => rows.push(("From lease to end", duration_ms(finished.since_ms(leased)))),
                            (Some(leased), None) => rows.push(("Leased for", duration_ms(now.since_ms(leased)))),
                            (None, _) => {}
                        }
                        if let Some(finished) = task.finished {
                            rows.push(("Final", ago(finished, now)));
                        }
                        rows.push(("Limits", format!("{} fuel, {} memory, {}", fuel(task.limits.fuel), bytes(task.limits.memory), duration_ms(task.limits.time_ms))));
                        rows.into_iter().map(|(name, text)| view! { <dt>{name}</dt><dd><Said text=text/></dd> }).collect_view()
                    }}
                </dl>
            </section>
            <section>
                <h3>"Names by content"</h3>
                <dl class="facts">
                    <dt>"Instruction"</dt><dd><CidText cid=fixed.instruction what="instruction CID"/></dd>
                    <dt>"Component"</dt><dd><CidText cid=fixed.component what="component CID"/></dd>
                    {move || {
                        let task = cids.read();
                        let row = |name, what, cid: Option<Cid>| cid.map(|cid| view! { <dt>{name}</dt><dd><CidText cid=cid what=what/></dd> });
                        (row("Outcome", "outcome CID", task.outcome), row("Receipt", "receipt CID", task.receipt))
                    }}
                </dl>
            </section>
        </aside>
    }
}

fn fault_name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::TimeLimit => "Time limit",
        FaultKind::StackOverflow => "Stack overflow",
        FaultKind::Blob => "Missing bytes",
        FaultKind::Host => "Host broke",
        FaultKind::Lost => "Executor lost",
        FaultKind::Disagreement => "Executors disagree",
    }
}

#[component]
fn Failed(value: Value) -> AnyView {
    match asterism_protocol::Failure::of_value(&value) {
        Some(failure) => view! {
            <p class="trouble">"Trapped: " <b>{failure.trap.name()}</b> " in " <code><Said text=failure.func/></code></p>
        }
        .into_any(),
        None => view! { <p class="trouble">"The function returned an error:"</p> <ValueView value=value/> }.into_any(),
    }
}

#[component]
fn Remarks(remark: asterism_protocol::Remark) -> impl IntoView {
    let logs = (!remark.logs.is_empty()).then(|| {
        let lines = remark.logs.into_iter().map(|line| {
            let (level, class) = match line.level {
                LogLevel::Trace => ("trace", "log"),
                LogLevel::Debug => ("debug", "log"),
                LogLevel::Info => ("info", "log"),
                LogLevel::Warn => ("warn", "log warn"),
                LogLevel::Error => ("error", "log bad"),
                LogLevel::Critical => ("critical", "log bad"),
            };
            view! { <li class=class><span class="level">{level}</span> " " <span class="muted"><Said text=line.context/></span> " " <Said text=line.message/></li> }
        });
        view! { <section><h3>"Log"</h3><ol class="logs">{lines.collect_view()}</ol></section> }
    });
    let message = remark.message.map(|message| {
        let said = std::iter::once(message).chain(remark.backtrace);
        let lines: Vec<String> = said.flat_map(|text| lines_of(&text)).collect();
        view! {
            <section>
                <h3>"What the engine said"</h3>
                <pre class="value" tabindex="0">{lines.join("\n")}</pre>
            </section>
        }
    });
    (logs, message)
}

/// What a function is given: arguments, and files by their paths.
#[component]
fn Inputs(
    args: Vec<Value>,
    files: Files,
    watched: Watched,
    selected: RwSignal<Option<u32>>,
) -> impl IntoView {
    if args.is_empty() && files.is_empty() {
        return view! { <p class="muted">"None."</p> }.into_any();
    }
    let has_args = !args.is_empty();
    let args = inputs(args, &watched, selected);
    let (paths, contents): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    let contents = inputs(contents, &watched, selected);
    let files = paths.into_iter().zip(contents).map(|(path, content)| {
        let path = ellipsis(&path, 100);
        view! { <dt><code><Said text=path/></code></dt> <dd>{content}</dd> }
    });
    let files = files.collect::<Vec<_>>();
    let args = args.into_iter().map(|arg| view! { <li>{arg}</li> });
    let args = has_args.then(|| view! { <ol class="arguments">{args.collect_view()}</ol> });
    let files =
        (!files.is_empty()).then(|| view! { <h4>"Files"</h4> <dl class="facts">{files}</dl> });
    view! { {args} {files} }.into_any()
}

/// Values that a function is given; a promise leads to the task that keeps it.
fn inputs(values: Vec<Value>, watched: &Watched, selected: RwSignal<Option<u32>>) -> Vec<AnyView> {
    let items = values.into_iter().map(|arg| {
        let promised = Promise::of_value(&arg).map(|promise| {
            let found = watched.tasks.iter().position(|task| task.with_untracked(|task| task.instruction == promise.instruction));
            (promise, found)
        });
        match promised {
            Some((promise, Some(index))) => {
                let title = watched.tasks[index].with_untracked(title_of);
                view! {
                    <button class="link" type="button" on:click=move |_| selected.set(Some(index as u32))>
                        "what " <b><Said text=title/></b> " came to"
                    </button>
                    " " <code>{promise.branch.key()}</code>
                }
                .into_any()
            }
            Some((promise, None)) => view! { "what " <CidText cid=promise.instruction what="instruction CID"/> " came to" }.into_any(),
            None => {
                let text = pretty(&arg);
                let is_large = matches!(arg, Value::Link(_) | Value::Bytes(_));
                if is_large {
                    view! { <ValueView value=arg/> }.into_any()
                } else {
                    let copied = text.clone();
                    let text = lines_of(&ellipsis(&text, 600)).join("\n");
                    view! { <code class="arg"><bdi>{text}</bdi></code> " " <Copy text=copied what="input"/> }.into_any()
                }
            }
        }
    });
    items.collect()
}
