//! The page where time is given.

use asterism_protocol::one_line;
use leptos::prelude::*;

use super::{Donation, MEMORIES, State, sentence};
use crate::{
    coordinator::Coordinator,
    format::{count, duration_ms, fuel, short_func, short_key},
    pages::ui::{Clock, Icon, Notice, Said, Tone, icon},
    route::{Link, Route},
    talk::message::Doing,
    watch::Reach,
};

/// The page where time is given.
#[component]
pub fn DonatePage() -> impl IntoView {
    let donation = expect_context::<Donation>();
    let coordinator = expect_context::<Coordinator>();
    let reach = coordinator.known.reach;
    let is_off = move || donation.state.get() == State::Off;
    view! {
        <div class="donate">
            <header class="page-head centred">
                <h1>"Lend this tab’s spare time"</h1>
                <p class="lead">
                    "Keep this page open and your computer works on other people’s tasks. Nothing starts until you press the button."
                </p>
            </header>
            <Show when=move || reach.get() == Reach::Absent && is_off()>
                <Notice tone=Tone::Calm>
                    <p>
                        "No coordinator answers behind this page, so there is nobody to give to yet. You can still see how it works: "
                        <Link to=Route::Here>"run an example in this tab"</Link> "."
                    </p>
                </Notice>
            </Show>
            <Show when=move || reach.get() == Reach::Here && is_off()>
                <Notice tone=Tone::Calm>
                    <p>
                        "The other pages show what runs in this tab. Time that you donate goes to the coordinator that this page came from, if there is one."
                    </p>
                </Notice>
            </Show>
            <Show when=move || donation.state.get() == State::Elsewhere>
                <Notice tone=Tone::Calm>
                    <p>
                        "Another tab of this browser is donating. This one only shows; stop the other one to start here."
                    </p>
                </Notice>
            </Show>
            <Show when=move || !donation.trouble.read().is_empty()>
                <Notice tone=Tone::Bad>
                    <p>{move || donation.trouble.get()}</p>
                </Notice>
            </Show>
            <section class="card donate-card" aria-labelledby="donate-state">
                <DonateState/>
                <DonateButtons/>
                <Threads/>
            </section>
            <section class="given" aria-label="What you have given">
                <div class="figure">
                    <strong>{move || count(donation.tasks.get())}</strong>
                    <span>{move || if donation.tasks.get() == 1 { "task given" } else { "tasks given" }}</span>
                </div>
                <div class="figure">
                    <strong>{move || fuel(donation.fuel.get())}</strong>
                    <span>"fuel given"</span>
                </div>
                <p class="hint">
                    "Counted in this browser only. Fuel is work in wasm instructions: the same on every device."
                    {move || donation.key.get().map(|key| view! { " You are known as " <code title=key.did()>{short_key(&key)}</code> "." })}
                </p>
            </section>
            <section class="card" aria-labelledby="limits">
                <h2 id="limits">"Your limits"</h2>
                <Limits/>
            </section>
            <Promises/>
        </div>
    }
}

