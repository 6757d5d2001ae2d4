//! What the agent decides: values in, findings out. No I/O, no clock.

pub mod finding;
pub mod limits;
pub mod names;
pub mod object;
pub mod objects;
pub mod pod_security;
pub mod policy;
pub mod quantity;
pub mod references;
pub mod rules;
pub mod schema;
pub mod validate;
pub mod workload;
pub mod yaml;
