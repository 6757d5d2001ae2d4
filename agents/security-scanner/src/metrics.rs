//! What this agent counts beside the metrics that all agents have.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Instant;

use crate::domain::{Severity, SeverityCounts};

/// Upper bounds in seconds: a manifest takes a millisecond, a large tree a minute.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SeverityLabel {
    severity: &'static str,
}

/// The metrics of the scanner.
#[derive(Debug, Clone)]
pub struct Metrics {
    scans: Family<Kind, Counter>,
    vulnerabilities: Family<SeverityLabel, Gauge>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            scans: Family::default(),
            vulnerabilities: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        };
        let Self {
            scans,
            vulnerabilities,
            durations,
        } = &metrics;
        registry.register("security_scans", "Finished scans by kind", scans.clone());
        registry.register(
            "vulnerabilities_detected",
            "Vulnerabilities that the last scan found, by severity",
            vulnerabilities.clone(),
        );
        registry.register(
            "scan_duration_seconds",
            "Duration of scans by kind",
            durations.clone(),
        );
        metrics
    }

    /// Times a scan of a kind (`secrets`, `vulnerabilities`, `rbac`) until the guard is dropped.
    pub(crate) fn scan(&self, kind: &'static str) -> ScanTimer<'_> {
        ScanTimer {
            metrics: self,
            kind,
            started: Instant::now(),
        }
    }

    /// Shows what a scan for vulnerabilities found.
    pub(crate) fn show_vulnerabilities(&self, counts: &SeverityCounts) {
        for severity in Severity::ALL {
            let count = i64::try_from(counts.get(severity)).unwrap_or(i64::MAX);
            self.vulnerabilities
                .get_or_create(&SeverityLabel {
                    severity: severity.as_str(),
                })
                .set(count);
        }
    }
}

/// Counts a scan and its duration when dropped.
#[derive(Debug)]
pub(crate) struct ScanTimer<'m> {
    metrics: &'m Metrics,
    kind: &'static str,
    started: Instant,
}

impl Drop for ScanTimer<'_> {
    fn drop(&mut self) {
        let kind = Kind { kind: self.kind };
        self.metrics
            .durations
            .get_or_create(&kind)
            .observe(self.started.elapsed().as_secs_f64());
        self.metrics.scans.get_or_create(&kind).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[tokio::test]
    async fn names_and_labels_are_those_of_the_dashboards() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        drop(metrics.scan("secrets"));
        metrics.show_vulnerabilities(
            &[Severity::Critical, Severity::Critical]
                .into_iter()
                .collect(),
        );
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "security_scans_total{kind=\"secrets\"} 1",
            "vulnerabilities_detected{severity=\"critical\"} 2",
            "scan_duration_seconds_count{kind=\"secrets\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
