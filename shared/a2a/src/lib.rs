//! A2A 1.0 without a server: the objects on the wire, the signed agent card, and a client.

pub mod card;
pub mod types;
