//! What a component says of itself: its functions and their types, JSON Schema for them, values by type in both
//! directions, the canonical ABI, and the wrapping of core modules. No engine in it: the gateway and both hosts use it.

pub mod abi;
mod call;
mod component_name;
mod features;
mod inspect;
mod memories;
mod name;
mod refusal;
mod schema;
mod shelf;
mod types;
mod val;
#[cfg(feature = "wrap")]
mod wrap;

#[cfg(feature = "wrap")]
pub use crate::wrap::{DECLARATION_SECTION, wrap, wrap_as};
pub use crate::{
    call::{args_by_name, args_by_text, float_of_text, value_of_text},
    component_name::{COMPONENT_NAMES, check_component_name, component_name},
    features::features,
    inspect::{COMPONENT_BYTES_MAX, Component, Import, check, inspect, outline},
    refusal::Refusal,
    shelf::{Found, Shelf, Shelved},
    types::{Function, Type},
    val::{
        Judge, Val, ValueError, arg_mistakes, args_of_values, can_come_to, canonical_args,
        out_of_val, val_of_value, value_of_val,
    },
};
