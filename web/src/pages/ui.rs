//! The pieces that pages are made of.

use asterism_protocol::{
    Cid, Out, Timestamp, one_line,
    view::{Counts, RunState, TaskState, TaskView},
};
use gloo_timers::callback::{Interval, Timeout};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

use crate::{format::short_cid, js};

/// What time it is, once a second.
#[derive(Clone, Copy)]
pub struct Clock {
    /// Now.
    pub now: RwSignal<Timestamp>,
}

impl Clock {
    /// A clock that goes as long as the page is open.
    #[must_use]
    pub fn start() -> Self {
        let now = RwSignal::new(js::now());
        Interval::new(1_000, move || now.set(js::now())).forget();
        Self { now }
    }
}

/// Shapes on a field of 16 by 16.
#[expect(missing_docs, reason = "the names say what they show")]
pub mod icon {
    pub const STAR: &str = "M8 .8c.6 4.9 1.7 6 7.2 7.2-5.5.6-6.6 1.7-7.2 7.2-.6-5.5-1.7-6.6-7.2-7.200C6.3 6.8 7.4 5.7 8 .800z";
    pub const CHECK: &str = "M6.5 12.3 2.4 8.200l1.2-1.2 2.9 2.9 6.1-6.1 1.2 1.200z";
    pub const CROSS: &str = "m4 2.8 4 4 4-4L13.2 4l-4 4 4 4-1.2 1.2-4-4-4 4L2.8 12l4-4-4-4z";
    pub const STOP: &str = "M3.5 3.500h9v9h-9z";
    pub const PLAY: &str = "M4 2.5 13.5 8 4 13.500z";
    pub const PLUS: &str =
        "M7.1 2.500h1.800v4.600h4.600v1.800H8.900v4.600H7.100V8.900H2.500V7.100h4.600z";
    pub const MINUS: &str = "M2.5 7.100h11v1.800h-11z";
    pub const FIT: &str = "M2 2h4.500v1.700H3.700v2.800H2zM9.5 2H14v4.500h-1.700V3.700H9.500zM2 9.500h1.700v2.800h2.800V14H2zM12.3 9.500H14V14H9.500v-1.700h2.800z";
    pub const COPY: &str = "M5 1.500h8.500V11H12V3H5zM2.5 4.500H10.500v10h-8zM4 6v7h5V6z";
    pub const CLOCK: &str = "M8 1.200a6.8 6.8 0 1 1 0 13.600A6.8 6.8 0 0 1 8 1.200zm0 1.600a5.2 5.2 0 1 0 0 10.400A5.2 5.2 0 0 0 8 2.800zM7.2 4.200h1.600v3.500l2.5 1.5-.8 1.3-3.3-2z";
    pub const RING: &str =
        "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2zm0 1.700a4.3 4.3 0 1 0 0 8.6 4.3 4.3 0 0 0 0-8.600z";
    pub const REPLAY: &str = "M8 2.200a5.8 5.8 0 1 1-5.6 7.300l1.6-.4A4.2 4.2 0 1 0 4.7 5.300L6.5 7H1.800V2.300l1.7 1.800A5.8 5.8 0 0 1 8 2.200z";
    pub const SKIP: &str = "M2 3.5 8 8l-6 4.500zM8 3.5 14 8l-6 4.500z";
    pub const BANG: &str = "M7 2h2v7.500H7zM7 11.500h2v2.300H7z";
    pub const SLASH: &str = "M8 1.500a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM3.9 5a5 5 0 0 0 7.1 7.100zM5 3.900l7.1 7.100A5 5 0 0 0 5 3.900z";
    pub const GRAPH: &str = "M3.5 2a2 2 0 0 1 1.9 2.700l2.3 1.800a2 2 0 0 1 2.3 0l1.3-1.100A2 2 0 1 1 12.6 7l-1.5 1a2 2 0 0 1-1.2 2.500l.2 1a2 2 0 1 1-1.6.3l-.2-1.100A2 2 0 0 1 6.7 7.900L4.5 6A2 2 0 1 1 3.5 2z";
    pub const PEOPLE: &str = "M6 2a2.6 2.6 0 1 1 0 5.200A2.6 2.6 0 0 1 6 2zM1 13.500C1 10.5 3.2 8.6 6 8.600s5 1.9 5 4.900zM11 7.200a2.3 2.3 0 1 0-.6-4.500c.9 1.3.9 3 0 4.300zM12.3 13.500H15c0-2.6-1.5-4.5-3.9-4.7 1 1.2 1.4 2.9 1.2 4.700z";
    pub const LOCK: &str = "M8 1.200A3.3 3.3 0 0 1 11.3 4.500v2h1.200v8h-9v-8h1.200v-2A3.3 3.3 0 0 1 8 1.200zm0 1.600c-1 0-1.7.8-1.7 1.700v2h3.400v-2c0-.9-.7-1.7-1.7-1.700z";
    pub const MOON: &str = "M6.2 1.800A6.4 6.4 0 1 0 14.2 9.8 5.4 5.4 0 0 1 6.2 1.800z";
    pub const SUN: &str = "M8 4.600a3.4 3.4 0 1 1 0 6.8 3.4 3.4 0 0 1 0-6.800zM7.3.8h1.400v2.400H7.300zM7.3 12.800h1.400v2.400H7.300zM.8 7.300h2.400v1.400H.8zM12.8 7.300h2.400v1.400h-2.400zM2.4 3.400l1-1 1.7 1.7-1 1zM10.9 11.900l1-1 1.7 1.7-1 1zM11.9 5.100l-1-1 1.7-1.7 1 1zM3.4 13.600l-1-1 1.7-1.7 1 1z";
    pub const AUTO: &str =
        "M8 1.500a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM8 3.100v9.800a4.9 4.9 0 0 0 0-9.800z";
}

