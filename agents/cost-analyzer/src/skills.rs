//! The skills of the cost-analyzer.

use std::sync::Arc;

use usage::{NamespaceUsage, Prices, UsageSource};

use crate::{
    domain::{cost, idle::IdleRule, rightsizing::CutRule},
    metrics::Metrics,
};

pub mod find_idle_resources;
pub mod recommend_rightsizing;

pub use find_idle_resources::FindIdleResources;
pub use recommend_rightsizing::RecommendRightsizing;

/// What all skills here need.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Where usage comes from.
    pub usage: Arc<dyn UsageSource>,
    /// What things cost.
    pub prices: Arc<Prices>,
    /// What counts as idle.
    pub idle: IdleRule,
    /// How far to cut.
    pub cut: CutRule,
    /// The agent's metrics.
    pub metrics: Metrics,
}

impl Tools {
    /// What each workload costs a month, in their order; noted in the metrics by kind.
    fn costs(&self, usage: &NamespaceUsage) -> Vec<f64> {
        let costs: Vec<f64> = usage
            .workloads
            .iter()
            .map(|w| cost::monthly(usage, w, &self.prices))
            .collect();
        self.metrics.costs(
            &usage.namespace,
            usage
                .workloads
                .iter()
                .map(|w| w.kind)
                .zip(costs.iter().copied()),
        );
        costs
    }
}
