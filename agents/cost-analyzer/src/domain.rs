//! Decisions: what a workload costs, what is idle, by how much a request may be cut.

pub mod cost;
pub mod idle;
pub mod leftovers;
pub mod rightsizing;
