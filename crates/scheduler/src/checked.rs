//! What an executor said, after the work on it that decides nothing: bounds, hashes, signatures.
//!
//! This work is most of what a delivery costs, and needs nothing that the state machine knows. So it is done before, by
//! whoever holds the connection, on a thread of its own if it has one; and [`Checked`] can be made in no other way.

use asterism_protocol::{
    MerkleTree, Named, PublicKey, Signature, Signed, Statement,
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
}

/// One outcome of a delivery, with its name and what its receipt says of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) delivery: Delivery,
    pub(crate) named: Named,
    pub(crate) signed: Signed,
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
        let named: Vec<Named> = items.iter().map(|item| Named::of(&item.outcome)).collect();
        let statements: Vec<Statement> = named
            .iter()
            .zip(&items)
            .map(|(named, item)| Statement {
                outcome: named.cid,
                conditions: item.conditions,
            })
            .collect();
        let tree = MerkleTree::new(&statements);
        key.verify(&tree.signed_bytes(), &signature)
            .map_err(|error| error.to_string())?;
        let conditions = statements.iter().map(|statement| statement.conditions);
        let signed = Signed::batch(key, &tree, signature, conditions);
        let items = items.into_iter().zip(named).zip(signed);
        let items = items.map(|((delivery, named), signed)| Item {
            delivery,
            named,
            signed,
        });
        Ok(Self {
            key,
            items: items.collect(),
        })
    }
}
