//! A live picture of a run: drag or turn the wheel sideways to move, wheel, pinch, buttons or keys to zoom, arrows to go from
//! task to task.
//!
//! Near, every visible task is a node of its own that redraws when its signal changes. Far, when there is no room for
//! words, all tasks of a state are one shape: five thousand tasks are then eight elements.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use asterism_protocol::{
    one_line,
    view::{TaskState, TaskView},
};
use leptos::{html::Div, prelude::*};
use wasm_bindgen::JsCast as _;
use web_sys::{Element, KeyboardEvent, PointerEvent, WheelEvent};

use super::picture::{Eye, NODE_HEIGHT, NODE_WIDTH, Pane, Picture, whole};
use crate::{
    format::{ellipsis, short_func},
    js::Listener,
    pages::ui::{Icon, Look, icon, look_of},
    watch::Watched,
};

/// Letters of the smaller line of a node.
const SUB_LETTERS: usize = 19;

/// Below this zoom, words cannot be read and are not drawn.
const FAR: f64 = 0.42;

/// Most nodes drawn with words at the same time.
const NEAR_NODES_MAX: usize = 400;

const ZOOM_MIN: f64 = 0.02;
const ZOOM_MAX: f64 = 2.5;

/// Narrower panes have the graph run downwards.
const NARROW: f64 = 560.0;

