//! What the agent counts of itself. Names of the OSSA reference manifest.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::time::Instant;

/// Kinds of recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recommendation {
    /// Requests of a container.
    Vpa,
    /// An autoscaler.
    Hpa,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByNamespace {
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySkill {
    skill: &'static str,
}

/// The agent's own metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    recommendations: Family<ByKind, Counter>,
    savings: Family<ByNamespace, Gauge<f64, AtomicU64>>,
    duration: Family<BySkill, Histogram>,
}

impl Metrics {
    /// Registers `optimization_recommendations_total`, `estimated_cost_savings_usd` and `analysis_duration_seconds`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            recommendations: Family::default(),
            savings: Family::default(),
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 9))
            }),
        };
        let Self {
            recommendations,
            savings,
            duration,
        } = &metrics;
        registry.register(
            "optimization_recommendations",
            "Recommendations given",
            recommendations.clone(),
        );
        let help = "Savings a month of the last recommendation for a whole namespace";
        registry.register("estimated_cost_savings_usd", help, savings.clone());
        registry.register_with_unit(
            "analysis_duration",
            "Time that an analysis took",
            Unit::Seconds,
            duration.clone(),
        );
        metrics
    }

    /// Counts recommendations.
    pub fn recommended(&self, kind: Recommendation, number: usize) {
        let kind = match kind {
            Recommendation::Vpa => "vpa",
            Recommendation::Hpa => "hpa",
        };
        self.recommendations
            .get_or_create(&ByKind { kind })
            .inc_by(usage::whole(usage::count(number)));
    }

    /// Notes the savings of a namespace. Namespaces are bounded by the agent's targets.
    pub fn savings(&self, namespace: &str, usd_a_month: f64) {
        self.savings
            .get_or_create(&ByNamespace {
                namespace: namespace.to_owned(),
            })
            .set(usd_a_month);
    }

    /// Measures until the guard is dropped.
    pub fn time(&self, skill: &'static str) -> Timer {
        Timer {
            started: Instant::now(),
            histogram: self.duration.get_or_create_owned(&BySkill { skill }),
        }
    }
}

/// Observes the time since it was made when dropped.
#[derive(Debug)]
pub struct Timer {
    started: Instant,
    histogram: Histogram,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.histogram.observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metrics_have_the_names_of_the_reference_manifest() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.recommended(Recommendation::Vpa, 3);
        metrics.savings("shop", 12.5);
        drop(metrics.time("recommend_vpa"));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "optimization_recommendations_total{kind=\"vpa\"} 3",
            "estimated_cost_savings_usd{namespace=\"shop\"} 12.5",
            "analysis_duration_seconds_count{skill=\"recommend_vpa\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