#[component]
fn DonateState() -> impl IntoView {
    let donation = expect_context::<Donation>();
    let text = move || {
        let work = donation.work.read();
        match donation.state.get() {
            State::Off => ("Not donating", String::new()),
            State::Elsewhere => ("Donating in another tab", String::new()),
            State::Starting => ("Starting", String::new()),
            State::Finishing => (
                "Finishing",
                "What runs is done first; nothing new begins.".to_owned(),
            ),
            State::Stopping => ("Stopping", "Unfinished tasks are handed back.".to_owned()),
            State::Frozen => (
                "Paused",
                "The browser froze this page; it goes on when you come back.".to_owned(),
            ),
            State::On if !work.doing.is_empty() => ("Computing", String::new()),
            State::On if work.paused => ("Paused", sentence(&work.idle_because)),
            State::On if work.connected => ("Waiting", sentence(&work.idle_because)),
            State::On => ("Connecting", sentence(&work.idle_because)),
        }
    };
    let class = move || match donation.state.get() {
        State::On if !donation.work.read().doing.is_empty() => "orb computing",
        State::On | State::Starting | State::Finishing | State::Stopping | State::Frozen => {
            "orb waiting"
        }
        State::Off | State::Elsewhere => "orb",
    };
    view! {
        <div class="donate-state">
            <svg class=class viewBox="0 0 120 120" aria-hidden="true">
                <circle class="halo" cx="60" cy="60" r="54"/>
                <path class="line" d="M24 78 48 38 72 62 94 32M72 62 82 92"/>
                <circle class="dot" cx="24" cy="78" r="5"/>
                <circle class="dot" cx="72" cy="62" r="5"/>
                <circle class="dot" cx="94" cy="32" r="5"/>
                <circle class="dot" cx="82" cy="92" r="4.5"/>
                <path class="star" d="M48 18c2 13 7 18 20 20-13 2-18 7-20 20-2-13-7-18-20-20 13-2 18-7 20-20z"/>
            </svg>
            <div role="status">
                <h2 id="donate-state">{move || text().0}</h2>
                <p>{move || text().1}</p>
            </div>
        </div>
    }
}

#[component]
fn DonateButtons() -> impl IntoView {
    let donation = expect_context::<Donation>();
    let is_off = move || {
        matches!(
            donation.state.get(),
            State::Off | State::Elsewhere | State::Starting | State::Stopping
        )
    };
    view! {
        <div class="donate-buttons">
            <Show
                when=is_off
                fallback=move || view! {
                    <button
                        class="button big"
                        disabled=move || donation.state.get() == State::Finishing
                        on:click=move |_| donation.finish_and_stop()
                    >
                        <Icon path=icon::CHECK/> "Finish and stop"
                    </button>
                    <button class="button big quiet" on:click=move |_| donation.stop_now()>
                        <Icon path=icon::STOP/> "Stop now"
                    </button>
                }
            >
                <button
                    class="button primary giant"
                    disabled=move || donation.state.get() != State::Off
                    on:click=move |_| donation.start()
                >
                    <Icon path=icon::STAR/> "Start donating"
                </button>
            </Show>
        </div>
    }
}

#[component]
fn Threads() -> impl IntoView {
    let donation = expect_context::<Donation>();
    let clock = expect_context::<Clock>();
    let rows = move || {
        let work = donation.work.get();
        let threads = if donation.state.get() == State::On {
            donation.threads.get() as usize
        } else {
            0
        };
        let named = work
            .doing
            .into_iter()
            .map(|(thread, doing)| (thread as usize, doing));
        let mut rows: Vec<Option<Doing>> = vec![None; threads];
        for (thread, doing) in named {
            if thread >= rows.len() {
                rows.resize(thread + 1, None);
            }
            rows[thread] = Some(doing);
        }
        rows
    };
    let row = move |(thread, doing): (usize, Option<Doing>)| {
        let number = view! { <span class="thread-number">"Thread " {thread + 1}</span> };
        match doing {
            None => {
                view! { <li class="thread idle">{number}<span class="muted">"idle"</span></li> }
                    .into_any()
            }
            Some(doing) => {
                let since = doing.since;
                let who = if doing.submitter.is_empty() {
                    "someone unnamed".to_owned()
                } else {
                    doing.submitter
                };
                let what = if doing.workflow.is_empty() {
                    "a workflow without a name".to_owned()
                } else {
                    doing.workflow
                };
                view! {
                    <li class="thread">
                        {number}
                        <span class="thread-what">
                            <code><Said text=short_func(&doing.func)/></code> " of " <b><Said text=what/></b> ", submitted by " <b><Said text=who/></b>
                        </span>
                        <span class="thread-time">{move || duration_ms(clock.now.get().since_ms(since))}</span>
                    </li>
                }
                .into_any()
            }
        }
    };
    let more = move || {
        let work = donation.work.read();
        let mut notes = Vec::new();
        if work.prefetched > 0 {
            notes.push(format!("{} more fetched ahead", work.prefetched));
        }
        match work.recalled {
            0 => {}
            1 => notes.push("A component was ready from your last visit".to_owned()),
            n => notes.push(format!("{n} components were ready from your last visit")),
        }
        if !work.trouble.is_empty() && donation.state.get() != State::Off {
            notes.push(format!("Last trouble: {}", one_line(&work.trouble)));
        }
        notes.join(" · ")
    };
    view! {
        <ul class="threads" aria-label="What runs now">
            {move || rows().into_iter().enumerate().map(row).collect_view()}
        </ul>
        <p class="hint">{more}</p>
    }
}

