//! `recommend_hpa`: minimum, maximum and target of an autoscaler, tried on the recorded load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use usage::{
    Detail, WorkloadKind,
    gather::{Gather, WindowInput, WindowRead, gather},
};

use super::{Tools, one_workload, resources::Quantities};
use crate::{
    domain::distribution::round,
    domain::hpa::Settings,
    domain::hpa_advice::{
        Advice, DEFAULT_MIN_REPLICAS, Load, MOST_REPLICAS, Replay, Wishes, advise, as_recorded,
        replay,
    },
    metrics::Recommendation,
};

/// Seconds to readiness when the caller does not say: the controller's own `--horizontal-pod-autoscaler-initial-readiness-delay`.
const DEFAULT_READY_SECONDS: u32 = 30;

/// Recommends an autoscaler.
#[derive(Debug, Clone)]
pub struct RecommendHpa(pub Tools);

/// Which workload to advise.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace.
    pub namespace: String,
    /// Deployment, `StatefulSet` or bare `ReplicaSet`.
    pub workload: String,
    /// Its kind, where two workloads share a name.
    pub kind: Option<WorkloadKind>,
    /// From when to when.
    pub window: Option<WindowInput>,
    /// Replicas at least. Default: 2.
    pub min_replicas: Option<u32>,
    /// Replicas at most, for example a quota. Default: what the load needs.
    pub max_replicas: Option<u32>,
    /// Seconds from a new pod to readiness, up to 3600. Default: 30.
    pub ready_seconds: Option<u32>,
    /// Plan with this CPU request a pod, for example the target of `recommend_vpa`, in place of today's.
    pub cpu_request: Option<String>,
}

/// The advice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace.
    pub namespace: String,
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    pub workload: String,
    /// What was read.
    pub window: WindowRead,
    /// The settings; missing when none can be advised.
    pub recommendation: Option<HpaRecommendation>,
    /// Why there is none.
    pub not_suitable: Option<String>,
    /// What the recorded number of pods meant.
    pub recorded: Option<Replay>,
    /// What the settings would have meant.
    pub replayed: Option<Replay>,
}

/// Settings of a `HorizontalPodAutoscaler` with their reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HpaRecommendation {
    /// `minReplicas`.
    pub min_replicas: u32,
    /// `maxReplicas`.
    pub max_replicas: u32,
    /// `averageUtilization` of the CPU request in percent.
    pub target_cpu_percent: u32,
    /// Seconds from a rise in load to a pod that takes it.
    pub lead_seconds: i64,
    /// 99th percentile of the growth of the load within that time: the target is 90 % divided by it.
    pub growth: f64,
    /// Replicas that the 99.9th percentile of the load needs; above `max_replicas` the workload will run short.
    pub needed_max_replicas: u32,
    /// What else to know.
    pub note: Option<String>,
}

impl From<Advice> for HpaRecommendation {
    fn from(
        Advice {
            settings,
            lead_seconds,
            growth,
            needed_max,
        }: Advice,
    ) -> Self {
        Self {
            min_replicas: settings.min,
            max_replicas: settings.max,
            target_cpu_percent: settings.target_percent,
            lead_seconds,
            growth: round(growth, 4),
            needed_max_replicas: needed_max,
            note: note(settings, needed_max),
        }
    }
}

impl Skill for RecommendHpa {
    const ID: &'static str = "recommend_hpa";
    const NAME: &'static str = "Recommend autoscaling";
    const DESCRIPTION: &'static str = "Minimum, maximum and CPU target of a Horizontal Pod Autoscaler from the recorded load, replayed with the controller's own algorithm: seconds under-provisioned and replica-hours, against today.";
    const TAGS: &'static [&'static str] = &["performance", "hpa", "autoscaling", "replicas"];
    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let _timer = self.0.metrics.time(Self::ID);
        let wishes = wishes(&input)?;
        let request = Quantities {
            cpu: input.cpu_request.clone(),
            memory: None,
        };
        let cpu_request = request
            .read("cpu_request")
            .map_err(|error| at_top(error, "cpu_request"))?
            .cpu;
        let wanted = Gather {
            namespace: &input.namespace,
            workload: Some(&input.workload),
            kind: input.kind,
            window: input.window.as_ref(),
            detail: Detail::Workloads,
        };
        let usage = gather(context, self.0.usage.as_ref(), wanted).await?;
        let workload = one_workload(&usage)?;
        let mut output = Output {
            namespace: input.namespace,
            kind: workload.kind,
            workload: workload.name.clone(),
            window: usage.window.into(),
            recommendation: None,
            not_suitable: None,
            recorded: None,
            replayed: None,
        };
        if !workload.kind.is_scalable() {
            output.not_suitable = Some(format!("a {} has no replicas to scale", workload.kind));
            return Ok(output);
        }
        let Some(mut load) = Load::of(&workload.containers, usage.window.step()) else {
            output.not_suitable = Some(String::from(
                "a container has no cpu request, so there is no utilization to hold",
            ));
            return Ok(output);
        };
        output.recorded = Some(as_recorded(&load));
        load.request = cpu_request.unwrap_or(load.request);
        match advise(&load, &wishes) {
            Ok(advice) => {
                output.replayed = Some(replay(&load, &advice.settings, wishes.ready_seconds));
                output.recommendation = Some(advice.into());
                self.0.metrics.recommended(Recommendation::Hpa, 1);
            }
            Err(none) => output.not_suitable = Some(none.to_string()),
        }
        Ok(output)
    }
}

/// The field is not nested here.
fn at_top(error: SkillError, field: &str) -> SkillError {
    match error {
        SkillError::Rejected { expected, got, .. } => SkillError::rejected(field, expected, got),
        other => other,
    }
}

fn note(settings: Settings, needed_max: u32) -> Option<String> {
    if needed_max > settings.max {
        Some(format!(
            "the load needs up to {needed_max} replicas: with {} it will run short",
            settings.max
        ))
    } else if settings.min == settings.max {
        Some(format!(
            "{} replicas always suffice: an autoscaler would have nothing to do",
            settings.min
        ))
    } else {
        None
    }
}

fn wishes(input: &Input) -> Result<Wishes, SkillError> {
    let min_replicas = input.min_replicas.unwrap_or(DEFAULT_MIN_REPLICAS);
    let ready = input.ready_seconds.unwrap_or(DEFAULT_READY_SECONDS);
    let bounds = 1..=MOST_REPLICAS;
    if !bounds.contains(&min_replicas) {
        return Err(SkillError::rejected(
            "min_replicas",
            format!("1 to {MOST_REPLICAS}"),
            min_replicas.to_string(),
        ));
    }
    if let Some(max) = input
        .max_replicas
        .filter(|max| !bounds.contains(max) || *max < min_replicas)
    {
        return Err(SkillError::rejected(
            "max_replicas",
            format!("{min_replicas} to {MOST_REPLICAS}"),
            max.to_string(),
        ));
    }
    if ready > 3_600 {
        return Err(SkillError::rejected(
            "ready_seconds",
            "up to 3600",
            ready.to_string(),
        ));
    }
    Ok(Wishes {
        min_replicas,
        max_replicas: input.max_replicas,
        ready_seconds: i64::from(ready),
    })
}
