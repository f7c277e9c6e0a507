//! The native shell of an executor: it does what a [`Session`](asterism_executor::Session) asks for, with a WebSocket,
//! HTTP, a key file and a thread for each host.
//!
//! It decides nothing: when to connect, what to fetch, what to run and when to stop is the session's affair. It does not
//! know which engine runs the tasks; whoever calls [`run`] brings the hosts, and gives them the way out ([`Outgoing`]) that
//! tasks with effects may have.

mod cache;
mod http;
mod key;
mod line;
mod server;
mod shell;
mod store;
mod threads;

pub use crate::{
    http::{AllowHttp, AllowHttpError, Outgoing, Over},
    key::{KeyError, load_key, load_secret},
    server::{Server, ServerError},
    shell::{Error, Options, run},
};
