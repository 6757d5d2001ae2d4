//! The agent's own metrics.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds in seconds: from a stateless rollback to one that waits for a migration.
const BUCKETS: [f64; 10] = [0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Label of a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Trigger {
    trigger_reason: &'static str,
}

/// Rollbacks by trigger, their duration, and the share that ended healthy.
#[derive(Debug, Clone)]
pub struct Metrics {
    triggered: Family<Trigger, Counter>,
    duration: Histogram,
    success_rate: Gauge<f64, AtomicU64>,
    ends: Arc<[AtomicU64; 2]>,
    holding: Gauge,
    overdue: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            triggered: Family::default(),
            duration: Histogram::new(BUCKETS),
            success_rate: Gauge::default(),
            ends: Arc::default(),
            holding: Gauge::default(),
            overdue: Gauge::default(),
        };
        let Self {
            triggered,
            duration,
            success_rate,
            ends: _,
            holding,
            overdue,
        } = &metrics;
        registry.register(
            "rollbacks_triggered",
            "Rollbacks by what triggered them",
            triggered.clone(),
        );
        registry.register(
            "rollback_duration_seconds",
            "Duration of a rollback",
            duration.clone(),
        );
        registry.register(
            "rollback_success_rate",
            "Share of rollbacks that were verified healthy",
            success_rate.clone(),
        );
        registry.register(
            "rollbacks_holding",
            "Rollbacks that still hold GitOps or a controller",
            holding.clone(),
        );
        registry.register(
            "rollbacks_overdue",
            "Rollbacks whose pause of GitOps waits for a person",
            overdue.clone(),
        );
        metrics
    }

    /// Counts a rollback that begins.
    pub fn triggered(&self, by_monitoring: bool) {
        let trigger_reason = if by_monitoring { "incident" } else { "request" };
        self.triggered
            .get_or_create(&Trigger { trigger_reason })
            .inc();
    }

    /// Tells how many rollbacks hold something, and how many of them wait for a person.
    pub fn holding(&self, holding: i64, overdue: i64) {
        self.holding.set(holding);
        self.overdue.set(overdue);
    }

    /// Counts a rollback that ended.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of rollbacks stay far below 2^52"
    )]
    pub fn ended(&self, seconds: f64, healthy: bool) {
        self.duration.observe(seconds);
        let [all, good] = &*self.ends;
        let all = all.fetch_add(1, Ordering::Relaxed) + 1;
        let good = good.fetch_add(u64::from(healthy), Ordering::Relaxed) + u64::from(healthy);
        self.success_rate.set(good as f64 / all as f64);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_manifest_declares_the_metrics_that_exist() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
        let fleet = manifest::load_dir(&folder).unwrap();
        let declared = &fleet
            .manifest("rollback-coordinator")
            .unwrap()
            .observability
            .custom_metrics;
        let declared: Vec<&str> = declared.iter().map(|metric| metric.name.as_str()).collect();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.triggered(true);
        metrics.ended(1.2, true);
        metrics.ended(0.1, false);
        metrics.holding(2, 1);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("rollbacks_triggered_total{trigger_reason=\"incident\"} 1"),
            "{text}"
        );
        assert!(text.contains("rollback_success_rate 0.5"), "{text}");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let registered: Vec<String> = types
            .map(|line| match line.split_once(' ').unwrap() {
                (name, "counter") => format!("{name}_total"),
                (name, _) => name.to_owned(),
            })
            .collect();
        assert_eq!(registered, declared);
    }
}
