//! The checks: what is dangerous in a rule, in a binding, in a workload.

mod rules;

use std::collections::BTreeSet;

use super::{
    Access, Finding, Grant, Objects, Subject,
    effective::aggregated,
    objects::{Role, Rule},
};
use crate::domain::Severity;
pub(super) use rules::starts_pods;
use rules::{CHECKS, Check};

/// Roles that Kubernetes gives to everybody, and that are harmless. Source: Kubernetes documentation,
/// "Using RBAC Authorization", sections "API discovery roles" and "Other component roles".
const PUBLIC_ROLES: [&str; 4] = [
    "ClusterRole/system:public-info-viewer",
    "ClusterRole/system:discovery",
    "ClusterRole/system:basic-user",
    "ClusterRole/system:service-account-issuer-discovery",
];

/// Whether a grant is one of those that the API server installs.
pub(super) fn is_system(grant: &Grant) -> bool {
    let own_name =
        grant.role.contains("/system:") || grant.binding == "ClusterRoleBinding/cluster-admin";
    own_name && grant.subject.is_system() || PUBLIC_ROLES.contains(&grant.role.as_str())
}

/// Dangerous rules that somebody is bound to.
pub(super) fn grants(access: &Access, include_system: bool) -> Vec<Finding> {
    access
        .grants()
        .iter()
        .filter(|grant| include_system || !is_system(grant))
        .flat_map(|grant| {
            judge(&grant.rules, grant.namespace.is_some())
                .into_iter()
                .map(|(check, severity, rule)| Finding {
                    check: check.id.to_owned(),
                    severity,
                    subject: Some(grant.subject.to_string()),
                    role: grant.role.clone(),
                    binding: Some(grant.binding.clone()),
                    scope: grant.scope().to_owned(),
                    rule: rule.to_line(),
                    reason: check.reason.to_owned(),
                    remediation: check.remediation.to_owned(),
                })
        })
        .collect()
}

/// Dangerous rules that nobody is bound to yet.
pub(super) fn unbound_roles(
    objects: &Objects,
    access: &Access,
    include_system: bool,
) -> Vec<Finding> {
    let bound: BTreeSet<&str> = access
        .grants()
        .iter()
        .map(|grant| grant.role.as_str())
        .collect();
    let standard = |role: &Role| {
        role.name.starts_with("system:")
            || role.namespace.is_none() && super::builtin::rules(&role.name).is_some()
    };
    objects
        .roles
        .iter()
        .filter(|role| !bound.contains(role.key().as_str()) && (include_system || !standard(role)))
        .flat_map(|role| {
            let rules = aggregated(role, objects);
            let findings = judge(&rules, role.namespace.is_some()).into_iter().map(
                |(check, severity, rule)| Finding {
                    check: check.id.to_owned(),
                    severity: lower(severity),
                    subject: None,
                    role: role.key(),
                    binding: None,
                    scope: role
                        .namespace
                        .clone()
                        .unwrap_or_else(|| String::from("cluster")),
                    rule: rule.to_line(),
                    reason: check.reason.to_owned(),
                    remediation: check.remediation.to_owned(),
                },
            );
            findings.collect::<Vec<_>>()
        })
        .collect()
}

/// The checks that fire on a set of rules, each once with the first rule that makes it fire.
fn judge(rules: &[Rule], namespaced: bool) -> Vec<(&'static Check, Severity, &Rule)> {
    CHECKS
        .iter()
        .filter(|check| !(namespaced && check.cluster_scoped))
        .filter_map(|check| {
            let worst = rules
                .iter()
                .filter(|rule| (check.fires)(rule))
                .min_by_key(|rule| !rule.resource_names.is_empty())?;
            let severity = if namespaced {
                lower(check.severity)
            } else {
                check.severity
            };
            let severity = if worst.resource_names.is_empty() {
                severity
            } else {
                lower(severity)
            };
            Some((check, severity, worst))
        })
        .collect()
}

fn lower(severity: Severity) -> Severity {
    match severity {
        Severity::Critical => Severity::High,
        Severity::High => Severity::Medium,
        Severity::Medium | Severity::Low => Severity::Low,
        Severity::Info | Severity::Unknown => severity,
    }
}

