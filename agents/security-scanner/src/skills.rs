//! The skills of this agent.

mod audit_rbac;
mod detect_secrets;
mod scan_vulnerabilities;
mod sources;

pub use audit_rbac::{AuditRbac, AuditRbacInput, AuditRbacOutput};
pub use detect_secrets::{DetectSecrets, DetectSecretsInput, DetectSecretsOutput, SecretFinding};
pub use scan_vulnerabilities::{
    AdvisoryState, ScanVulnerabilities, ScanVulnerabilitiesInput, ScanVulnerabilitiesOutput,
};
pub use sources::{InlineFile, Scanned, Skipped};
