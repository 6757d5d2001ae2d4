//! The control plane itself: what a kubelet would show is shown, rights are enforced, Helm works.
//!
//! All tests share one control plane, each in a namespace of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail loudly, and figures are printed"
)]

mod helm;
mod nodes;
mod pods;
mod rights;
mod rollouts;
mod support;
