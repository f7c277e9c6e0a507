//! The conformance table: the same calls on every host, and what came of them, cell by cell. `cargo xtask conformance` makes
//! docs/conformance.md.

mod ask;
mod compose;
mod corpus;
mod table;

pub use self::{
    ask::{Cell, Hosts, Programs},
    corpus::{Call, Recorded, Twin, corpus},
    table::{Made, differences, disagreeing, make},
};
