//! The table of dangerous rules.
//!
//! Sources: Kubernetes documentation, "Role Based Access Control Good Practices", section
//! "Kubernetes RBAC - privilege escalation risks"; CIS Kubernetes Benchmark section 5.1.

use crate::domain::{
    Severity::{self, Critical, High, Medium},
    rbac::objects::Rule,
};

/// One check of a rule.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    /// Whether it concerns cluster-scoped resources: a `RoleBinding` cannot grant those.
    pub(super) cluster_scoped: bool,
    pub(super) fires: fn(&Rule) -> bool,
    pub(super) reason: &'static str,
    pub(super) remediation: &'static str,
}

const RBAC: &str = "rbac.authorization.k8s.io";
const WRITE: &[&str] = &["create", "update", "patch"];
const READ: &[&str] = &["get", "list", "watch"];
const WORKLOADS: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "replicationcontrollers"),
    ("apps", "deployments"),
    ("apps", "daemonsets"),
    ("apps", "statefulsets"),
    ("apps", "replicasets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
];

/// Whether a rule lets its holder start pods. `create` cannot be limited by name.
pub(in super::super) fn starts_pods(rule: &Rule) -> bool {
    WORKLOADS
        .iter()
        .any(|(group, resource)| rule.allows(group, resource, WRITE))
}

/// Everything-rules are reported as such and not once more for each thing they include.
fn some(rule: &Rule, fires: impl Fn(&Rule) -> bool) -> bool {
    !rule.allows_everything() && fires(rule)
}

fn has_star(list: &[String]) -> bool {
    list.iter().any(|item| item == "*")
}

