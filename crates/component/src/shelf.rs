//! Components beside each other, and the functions that are found among them by name.
//!
//! A function that several components export is taken from the one that was added last. `math/add` is the `add` of the
//! component `math`, or of one by its CID, whatever came later; a task that names its component in `rsc` gets that one.

use std::{collections::BTreeSet, sync::Arc};

use asterism_protocol::{
    Await, Awaited, Cid, FunctionLookup, Promise, Value, limits::NAME_BYTES_MAX, nearest,
    view::ComponentView,
};

use crate::{Component, Function, Type, arg_mistakes, can_come_to, canonical_args};

/// The name of a component, and a function's.
const LOOKED_FOR_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + 1;

/// How many names an error lists.
const NAMES_SHOWN: usize = 12;

/// Components, the one added last at the end. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Vec<Arc<Shelved>>);

/// A component, and what people are told of it.
#[derive(Debug)]
pub struct Shelved {
    /// What it says of itself.
    pub component: Component,
    /// What is told of it.
    pub view: ComponentView,
    /// Does it import what files are read by?
    pub reads_files: bool,
}

/// A function of a component on a shelf.
#[derive(Clone, Debug)]
pub struct Found {
    shelved: Arc<Shelved>,
    place: usize,
}

impl Found {
    /// The component.
    #[must_use]
    pub fn component(&self) -> Cid {
        self.shelved.view.cid
    }

    /// The function.
    ///
    /// # Panics
    /// Never: it was found in this component.
    #[must_use]
    pub fn function(&self) -> &Function {
        &self.shelved.component.functions[self.place]
    }
}

impl Shelf {
    /// Adds a component, or makes a known one the last.
    pub fn add(&mut self, shelved: Shelved) {
        self.0.retain(|other| other.view.cid != shelved.view.cid);
        self.0.push(Arc::new(shelved));
    }

    /// Makes a component the last, if it is known by this name.
    pub fn make_last(&mut self, cid: Cid, name: &str) -> Option<&ComponentView> {
        let is_meant =
            |shelved: &Arc<Shelved>| (shelved.view.cid, shelved.view.name.as_str()) == (cid, name);
        let place = self.0.iter().position(is_meant)?;
        let shelved = self.0.remove(place);
        self.0.push(shelved);
        self.0.last().map(|shelved| &shelved.view)
    }

    /// Every function once: where several have a name, the one that a task would get.
    #[must_use]
    pub fn functions(&self) -> Vec<Found> {
        let mut seen = BTreeSet::new();
        let all = self.0.iter().rev().flat_map(|shelved| {
            (0..shelved.component.functions.len()).map(|place| Found {
                shelved: Arc::clone(shelved),
                place,
            })
        });
        all.filter(|found| seen.insert(found.function().name.clone()))
            .collect()
    }

    /// The function that a task would get.
    ///
    /// # Errors
    /// There is none of that name: a sentence for the author, with the nearest one.
    pub fn function(&self, func: &str) -> Result<Found, String> {
        self.search(func, None)
    }

    /// The component of this name, or with this CID. Of several with the name it is the one added last that has `func`, and
    /// the one added last if none has it or none is asked for.
    #[must_use]
    pub fn component(&self, name: &str, func: Option<&str>) -> Option<Cid> {
        let all: Vec<&Arc<Shelved>> = self.0.iter().rev().collect();
        let of_name = named(&all, name);
        let found = func.and_then(|func| find(&of_name, func));
        found
            .map(|found| found.component())
            .or_else(|| of_name.first().map(|shelved| shelved.view.cid))
    }

    /// For people and panels.
    #[must_use]
    pub fn views(&self) -> Vec<ComponentView> {
        self.0.iter().map(|shelved| shelved.view.clone()).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a component is called here.
    #[must_use]
    pub fn name_of(&self, cid: Cid) -> Option<&str> {
        self.of(cid).map(|shelved| shelved.view.name.as_str())
    }

    /// Is it here?
    #[must_use]
    pub fn holds(&self, cid: Cid) -> bool {
        self.of(cid).is_some()
    }

    fn of(&self, cid: Cid) -> Option<&Arc<Shelved>> {
        self.0.iter().find(|shelved| shelved.view.cid == cid)
    }

    fn search(&self, func: &str, rsc: Option<Cid>) -> Result<Found, String> {
        // Before anything is looked for: it may be as long as a workflow.
        if func.len() > LOOKED_FOR_BYTES_MAX {
            return Err(format!(
                "a function's name has at most {NAME_BYTES_MAX} bytes, with its component's {LOOKED_FOR_BYTES_MAX}; this one has {}",
                func.len()
            ));
        }
        let all: Vec<&Arc<Shelved>> = match rsc {
            Some(cid) => vec![self.of(cid).ok_or_else(|| {
                format!("component {cid} is not here: add it, and then do this again")
            })?],
            None => self.0.iter().rev().collect(),
        };
        if let Some(found) = find(&all, func) {
            return Ok(found);
        }
        // Names of functions have slashes, too (`ns:pkg/iface#f`), and names of components may: the longest that there is.
        let mut splits = func.rmatch_indices('/');
        let split = splits.find_map(|(at, _)| {
            let (name, func) = (&func[..at], &func[at + 1..]);
            let of_name = named(&all, name);
            (!of_name.is_empty()).then_some((name, func, of_name))
        });
        match split {
            None => Err(match rsc {
                Some(cid) => missing(
                    &format!("component {cid} exports no `{func}`"),
                    func,
                    &all,
                    Names::Bare,
                ),
                None => missing(
                    &format!("no component here exports `{func}`"),
                    func,
                    &all,
                    Names::Whole,
                ),
            }),
            // Of several with this name the one added last: who calls it gets what was mended.
            Some((name, func, of_name)) => find(&of_name, func).ok_or_else(|| {
                missing(
                    &format!("component `{name}` exports no `{func}`"),
                    func,
                    &of_name,
                    Names::Bare,
                )
            }),
        }
    }
}

/// Those of this name. Whoever says a CID means it, whatever somebody calls a component.
fn named<'a>(all: &[&'a Arc<Shelved>], name: &str) -> Vec<&'a Arc<Shelved>> {
    let cid = name.parse::<Cid>().ok();
    let is_meant = |shelved: &&&Arc<Shelved>| match cid {
        Some(cid) => shelved.view.cid == cid,
        None => shelved.view.name == name,
    };
    all.iter().filter(is_meant).copied().collect()
}

