//! "Simulate": a coordinator and its tabs in a world that breaks, and what must hold in it.

use asterism_protocol::{Policy, message::decode_frame, view::RunSummary};
use asterism_simulator::{Doing, Sight};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{MessageEvent, Worker};

use super::ui::{CountsBar, Icon, Notice, Tone, counts_text, icon};
use crate::{
    coordinator::Coordinator,
    format::{count, duration_ms, plural},
    graph::view::GraphView,
    js::{Listener, message_of, module_worker, random, why_broken},
    simulate::message::{Doubt, Ended, FromSimulator, Seen, ToSimulator, Wanted},
    talk::message::{of_js, to_js},
    watch::Known,
};

/// What is asserted while a world goes on, and once more in its end.
const HOLDS: [&str; 5] = [
    "A task ends in one receipt, the right one, or in a failure that says why",
    "There is no receipt without the evidence that the policy asks for",
    "There is no lease without a deadline, and no executor above its threads",
    "A coordinator that was killed knows what it acknowledged",
    "Once nothing breaks any more, all work is done",
];

const POLICIES: [(Policy, &str); 5] = [
    (Policy::Quorum { agree: 2, of: 4 }, "two must agree"),
    (Policy::Quorum { agree: 3, of: 5 }, "three must agree"),
    (Policy::Spot { per_mille: 100 }, "some are checked"),
    (Policy::Spot { per_mille: 1 }, "few are checked"),
    (Policy::Any, "all are believed"),
];

const PACES: [(u32, &str); 4] = [(0, "Pause"), (1, "1×"), (5, "5×"), (50, "50×")];

/// The worker; it is ended when this is dropped.
struct Simulator {
    worker: Worker,
    _listeners: [Listener; 2],
}

impl Simulator {
    fn start(base: &str, hear: impl Fn(FromSimulator) + Clone + 'static) -> Result<Self, String> {
        let worker = module_worker(&format!("{base}simulate.js"), "asterism simulate")
            .map_err(|error| message_of(&error))?;
        let broken = hear.clone();
        let listeners = [
            Listener::new(&worker, "message", move |event| {
                let said = of_js(event.unchecked_into::<MessageEvent>().data());
                hear(said.unwrap_or_else(FromSimulator::Broken));
            }),
            Listener::new(&worker, "error", move |event| {
                broken(FromSimulator::Broken(why_broken(&event)));
            }),
        ];
        Ok(Self {
            worker,
            _listeners: listeners,
        })
    }