#[component]
fn Limits() -> impl IntoView {
    let donation = expect_context::<Donation>();
    let number = |event: &web_sys::Event| event_target_value(event).parse::<u32>().unwrap_or(1);
    let memory = move || match donation.memory_bytes.get() >> 20 {
        mib @ 0..1024 => format!("{mib} MB a task"),
        mib => format!("{} GB a task", mib >> 10),
    };
    view! {
        <div class="limits">
            <label class="slider">
                <span>
                    "Threads "
                    <output>{move || format!("{} of {}", donation.threads.get(), donation.cores)}</output>
                </span>
                <input
                    type="range" min="1" max=donation.cores step="1"
                    prop:value=move || donation.threads.get()
                    disabled=donation.cores == 1
                    on:input=move |event| donation.set_threads(number(&event))
                />
                <small>"How many tasks run at the same time. Half of your cores leaves the other half to you."</small>
            </label>
            <label class="slider">
                <span>
                    "Share of time "
                    <output>{move || format!("{} %", donation.duty_percent.get())}</output>
                </span>
                <input
                    type="range" min="25" max="100" step="5"
                    prop:value=move || donation.duty_percent.get()
                    on:input=move |event| donation.set_duty(number(&event) as u8)
                />
                <small>"Below 100 %, each thread rests after every task: cooler and quieter."</small>
            </label>
            <label class="slider">
                <span>"Memory " <output>{memory}</output></span>
                <input
                    type="range" min="0" max=MEMORIES.len() - 1 step="1" aria-valuetext=memory
                    prop:value=move || MEMORIES.iter().position(|bytes| *bytes == donation.memory_bytes.get())
                    on:input=move |event| {
                        let place = number(&event) as usize;
                        donation.set_memory(MEMORIES[place.min(MEMORIES.len() - 1)]);
                    }
                />
                <small>"The most that one task may use. What needs more is left to others."</small>
            </label>
            <Show when=move || donation.on_battery.get().is_some()>
                <label class="check">
                    <input
                        type="checkbox" prop:checked=move || donation.mains_only.get()
                        on:change=move |event| donation.set_mains_only(event_target_checked(&event))
                    />
                    <span>
                        "Only on mains power"
                        <small>"On battery nothing new is begun; what runs is finished."</small>
                    </span>
                </label>
            </Show>
        </div>
    }
}

#[component]
fn Promises() -> impl IntoView {
    view! {
        <section class="promises" aria-label="What happens when you donate">
            <article>
                <Icon path=icon::GRAPH/>
                <h3>"What runs"</h3>
                <p>"Small WebAssembly programs. Above you see at any moment which function runs, for which workflow, and for how long."</p>
            </article>
            <article>
                <Icon path=icon::PEOPLE/>
                <h3>"Who submitted it"</h3>
                <p>"Whoever may use this coordinator. The name stands beside each task, and how often others check a result is for each workflow to say."</p>
            </article>
            <article>
                <Icon path=icon::LOCK/>
                <h3>"What it cannot see"</h3>
                <p>"Your files, your network, your other tabs, your camera, this page. A task gets its inputs and gives its result, nothing else."</p>
            </article>
            <article>
                <Icon path=icon::STOP/>
                <h3>"How to stop"</h3>
                <p>"Press “Stop now”, or close the tab. Nothing is installed and nothing stays but your two counters and a key."</p>
            </article>
        </section>
    }
}