/// The picture of a run.
#[component]
pub fn GraphView(
    /// The run.
    watched: Watched,
    /// The task that is looked at.
    selected: RwSignal<Option<u32>>,
) -> impl IntoView {
    let needs: Arc<Vec<Vec<u32>>> = Arc::new(
        watched
            .tasks
            .iter()
            .map(|task| {
                let needs = task.read_untracked();
                let needs = needs.needs.iter();
                needs.filter_map(|need| watched.place(*need)).collect()
            })
            .collect(),
    );
    let count = needs.len();
    let container = NodeRef::<Div>::new();
    let pane = RwSignal::new(Pane {
        width: 800.0,
        height: 420.0,
    });
    let eye = RwSignal::new(Eye {
        x: 0.0,
        y: 0.0,
        zoom: 1.0,
    });
    let downwards = Memo::new(move |_| pane.get().width < NARROW);
    let picture = {
        let needs = needs.clone();
        Memo::new_with_compare(
            move |_| Arc::new(Picture::of(&needs, downwards.get())),
            |a, b| match (a, b) {
                (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
                (None, _) | (_, None) => true,
            },
        )
    };

    let fit = move || eye.set(Eye::on(&picture.get_untracked(), pane.get_untracked()));
    let zoom_at = move |factor: f64, x: f64, y: f64| {
        eye.update(|eye| {
            let zoom = (eye.zoom * factor).clamp(ZOOM_MIN, ZOOM_MAX);
            let factor = zoom / eye.zoom;
            *eye = Eye {
                x: x - (x - eye.x) * factor,
                y: y - (y - eye.y) * factor,
                zoom,
            };
        });
    };
    let zoom_in_the_middle = move |factor| {
        let pane = pane.get_untracked();
        zoom_at(factor, pane.width / 2.0, pane.height / 2.0);
    };
    let measure = move || {
        let Some(element) = container.get_untracked() else {
            return;
        };
        let rect = element.get_bounding_client_rect();
        if rect.width() > 0.0 && rect.height() > 0.0 {
            let measured = Pane {
                width: rect.width(),
                height: rect.height(),
            };
            if pane.get_untracked() != measured {
                pane.set(measured);
                fit();
            }
        }
    };
    Effect::new(move || {
        if container.get().is_some() {
            request_animation_frame(measure);
        }
    });
    // A pane that turns has its graph turn too.
    Effect::new(move |before: Option<bool>| {
        let now = downwards.get();
        if before.is_some_and(|before| before != now) {
            fit();
        }
        now
    });
    let resized =
        StoredValue::new_local(Some(Listener::new(&window(), "resize", move |_| measure())));
    on_cleanup(move || resized.update_value(|listener| drop(listener.take())));

    // Keeps the selected task in sight.
    let reveal = move |task: u32| {
        let (x, y) = picture.get_untracked().node(task as usize);
        let pane = pane.get_untracked();
        eye.update(|eye| {
            let margin = 24.0;
            let shown = (x * eye.zoom + eye.x, y * eye.zoom + eye.y);
            let half = (
                NODE_WIDTH / 2.0 * eye.zoom + margin,
                NODE_HEIGHT / 2.0 * eye.zoom + margin,
            );
            eye.x += (half.0 - shown.0).max(0.0) - (shown.0 + half.0 - pane.width).max(0.0);
            eye.y += (half.1 - shown.1).max(0.0) - (shown.1 + half.1 - pane.height).max(0.0);
        });
    };

    let is_near = Memo::new(move |_| eye.get().zoom >= FAR);
    let visible = Memo::new(move |_| {
        let (eye, pane, picture) = (eye.get(), pane.get(), picture.get());
        if eye.zoom < FAR {
            return Vec::new();
        }
        let seen = (0..count).filter(|task| {
            let (x, y) = picture.node(*task);
            let (x, y) = (x * eye.zoom + eye.x, y * eye.zoom + eye.y);
            let (half_x, half_y) = (NODE_WIDTH * eye.zoom, NODE_HEIGHT * eye.zoom);
            x > -half_x && x < pane.width + half_x && y > -half_y && y < pane.height + half_y
        });
        seen.take(NEAR_NODES_MAX).collect::<Vec<_>>()
    });

    // Pointers that are down, where they are; and how far they went, to tell a drag from a press.
    let pointers = StoredValue::new(BTreeMap::<i32, (f64, f64)>::new());
    let travelled = StoredValue::new(0.0_f64);
    let place = move |x: i32, y: i32| {
        let rect = container
            .get_untracked()
            .map(|element| element.get_bounding_client_rect());
        rect.map_or((0.0, 0.0), |rect| {
            (f64::from(x) - rect.left(), f64::from(y) - rect.top())
        })
    };
    let down = move |event: PointerEvent| {
        if event.button() != 0 {
            return;
        }
        if pointers.with_value(BTreeMap::is_empty) {
            travelled.set_value(0.0);
        }
        pointers.update_value(|pointers| {
            pointers.insert(
                event.pointer_id(),
                place(event.client_x(), event.client_y()),
            );
        });
    };
    let moved = move |event: PointerEvent| {
        let now = place(event.client_x(), event.client_y());
        let Some(before) =
            pointers.with_value(|pointers| pointers.get(&event.pointer_id()).copied())
        else {
            return;
        };
        let other = pointers.with_value(|pointers| {
            pointers
                .iter()
                .find(|(id, _)| **id != event.pointer_id())
                .map(|(_, place)| *place)
        });
        let way = (now.0 - before.0, now.1 - before.1);
        travelled.update_value(|travelled| *travelled += way.0.hypot(way.1));
        if travelled.get_value() > 4.0
            && let Some(element) = container.get_untracked()
        {
            // From here on it is a drag, also outside of the pane.
            let _ = element.set_pointer_capture(event.pointer_id());
        }
        match other {
            Some(other) => {
                let distance =
                    |place: (f64, f64)| (place.0 - other.0).hypot(place.1 - other.1).max(1.0);
                zoom_at(distance(now) / distance(before), other.0, other.1);
            }
            None => eye.update(|eye| (eye.x, eye.y) = (eye.x + way.0, eye.y + way.1)),
        }
        pointers.update_value(|pointers| {
            pointers.insert(event.pointer_id(), now);
        });
    };
    let up = move |event: PointerEvent| {
        pointers.update_value(|pointers| {
            pointers.remove(&event.pointer_id());
        });
    };
    let wheel = move |event: WheelEvent| {
        event.prevent_default();
        let (across, along) = (event.delta_x(), event.delta_y());
        if event.shift_key() || across.abs() > along.abs() {
            let way = if across == 0.0 { along } else { across };
            eye.update(|eye| eye.x -= way);
            return;
        }
        let (x, y) = place(event.client_x(), event.client_y());
        zoom_at((-along.clamp(-200.0, 200.0) / 400.0).exp(), x, y);
    };
    let select = move |task: u32| {
        if travelled.get_value() <= 4.0 {
            selected.set(Some(task));
        }
    };
    // Far away, tasks are not elements: the nearest one under the press is meant.
    let press = move |event: web_sys::MouseEvent| {
        if is_near.get_untracked() || travelled.get_value() > 4.0 {
            return;
        }
        let on_button = event
            .target()
            .and_then(|target| target.dyn_into::<Element>().ok());
        if on_button.is_some_and(|element| element.closest("button").ok().flatten().is_some()) {
            return;
        }
        let (x, y) = place(event.client_x(), event.client_y());
        let (eye, picture) = (eye.get_untracked(), picture.get_untracked());
        let (x, y) = ((x - eye.x) / eye.zoom, (y - eye.y) / eye.zoom);
        let hit = (0..count).find(|task| {
            let (node_x, node_y) = picture.node(*task);
            (node_x - x).abs() <= NODE_WIDTH / 2.0 && (node_y - y).abs() <= NODE_HEIGHT / 2.0
        });
        if let Some(task) = hit {
            selected.set(Some(task as u32));
        }
    };
    let keys = move |event: KeyboardEvent| {
        if event.ctrl_key() || event.meta_key() || event.alt_key() {
            return;
        }
        match event.key().as_str() {
            "+" | "=" => zoom_in_the_middle(1.25),
            "-" => zoom_in_the_middle(0.8),
            "0" => fit(),
            "Escape" => selected.set(None),
            key if key.starts_with("Arrow") && count > 0 => {
                let next = match selected.get_untracked() {
                    None => Some(0),
                    Some(task) => picture.get_untracked().beside(task, &needs, key),
                };
                if let Some(next) = next {
                    selected.set(Some(next));
                    reveal(next);
                }
            }
            _ => return,
        }
        event.prevent_default();
    };

    let all_edges = move || picture.get().edges(|_, _| true);
    let active_edges = {
        let watched = watched.clone();
        move || {
            watched.changes.track();
            let leased = |task: usize| {
                watched
                    .tasks
                    .get(task)
                    .is_some_and(|task| task.with_untracked(|task| task.state == TaskState::Leased))
            };
            picture.get().edges(|_, to| leased(to))
        }
    };
    let selected_edges = move || match selected.get() {
        None => String::new(),
        Some(task) => picture
            .get()
            .edges(|from, to| from == task as usize || to == task as usize),
    };
    let tasks = watched.tasks.clone();
    let node = {
        let tasks = tasks.clone();
        move |task: usize| view! { <Node task=task signal=tasks[task].clone() picture=picture selected=selected select=select/> }
    };
    let far_shapes = move || {
        watched.changes.track();
        let picture = picture.get();
        let mut shapes: BTreeMap<Look, String> = BTreeMap::new();
        for (index, task) in tasks.iter().enumerate() {
            let (x, y) = picture.node(index);
            let path = shapes.entry(task.with_untracked(look_of)).or_default();
            let (left, top) = (x - NODE_WIDTH / 2.0, y - NODE_HEIGHT / 2.0);
            let (width, height) = (whole(NODE_WIDTH), whole(NODE_HEIGHT));
            let _ = write!(
                path,
                "M{} {}h{width}v{height}h-{width}z",
                whole(left),
                whole(top)
            );
        }
        let shape =
            |(look, path): (Look, _)| view! { <path class=format!("far {}", look.class) d=path/> };
        shapes.into_iter().map(shape).collect_view()
    };
    let far_selected = move || {
        selected.get().map(|task| {
            let (x, y) = picture.get().node(task as usize);
            view! {
                <rect class="far-selected" x=whole(x - NODE_WIDTH / 2.0) y=whole(y - NODE_HEIGHT / 2.0) width=whole(NODE_WIDTH) height=whole(NODE_HEIGHT)/>
            }
        })
    };
    let transform = move || {
        let eye = eye.get();
        format!(
            "translate({} {}) scale({}e-4)",
            whole(eye.x),
            whole(eye.y),
            whole(eye.zoom * 1e4)
        )
    };
    let label = move || {
        format!(
            "Graph of {}. Arrow keys go from task to task, plus and minus zoom, 0 fits. The list below says the same in words.",
            crate::format::plural(count as u64, "task", "tasks")
        )
    };

    view! {
        <div
            class="graph" node_ref=container tabindex="0" role="application" aria-label=label
            on:pointerdown=down on:pointermove=moved on:pointerup=up on:pointercancel=up
            on:wheel=wheel on:keydown=keys on:click=press
        >
            <svg class="graph-svg" aria-hidden="true">
                <g transform=transform>
                    <path class="edges" d=all_edges/>
                    <path class="edges active" d=active_edges/>
                    <path class="edges chosen" d=selected_edges/>
                    <Show when=move || is_near.get() fallback=move || view! { {far_shapes.clone()} {far_selected} }>
                        <For each=move || visible.get() key=|task| *task children=node.clone()/>
                    </Show>
                </g>
            </svg>
            <div class="graph-tools">
                <button type="button" aria-label="Zoom in" title="Zoom in (+)" on:click=move |_| zoom_in_the_middle(1.25)>
                    <Icon path=icon::PLUS/>
                </button>
                <button type="button" aria-label="Zoom out" title="Zoom out (-)" on:click=move |_| zoom_in_the_middle(0.8)>
                    <Icon path=icon::MINUS/>
                </button>
                <button type="button" aria-label="Fit" title="Fit (0)" on:click=move |_| fit()>
                    <Icon path=icon::FIT/>
                </button>
            </div>
        </div>
    }
}

#[component]
fn Node(
    task: usize,
    signal: ArcRwSignal<TaskView>,
    picture: Memo<Arc<Picture>>,
    selected: RwSignal<Option<u32>>,
    select: impl Fn(u32) + Copy + 'static,
) -> impl IntoView {
    let transform = move || {
        let (x, y) = picture.get().node(task);
        format!(
            "translate({} {})",
            whole(x - NODE_WIDTH / 2.0),
            whole(y - NODE_HEIGHT / 2.0)
        )
    };
    let (title, func) = signal.with_untracked(|task| {
        // In a picture each text has its own direction; what would turn it becomes visible.
        let func = one_line(short_func(&task.func));
        if task.name.is_empty() {
            (func, String::new())
        } else {
            (one_line(&task.name), func)
        }
    });
    let look = Memo::new(move |_| signal.with(look_of));
    let class = move || {
        let chosen = if selected.get() == Some(task as u32) {
            " chosen"
        } else {
            ""
        };
        format!("node {}{chosen}", look.get().class)
    };
    view! {
        <g class=class transform=transform on:click=move |_| select(task as u32)>
            <rect class="plate" width=whole(NODE_WIDTH) height=whole(NODE_HEIGHT) rx="10"/>
            <path class="mark" transform="translate(12 11)" d=move || look.get().path/>
            // Letters may be wide: what does not fit is cut at the edge of the plate.
            <svg width=whole(NODE_WIDTH - 6.0) height=whole(NODE_HEIGHT)>
                <text class="title" x="36" y="24">{ellipsis(&title, 17)}</text>
                <text class="sub" x="36" y="42">
                    <tspan class="word">{move || look.get().name}</tspan>
                    {move || {
                        // What the word leaves of the line; a few letters of a function say nothing.
                        let room = SUB_LETTERS.saturating_sub(look.get().name.chars().count() + 3);
                        let shown = !func.is_empty() && (func.chars().count() <= room || room >= 6);
                        shown.then(|| format!(" · {}", ellipsis(&func, room)))
                    }}
                </text>
            </svg>
        </g>
    }
}
