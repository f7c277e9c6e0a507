//! The components that were added to this tab.

use asterism_component::Component;
use asterism_protocol::{
    Cid, FunctionLookup, Value, nearest,
    view::{ComponentView, FunctionView},
};

/// The components, the one added last at the end.
#[derive(Default)]
pub(super) struct Components(Vec<Entry>);

struct Entry {
    component: Component,
    view: ComponentView,
}

impl Components {
    /// Adds a component, or makes a known one the last. The code of its functions is left to the engine to validate:
    /// a second validator would be a quarter of the worker.
    pub(super) fn add(
        &mut self,
        cid: Cid,
        name: String,
        bytes: &[u8],
    ) -> Result<ComponentView, String> {
        let component =
            asterism_component::outline(bytes).map_err(|refusal| refusal.to_string())?;
        let functions = component.functions.iter().map(|function| FunctionView {
            name: function.name.clone(),
            signature: function.signature(),
            schema: function.schema().to_string(),
        });
        let view = ComponentView {
            cid,
            name,
            bytes: bytes.len() as u64,
            determinism: asterism_world::determinism(&component.import_functions),
            effects: asterism_world::effects(&component.import_functions),
            functions: functions.collect(),
        };
        self.0.retain(|entry| entry.view.cid != cid);
        self.0.push(Entry {
            component,
            view: view.clone(),
        });
        Ok(view)
    }

    /// For the page.
    pub(super) fn views(&self) -> Vec<ComponentView> {
        self.0.iter().map(|entry| entry.view.clone()).collect()
    }

    fn of(&self, cid: Cid) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.view.cid == cid)
    }
}

impl FunctionLookup for Components {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        let entries: Vec<&Entry> = match rsc {
            Some(cid) => vec![
                self.of(cid)
                    .ok_or_else(|| format!("component {cid} is not in this tab: add it first"))?,
            ],
            None => self.0.iter().rev().collect(),
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
        found
            .or_else(|| entries.iter().find_map(meant))
            .ok_or_else(|| {
                let names = entries
                    .iter()
                    .flat_map(|entry| &entry.component.functions)
                    .map(|function| &*function.name);
                match nearest(func, names) {
                    Some(meant) => {
                        format!(
                            "no component in this tab exports `{func}`, did you mean `{meant}`?"
                        )
                    }
                    None => format!("no component in this tab exports `{func}`: add one that does"),
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
