//! What an executor said, after the work on it that decides nothing: bounds, hashes, signatures.
//!
//! This work is most of what a delivery costs, and needs nothing that the state machine knows. So it is done before, by
//! whoever holds the connection, on a thread of its own if it has one; and [`Checked`] can be made in no other way.

use std::sync::Arc;

use asterism_protocol::{
    Attestation, Cid, Conditions, MerkleTree, PublicKey, Signature, Statement, content_cid, encode,
    message::{Delivery, ToCoordinator},
};

/// A message whose bounds hold and whose signatures are true, or why it is a breach of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked(pub(crate) Said);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// Within its bounds; not a delivery.
    Message(ToCoordinator),
    /// Outcomes, signed by the key that is named.
    Delivered(Delivered),
    /// Whoever says this is turned away.
    Breach(String),
}

/// A delivery whose one signature was checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivered {
    pub(crate) key: PublicKey,
    pub(crate) items: Vec<Item>,
    pub(crate) batch: Arc<Batch>,
}

/// One outcome of a delivery, with its name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) delivery: Delivery,
    /// The outcome's.
    pub(crate) cid: Cid,
    /// Size of the encoded outcome.
    pub(crate) bytes: u32,
}

/// What was signed at once.
#[derive(Debug, PartialEq)]
pub(crate) struct Batch {
    key: PublicKey,
    tree: MerkleTree,
    signature: Signature,
}

impl Batch {
    /// The evidence for the statement at `place`, which was made under `conditions`.
    pub(crate) fn attestation(&self, place: usize, conditions: Conditions) -> Attestation {
        Attestation {
            key: self.key,
            conditions,
            path: self.tree.path(place),
            signature: self.signature,
        }
    }
}

/// Checks what comes over one connection, in its order.
#[derive(Debug, Default)]
pub struct Checker {
    /// The key that hello named. Whether it proved it, the scheduler decides.
    key: Option<PublicKey>,
}

impl Checker {
    /// Checks a message. Whatever is wrong with it travels on as the breach that it is: what follows from one is for the
    /// scheduler to decide.
    pub fn check(&mut self, message: ToCoordinator) -> Checked {
        if let Err(error) = message.check() {
            return Checked(Said::Breach(error.to_string()));
        }
        Checked(match (message, self.key) {
            (ToCoordinator::Hello(hello), _) => {
                self.key.get_or_insert(hello.key);
                Said::Message(ToCoordinator::Hello(hello))
            }
            (ToCoordinator::Deliver { items, signature }, Some(key)) => {
                match Delivered::check(key, items, signature) {
                    Ok(delivered) => Said::Delivered(delivered),
                    Err(reason) => Said::Breach(reason),
                }
            }
            (ToCoordinator::Deliver { .. }, None) => Said::Breach("say hello first".to_owned()),
            (message, _) => Said::Message(message),
        })
    }
}

impl Delivered {
    fn check(key: PublicKey, items: Vec<Delivery>, signature: Signature) -> Result<Self, String> {
        let mut statements = Vec::with_capacity(items.len());
        let items = items
            .into_iter()
            .map(|delivery| {
                let encoded = encode(&delivery.outcome);
                let cid = content_cid(&encoded);
                statements.push(Statement {
                    outcome: cid,
                    conditions: delivery.conditions,
                });
                let bytes = encoded.len() as u32;
                Item {
                    delivery,
                    cid,
                    bytes,
                }
            })
            .collect();
        let tree = MerkleTree::new(&statements);
        key.verify(&tree.signed_bytes(), &signature)
            .map_err(|error| error.to_string())?;
        let batch = Arc::new(Batch {
            key,
            tree,
            signature,
        });
        Ok(Self { key, items, batch })
    }
}
