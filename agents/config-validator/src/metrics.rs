//! The agent's own metrics, beside those that every agent has.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::domain::{finding::Counts, validate::Verdict};

/// Packages of configured policies that get a label value of their own.
const MAX_POLICIES: usize = 100;

/// Kinds that get a label value of their own: those that policies are written for.
const KINDS: [&str; 22] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Ingress",
    "Job",
    "Namespace",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "ReplicaSet",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
    "ServiceAccount",
    "StatefulSet",
];

/// Counters of this agent.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    validations: Family<ValidationLabels, Counter>,
    violations: Family<ViolationLabels, Counter>,
    packages: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValidationLabels {
    status: &'static str,
    severity: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViolationLabels {
    policy: String,
    resource_type: &'static str,
}

impl Metrics {
    /// Registers the counters.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self {
            validations,
            violations,
            packages: _,
        } = &metrics;
        registry.register(
            "validations",
            "Validations by verdict and worst severity",
            validations.clone(),
        );
        registry.register(
            "policy_violations",
            "Results of deny and violation rules by package and kind",
            violations.clone(),
        );
        metrics
    }

    /// Counts a validation: its verdict, or none when it failed.
    pub fn validated(&self, outcome: Option<(Verdict, Counts)>) {
        let (status, severity) = match outcome {
            None => ("failed", "none"),
            Some((verdict, counts)) => (verdict.as_str(), worst(counts)),
        };
        self.validations
            .get_or_create(&ValidationLabels { status, severity })
            .inc();
    }

    /// Counts a violation. Packages that callers bring along are all called `inline`, so that they cannot
    /// add series without end.
    pub fn violated(&self, package: &str, inline: bool, kind: &str) {
        let policy = if inline {
            "inline".to_owned()
        } else {
            self.bounded(package)
        };
        let resource_type = KINDS
            .iter()
            .find(|known| **known == kind)
            .copied()
            .unwrap_or("other");
        self.violations
            .get_or_create(&ViolationLabels {
                policy,
                resource_type,
            })
            .inc();
    }

    fn bounded(&self, package: &str) -> String {
        let mut packages = self.packages.lock().unwrap_or_else(PoisonError::into_inner);
        if packages.contains(package) || packages.len() < MAX_POLICIES {
            packages.insert(package.to_owned());
            package.to_owned()
        } else {
            "other".to_owned()
        }
    }
}

fn worst(counts: Counts) -> &'static str {
    match counts {
        Counts { error: 1.., .. } => "error",
        Counts { warning: 1.., .. } => "warning",
        Counts { info: 1.., .. } => "info",
        Counts { .. } => "none",
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn labels_are_bounded() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        for i in 0..1000 {
            metrics.violated(&format!("p{i}"), i % 2 == 0, &format!("Kind{i}"));
        }
        metrics.violated("p1", false, "Deployment");
        metrics.validated(Some((
            Verdict::Refused,
            Counts {
                error: 1,
                warning: 2,
                info: 0,
            },
        )));
        metrics.validated(None);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(
            text.lines()
                .filter(|l| l.starts_with("policy_violations_total{"))
                .count(),
            MAX_POLICIES + 3
        );
        assert!(
            text.contains("validations_total{status=\"refused\",severity=\"error\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("policy_violations_total{policy=\"p1\",resource_type=\"Deployment\"} 1")
        );
    }
}
