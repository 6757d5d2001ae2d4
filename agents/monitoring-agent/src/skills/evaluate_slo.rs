//! `evaluate_slo`: how objectives stand.

use futures::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError, ToolCall};

use crate::{
    domain::{
        At,
        incident::WorkloadName,
        slo::{
            Budget, Burn, Objective, Standing,
            objective::{Counted, with_window},
        },
    },
    objectives::Meter,
    watch::now,
};

/// Objectives measured at once.
const AT_ONCE: usize = 4;
/// Longest name of an objective.
const MAX_NAME: usize = 253;

/// Measures objectives; without a meter there are none.
#[derive(Debug, Clone)]
pub struct EvaluateSlo(pub Option<Meter>);

/// Which objectives.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Only of workloads in this namespace.
    #[serde(default)]
    namespace: Option<String>,
    /// Only the one of this name.
    #[serde(default)]
    objective: Option<String>,
}

/// How they stand.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The worst standing; absent without objectives.
    pub standing: Option<Standing>,
    /// When the requests were counted.
    pub evaluated_at: At,
    /// Each objective, by name.
    pub objectives: Vec<Evaluated>,
}

/// How one stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Evaluated {
    /// Its name.
    pub objective: String,
    /// The service.
    pub service: String,
    /// Namespace of the workload.
    pub namespace: String,
    /// The workload that serves the requests.
    pub workload: WorkloadName,
    /// The share of good requests that is promised.
    pub target: f64,
    /// How it stands.
    pub standing: Standing,
    /// The budget of the period.
    pub budget: Budget,
    /// Burn rates.
    pub burns: Vec<Burn>,
    /// Median of the 95th percentiles of latency, in seconds.
    pub latency_p95: Option<Latency>,
    /// Whether the requests fail or are slow significantly more than before the last change; absent when nothing is
    /// wrong, or there are too few.
    pub worse_than_before: Option<bool>,
    /// What an incident would say about it.
    pub evidence: Vec<String>,
    /// The queries, for their longest window.
    pub queries: Vec<String>,
}

/// Latency now and before.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// The last ten minutes.
    pub now: f64,
    /// The hour before the last change, or before that.
    pub before: f64,
}

impl Skill for EvaluateSlo {
    const ID: &'static str = "evaluate_slo";
    const NAME: &'static str = "Evaluate objectives";
    const DESCRIPTION: &'static str = "Tells for each service level objective how much of its error budget is left, how fast it burns in four pairs of windows, and whether its requests are worse than before the last change.";
    const TAGS: &'static [&'static str] = &["slo", "error-budget", "prometheus"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let evaluated_at = now();
        let Some(meter) = &self.0 else {
            let why = "no objectives: start the agent with --prometheus and --objectives";
            return Err(SkillError::failed(why));
        };
        if let Some(namespace) = &input.namespace {
            super::check_name("namespace", namespace)?;
            context.check_target(namespace)?;
        }
        let wanted = wanted(context, meter, &input)?;
        let measure = stream::iter(wanted).map(|objective| evaluate(context, meter, objective));
        let objectives: Vec<Evaluated> = measure.buffered(AT_ONCE).try_collect().await?;
        Ok(Output {
            standing: objectives.iter().map(|one| one.standing).max(),
            evaluated_at,
            objectives,
        })
    }
}

fn wanted(context: &Context, meter: &Meter, input: &Input) -> Result<Vec<Objective>, SkillError> {
    let fits = |objective: &&Objective| {
        let namespace = &objective.workload.namespace;
        input.namespace.as_ref().is_none_or(|n| n == namespace)
            && input
                .objective
                .as_ref()
                .is_none_or(|o| *o == objective.name)
            && context.check_target(namespace).is_ok()
    };
    let wanted: Vec<Objective> = meter.objectives.iter().filter(fits).cloned().collect();
    match &input.objective {
        Some(name) if wanted.is_empty() => {
            let got = if name.len() > MAX_NAME {
                "a longer text"
            } else {
                "an unknown name"
            };
            let expected = "the name of an objective of this agent's targets";
            Err(SkillError::rejected("objective", expected, got))
        }
        _ => Ok(wanted),
    }
}

async fn evaluate(
    context: &Context,
    meter: &Meter,
    objective: Objective,
) -> Result<Evaluated, SkillError> {
    let call = ToolCall::read(
        "prometheus.query",
        [format!("objectives/{}", objective.name)],
    );
    let measured = context.tool(call, meter.measure(&objective, now())).await?;
    let workload = &objective.workload;
    let trouble = measured.trouble;
    Ok(Evaluated {
        objective: objective.name.clone(),
        service: objective.service.clone(),
        namespace: workload.namespace.clone(),
        workload: WorkloadName {
            kind: workload.kind,
            name: workload.name.clone(),
        },
        target: objective.target,
        standing: measured.standing,
        budget: measured.budget,
        burns: measured.burns,
        latency_p95: measured
            .latency
            .map(|(now, before)| Latency { now, before }),
        worse_than_before: trouble.as_ref().and_then(|t| t.worse_than_before),
        evidence: trouble.map(|t| t.evidence).unwrap_or_default(),
        queries: queries(&objective),
    })
}

fn queries(objective: &Objective) -> Vec<String> {
    let counted = match &objective.counted {
        Counted::Good(query) | Counted::Bad(query) => query,
    };
    [
        Some(counted),
        Some(&objective.total),
        objective.latency.as_ref(),
    ]
    .into_iter()
    .flatten()
    .map(|query| with_window(query, objective.period_ms))
    .collect()
}
