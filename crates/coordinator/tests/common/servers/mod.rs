//! Servers of the tests' own. They end with the test, however that ends.

pub(crate) mod certificate;
mod guard;
pub(crate) mod postgres;
pub(crate) mod s3;

use std::{net::TcpListener, time::Duration};

/// For the slowest machine to start one.
const PATIENCE: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
