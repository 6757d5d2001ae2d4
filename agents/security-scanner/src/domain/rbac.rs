//! Who may do what in a cluster, and which of it is dangerous.

mod builtin;
mod checks;
pub mod effective;
mod escalation;
pub mod objects;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use effective::{Access, Grant, Permission, Subject};
pub use objects::{Objects, ReadObjectsError};

use crate::domain::Severity;

/// Something a subject may do, or a role allows, that should not be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The check, for example `wildcard-verbs` or `secrets-read`.
    pub check: String,
    /// How bad it is: one step lower inside one namespace, and for roles that nobody is bound to.
    pub severity: Severity,
    /// Who, for example `ServiceAccount:shop/web`, `User:alice`, `Group:system:authenticated`.
    /// Absent for a role without a binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The role, for example `ClusterRole/shop-operator` or `Role/shop/reader`.
    pub role: String,
    /// The binding that gives it, for example `ClusterRoleBinding/shop-operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// Where: `cluster`, or the namespace.
    pub scope: String,
    /// The rule, as `verbs resources.apiGroups [names]`.
    pub rule: String,
    /// What can be done with it.
    pub reason: String,
    /// What to do about it.
    pub remediation: String,
}

/// The whole judgement.
#[derive(Debug)]
pub struct Audit {
    /// Findings, worst first.
    pub findings: Vec<Finding>,
    /// Roles that bindings name but that are not there: what they allow was not judged.
    pub unresolved: Vec<String>,
    /// Number of distinct subjects of bindings.
    pub subjects: usize,
}

/// Judges roles and bindings. Objects that Kubernetes itself installs (`system:` names) are left out
/// unless `include_system`.
pub fn audit(objects: &Objects, include_system: bool) -> Audit {
    let access = Access::resolve(objects);
    let mut findings = checks::grants(&access, include_system);
    findings.extend(checks::unbound_roles(objects, &access, include_system));
    findings.extend(checks::bindings(&access, include_system));
    findings.extend(checks::workloads(objects));
    findings.extend(escalation::paths(&access, include_system));
    findings.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then_with(|| {
            (&a.subject, &a.role, &a.check, &a.scope)
                .cmp(&(&b.subject, &b.role, &b.check, &b.scope))
        })
    });
    findings.dedup();
    Audit {
        findings,
        unresolved: access.unresolved().to_vec(),
        subjects: access.subjects().len(),
    }
}

#[cfg(test)]
mod tests;
