//! What a workflow looks like before all of it is known.

use std::collections::BTreeMap;

use super::{
    draft::drafts,
    placeholder::{Placeholder, visit_strings},
};
use crate::Value;

/// A task of a workflow that may not be complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketched {
    /// Its name, empty for none.
    pub name: String,
    /// Its function, as it is written.
    pub func: String,
    /// The places of the tasks that its placeholders name, ascending, each once.
    pub needs: Vec<u32>,
}

/// The tasks of a document as far as they can be read, and what they need of each other. Nothing is looked up, and a place that
/// is still open is a text like others; what is wrong is for [`super::mistakes()`] to say.
#[must_use]
pub fn sketch(document: &Value) -> Vec<Sketched> {
    let (drafts, _) = drafts(document);
    let named = drafts.iter().filter(|draft| !draft.name.is_empty());
    let places: BTreeMap<&str, u32> = named
        .map(|draft| (draft.name, draft.index as u32))
        .collect();
    let sketched = drafts.iter().map(|draft| {
        let mut needs: Vec<u32> = Vec::new();
        let mut note = |text: &str| -> Result<(), String> {
            if let Ok(Some(Placeholder::Needs { name, .. })) = Placeholder::read(text) {
                needs.extend(places.get(name));
            }
            Ok(())
        };
        for (_, value) in draft.values() {
            // Only keys are refused.
            let _ = visit_strings(value, &mut note);
        }
        needs.sort_unstable();
        needs.dedup();
        Sketched {
            name: draft.name.to_owned(),
            func: draft.func.to_owned(),
            needs,
        }
    });
    sketched.collect()
}
