//! The skills of the performance-optimizer.

use std::sync::Arc;

use shared::SkillError;
use usage::{NamespaceUsage, Prices, UsageSource, WorkloadKind, WorkloadUsage};

use crate::metrics::Metrics;

pub mod analyze_utilization;
pub mod assess_resize;
pub mod recommend_hpa;
pub mod recommend_vpa;
pub mod resources;

pub use analyze_utilization::AnalyzeUtilization;
pub use assess_resize::AssessResize;
pub use recommend_hpa::RecommendHpa;
pub use recommend_vpa::RecommendVpa;

/// What all skills here need.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Where usage comes from.
    pub usage: Arc<dyn UsageSource>,
    /// What a core and a gibibyte cost.
    pub prices: Arc<Prices>,
    /// The agent's metrics.
    pub metrics: Metrics,
}

/// The one workload of this name; two of different kinds have to be told apart by `kind`.
fn one_workload(usage: &NamespaceUsage) -> Result<&WorkloadUsage, SkillError> {
    match usage.workloads.as_slice() {
        [one] => Ok(one),
        many => {
            let kinds: Vec<_> = many.iter().map(|w| w.kind.as_str()).collect();
            Err(SkillError::rejected(
                "kind",
                format!("one of {}", kinds.join(", ")),
                "no kind",
            ))
        }
    }
}

/// Checks that a kind is given only together with a name.
fn check_kind(workload: Option<&String>, kind: Option<WorkloadKind>) -> Result<(), SkillError> {
    match (workload, kind) {
        (None, Some(kind)) => Err(SkillError::rejected(
            "kind",
            "a workload beside it",
            kind.as_str(),
        )),
        _ => Ok(()),
    }
}
