//! A2A 1.0 without a server: the objects on the wire, the signed agent card, and a client.

pub mod card;
pub mod types;

/// Extension of the protocol: the same message of the same caller gives the same task.
pub const IDEMPOTENT_SEND: &str = "https://agent-mesh.dev/extensions/idempotent-send/v1";
/// Extension of the protocol: streams that were cut off go on after `Last-Event-ID`.
pub const RESUMABLE_STREAMS: &str = "https://agent-mesh.dev/extensions/resumable-streams/v1";