    fn tell(&self, told: &ToSimulator) {
        // Fails for what cannot be cloned only.
        let _ = self.worker.post_message(&to_js(told));
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}

/// A coordinator and its tabs in a world that breaks.
#[component]
pub fn SimulatePage() -> impl IntoView {
    let coordinator = expect_context::<Coordinator>();
    let wanted = RwSignal::new(Wanted {
        seed: u32::from(u16::from_le_bytes(random())),
        executors: 24,
        liars: 1,
        tasks: 60,
        loss_percent: 5,
        breaks: true,
        verify: POLICIES[0].0,
    });
    let begun = RwSignal::new(None::<Wanted>);
    let pace = RwSignal::new(PACES[1].0);
    let simulator = RwSignal::new_local(None::<Simulator>);
    let seen = RwSignal::new_local(None::<Seen>);
    let trouble = RwSignal::new(String::new());
    // What a watcher of a coordinator would know.
    let known = Known::default();
    let hear = move |said| match said {
        FromSimulator::Seen(now) => {
            let frame = now.run.to_vec();
            if let Ok(told) = decode_frame(&frame) {
                known.hear(told);
            }
            if now.ended.is_some() {
                let _ = simulator.try_set(None);
            }
            let _ = seen.try_set(Some(*now));
        }
        FromSimulator::Broken(message) => {
            // What follows the first is only its echo.
            if simulator.try_with_untracked(Option::is_some) == Some(true) {
                let _ = simulator.try_set(None);
                let _ = trouble.try_set(message);
            }
        }
    };
    let is_on = move || simulator.with(Option::is_some);
    let begin_or_end = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        if is_on() {
            simulator.set(None);
            return;
        }
        trouble.set(String::new());
        seen.set(None);
        begun.set(Some(wanted.get_untracked()));
        known.watched.set(None);
        match Simulator::start(&coordinator.base(), hear) {
            Ok(started) => {
                started.tell(&ToSimulator::Pace(pace.get_untracked()));
                started.tell(&ToSimulator::Begin(wanted.get_untracked()));
                simulator.set(Some(started));
            }
            Err(reason) => trouble.set(reason),
        }
    };
    let keep_pace = move |new: u32| {
        pace.set(new);
        simulator.with_untracked(|simulator| {
            if let Some(simulator) = simulator {
                simulator.tell(&ToSimulator::Pace(new));
            }
        });
    };
    let end = Memo::new(move |_| seen.read().as_ref().and_then(|seen| seen.ended));
    let verdict = move || {
        let seen = seen.read();
        let Some(seen) = seen.as_ref() else {
            return "It is looked at after every step.".to_owned();
        };
        let steps = plural(seen.steps, "step", "steps");
        let policy = begun.get().map(|begun| begun.verify.to_string());
        let policy = policy.unwrap_or_default();
        if !trouble.read().is_empty() {
            return "Not all of it held.".to_owned();
        }
        match seen.ended {
            None => format!("All of it held in {steps} so far."),
            Some(Ended::Held) => format!("All is done, and all of it held in {steps}."),
            Some(Ended::Done(0)) => "All is done, and no lie was believed this time.".to_owned(),
            Some(Ended::Done(lies)) => format!(
                "All is done, and {}: {policy} does not bear so many liars.",
                plural(lies.into(), "lie was believed", "lies were believed")
            ),
            Some(Ended::Waits) => format!(
                "Work is left and waits, as it should: too few tabs are left that {policy} may ask."
            ),
        }
    };
    view! {
        <header class="page-head">
            <div>
                <h1>"Simulate"</h1>
                <p class="lead">
                    "The scheduler of every coordinator and the session of every tab, in a world of their own: tabs close, freeze and lie, connections break, the coordinator is killed. What must hold is looked at after every step."
                </p>
            </div>
        </header>
        <div class="simulate">
            <form class="card form" on:submit=begin_or_end>
                <div class="form-actions start">
                    // One button, so that a keyboard stays on it.
                    <button class="button" class:primary=move || !is_on() type="submit">
                        {move || if is_on() {
                            view! { <Icon path=icon::STOP/> "End" }.into_any()
                        } else {
                            view! { <Icon path=icon::PLAY/> "Begin" }.into_any()
                        }}
                    </button>
                    {PACES.map(|(value, name)| view! {
                        <button
                            class="button quiet" type="button" aria-pressed=move || (pace.get() == value).to_string()
                            on:click=move |_| keep_pace(value)
                        >{name}</button>
                    })}
                </div>
                <fieldset class="form" disabled=is_on>
                    <Choice name="Tabs" min=1 max=100 wanted=wanted of=|wanted| &mut wanted.executors/>
                    <Choice name="Liars among them" min=0 max=10 wanted=wanted of=|wanted| &mut wanted.liars/>
                    <Choice name="Tasks" min=1 max=300 wanted=wanted of=|wanted| &mut wanted.tasks/>
                    <Choice name="Lost blobs, in percent" min=0 max=50 wanted=wanted of=|wanted| &mut wanted.loss_percent/>
                    <label class="field">
                        <span>"What is believed"</span>
                        <select on:change=move |event| {
                            let chosen = event_target_value(&event).parse().unwrap_or(0_usize);
                            wanted.update(|wanted| wanted.verify = POLICIES[chosen.min(POLICIES.len() - 1)].0);
                        }>
                            {POLICIES.iter().enumerate().map(|(place, (policy, words))| view! {
                                <option value=place.to_string()>{format!("{policy}: {words}")}</option>
                            }).collect_view()}
                        </select>
                    </label>
                    <label class="check">
                        <input type="checkbox" checked=true on:change=move |event| {
                            let breaks = event_target_checked(&event);
                            wanted.update(|wanted| wanted.breaks = breaks);
                        }/>
                        <span>"Things break for twenty seconds" <small>"Tabs close and freeze, connections break, the coordinator is killed."</small></span>
                    </label>
                    <label class="field">
                        <span>"Seed"</span>
                        <input type="number" min="0" max=u32::MAX step="1" prop:value=move || wanted.read().seed on:input=move |event| {
                            // What is no number changes nothing.
                            if let Ok(seed) = event_target_value(&event).parse() {
                                wanted.update(|wanted| wanted.seed = seed);
                            }
                        }/>
                    </label>
                </fieldset>
                {move || wanted.read().doubt().map(|doubt| view! { <p class="hint">{doubt_text(doubt)}</p> })}
                <p class="hint">"Chance writes the workflow, and some of its functions fail. The same numbers take the same course, to the last message."</p>
            </form>
            <div class="run-main">
                <Show when=move || !trouble.read().is_empty()>
                    <Notice tone=Tone::Bad>
                        <p><strong>"Something that must hold does not."</strong></p>
                        <p class="trouble">{move || trouble.get()}</p>
                    </Notice>
                </Show>
                <Show
                    when=move || seen.read().is_some()
                    fallback=|| view! { <section class="empty"><h2>"Nothing has happened yet"</h2><p>"Choose a world, and begin."</p></section> }
                >
                    <WorldView seen=seen known=known/>
                </Show>
                <section class="card holds" class:held=move || end.get() == Some(Ended::Held)>
                    <h2>"What must hold"</h2>
                    <ul>
                        {HOLDS.map(|text| view! {
                            <li>
                                {move || view! { <Icon path=if end.get() == Some(Ended::Held) { icon::CHECK } else { icon::RING }/> }}
                                <span>{text}</span>
                            </li>
                        })}
                    </ul>
                    <p class="hint" role="status">{verdict}</p>
                </section>
            </div>
        </div>
    }
}

