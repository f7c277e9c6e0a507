//! Which instance runs now: host functions are made once for a component and serve all of its instances.

use std::{cell::RefCell, rc::Rc};

use crate::instance::Instance;

/// Holds the instance of the task that runs.
#[derive(Default)]
pub(crate) struct Stage(RefCell<Option<Rc<Instance>>>);

/// While this lives, its instance is on the stage.
pub(crate) struct OnStage<'a>(&'a Stage);

impl Stage {
    pub(crate) fn enter(&self, instance: Rc<Instance>) -> OnStage<'_> {
        self.0.replace(Some(instance));
        OnStage(self)
    }

    pub(crate) fn current(&self) -> Option<Rc<Instance>> {
        self.0.borrow().clone()
    }
}

impl Drop for OnStage<'_> {
    fn drop(&mut self) {
        self.0.0.replace(None);
    }
}
