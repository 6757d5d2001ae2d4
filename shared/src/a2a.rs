//! The A2A 1.0 endpoint over JSON-RPC: wire types, errors, the agent card, server and client.

pub mod card;
pub mod client;
pub mod endpoint;
pub mod envelope;
pub mod fault;
pub(crate) mod methods;
pub use ::a2a::types;
