//! The components that functions are called of.

use std::sync::{Arc, PoisonError, RwLock};

use asterism_component::{Component, Shelf};
use asterism_protocol::view::ComponentView;

use crate::store::ComponentRecord;

/// All components, changed as one.
#[derive(Default)]
pub(crate) struct Library(RwLock<Arc<Shelf>>);

impl Library {
    /// The components as they are now; preparing a workflow sees one state.
    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a component, or makes a known one the last.
    pub(crate) fn add(&self, record: &ComponentRecord, component: Component) -> ComponentView {
        let (cid, name) = (record.cid, record.name.clone());
        let shelved = asterism_world::shelved(cid, name, record.bytes, component);
        let view = shelved.view.clone();
        let mut shelf = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut shelf).add(shelved);
        view
    }
}
