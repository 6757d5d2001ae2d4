//! `recommend_vpa`: the requests that the Vertical Pod Autoscaler would set.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use usage::{
    ContainerUsage, Detail, NamespaceUsage, Resources, WorkloadKind, WorkloadUsage, count,
    gather::{Gather, WindowInput, WindowRead, gather},
};

use super::{Tools, check_kind, resources::Quantities};
use crate::{
    domain::distribution::round,
    domain::vpa::{Amounts, Confidence, Estimate, Model, Policy, needs_update},
    metrics::Recommendation,
};

/// Recommends requests.
#[derive(Debug, Clone)]
pub struct RecommendVpa(pub Tools);

/// Which workloads to advise.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace.
    pub namespace: String,
    /// One workload; all when missing.
    pub workload: Option<String>,
    /// Its kind, where two workloads share a name.
    pub kind: Option<WorkloadKind>,
    /// From when to when. VPA itself remembers 8 days.
    pub window: Option<WindowInput>,
    /// Never recommend less than this (`minAllowed`).
    #[serde(default)]
    pub min_allowed: Quantities,
    /// Never recommend more than this (`maxAllowed`).
    #[serde(default)]
    pub max_allowed: Quantities,
}

/// Recommendations by workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace.
    pub namespace: String,
    /// What was read.
    pub window: WindowRead,
    /// One a container.
    pub recommendations: Vec<VpaRecommendation>,
    /// Sum of the estimated savings (negative: costs) in US dollars a month.
    pub estimated_monthly_savings_usd: f64,
    /// Where the prices come from.
    pub prices: String,
}

/// What VPA would write into its status for one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VpaRecommendation {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    pub workload: String,
    /// Name of the container.
    pub container: String,
    /// Requests of the newest pod.
    pub current: Quantities,
    /// Requests to set.
    pub target: Quantities,
    /// Below this a pod is replaced.
    pub lower_bound: Quantities,
    /// Above this a pod is replaced.
    pub upper_bound: Quantities,
    /// Limits that keep today's ratio to the requests.
    pub proportional_limits: Quantities,
    /// How far to trust it.
    pub confidence: Confidence,
    /// Whether VPA's updater would act: outside the bounds, or 10 % off the target.
    pub update_needed: bool,
    /// Estimated savings (negative: costs) in US dollars a month, for the mean number of pods.
    pub estimated_monthly_savings_usd: f64,
}

impl Skill for RecommendVpa {
    const ID: &'static str = "recommend_vpa";
    const NAME: &'static str = "Recommend requests";
    const DESCRIPTION: &'static str = "CPU and memory requests as the Kubernetes Vertical Pod Autoscaler computes them, with lower and upper bound, from recorded usage.";
    const TAGS: &'static [&'static str] = &["performance", "vpa", "requests", "rightsizing"];
    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let _timer = self.0.metrics.time(Self::ID);
        check_kind(input.workload.as_ref(), input.kind)?;
        let policy = Policy {
            min: input.min_allowed.read("min_allowed")?,
            max: input.max_allowed.read("max_allowed")?,
        };
        let wanted = Gather {
            namespace: &input.namespace,
            workload: input.workload.as_deref(),
            kind: input.kind,
            window: input.window.as_ref(),
            detail: Detail::Workloads,
        };
        let usage = gather(context, self.0.usage.as_ref(), wanted).await?;
        let recommendations: Vec<_> = usage
            .workloads
            .iter()
            .flat_map(|w| self.workload(&usage, w, &policy))
            .collect();
        let savings = round(
            recommendations
                .iter()
                .map(|r| r.estimated_monthly_savings_usd)
                .sum(),
            2,
        );
        self.0
            .metrics
            .recommended(Recommendation::Vpa, recommendations.len());
        if input.workload.is_none() {
            self.0.metrics.savings(&usage.namespace, savings);
        }
        Ok(Output {
            window: usage.window.into(),
            namespace: usage.namespace,
            recommendations,
            estimated_monthly_savings_usd: savings,
            prices: self.0.prices.source.clone(),
        })
    }
}

impl RecommendVpa {
    fn workload(
        &self,
        usage: &NamespaceUsage,
        workload: &WorkloadUsage,
        policy: &Policy,
    ) -> Vec<VpaRecommendation> {
        let estimate = |container: &ContainerUsage| {
            let estimate = Model::of(container).estimate(workload.containers.len(), policy)?;
            Some(self.container(usage, workload, container, &estimate))
        };
        workload.containers.iter().filter_map(estimate).collect()
    }

    fn container(
        &self,
        usage: &NamespaceUsage,
        workload: &WorkloadUsage,
        container: &ContainerUsage,
        estimate: &Estimate,
    ) -> VpaRecommendation {
        let target = resources(estimate.target);
        VpaRecommendation {
            kind: workload.kind,
            workload: workload.name.clone(),
            container: container.name.clone(),
            current: Quantities::write(&container.requests),
            target: Quantities::write(&target),
            lower_bound: Quantities::write(&resources(estimate.lower)),
            upper_bound: Quantities::write(&resources(estimate.upper)),
            proportional_limits: Quantities::write(&proportional(container, &target)),
            confidence: Confidence {
                days: round(estimate.confidence.days, 4),
                ..estimate.confidence
            },
            update_needed: needs_update(&container.requests, estimate),
            estimated_monthly_savings_usd: round(self.savings(usage, container, &target), 2),
        }
    }

    /// Each pod-hour at the price of its node, today's request less the target, scaled to a month.
    fn savings(
        &self,
        usage: &NamespaceUsage,
        container: &ContainerUsage,
        target: &Resources,
    ) -> f64 {
        let freed =
            |old: Option<f64>, new: Option<f64>| old.zip(new).map_or(0.0, |(old, new)| old - new);
        let (cores, bytes) = (
            freed(container.requests.cpu, target.cpu),
            freed(container.requests.memory, target.memory),
        );
        let steps = count(usage.window.steps().max(1));
        let pod = |pod: &usage::PodUsage| {
            let node = pod.node.as_ref().and_then(|n| usage.nodes.get(n));
            self.0.prices.rate(node).monthly(cores, bytes) * count(pod.cpu.len()) / steps
        };
        container.pods.iter().map(pod).sum()
    }
}

fn resources(amounts: Amounts) -> Resources {
    let number = |n: u64| usage::seconds(i64::try_from(n).unwrap_or(i64::MAX));
    Resources {
        cpu: Some(number(amounts.millicores) / 1000.0),
        memory: Some(number(amounts.bytes)),
    }
}

/// Limits in today's ratio to the requests, as VPA sets them.
fn proportional(container: &ContainerUsage, target: &Resources) -> Resources {
    let keep = |limit: Option<f64>, request: Option<f64>, target: Option<f64>| match (
        limit, request, target,
    ) {
        (Some(limit), Some(request), Some(target)) if request > 0.0 => {
            Some(limit / request * target)
        }
        (limit, ..) => limit,
    };
    Resources {
        cpu: keep(container.limits.cpu, container.requests.cpu, target.cpu),
        memory: keep(
            container.limits.memory,
            container.requests.memory,
            target.memory,
        ),
    }
}
