//! What every [`Journal`](super::Journal) and every [`Blobs`](super::Blobs) must do, instantiated for each
//! implementation; and what only those on a disk, in a database or in a store elsewhere can do wrong.

mod blobs;
mod database;
mod disk;
mod encrypted;
mod journal;
mod objects;
#[path = "../../../tests/common/servers/mod.rs"]
#[expect(dead_code, reason = "the program's tests need more of it")]
mod servers;
mod sharing;

use std::collections::BTreeMap;

use asterism_protocol::{Cid, Out, Receipt, Remark, Value, content_cid, encode};

use super::{Batch, Computed};

pub(super) fn receipt(number: i128) -> Receipt {
    let meta = BTreeMap::from([("op".to_owned(), Value::String("add".to_owned()))]);
    Receipt {
        ran: content_cid(b"ran"),
        out: Out::Ok(Value::Integer(number)),
        meta,
        iss: None,
        prf: Vec::new(),
    }
}

pub(super) fn computed(instruction: Cid, number: i128) -> Computed {
    let remark = Remark {
        elapsed_us: u64::try_from(number).unwrap(),
        ..Remark::default()
    };
    let receipt = receipt(number);
    Computed {
        cid: receipt.cid(),
        instruction,
        receipt: encode(&receipt),
        remark,
    }
}

pub(super) fn events(texts: &[&str]) -> Batch {
    Batch {
        events: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        receipts: Vec::new(),
    }
}

/// The tests of a module for one implementation; `$with` calls its argument with a new, empty store.
macro_rules! instantiate {
    ($name:ident, $suite:ident, $with:expr, [$($test:ident),+ $(,)?]) => {
        mod $name {
            use super::*;

            $(#[test] fn $test() { ($with)(&super::$suite::$test); })+
        }
    };
}
pub(super) use instantiate;