/// A shape; it says nothing that is not also in words beside it.
#[component]
pub fn Icon(
    /// One of [`icon`].
    path: &'static str,
) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
            <path d=path/>
        </svg>
    }
}

/// The mark, large and faint: the picture of an empty page.
#[component]
pub fn Constellation() -> impl IntoView {
    view! {
        <svg class="constellation" viewBox="0 0 120 120" aria-hidden="true">
            <path class="line" d="M24 78 48 38 72 62 94 32M72 62 82 92"/>
            <circle class="dot" cx="24" cy="78" r="5"/>
            <circle class="dot" cx="72" cy="62" r="5"/>
            <circle class="dot" cx="94" cy="32" r="5"/>
            <circle class="dot" cx="82" cy="92" r="4.5"/>
            <path class="star" d="M48 18c2 13 7 18 20 20-13 2-18 7-20 20-2-13-7-18-20-20 13-2 18-7 20-20z"/>
        </svg>
    }
}

/// What somebody else wrote, a name or a line. It changes nothing of what stands beside it: it is on one line, what would turn
/// the direction of writing is visible, and letters that run from right to left do so within it.
#[component]
pub fn Said(
    /// What they wrote.
    #[prop(into)]
    text: String,
) -> impl IntoView {
    let written = text.into_boxed_str();
    view! { <bdi>{one_line(&written)}</bdi> }
}

/// How a notice is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Good to know.
    Calm,
    /// Something is wrong.
    Bad,
}

/// Something that concerns the whole page.
#[component]
pub fn Notice(
    /// How it is meant.
    tone: Tone,
    /// What it says.
    children: Children,
) -> impl IntoView {
    let (class, role) = match tone {
        Tone::Calm => ("notice", "note"),
        Tone::Bad => ("notice bad", "alert"),
    };
    view! { <div class=class role=role>{children()}</div> }
}

/// How a task looks: colour, shape, word, and what the word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    /// The word.
    pub name: &'static str,
    /// The class that gives the colour.
    pub class: &'static str,
    /// One of [`icon`].
    pub path: &'static str,
    /// What the word means, as a sentence.
    pub meaning: &'static str,
}

/// How a task in this state looks. One that is done and came to an error is done, but not well.
#[must_use]
pub fn look_of_state(state: TaskState, is_error: bool) -> Look {
    let (name, class, path, meaning) = match (state, is_error) {
        (TaskState::Waiting, _) => (
            "waiting",
            "s-waiting",
            icon::CLOCK,
            "It waits for other tasks, or for its next attempt.",
        ),
        (TaskState::Ready, _) => (
            "ready",
            "s-ready",
            icon::RING,
            "It waits for somebody who has time.",
        ),
        (TaskState::Leased, _) => (
            "leased",
            "s-leased",
            icon::STAR,
            "Somebody has taken it on and computes it now, or next.",
        ),
        (TaskState::Provisional, _) => (
            "provisional",
            "s-provisional",
            icon::CLOCK,
            "There is a result, and it is being verified.",
        ),
        (TaskState::Computed, false) => (
            "computed",
            "s-computed",
            icon::CHECK,
            "Its result came from work in this run.",
        ),
        (TaskState::Computed, true) => (
            "computed: error",
            "s-failed",
            icon::BANG,
            "It was computed in this run, and what it came to is an error.",
        ),
        (TaskState::Replayed, false) => (
            "replayed",
            "s-replayed",
            icon::REPLAY,
            "Its result was known from before; nobody computed it again.",
        ),
        (TaskState::Replayed, true) => (
            "replayed: error",
            "s-failed",
            icon::BANG,
            "What it came to was known from before, and is an error.",
        ),
        (TaskState::Skipped, _) => (
            "skipped",
            "s-skipped",
            icon::SKIP,
            "Nobody needed it: what it feeds was known.",
        ),
        (TaskState::Failed, _) => ("failed", "s-failed", icon::BANG, "It cannot be done."),
        (TaskState::Cancelled, _) => (
            "cancelled",
            "s-cancelled",
            icon::SLASH,
            "It was cancelled before it was done.",
        ),
    };
    Look {
        name,
        class,
        path,
        meaning,
    }
}

/// How a task looks.
#[must_use]
pub fn look_of(task: &TaskView) -> Look {
    look_of_state(task.state, matches!(task.out, Some(Out::Error(_))))
}

