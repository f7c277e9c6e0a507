//! The session against a driver that answers as a shell and a coordinator would.

mod assignment;
mod attempts;
mod commitments;
mod connection;
mod deliveries;
mod driver;
mod leaving;
mod limits;
mod pipeline;
mod polling;
mod transfers;
