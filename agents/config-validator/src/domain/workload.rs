//! What the API server checks in a workload beyond its schema, and what a careful operator adds.

mod advice;
mod consistency;

pub use advice::{check_pod as advise_pod, check_role as advise_role};
pub use consistency::{check_pod, check_ports, check_selector};