/// A task's state: colour, shape and word.
#[component]
pub fn StateBadge(
    /// The look.
    look: Look,
) -> impl IntoView {
    view! { <span class=format!("badge {}", look.class) title=look.meaning><Icon path=look.path/>{look.name}</span> }
}

/// A run's state: colour, shape and word.
#[component]
pub fn RunBadge(
    /// The state.
    state: RunState,
) -> impl IntoView {
    let (name, class, path) = match state {
        RunState::Running => ("running", "s-leased", icon::STAR),
        RunState::Done => ("done", "s-computed", icon::CHECK),
        RunState::Failed => ("failed", "s-failed", icon::BANG),
        RunState::Cancelled => ("cancelled", "s-cancelled", icon::SLASH),
    };
    view! { <span class=format!("badge {class}")><Icon path=path/>{name}</span> }
}

/// How many tasks look how, in the order of a task's life, without the looks that none has.
fn counts_of(counts: &Counts) -> Vec<(&'static str, &'static str, u32)> {
    // Which of the two the errors are among is not told; it is seldom both.
    let computed = counts.computed.saturating_sub(counts.errors);
    let replayed = (counts.computed + counts.replayed)
        .saturating_sub(counts.errors)
        .saturating_sub(computed);
    let look = |state, count| {
        let look = look_of_state(state, false);
        (look.name, look.class, count)
    };
    let all = [
        look(TaskState::Computed, computed),
        look(TaskState::Replayed, replayed),
        look(TaskState::Skipped, counts.skipped),
        ("with an error", "s-failed", counts.errors),
        look(TaskState::Failed, counts.failed),
        look(TaskState::Cancelled, counts.cancelled),
        look(TaskState::Provisional, counts.provisional),
        look(TaskState::Leased, counts.leased),
        look(TaskState::Ready, counts.ready),
        look(TaskState::Waiting, counts.waiting),
    ];
    all.into_iter().filter(|(_, _, count)| *count > 0).collect()
}

/// The words for [`CountsBar`].
#[must_use]
pub fn counts_text(counts: &Counts) -> String {
    let words: Vec<String> = counts_of(counts)
        .into_iter()
        .map(|(name, _, count)| format!("{} {name}", crate::format::count(count.into())))
        .collect();
    words.join(", ")
}

/// Tasks by state, as a bar.
#[component]
pub fn CountsBar(
    /// The counts.
    counts: Counts,
) -> impl IntoView {
    let shown = counts_of(&counts);
    let all: u32 = shown.iter().map(|(_, _, count)| count).sum();
    let mut from = 0;
    let parts = shown.into_iter().map(|(_, class, count)| {
        let part =
            view! { <rect class=format!("fill {class}") x=from y="0" width=count height="6"/> };
        from += count;
        part
    });
    let parts = parts.collect_view();
    view! {
        <svg class="bar" viewBox=format!("0 0 {} 6", all.max(1)) preserveAspectRatio="none" role="img" aria-label=counts_text(&counts)>
            {parts}
        </svg>
    }
}

/// A button that copies.
#[component]
pub fn Copy(
    /// What is copied.
    text: String,
    /// What it is, for the name of the button.
    what: &'static str,
) -> impl IntoView {
    let copied = RwSignal::new(false);
    let copy = move |_| {
        let clipboard = js::get(&window().navigator(), "clipboard");
        // Absent on origins that are not secure: then the text can be selected by hand.
        if let Some(clipboard) = clipboard.dyn_ref::<web_sys::Clipboard>() {
            let _ = clipboard.write_text(&text);
            copied.set(true);
            Timeout::new(1_500, move || {
                let _ = copied.try_set(false);
            })
            .forget();
        }
    };
    view! {
        <button class="copy" type="button" aria-label=format!("Copy {what}") title=format!("Copy {what}") on:click=copy>
            {move || if copied.get() { view! { <Icon path=icon::CHECK/> } } else { view! { <Icon path=icon::COPY/> } }}
            <span class="visually-hidden" role="status">{move || if copied.get() { "Copied" } else { "" }}</span>
        </button>
    }
}

/// A CID, short for the eye, whole for the clipboard.
#[component]
pub fn CidText(
    /// The CID.
    cid: Cid,
    /// What it names.
    what: &'static str,
) -> impl IntoView {
    let text = cid.to_string();
    view! {
        <span class="cid">
            <code title=text.clone()>{short_cid(&cid)}</code>
            <Copy text=text what=what/>
        </span>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_apart_from_what_went_well() {
        let check = |counts: Counts, expect: &str| assert_eq!(counts_text(&counts), expect);
        let counts = Counts {
            computed: 3,
            replayed: 2,
            errors: 1,
            ..Counts::default()
        };
        check(counts, "2 computed, 2 replayed, 1 with an error");
        check(
            Counts {
                computed: 0,
                ..counts
            },
            "1 replayed, 1 with an error",
        );
        check(Counts::default(), "");
    }

    #[test]
    fn an_error_does_not_look_like_success() {
        let (well, ill) = (
            look_of_state(TaskState::Computed, false),
            look_of_state(TaskState::Computed, true),
        );
        assert_ne!(
            (well.class, well.path, well.name),
            (ill.class, ill.path, ill.name)
        );
    }
}
