//! What the agent says of the money. Names of the OSSA reference manifest.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use usage::WorkloadKind;

use crate::domain::cost::cents;

/// Where savings come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Switching off what is idle.
    Idle,
    /// Lowering requests.
    Rightsizing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CostLabels {
    namespace: String,
    workload_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SavingsLabels {
    namespace: String,
    category: &'static str,
}

type Dollars = Gauge<f64, AtomicU64>;

/// The agent's own metrics. Namespaces are bounded by the agent's targets.
#[derive(Debug, Clone)]
pub struct Metrics {
    costs: Family<CostLabels, Dollars>,
    savings: Family<SavingsLabels, Dollars>,
}

impl Metrics {
    /// Registers `monthly_cost_usd` and `potential_savings_usd`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            costs: Family::default(),
            savings: Family::default(),
        };
        let Self { costs, savings } = &metrics;
        registry.register(
            "monthly_cost_usd",
            "Cost a month at the last analysis",
            costs.clone(),
        );
        registry.register(
            "potential_savings_usd",
            "Savings a month found by the last analysis",
            savings.clone(),
        );
        metrics
    }

    /// Notes what the workloads of a namespace cost, summed by kind.
    pub fn costs(&self, namespace: &str, costs: impl IntoIterator<Item = (WorkloadKind, f64)>) {
        let mut by_kind: BTreeMap<WorkloadKind, f64> = BTreeMap::new();
        for (kind, cost) in costs {
            *by_kind.entry(kind).or_default() += cost;
        }
        for (kind, cost) in by_kind {
            let labels = CostLabels {
                namespace: namespace.to_owned(),
                workload_type: kind.as_str(),
            };
            self.costs.get_or_create(&labels).set(cents(cost));
        }
    }

    /// Notes what could be saved in a namespace.
    pub fn savings(&self, namespace: &str, category: Category, dollars: f64) {
        let category = match category {
            Category::Idle => "idle",
            Category::Rightsizing => "rightsizing",
        };
        self.savings
            .get_or_create(&SavingsLabels {
                namespace: namespace.to_owned(),
                category,
            })
            .set(dollars);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_of_the_reference_manifest() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.costs(
            "shop",
            [
                (WorkloadKind::Deployment, 10.0),
                (WorkloadKind::CronJob, 1.0),
                (WorkloadKind::Deployment, 2.5),
            ],
        );
        metrics.savings("shop", Category::Idle, 4.0);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "monthly_cost_usd{namespace=\"shop\",workload_type=\"Deployment\"} 12.5",
            "monthly_cost_usd{namespace=\"shop\",workload_type=\"CronJob\"} 1.0",
            "potential_savings_usd{namespace=\"shop\",category=\"idle\"} 4.0",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
