//! The pages, and what they are made of.

pub mod absent;
pub mod executors;
pub mod functions;
pub mod here;
pub mod run;
pub mod schema;
pub mod simulate;
pub mod ui;
pub mod value;
pub mod workflows;
