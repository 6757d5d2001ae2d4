//! The harness: all eight agents in one process, or as processes, over real mTLS on loopback.

#![allow(
    clippy::panic,
    clippy::large_futures,
    clippy::indexing_slicing,
    reason = "a harness fails loudly, and starts eight agents in one future"
)]

pub mod acts;
pub mod conformance;
pub mod e2e;
pub mod interop;
pub mod mesh;
pub mod otlp;
pub mod processes;
pub mod tools;
pub mod waiting;
pub mod wire;

pub use mesh::{Mesh, call_error, post};
pub use processes::Processes;
pub use wire::{Verdict, Wire};