/// Dangerous subjects.
pub(super) fn bindings(access: &Access, include_system: bool) -> Vec<Finding> {
    access
        .grants()
        .iter()
        .filter(|grant| include_system || !is_system(grant))
        .flat_map(subject_findings)
        .collect()
}

/// What is dangerous about a binding itself.
struct Danger {
    check: &'static str,
    severity: Severity,
    reason: String,
    remediation: &'static str,
}

fn subject_findings(grant: &Grant) -> impl Iterator<Item = Finding> {
    let dangers = [
        full_power(grant),
        careless_subject(grant),
        foreign_subject(grant),
    ];
    dangers.into_iter().flatten().map(|danger| Finding {
        check: danger.check.to_owned(),
        severity: danger.severity,
        subject: Some(grant.subject.to_string()),
        role: grant.role.clone(),
        binding: Some(grant.binding.clone()),
        scope: grant.scope().to_owned(),
        rule: grant.rules.first().map(Rule::to_line).unwrap_or_default(),
        reason: danger.reason,
        remediation: danger.remediation.to_owned(),
    })
}

fn full_power(grant: &Grant) -> Option<Danger> {
    let everywhere = grant.namespace.is_none();
    (grant.role == "ClusterRole/cluster-admin").then(|| Danger {
        check: "cluster-admin-binding",
        severity: if everywhere {
            Severity::Critical
        } else {
            Severity::High
        },
        reason: String::from("may do everything in its scope, and undo every other control"),
        remediation: "bind a role with the few rules that are needed",
    })
}

fn careless_subject(grant: &Grant) -> Option<Danger> {
    match &grant.subject {
        Subject::User(name) | Subject::Group(name)
            if ["system:anonymous", "system:unauthenticated"].contains(&name.as_str()) =>
        {
            Some(Danger {
                check: "anonymous-binding",
                severity: Severity::Critical,
                reason: String::from(
                    "anybody who reaches the API server has these rights, without a credential",
                ),
                remediation: "delete the binding",
            })
        }
        Subject::Group(name) if grant.subject.is_everybody() => Some(Danger {
            check: "everybody-binding",
            severity: Severity::High,
            reason: format!(
                "every member of group {name} has these rights, so every workload or user of the cluster or namespace"
            ),
            remediation: "bind named service accounts or groups of your identity provider",
        }),
        Subject::ServiceAccount { name, .. } if name == "default" => Some(Danger {
            check: "default-service-account",
            severity: Severity::Medium,
            reason: String::from(
                "every pod of the namespace that names no service account of its own has these rights",
            ),
            remediation: "make a service account for the workload that needs them, and bind that",
        }),
        Subject::User(_) | Subject::Group(_) | Subject::ServiceAccount { .. } => None,
    }
}

fn foreign_subject(grant: &Grant) -> Option<Danger> {
    let (Subject::ServiceAccount { namespace, .. }, Some(scope)) =
        (&grant.subject, &grant.namespace)
    else {
        return None;
    };
    (namespace != scope).then(|| Danger {
        check: "cross-namespace-binding",
        severity: Severity::Medium,
        reason: format!("a workload of namespace {namespace} reaches into namespace {scope}"),
        remediation: "check that both namespaces belong to the same owner, or move the workload",
    })
}

/// Workloads that run with the default service account and its token.
pub(super) fn workloads(objects: &Objects) -> Vec<Finding> {
    let careless = objects
        .workloads
        .iter()
        .filter(|workload| workload.service_account == "default" && workload.token_mounted);
    careless
        .map(|workload| Finding {
            check: String::from("default-service-account-token"),
            severity: Severity::Low,
            subject: Some(format!("ServiceAccount:{}/default", workload.namespace)),
            role: workload.key.clone(),
            binding: None,
            scope: workload.namespace.clone(),
            rule: String::from("no serviceAccountName, automountServiceAccountToken not false"),
            reason: String::from("the pod holds a token of the default service account and shares whatever that account is ever bound to"),
            remediation: String::from("name a service account of its own, and set automountServiceAccountToken: false when the pod does not call the API"),
        })
        .collect()
}

/// Names of the checks of rules.
#[cfg(test)]
pub(super) fn check_ids() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.id)
}
