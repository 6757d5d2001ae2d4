#![doc = include_str!("../README.md")]

pub mod card;
pub mod client;
pub mod signature;
pub mod types;

/// The protocol version spoken here, as `A2A-Version` and a card's `protocolVersion` have it.
pub const PROTOCOL_VERSION: &str = "1.0";

/// Extension that makes sending repeatable: the same principal and `messageId` always give the same task.
pub const IDEMPOTENCY_EXTENSION: &str = "https://agent-mesh.dev/extensions/idempotent-send/v1";
