//! Composing as tools do: with the library behind `wasm-tools compose`, in the guest `tests/guests/composer`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use asterism_protocol::Value;

use crate::{guests, tool::Tool};

/// What an import of a component is connected to: its name, a component, and the function that this exports.
pub(super) type Plug<'a> = (&'a str, &'a [u8], &'a str);

/// What composes.
pub(super) struct Composer(Tool);

impl Composer {
    pub(super) fn new() -> Self {
        Self(Tool::new(guests::COMPOSER))
    }

    /// A component with its imports connected to exports of others; what those import is imported by the whole.
    ///
    /// # Errors
    /// What does not fit together.
    pub(super) fn compose(&mut self, socket: &[u8], plugs: &[Plug<'_>]) -> Result<Vec<u8>> {
        let plug = |(import, component, export): &Plug<'_>| {
            Value::Map(BTreeMap::from([
                ("import".to_owned(), Value::String((*import).to_owned())),
                ("component".to_owned(), Value::Bytes(component.to_vec())),
                ("export".to_owned(), Value::String((*export).to_owned())),
            ]))
        };
        let args = vec![
            Value::Bytes(socket.to_vec()),
            Value::List(plugs.iter().map(plug).collect()),
        ];
        match self.0.call("compose", args) {
            Ok(Value::Bytes(component)) => Ok(component),
            said => bail!("nothing was composed: {said:?}"),
        }
    }
}
