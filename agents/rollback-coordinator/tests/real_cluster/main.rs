//! What a rollback takes back beside the workload, on the real control plane and with exactly the agent's rights.
//!
//! All tests share one control plane and the namespace that the agent may touch, each with names of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::large_futures,
    reason = "tests fail loudly, and figures are printed"
)]

mod agent;
mod configuration;
mod crash;
mod helm;
mod rollouts;
mod support;
mod traffic;
