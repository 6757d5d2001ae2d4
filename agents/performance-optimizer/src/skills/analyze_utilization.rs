//! `analyze_utilization`: what workloads use, against what they request.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use usage::{
    ContainerUsage, Detail, WorkloadKind, WorkloadUsage,
    gather::{Gather, WindowInput, WindowRead, gather},
};

use super::{Tools, check_kind, resources::Quantities};
use crate::domain::{distribution::Distribution, utilization};

/// Compares usage with requests and limits.
#[derive(Debug, Clone)]
pub struct AnalyzeUtilization(pub Tools);

/// Which workloads to look at.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace.
    pub namespace: String,
    /// One workload; all when missing.
    pub workload: Option<String>,
    /// Its kind, where two workloads share a name.
    pub kind: Option<WorkloadKind>,
    /// From when to when.
    pub window: Option<WindowInput>,
}

/// Usage by workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace.
    pub namespace: String,
    /// What was read.
    pub window: WindowRead,
    /// Each workload.
    pub workloads: Vec<Workload>,
}

/// Usage of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Kind.
    pub kind: WorkloadKind,
    /// Name.
    pub name: String,
    /// Running pods.
    pub replicas: Distribution,
    /// Each container.
    pub containers: Vec<Container>,
}

/// Usage of a container beside its requests and limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Requests of the newest pod.
    pub requests: Quantities,
    /// Limits of the newest pod.
    pub limits: Quantities,
    /// The figures.
    #[serde(flatten)]
    pub usage: utilization::ContainerUtilization,
}

impl Skill for AnalyzeUtilization {
    const ID: &'static str = "analyze_utilization";
    const NAME: &'static str = "Analyze utilization";
    const DESCRIPTION: &'static str = "For each workload of a namespace: percentiles of CPU and memory per pod, throttling, risk of a kill for memory, and how the requests fit.";
    const TAGS: &'static [&'static str] = &["performance", "utilization", "cpu", "memory"];
    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let _timer = self.0.metrics.time(Self::ID);
        check_kind(input.workload.as_ref(), input.kind)?;
        let wanted = Gather {
            namespace: &input.namespace,
            workload: input.workload.as_deref(),
            kind: input.kind,
            window: input.window.as_ref(),
            detail: Detail::Workloads,
        };
        let usage = gather(context, self.0.usage.as_ref(), wanted).await?;
        Ok(Output {
            namespace: usage.namespace,
            window: usage.window.into(),
            workloads: usage.workloads.into_iter().map(workload).collect(),
        })
    }
}

fn workload(workload: WorkloadUsage) -> Workload {
    let replicas = workload
        .containers
        .iter()
        .map(ContainerUsage::replicas)
        .max_by_key(BTreeMap::len)
        .unwrap_or_default();
    Workload {
        kind: workload.kind,
        name: workload.name,
        replicas: Distribution::of(replicas.into_values().map(f64::from)).rounded(2),
        containers: workload.containers.iter().map(container).collect(),
    }
}

fn container(container: &ContainerUsage) -> Container {
    Container {
        requests: Quantities::write(&container.requests),
        limits: Quantities::write(&container.limits),
        usage: utilization::describe(container),
    }
}
