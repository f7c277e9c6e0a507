//! What an executor offers, and what an instruction needs of it.

use asterism_protocol::{PublicKey, Requirements, Timestamp, message::Capabilities};

use crate::{ConnectionId, trust::Owner};

/// An executor that asks.
pub(crate) struct Asker<'a> {
    pub(crate) key: &'a PublicKey,
    /// `None` while its return is waited for.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) owner: &'a Owner,
    pub(crate) name: &'a str,
    pub(crate) capabilities: &'a Capabilities,
    pub(crate) memory: u64,
    pub(crate) trusted: bool,
    /// Why it gets nothing at all, if it does not.
    pub(crate) barred: Option<&'static str>,
    pub(crate) now: Timestamp,
}

/// What an instruction needs beside memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needs(pub(crate) Requirements);

impl Needs {
    /// What this executor lacks, if it lacks anything.
    pub(crate) fn obstacle(&self, asker: &Asker<'_>) -> Option<String> {
        let Requirements {
            capabilities,
            labels,
            trusted,
            executor,
        } = &self.0;
        let offers = &asker.capabilities.offers;
        if let Some(missing) = capabilities.iter().find(|name| !offers.contains(*name)) {
            return Some(format!("it does not offer {missing}"));
        }
        for (label, value) in labels {
            match asker.capabilities.labels.get(label) {
                Some(has) if has == value => {}
                Some(has) => return Some(format!("its {label} is {has}, not {value}")),
                None => return Some(format!("it has no label {label}={value}")),
            }
        }
        if *trusted && !asker.trusted {
            return Some("the operator does not trust it".to_owned());
        }
        let named = executor.is_empty() || executor == asker.name || *executor == asker.key.did();
        (!named).then(|| format!("it is not {executor}"))
    }
}