fn doubt_text(doubt: Doubt) -> String {
    match doubt {
        Doubt::Liars(0) => "This policy bears no liar: lies are believed.".to_owned(),
        Doubt::Liars(bears) => format!(
            "This policy bears {}: with more of them lies may be believed, or work may wait for ever.",
            plural(bears.into(), "liar", "liars")
        ),
        Doubt::Honest(honest) => format!(
            "This policy asks for {}: with fewer, work waits for ever.",
            plural(honest.into(), "honest tab", "honest tabs")
        ),
    }
}

/// A number of the world that is wanted.
#[component]
fn Choice(
    name: &'static str,
    min: u32,
    max: u32,
    wanted: RwSignal<Wanted>,
    of: fn(&mut Wanted) -> &mut u32,
) -> impl IntoView {
    let value = move || *of(&mut wanted.get());
    let choose = move |event: web_sys::Event| {
        // What is not a number changes nothing.
        if let Ok(value) = event_target_value(&event).parse::<u32>() {
            wanted.update(|wanted| *of(wanted) = value.clamp(min, max));
        }
    };
    view! {
        <label class="slider">
            <span>{name} " " <output>{move || count(value().into())}</output></span>
            <input type="range" min=min max=max step="1" prop:value=value on:input=choose/>
        </label>
    }
}

/// How the world looks.
#[component]
fn WorldView(seen: RwSignal<Option<Seen>, LocalStorage>, known: Known) -> impl IntoView {
    let selected = RwSignal::new(None);
    let watched = known.watched;
    let summary = Memo::new(move |_| watched.get().map(|watched| watched.summary.get()));
    let figures = move || {
        let seen = seen.read();
        let seen = seen.as_ref()?;
        Some(view! {
            <dl class="figures">
                <div><dt>"Time"</dt><dd>{duration_ms(seen.elapsed_ms)}</dd></div>
                <div><dt>"Things broke"</dt><dd>{count(seen.disasters)}</dd></div>
                <div><dt>"Coordinator killed"</dt><dd>{count(seen.kills)}</dd></div>
                <div><dt>"Coordinator"</dt><dd>{if seen.is_up { "up" } else { "down" }}</dd></div>
            </dl>
        })
    };
    let tabs = move || {
        let seen = seen.read();
        let executors = seen.as_ref().map_or(&[][..], |seen| &seen.executors[..]);
        let text = executors_text(executors);
        let dots = executors.iter().map(|sight| {
            let (class, _) = look_of_doing(sight.state);
            let lies = if sight.lies { " lies" } else { "" };
            view! { <i class=format!("tab-dot {class}{lies}")></i> }
        });
        view! { <div class="tabs" role="img" aria-label=text.clone()>{dots.collect_view()}</div> <p class="counts muted">{text}</p> }
    };
    let progress = move || {
        summary.get().map(|RunSummary { counts, .. }| view! {
            <div class="run-progress"><CountsBar counts=counts/> <span class="muted">{counts_text(&counts)}</span></div>
        })
    };
    view! {
        <section class="card">
            {figures}
            <h2>"Tabs"</h2>
            {tabs}
        </section>
        {progress}
        {move || match watched.get() {
            Some(watched) => view! { <GraphView watched=watched selected=selected/> }.into_any(),
            None => view! { <p class="muted">"Nobody has submitted the workflow yet."</p> }.into_any(),
        }}
    }
}

/// The class and the word of what a tab is about.
fn look_of_doing(doing: Doing) -> (&'static str, &'static str) {
    match doing {
        Doing::Away => ("away", "away"),
        Doing::Frozen => ("frozen", "frozen"),
        Doing::Idle => ("idle", "idle"),
        Doing::Working => ("working", "working"),
        Doing::Excluded => ("excluded", "caught"),
    }
}

/// How many tabs are about what, in words.
fn executors_text(executors: &[Sight]) -> String {
    let all = [
        Doing::Working,
        Doing::Idle,
        Doing::Frozen,
        Doing::Away,
        Doing::Excluded,
    ];
    let words = all.into_iter().filter_map(|doing| {
        let number = executors
            .iter()
            .filter(|sight| sight.state == doing)
            .count();
        (number > 0).then(|| format!("{number} {}", look_of_doing(doing).1))
    });
    let liars = executors.iter().filter(|sight| sight.lies).count();
    let words = words.chain(
        (liars > 0).then(|| format!("{}, with a ring", plural(liars as u64, "liar", "liars"))),
    );
    words.collect::<Vec<_>>().join(", ")
}
