//! A workflow as a picture: where tasks stand ([`layout`]), what is seen of them (`picture`) and how they are drawn and moved
//! about in ([`view`]).

pub mod layout;
mod picture;
pub mod view;
