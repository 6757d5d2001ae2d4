//! Allowed against blocked actions, commands against allowed actions, cluster rights against least
//! privilege, metrics against unbounded labels.

use std::collections::BTreeSet;

use crate::{Approval, Finding, KubernetesScope, Manifest, MetricKind, Tier};

/// Labels whose values have no bound: every new value is a new time series.
const UNBOUNDED: [&str; 16] = [
    "cve_id",
    "component",
    "workload",
    "pod",
    "container",
    "trace_id",
    "task_id",
    "request_id",
    "user",
    "ip",
    "url",
    "path",
    "query",
    "message",
    "error",
    "timestamp",
];

pub(super) fn check(manifest: &Manifest, findings: &mut Vec<Finding>) {
    let autonomy = &manifest.autonomy;
    for (index, action) in autonomy.allowed_actions.iter().enumerate() {
        if autonomy.blocked_actions.contains(action) {
            let pointer = format!("/spec/autonomy/allowed_actions/{index}");
            findings.push(
                Finding::error("allowed-and-blocked", pointer, "no blocked action").got(action),
            );
        }
    }
    if autonomy.level.as_deref() == Some("supervised")
        && autonomy.approval_required == Approval::All(false)
    {
        let expected = "approvals, because a supervised agent has every action approved";
        findings.push(
            Finding::warning(
                "autonomy-level",
                "/spec/autonomy/approval_required",
                expected,
            )
            .got("none"),
        );
    }
    commands(manifest, findings);
    kubernetes(manifest, findings);
    metrics(manifest, findings);
}

fn commands(manifest: &Manifest, findings: &mut Vec<Finding>) {
    let mut names = BTreeSet::new();
    for (index, command) in manifest.skills.iter().enumerate() {
        let pointer = format!("/spec/messaging/commands/{index}/name");
        if !names.insert(command.name.as_str()) {
            findings.push(
                Finding::error("duplicate-command", pointer, "each command once")
                    .got(&command.name),
            );
        } else if !manifest.permits(&command.name) {
            let expected = "a command that autonomy.allowed_actions allows and nothing blocks";
            findings
                .push(Finding::error("command-not-allowed", pointer, expected).got(&command.name));
        }
    }
}

fn kubernetes(manifest: &Manifest, findings: &mut Vec<Finding>) {
    for rule in manifest.kubernetes_rules() {
        let named = |words: &[String], word: &str| words.iter().any(|w| w == word);
        if [&rule.api_groups, &rule.resources, &rule.verbs]
            .into_iter()
            .any(|words| named(words, "*"))
        {
            let expected = "API groups, resources and verbs by their names";
            findings.push(Finding::error("kubernetes-wildcard", "/spec/tools", expected).got("*"));
        }
        // An operator that restores what a release consists of needs its secrets, and nobody else does.
        let founded = manifest
            .access
            .as_ref()
            .is_some_and(|access| access.tier == Tier::WriteElevated)
            && rule.scope == KubernetesScope::Namespace
            && rule
                .reason
                .as_ref()
                .is_some_and(|why| !why.trim().is_empty());
        if named(&rule.resources, "secrets") && !founded {
            let expected = "no access to secrets of the cluster, or tier_3_write_elevated, scope namespace and a reason";
            findings
                .push(Finding::error("kubernetes-secrets", "/spec/tools", expected).got("secrets"));
        }
    }
}

fn metrics(manifest: &Manifest, findings: &mut Vec<Finding>) {
    for (index, metric) in manifest.observability.custom_metrics.iter().enumerate() {
        let pointer = format!("/spec/observability/metrics/customMetrics/{index}");
        if let Some(label) = metric
            .labels
            .iter()
            .find(|label| UNBOUNDED.contains(&label.as_str()))
        {
            let expected = "labels with a bounded set of values";
            findings.push(
                Finding::warning("unbounded-label", format!("{pointer}/labels"), expected)
                    .got(label),
            );
        }
        if metric.kind == MetricKind::Counter && !metric.name.ends_with("_total") {
            let expected = "a counter's name ending in _total";
            findings.push(
                Finding::warning("metric-name", format!("{pointer}/name"), expected)
                    .got(&metric.name),
            );
        }
    }
}
