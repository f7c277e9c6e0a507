//! The panel and the Web Workers of a donating tab.
//!
//! Two programs: `panel` is the page ([`app`]), `worker` is both kinds of dedicated worker: the one that talks
//! ([`talk`]) and those that compute ([`compute`]). Only this crate knows the DOM.

pub mod app;
pub mod compute;
pub mod coordinator;
pub mod donate;
pub mod format;
pub mod graph;
pub mod here;
pub mod js;
pub mod pages;
pub mod route;
pub mod talk;
pub mod watch;
