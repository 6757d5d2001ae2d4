#![doc = include_str!("../README.md")]

pub mod card;
pub mod client;
pub mod signature;
pub mod types;

/// The protocol version spoken here, as `A2A-Version` and a card's `protocolVersion` have it.
pub const PROTOCOL_VERSION: &str = "1.0";

/// Extension that makes sending repeatable: the same principal and `messageId` always give the same task.
pub const IDEMPOTENT_SEND: &str = "https://agent-mesh.dev/extensions/idempotent-send/v1";

/// Extension that lets streams which were cut off go on after `Last-Event-ID`.
pub const RESUMABLE_STREAMS: &str = "https://agent-mesh.dev/extensions/resumable-streams/v1";