const LEAST: &str = "name exactly what is needed";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "all-permissions",
        severity: Critical,
        cluster_scoped: false,
        fires: Rule::allows_everything,
        reason: "every verb on every resource of every API group, now and in future",
        remediation: "list the resources and verbs that the workload uses; an audit log of its calls shows them",
    },
    Check {
        id: "wildcard-verbs",
        severity: High,
        cluster_scoped: false,
        fires: |rule| {
            some(rule, |rule| {
                has_star(&rule.verbs) && !rule.resources.is_empty()
            })
        },
        reason: "every verb, so also delete, impersonate, escalate and verbs of future versions",
        remediation: LEAST,
    },
    Check {
        id: "wildcard-resources",
        severity: High,
        cluster_scoped: false,
        fires: |rule| some(rule, |rule| has_star(&rule.resources)),
        reason: "every resource of the group, so also secrets and resources of future versions",
        remediation: LEAST,
    },
    Check {
        id: "wildcard-api-groups",
        severity: Medium,
        cluster_scoped: false,
        fires: |rule| some(rule, |rule| has_star(&rule.api_groups)),
        reason: "every API group, so also those of operators that are installed later",
        remediation: LEAST,
    },
    Check {
        id: "non-resource-urls",
        severity: Medium,
        cluster_scoped: true,
        fires: |rule| {
            has_star(&rule.non_resource_urls) && (has_star(&rule.verbs) || !rule.verbs.is_empty())
        },
        reason: "every path of the API server outside the API groups, such as /metrics, /logs and /debug",
        remediation: LEAST,
    },
    Check {
        id: "secrets-read",
        severity: High,
        cluster_scoped: false,
        fires: |rule| some(rule, |rule| rule.allows("", "secrets", READ)),
        reason: "reads secrets, so also tokens and certificates of others; list and watch return their content too",
        remediation: "mount the one secret that is needed, or limit the rule with resourceNames and get",
    },
    Check {
        id: "secrets-write",
        severity: Medium,
        cluster_scoped: false,
        fires: |rule| some(rule, |rule| rule.allows("", "secrets", WRITE)),
        reason: "replaces secrets, so also credentials and certificates that others trust",
        remediation: "limit the rule to the secrets that it owns",
    },
    Check {
        id: "rbac-escalate",
        severity: Critical,
        cluster_scoped: false,
        fires: |rule| {
            some(rule, |rule| {
                rule.allows(RBAC, "clusterroles", &["escalate"])
                    || rule.allows(RBAC, "roles", &["escalate"])
            })
        },
        reason: "writes roles with more rights than it has itself",
        remediation: "remove the verb escalate",
    },
    Check {
        id: "rbac-bind",
        severity: Critical,
        cluster_scoped: false,
        fires: |rule| {
            some(rule, |rule| {
                rule.allows(RBAC, "clusterroles", &["bind"])
                    || rule.allows(RBAC, "roles", &["bind"])
            })
        },
        reason: "binds roles with more rights than it has itself, up to cluster-admin",
        remediation: "remove the verb bind, or limit it with resourceNames to harmless roles",
    },
    Check {
        id: "rbac-write",
        severity: High,
        cluster_scoped: false,
        fires: |rule| {
            some(rule, |rule| {
                [
                    "roles",
                    "clusterroles",
                    "rolebindings",
                    "clusterrolebindings",
                ]
                .iter()
                .any(|resource| rule.allows(RBAC, resource, WRITE))
            })
        },
        reason: "changes who may do what, and hands its own rights to others",
        remediation: "leave changes of access to the delivery pipeline",
    },
    Check {
        id: "impersonate",
        severity: Critical,
        cluster_scoped: false,
        fires: |rule| {
            some(rule, |rule| {
                ["users", "groups", "serviceaccounts"]
                    .iter()
                    .any(|resource| rule.allows("", resource, &["impersonate"]))
            })
        },
        reason: "acts as somebody else; as group system:masters it is beyond every check",
        remediation: "limit the rule with resourceNames to the identities it stands in for",
    },
    Check {
        id: "pods-exec",
        severity: High,
        cluster_scoped: false,
        fires: |rule| {
            some(rule, |rule| {
                ["pods/exec", "pods/attach"]
                    .iter()
                    .any(|resource| rule.allows("", resource, &["create", "get"]))
                    || rule.allows("", "pods/ephemeralcontainers", &["update", "patch"])
            })
        },
        reason: "runs commands in containers and takes over their service accounts",
        remediation: "give it to people for the time of an incident only",
    },
    Check {
        id: "pods-portforward",
        severity: Medium,
        cluster_scoped: false,
        fires: |rule| {
            some(rule, |rule| {
                rule.allows("", "pods/portforward", &["create", "get"])
            })
        },
        reason: "reaches ports of pods past the network policies",
        remediation: "give it to people for the time of an incident only",
    },
    Check {
        id: "create-workloads",
        severity: High,
        cluster_scoped: false,
        fires: |rule| some(rule, starts_pods),
        reason: "starts pods, which may use any service account, secret and volume of the namespace",
        remediation: "leave deployments to the delivery pipeline, and enforce the restricted Pod Security Standard on the namespace",
    },
    Check {
        id: "service-account-tokens",
        severity: High,
        cluster_scoped: false,
        fires: |rule| {
            some(rule, |rule| {
                rule.allows("", "serviceaccounts/token", &["create"])
            })
        },
        reason: "issues tokens for service accounts and so acts as any of them",
        remediation: "limit the rule with resourceNames to its own service account",
    },
    Check {
        id: "nodes-proxy",
        severity: Critical,
        cluster_scoped: true,
        fires: |rule| {
            some(rule, |rule| {
                rule.allows(
                    "",
                    "nodes/proxy",
                    &["get", "create", "update", "patch", "delete"],
                )
            })
        },
        reason: "speaks to kubelets directly: runs commands in every pod of a node, past admission control and audit log",
        remediation: "use nodes/metrics or nodes/stats for monitoring",
    },
    Check {
        id: "nodes-write",
        severity: Medium,
        cluster_scoped: true,
        fires: |rule| {
            some(rule, |rule| {
                rule.allows("", "nodes", WRITE) || rule.allows("", "nodes/status", WRITE)
            })
        },
        reason: "changes labels and taints of nodes and so draws pods with secrets to a node of its choice",
        remediation: LEAST,
    },
    Check {
        id: "approve-certificates",
        severity: Critical,
        cluster_scoped: true,
        fires: |rule| {
            some(rule, |rule| {
                let group = "certificates.k8s.io";
                rule.allows(
                    group,
                    "certificatesigningrequests/approval",
                    &["update", "patch"],
                ) && rule.verbs.iter().any(|v| v != "approve")
                    || rule.allows(group, "signers", &["approve", "sign"])
            })
        },
        reason: "approves client certificates in any name, also in that of group system:masters",
        remediation: "limit the rule with resourceNames to the one signer it serves",
    },
    Check {
        id: "admission-webhooks",
        severity: Critical,
        cluster_scoped: true,
        fires: |rule| {
            some(rule, |rule| {
                [
                    "mutatingwebhookconfigurations",
                    "validatingwebhookconfigurations",
                ]
                .iter()
                .any(|resource| rule.allows("admissionregistration.k8s.io", resource, WRITE))
            })
        },
        reason: "sees every object that is written, secrets included, and changes it",
        remediation: "limit the rule with resourceNames to its own configuration, and to update and patch",
    },
    Check {
        id: "persistent-volumes",
        severity: High,
        cluster_scoped: true,
        fires: |rule| {
            some(rule, |rule| {
                rule.allows("", "persistentvolumes", &["create"])
            })
        },
        reason: "makes hostPath volumes and so reads and writes the files of nodes",
        remediation: "leave volumes to a storage class and its provisioner",
    },
    Check {
        id: "namespaces-write",
        severity: Medium,
        cluster_scoped: true,
        fires: |rule| {
            some(rule, |rule| {
                rule.allows("", "namespaces", &["update", "patch"])
            })
        },
        reason: "changes labels of namespaces, which switch Pod Security and network policies off",
        remediation: LEAST,
    },
];
