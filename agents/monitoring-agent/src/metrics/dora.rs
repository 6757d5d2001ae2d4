//! DORA metrics as gauges.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::domain::dora::report::{Metric, Report};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    definition: &'static str,
}

type Number = Family<Labels, Gauge<f64, AtomicU64>>;

/// The metrics over the last 30 days, for all projects, in production.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    frequency: Number,
    lead: Number,
    rate: Number,
    restore: Number,
    rework: Number,
}

impl Gauges {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let gauges = Self::default();
        let Self {
            frequency,
            lead,
            rate,
            restore,
            rework,
        } = &gauges;
        for (name, help, number) in [
            (
                "dora_deployment_frequency",
                "Deployments to production a day, last 30 days",
                frequency,
            ),
            (
                "dora_lead_time_seconds",
                "Median time from merge to production, last 30 days",
                lead,
            ),
            (
                "dora_change_failure_rate",
                "Share of deployments that caused a failure, last 30 days",
                rate,
            ),
            (
                "dora_time_to_restore_seconds",
                "Median time until a failure was over, last 30 days",
                restore,
            ),
            (
                "dora_rework_rate",
                "Share of deployments made because of a failure, last 30 days",
                rework,
            ),
        ] {
            registry.register(name, help, number.clone());
        }
        gauges
    }

    /// Shows a report. What has no number has no sample either.
    pub fn set(&self, report: &Report) {
        let labels = Labels {
            definition: report.definition.as_str(),
        };
        for (number, metric) in [
            (&self.frequency, &report.deployment_frequency),
            (&self.lead, &report.lead_time_for_changes),
            (&self.rate, &report.change_failure_rate),
            (&self.restore, &report.time_to_restore),
            (&self.rework, &report.rework_rate),
        ] {
            let Metric { value, .. } = metric;
            match value {
                Some(value) => drop(number.get_or_create(&labels).set(*value)),
                None => drop(number.remove(&labels)),
            }
        }
    }
}
