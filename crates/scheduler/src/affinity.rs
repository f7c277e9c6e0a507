//! What executors are likely to have at hand, and how well that fits an instruction.
//!
//! Nobody is asked: whoever was leased an instruction has fetched what it needs, and whoever came to an outcome has what it
//! links to. Executors forget the longest unused, and so does this. Where it is wrong, something is fetched that could have
//! been at hand; nothing else depends on it.

use asterism_protocol::{Cid, Value};

/// Most components that are remembered of an executor: as many as a tab's host keeps ready.
const COMPONENTS_MAX: usize = 32;

/// Most blobs that are remembered of an executor. Its cache is bounded in bytes, which are not known here.
const BLOBS_MAX: usize = 128;

/// Most blobs that are remembered of one instruction's inputs.
const INPUTS_MAX: usize = 8;

/// What a component at hand is worth, in blobs: it is compiled, too.
const COMPONENT_WORTH: u8 = 4;

/// The first bytes of a blob's digest. Who makes two of them equal gains that one more blob is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) fn of(blob: &Cid) -> Self {
        let digest = blob.digest();
        let (first, _) = digest.split_at(8);
        Self(u64::from_le_bytes(
            first.try_into().expect("it was split after eight bytes"),
        ))
    }
}

/// What an instruction needs fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) component: Mark,
    /// The first of its inputs that are blobs; most instructions have none.
    pub(crate) blobs: Option<Box<[Mark]>>,
}

/// How well what an executor has fits an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fit {
    /// Is the component there?
    pub(crate) component: bool,
    /// How many of the inputs are there, of so many.
    pub(crate) blobs: u8,
    pub(crate) of: u8,
}

/// What an executor has at hand, as far as that follows from what it was leased and what it came to.
#[derive(Default)]
pub(crate) struct Holdings {
    components: Recent<COMPONENTS_MAX>,
    blobs: Recent<BLOBS_MAX>,
}

impl Holdings {
    /// It was leased an instruction that wants this.
    pub(crate) fn fetch(&mut self, wants: &Wants) {
        self.components.touch(wants.component);
        for blob in wants.blobs.iter().flatten() {
            self.blobs.touch(*blob);
        }
    }

    /// It made these.
    pub(crate) fn make(&mut self, blobs: &[Mark]) {
        for blob in blobs {
            self.blobs.touch(*blob);
        }
    }

    pub(crate) fn fit(&self, wants: &Wants) -> Fit {
        let blobs = wants.blobs.as_deref().unwrap_or_default();
        let there = blobs.iter().filter(|blob| self.blobs.has(**blob));
        Fit {
            component: self.components.has(wants.component),
            blobs: there.count() as u8,
            of: blobs.len() as u8,
        }
    }
}

impl Fit {
    /// What would be left to fetch, in blobs.
    pub(crate) fn cost(self) -> u8 {
        let component = if self.component { 0 } else { COMPONENT_WORTH };
        component + self.of - self.blobs
    }
}

/// The blobs that these values link to, each once, no more than are remembered.
pub(crate) fn links<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<Mark> {
    fn collect(value: &Value, found: &mut Vec<Mark>) {
        if found.len() == INPUTS_MAX {
            return;
        }
        match value {
            Value::Link(link) => {
                if let Ok(cid) = Cid::try_from(*link)
                    && cid.is_blob()
                {
                    add(found, [Mark::of(&cid)]);
                }
            }
            Value::List(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Map(map) => map.values().for_each(|item| collect(item, found)),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::String(_)
            | Value::Bytes(_) => {}
        }
    }
    let mut found = Vec::new();
    for value in values {
        collect(value, &mut found);
    }
    found
}

/// Adds those that are not there yet, no more than are remembered.
pub(crate) fn add(found: &mut Vec<Mark>, more: impl IntoIterator<Item = Mark>) {
    for mark in more {
        if found.len() < INPUTS_MAX && !found.contains(&mark) {
            found.push(mark);
        }
    }
}

/// So many marks, the longest unused first.
#[derive(Default)]
struct Recent<const MAX: usize>(Vec<Mark>);

impl<const MAX: usize> Recent<MAX> {
    fn has(&self, mark: Mark) -> bool {
        // What was used last is asked for most.
        self.0.iter().rev().any(|known| *known == mark)
    }

    fn touch(&mut self, mark: Mark) {
        if self.0.last() == Some(&mark) {
            return;
        }
        match self.0.iter().rposition(|known| *known == mark) {
            Some(place) => drop(self.0.remove(place)),
            None if self.0.len() == MAX => drop(self.0.remove(0)),
            None => {}
        }
        self.0.push(mark);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use asterism_protocol::{Await, Promise, blob_cid, content_cid};

    use super::*;

    fn wants(component: u64, blobs: &[u64]) -> Wants {
        let blobs: Vec<Mark> = blobs.iter().map(|blob| Mark(*blob)).collect();
        Wants {
            component: Mark(component),
            blobs: (!blobs.is_empty()).then(|| blobs.into()),
        }
    }

    #[test]
    fn the_longest_unused_is_forgotten() {
        let mut holdings = Holdings::default();
        for component in 0..COMPONENTS_MAX as u64 {
            holdings.fetch(&wants(component, &[component]));
        }
        holdings.fetch(&wants(0, &[]));
        holdings.fetch(&wants(1_000, &[]));
        assert!(holdings.fit(&wants(0, &[])).component, "used again");
        assert!(
            !holdings.fit(&wants(1, &[])).component,
            "the longest unused"
        );
        assert!(holdings.fit(&wants(2, &[])).component);
        assert_eq!(holdings.fit(&wants(1, &[1])).cost(), COMPONENT_WORTH);
    }

    #[test]
    fn what_was_made_is_at_hand() {
        let mut holdings = Holdings::default();
        holdings.make(&[Mark(7)]);
        let fit = holdings.fit(&wants(1, &[7, 8]));
        let expected = Fit {
            component: false,
            blobs: 1,
            of: 2,
        };
        assert_eq!(fit, expected);
        assert_eq!(fit.cost(), COMPONENT_WORTH + 1);
    }

    #[test]
    fn links_to_blobs_count_and_promises_do_not() {
        let blob = |n: u8| Value::Link(blob_cid(&[n]).to_link());
        let promise = Promise {
            branch: Await::Ok,
            instruction: content_cid(b"i"),
        };
        let map = BTreeMap::from([("a".to_owned(), blob(1))]);
        let values = [
            promise.to_value(),
            Value::List(vec![blob(1), Value::Map(map)]),
            blob(2),
        ];
        let marks = [1, 2].map(|n| Mark::of(&blob_cid(&[n])));
        assert_eq!(links(&values), marks);
        let many: Vec<Value> = (0..100).map(blob).collect();
        assert_eq!(links(&many).len(), INPUTS_MAX);
    }
}
