//! The components that functions are called of.
//!
//! A function that several components export is taken from the one that was added last; a task that names its
//! component in `rsc` gets that one.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError, RwLock},
};

use asterism_component::{Component, Function};
use asterism_protocol::{
    Cid, FunctionLookup, Value, nearest,
    view::{ComponentView, FunctionView},
};

use crate::store::ComponentRecord;

/// All components, changed as one.
#[derive(Default)]
pub(crate) struct Library(RwLock<Arc<Shelf>>);

/// The components at one moment, the one added last at the end.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Vec<Arc<Entry>>);

struct Entry {
    component: Component,
    view: ComponentView,
}

impl Library {
    /// The components as they are now; preparing a workflow sees one state.
    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a component, or makes a known one the last.
    pub(crate) fn add(&self, record: &ComponentRecord, component: Component) -> ComponentView {
        let functions = component.functions.iter();
        let view = ComponentView {
            cid: record.cid,
            name: record.name.clone(),
            bytes: record.bytes,
            determinism: asterism_world::determinism(&component.import_functions),
            effects: asterism_world::effects(&component.import_functions),
            functions: functions
                .map(|function| FunctionView {
                    name: function.name.clone(),
                    signature: function.signature(),
                    schema: function.schema().to_string(),
                })
                .collect(),
        };
        let mut shelf = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<_> = shelf
            .0
            .iter()
            .filter(|entry| entry.view.cid != record.cid)
            .cloned()
            .collect();
        entries.push(Arc::new(Entry {
            component,
            view: view.clone(),
        }));
        *shelf = Arc::new(Shelf(entries));
        view
    }
}

/// A function of a component.
#[derive(Clone)]
pub(crate) struct Found {
    entry: Arc<Entry>,
    place: usize,
}

impl Found {
    pub(crate) fn component(&self) -> Cid {
        self.entry.view.cid
    }

    pub(crate) fn function(&self) -> &Function {
        &self.entry.component.functions[self.place]
    }
}

impl Shelf {
    /// Every function once: where several have a name, the one that a task would get.
    pub(crate) fn functions(&self) -> Vec<Found> {
        let mut seen = BTreeSet::new();
        let entries = self.0.iter().rev();
        let all = entries.flat_map(|entry| {
            (0..entry.component.functions.len()).map(|place| Found {
                entry: Arc::clone(entry),
                place,
            })
        });
        all.filter(|found| seen.insert(found.function().name.clone()))
            .collect()
    }

    /// The function that a task would get.
    pub(crate) fn function(&self, func: &str) -> Result<Found, String> {
        let (component, name) = self.find(func, None)?;
        let found = self.0.iter().find_map(|entry| {
            let mut functions = entry.component.functions.iter();
            let place = functions.position(|function| function.name == name)?;
            (entry.view.cid == component).then(|| Found {
                entry: Arc::clone(entry),
                place,
            })
        });
        found.ok_or_else(|| format!("component {component} does not export `{name}`"))
    }

    /// For people and panels.
    pub(crate) fn views(&self) -> Vec<ComponentView> {
        self.0.iter().map(|entry| entry.view.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What a component is called here.
    pub(crate) fn name_of(&self, cid: Cid) -> Option<&str> {
        self.of(cid).map(|entry| entry.view.name.as_str())
    }

    pub(crate) fn holds(&self, cid: Cid) -> bool {
        self.0.iter().any(|entry| entry.view.cid == cid)
    }

    fn of(&self, cid: Cid) -> Option<&Entry> {
        self.0
            .iter()
            .find(|entry| entry.view.cid == cid)
            .map(|entry| &**entry)
    }
}

impl FunctionLookup for Shelf {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        let entries: Vec<&Entry> = match rsc {
            Some(cid) => vec![self.of(cid).ok_or_else(|| {
                format!("component {cid} is not here: add it with POST /components")
            })?],
            None => self.0.iter().rev().map(|entry| &**entry).collect(),
        };
        let spelt = |entry: &&Entry| {
            let mut functions = entry.component.functions.iter();
            let function = functions.find(|function| function.name == func)?;
            Some((entry.view.cid, function.name.clone()))
        };
        let meant =
            |entry: &&Entry| Some((entry.view.cid, entry.component.function(func)?.name.clone()));
        // Who added a function of an interface must not change what the bare name of another means.
        let found = entries.iter().find_map(spelt);
        found.or_else(|| entries.iter().find_map(meant)).ok_or_else(|| {
            let names = || entries.iter().flat_map(|entry| entry.component.functions.iter().map(|function| function.name.as_str()));
            let bare = names().map(|name| name.rsplit_once('#').map_or(name, |(_, bare)| bare));
            match nearest(func, names().chain(bare)) {
                Some(meant) => format!("no component here exports `{func}`, did you mean `{meant}`?"),
                None if self.0.is_empty() => format!("no component here exports `{func}`: none was added yet, POST one to /components"),
                None => {
                    const SHOWN: usize = 12;
                    let some: Vec<_> = names().take(SHOWN).collect();
                    let more = if names().nth(SHOWN).is_some() { ", …" } else { "" };
                    format!("no component here exports `{func}`; there are {}{more}", some.join(", "))
                }
            }
        })
    }

    fn canonical(
        &self,
        component: Cid,
        func: &str,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, String> {
        let function = self
            .of(component)
            .and_then(|entry| entry.component.function(func));
        let function =
            function.ok_or_else(|| format!("component {component} does not export `{func}`"))?;
        asterism_component::canonical_args(function, &args).map_err(|error| error.to_string())
    }

    fn mistakes(&self, component: Cid, func: &str, args: Vec<Value>) -> Vec<String> {
        let function = self
            .of(component)
            .and_then(|entry| entry.component.function(func));
        let mistakes = function.map(|function| asterism_component::arg_mistakes(function, &args));
        let mistakes = mistakes.unwrap_or_default();
        mistakes.iter().map(ToString::to_string).collect()
    }

    fn reads_files(&self, component: Cid) -> bool {
        let imports = self
            .of(component)
            .map(|entry| &entry.component.import_functions);
        imports.is_none_or(|imports| asterism_world::reads_files(imports))
    }

    fn has_effect(&self, component: Cid, effect: &str) -> bool {
        let imports = self
            .of(component)
            .map(|entry| &entry.component.import_functions);
        imports.is_none_or(|imports| asterism_world::has_effect(imports, effect))
    }
}
