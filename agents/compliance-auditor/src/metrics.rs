//! What this agent measures.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::domain::{FrameworkResult, Status};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Violation {
    framework: &'static str,
    severity: &'static str,
    control_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFramework {
    framework: &'static str,
}

/// Metrics of the compliance-auditor; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    violations: Family<Violation, Counter>,
    score: Family<OfFramework, Gauge<f64, AtomicU64>>,
    duration: Histogram,
    records: Counter,
    forks: Counter,
}

impl Metrics {
    /// Makes and registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            violations: Family::default(),
            score: Family::default(),
            duration: Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]),
            records: Counter::default(),
            forks: Counter::default(),
        };
        registry.register(
            "compliance_violations",
            "Violated controls, counted at each assessment",
            metrics.violations.clone(),
        );
        registry.register(
            "compliance_score",
            "Share of satisfied controls at the newest assessment, 0 to 100",
            metrics.score.clone(),
        );
        registry.register_with_unit(
            "audit_duration",
            "Time of an assessment or verification of the trail",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "audit_records_stored",
            "Audit records that were stored",
            metrics.records.clone(),
        );
        registry.register(
            "audit_forks_refused",
            "Audit records that were refused because they belong to another history",
            metrics.forks.clone(),
        );
        metrics
    }

    /// Shows an assessment.
    pub fn assessed(&self, result: &FrameworkResult) {
        let framework = result.framework.as_str();
        self.score
            .get_or_create(&OfFramework { framework })
            .set(result.score);
        for control in result
            .controls
            .iter()
            .filter(|control| control.status == Status::Violated)
        {
            let violation = Violation {
                framework,
                severity: control.severity.as_str(),
                control_id: control.id.clone(),
            };
            self.violations.get_or_create(&violation).inc();
        }
    }

    /// Counts the time of an assessment or verification.
    pub fn took(&self, seconds: f64) {
        self.duration.observe(seconds);
    }

    /// Counts records that were stored.
    pub fn stored(&self, records: u64) {
        self.records.inc_by(records);
    }

    /// Counts a fork.
    pub fn forked(&self) {
        self.forks.inc();
    }
}
