//! A workflow as a picture: where tasks stand ([`layout`]) and how they are drawn and moved about in ([`view`]).

pub mod layout;
pub mod view;
