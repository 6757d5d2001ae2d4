//! What decides: secret detection, advisory matching, RBAC analysis. Values in, values out.

pub mod rbac;
pub mod secrets;
pub mod severity;
pub mod vulnerabilities;

pub use severity::{Severity, SeverityCounts};
