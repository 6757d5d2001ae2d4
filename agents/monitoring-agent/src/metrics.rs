//! The agent's own metrics.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::{domain::Incident, dora::Gauges, webhooks::Counts};

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

/// Incidents opened, and how long they lasted.
#[derive(Debug, Clone)]
pub struct Metrics {
    detected: Family<Labels, Counter>,
    recovery: Histogram,
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
            dora: Gauges::register(registry),
            webhooks: Counts::register(registry),
        };
        let Self {
            detected, recovery, ..
        } = &metrics;
        registry.register("incidents_detected", "Incidents opened", detected.clone());
        let help = "Time from an incident's first sign to its end";
        registry.register("mttr_seconds", help, recovery.clone());
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
