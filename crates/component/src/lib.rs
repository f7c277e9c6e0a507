//! What a component says of itself: its functions and their types, JSON Schema for them, values by type in both
//! directions, and the wrapping of core modules. No engine in it: the gateway and both hosts use it.

mod inspect;
mod refusal;
mod types;
mod val;

pub use crate::{
    inspect::{Component, inspect},
    refusal::Refusal,
    types::{Function, Type},
    val::{Val, ValueError, args_of_values, val_of_value, value_of_val},
};
