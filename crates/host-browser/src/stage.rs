//! Which instance runs now: host functions are made once for a component and serve all of its instances.

use std::{cell::Cell, rc::Rc};

use crate::instance::Instance;

/// Holds the instance of the task that runs. In a `Cell`, which has no borrows to be left behind: when the stack of the
/// engine is exhausted in a host function, its frames vanish without clean-up.
#[derive(Default)]
pub(crate) struct Stage(Cell<Option<Rc<Instance>>>);

/// While this lives, its instance is on the stage.
pub(crate) struct OnStage<'a>(&'a Stage);

impl Stage {
    pub(crate) fn enter(&self, instance: Rc<Instance>) -> OnStage<'_> {
        self.0.set(Some(instance));
        OnStage(self)
    }

    pub(crate) fn current(&self) -> Option<Rc<Instance>> {
        let current = self.0.take();
        self.0.set(current.clone());
        current
    }
}

impl Drop for OnStage<'_> {
    fn drop(&mut self) {
        self.0.0.set(None);
    }
}