/// The function as it is spelt, in any of these, before what a bare name may mean: who added a function of an interface
/// must not change what the bare name of another means.
fn find(all: &[&Arc<Shelved>], func: &str) -> Option<Found> {
    let place = |wanted: &dyn Fn(&Component) -> Option<usize>| {
        all.iter().find_map(|shelved| {
            Some(Found {
                place: wanted(&shelved.component)?,
                shelved: Arc::clone(shelved),
            })
        })
    };
    let position = |component: &Component, name: &str| {
        let mut functions = component.functions.iter();
        functions.position(|function| function.name == name)
    };
    place(&|component| position(component, func))
        .or_else(|| place(&|component| position(component, &component.function(func)?.name)))
}

/// How functions are called in an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Where the component is known.
    Bare,
    /// With their component's.
    Whole,
}

/// An error text, with what was probably meant.
fn missing(lacks: &str, func: &str, all: &[&Arc<Shelved>], names: Names) -> String {
    let pairs = || {
        all.iter().flat_map(|shelved| {
            let functions = shelved.component.functions.iter();
            functions.map(move |function| (shelved.view.name.as_str(), function.name.as_str()))
        })
    };
    let whole: Vec<String> = match names {
        Names::Bare => Vec::new(),
        Names::Whole => pairs().map(|(of, name)| format!("{of}/{name}")).collect(),
    };
    let words = pairs().flat_map(|(_, name)| [name, bare(name)]);
    if let Some(meant) = nearest(func, words.chain(whole.iter().map(String::as_str))) {
        let exporter = pairs().find(|(_, name)| *name == meant || bare(name) == meant);
        return match exporter.filter(|_| names == Names::Whole) {
            Some((of, _)) => format!("{lacks}, did you mean `{meant}`? `{of}` exports it"),
            None => format!("{lacks}, did you mean `{meant}`?"),
        };
    }
    if all.is_empty() {
        return format!("{lacks}: none was added yet");
    }
    let mut told: Vec<&str> = match names {
        Names::Bare => pairs().map(|(_, name)| name).collect(),
        Names::Whole => whole.iter().map(String::as_str).collect(),
    };
    let more = if told.len() > NAMES_SHOWN {
        ", …"
    } else {
        ""
    };
    told.truncate(NAMES_SHOWN);
    format!("{lacks}; there are {}{more}", told.join(", "))
}

/// The name of a function without that of its interface.
fn bare(name: &str) -> &str {
    name.rsplit_once('#').map_or(name, |(_, bare)| bare)
}

impl FunctionLookup for Shelf {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        let found = self.search(func, rsc)?;
        Ok((found.component(), found.function().name.clone()))
    }

    fn canonical(
        &self,
        component: Cid,
        func: &str,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, String> {
        let found = self.search(func, Some(component))?;
        canonical_args(found.function(), &args).map_err(|error| error.to_string())
    }

    fn mistakes(
        &self,
        component: Cid,
        func: &str,
        args: Vec<Value>,
        awaited: &dyn Fn(Cid) -> Option<Awaited>,
    ) -> Vec<String> {
        let Ok(found) = self.search(func, Some(component)) else {
            return Vec::new();
        };
        let function = found.function();
        let judge = |promise: &Promise, wanted: &Type| {
            let Some(task) = awaited(promise.instruction) else {
                return Ok(());
            };
            let Ok(source) = self.search(&task.func, Some(task.component)) else {
                return Ok(());
            };
            let source = source.function();
            if can_come_to(source, promise.branch, wanted) {
                return Ok(());
            }
            let part = match promise.branch {
                Await::Ok => "output",
                Await::Error => "error",
                Await::Any => "result",
            };
            Err(format!(
                "the {part} of {} (`{}`) never fits {wanted}, which `{}` takes here",
                task.task,
                source.signature(),
                function.signature()
            ))
        };
        let mistakes = arg_mistakes(function, &args, &judge);
        mistakes.iter().map(ToString::to_string).collect()
    }

    fn reads_files(&self, component: Cid) -> bool {
        self.of(component).is_none_or(|shelved| shelved.reads_files)
    }

    fn has_effect(&self, component: Cid, effect: &str) -> bool {
        self.of(component)
            .is_none_or(|shelved| shelved.view.effects.contains(effect))
    }
}
