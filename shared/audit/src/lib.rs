//! The audit trail of an agent: signed, chained, durable before its effect is acknowledged.
//!
//! A [`Record`] says who asked an agent for what, and what was decided. Its RFC 8785 bytes are wrapped in a DSSE
//! [`Envelope`] that the agent signs with its Ed25519 key. Each record carries the agent's own counter and the hash
//! of the record before it, so that a missing, changed or doubled record shows ([`Head::follow`]).
//!
//! The [`Recorder`] of an agent puts records into its durable outbox; the agent delivers them from there to
//! compliance-auditor at least once. Inputs and outputs appear as SHA-256 only.

pub mod chain;
pub mod envelope;
pub mod record;
pub mod recorder;

pub use chain::{Break, Head};
pub use envelope::{Envelope, Verified, VerifyError};
pub use record::{Event, Phase, Record};
pub use recorder::{RecordError, Recorder};
