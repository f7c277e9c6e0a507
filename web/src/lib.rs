//! The panel and the Web Workers of a donating tab.
//!
//! Four programs: `panel` is the page ([`app`]); `talk-worker` and `compute-worker` are the two kinds of dedicated worker of
//! a donating tab ([`talk`], [`compute`]); `here-worker` is the one that talks with a coordinator of its own ([`here`]), or
//! simulates ([`simulate`]). So a visitor loads only what is used. Only this crate knows the DOM.

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
pub mod simulate;
pub mod talk;
pub mod watch;
