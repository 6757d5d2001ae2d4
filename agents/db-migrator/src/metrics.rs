//! What this agent counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use crate::domain::{Dialect, Risk};

/// Upper bounds in seconds: from a trivial statement to an index on a large table.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Executed {
    database_type: &'static str,
    status: &'static str,
    risk_level: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    database_type: &'static str,
}

/// The metric families of the reference mesh's db-migrator.
#[derive(Debug, Clone)]
pub struct Metrics {
    executed: Family<Executed, Counter>,
    duration: Family<Timed, Histogram, fn() -> Histogram>,
    rollbacks: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self {
            executed: Family::default(),
            duration: Family::new_with_constructor(histogram),
            rollbacks: Counter::default(),
        }
    }
}

impl Metrics {
    /// Registers `migrations_executed_total`, `migration_duration_seconds` and `rollbacks_triggered_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "migrations_executed",
            "Migrations run up or down, by outcome",
            metrics.executed.clone(),
        );
        registry.register(
            "migration_duration_seconds",
            "Time from the first statement of a migration to its commit",
            metrics.duration.clone(),
        );
        registry.register(
            "rollbacks_triggered",
            "Rollbacks of a database that began to change it",
            metrics.rollbacks.clone(),
        );
        metrics
    }

    pub(crate) fn executed(&self, dialect: Dialect, succeeded: bool, risk: Risk, seconds: f64) {
        let status = if succeeded { "succeeded" } else { "failed" };
        self.executed
            .get_or_create(&Executed {
                database_type: dialect.name(),
                status,
                risk_level: risk.name(),
            })
            .inc();
        self.duration
            .get_or_create(&Timed {
                database_type: dialect.name(),
            })
            .observe(seconds);
    }

    pub(crate) fn rollback(&self) {
        self.rollbacks.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_its_families_as_the_reference_mesh_does() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.executed(Dialect::Sqlite, true, Risk::Low, 0.02);
        metrics.rollback();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "migrations_executed_total{database_type=\"sqlite\",status=\"succeeded\",risk_level=\"low\"} 1",
            "migration_duration_seconds_count{database_type=\"sqlite\"} 1",
            "rollbacks_triggered_total 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
