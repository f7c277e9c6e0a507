//! The components that functions are called of.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use asterism_component::{Component, Shelf};
use asterism_protocol::view::ComponentView;

use crate::store::ComponentRecord;

/// All components, changed as one.
#[derive(Default)]
pub(crate) struct Library {
    shelf: RwLock<Arc<Shelf>>,
    /// What the journal's looked like when they were read last.
    stamp: Mutex<u64>,
}

impl Library {
    /// The components as they are now; preparing a workflow sees one state.
    pub(crate) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has them read, unless that was done when they looked like this.
    pub(crate) fn refresh<E>(
        &self,
        stamp: u64,
        read: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut known = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != stamp {
            read()?;
            *known = stamp;
        }
        Ok(())
    }

    /// Makes a component the last, if it is known by this name: nothing of it has to be read.
    pub(crate) fn make_last(&self, record: &ComponentRecord) -> Option<ComponentView> {
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let view = Arc::make_mut(&mut shelf).make_last(record.cid, &record.name);
        view.cloned()
    }

    /// Adds a component, or makes a known one the last.
    pub(crate) fn add(&self, record: &ComponentRecord, component: Component) -> ComponentView {
        let (cid, name) = (record.cid, record.name.clone());
        let shelved = asterism_world::shelved(cid, name, record.bytes, component);
        let view = shelved.view.clone();
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut shelf).add(shelved);
        view
    }
}
