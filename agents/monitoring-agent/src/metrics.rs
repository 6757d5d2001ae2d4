//! The agent's own metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::domain::{Incident, slo::Budget};

pub use dora::Gauges;
pub use webhooks::Counts;

mod dora;
mod webhooks;

/// Upper bounds in seconds: from a rollback within seconds to an incident of a day.
const BUCKETS: [f64; 12] = [
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 86400.0,
];

/// Labels of an incident; namespaces are this agent's targets only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    severity: &'static str,
    namespace: String,
}

/// Label of an objective; objectives are those of one file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfObjective {
    objective: String,
}

/// Incidents opened, and how long they lasted.
#[derive(Debug, Clone)]
pub struct Metrics {
    detected: Family<Labels, Counter>,
    recovery: Histogram,
    budget: Family<OfObjective, Gauge<f64, AtomicU64>>,
    violations: Family<OfObjective, Counter>,
    /// DORA metrics.
    pub dora: Gauges,
    /// Webhook events.
    pub webhooks: Counts,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            detected: Family::default(),
            recovery: Histogram::new(BUCKETS),
            budget: Family::default(),
            violations: Family::default(),
            dora: Gauges::register(registry),
            webhooks: Counts::register(registry),
        };
        let Self {
            detected,
            recovery,
            budget,
            violations,
            ..
        } = &metrics;
        registry.register("incidents_detected", "Incidents opened", detected.clone());
        let help = "Time from an incident's first sign to its end";
        registry.register("mttr_seconds", help, recovery.clone());
        let help = "Share of an objective's error budget that is left";
        registry.register("slo_error_budget_left", help, budget.clone());
        let help = "Times that an objective got into trouble";
        registry.register("slo_violations", help, violations.clone());
        metrics
    }

    /// Counts an incident that was opened.
    pub fn opened(&self, incident: &Incident) {
        let labels = Labels {
            severity: incident.severity.as_str(),
            namespace: incident.namespace.clone(),
        };
        self.detected.get_or_create(&labels).inc();
    }

    /// Shows how an objective stands.
    pub fn measured(&self, objective: &str, budget: &Budget) {
        let labels = OfObjective {
            objective: objective.to_owned(),
        };
        self.budget.get_or_create(&labels).set(budget.left);
    }

    /// Counts that an objective got into trouble.
    pub fn violated(&self, objective: &str) {
        let labels = OfObjective {
            objective: objective.to_owned(),
        };
        self.violations.get_or_create(&labels).inc();
    }

    /// Observes an incident that is over.
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of an incident stay below 2^52"
    )]
    pub fn resolved(&self, incident: &Incident) {
        if let Some(millis) = incident.time_to_recovery() {
            self.recovery.observe(millis as f64 / 1_000.0);
        }
    }
}
