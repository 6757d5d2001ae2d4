//! Decisions: what a workload used, what it should request, how it should scale, whether a resize is safe.

pub mod distribution;
pub mod histogram;
pub mod hpa;
pub mod hpa_advice;
pub mod resize;
pub mod utilization;
pub mod vpa;
