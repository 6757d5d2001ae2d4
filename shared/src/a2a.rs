//! The A2A 1.0 endpoint over JSON-RPC: errors, the agent card, the server, calls to peers.

pub(crate) mod card;
pub mod client;
pub(crate) mod endpoint;
pub(crate) mod envelope;
pub(crate) mod extensions;
pub mod fault;
pub(crate) mod methods;
pub(crate) mod stream;

pub use card::Offers;
pub use endpoint::{MAX_BODY, TASK_HEADER};
