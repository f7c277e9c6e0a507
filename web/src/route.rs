//! Which page is shown: the path of the address, and links that change it without loading anew.

use asterism_protocol::{Cid, view::RunId};
use leptos::prelude::*;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{Element, HtmlElement, MouseEvent};

use crate::js::Listener;

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Give time.
    Donate,
    /// All runs.
    Workflows,
    /// One run.
    Run(RunId),
    /// The newest run of one workflow.
    Workflow(Cid),
    /// Components and their functions.
    Functions,
    /// Who is here.
    Executors,
    /// Run in the tab.
    Here,
    /// Watch the scheduler in a world that breaks.
    Simulate,
    /// There is no such page.
    Unknown,
}

impl Route {
    /// The page of a path below the base.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        match path
            .trim_matches('/')
            .split_once('/')
            .unwrap_or((path.trim_matches('/'), ""))
        {
            ("", "") | ("workflows", "") => Self::Workflows,
            ("donate", "") => Self::Donate,
            ("functions", "") => Self::Functions,
            ("executors", "") => Self::Executors,
            ("here", "") => Self::Here,
            ("simulate", "") => Self::Simulate,
            ("workflows", name) => match (name.parse(), name.parse()) {
                (Ok(run), _) => Self::Run(RunId(run)),
                (_, Ok(workflow)) => Self::Workflow(workflow),
                (Err(_), Err(_)) => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// Its path below the base.
    #[must_use]
    pub fn path(self) -> String {
        match self {
            Self::Donate => "donate".to_owned(),
            Self::Workflows => "workflows".to_owned(),
            Self::Run(run) => format!("workflows/{}", run.0),
            Self::Workflow(workflow) => format!("workflows/{workflow}"),
            Self::Functions => "functions".to_owned(),
            Self::Executors => "executors".to_owned(),
            Self::Here => "here".to_owned(),
            Self::Simulate => "simulate".to_owned(),
            Self::Unknown => String::new(),
        }
    }

    /// What the tab is called.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Self::Donate => "Donate".to_owned(),
            Self::Workflows => "Workflows".to_owned(),
            Self::Run(run) => format!("Run {}", run.0),
            Self::Workflow(_) => "Workflow".to_owned(),
            Self::Functions => "Functions".to_owned(),
            Self::Executors => "Executors".to_owned(),
            Self::Here => "Run here".to_owned(),
            Self::Simulate => "Simulate".to_owned(),
            Self::Unknown => "Not found".to_owned(),
        }
    }
}

/// The page that is shown, and the way to another.
#[derive(Clone, Copy)]
pub struct Router {
    route: RwSignal<Route>,
    base: StoredValue<String>,
}

impl Router {
    /// Follows the address and the links of this window.
    #[must_use]
    pub fn start() -> Self {
        let base = document()
            .get_element_by_id("panel")
            .and_then(|panel| panel.get_attribute("data-base"));
        let router = Self {
            route: RwSignal::new(Route::Unknown),
            base: StoredValue::new(base.unwrap_or_else(|| "/".to_owned())),
        };
        router.read();
        Listener::new(&window(), "popstate", move |_| router.read()).forever();
        Listener::new(&document(), "click", move |event| {
            let event = event.unchecked_into::<MouseEvent>();
            if event.button() != 0
                || event.meta_key()
                || event.ctrl_key()
                || event.shift_key()
                || event.alt_key()
            {
                return;
            }
            let target = event
                .target()
                .and_then(|target| target.dyn_into::<Element>().ok());
            let Some(link) =
                target.and_then(|target| target.closest("a[data-route]").ok().flatten())
            else {
                return;
            };
            event.prevent_default();
            router.go(Route::of_path(
                &link.get_attribute("data-route").unwrap_or_default(),
            ));
        })
        .forever();
        router
    }

    /// The page that is shown.
    #[must_use]
    pub fn route(self) -> Route {
        self.route.get()
    }

    /// What addresses of this panel and its coordinator begin with; ends with `/`.
    #[must_use]
    pub fn base(self) -> String {
        self.base.get_value()
    }

    /// The address of a page.
    #[must_use]
    pub fn href(self, route: Route) -> String {
        format!("{}{}", self.base(), route.path())
    }

    /// Shows another page, from its top and with the focus there.
    pub fn go(self, route: Route) {
        let history = window().history();
        if let Ok(history) = history {
            let _ = history.push_state_with_url(&JsValue::NULL, "", Some(&self.href(route)));
        }
        self.route.set(route);
        let main = document()
            .get_element_by_id("main")
            .and_then(|main| main.dyn_into::<HtmlElement>().ok());
        if let Some(main) = main {
            let _ = main.focus();
        }
        window().scroll_to_with_x_and_y(0.0, 0.0);
    }

    fn read(self) {
        let path = window().location().pathname().unwrap_or_default();
        let base = self.base();
        self.route
            .set(Route::of_path(path.strip_prefix(&base).unwrap_or(&path)));
    }
}

/// A link to a page of the panel.
#[component]
pub fn Link(
    /// Where to.
    to: Route,
    /// Its class.
    #[prop(optional)]
    class: &'static str,
    /// Is it the navigation's, and marked where its page is shown?
    #[prop(optional)]
    nav: bool,
    /// What it says.
    children: Children,
) -> impl IntoView {
    let router = expect_context::<Router>();
    let current = move || {
        let here = match router.route() {
            Route::Run(_) | Route::Workflow(_) => Route::Workflows,
            route => route,
        };
        (nav && here == to).then_some("page")
    };
    view! {
        <a class=class href=router.href(to) data-route=to.path() aria-current=current>
            {children()}
        </a>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_found_again_by_its_path() {
        for route in [
            Route::Donate,
            Route::Workflows,
            Route::Run(RunId(7)),
            Route::Workflow(asterism_protocol::content_cid(b"a workflow")),
            Route::Functions,
            Route::Executors,
            Route::Here,
        ] {
            assert_eq!(Route::of_path(&format!("/{}", route.path())), route);
        }
    }

    #[test]
    fn unknown_paths_are_said_to_be_unknown() {
        assert_eq!(Route::of_path("/workflows/x"), Route::Unknown);
        assert_eq!(Route::of_path("/donate/x"), Route::Unknown);
    }
}
