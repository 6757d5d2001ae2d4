//! `recommend_rightsizing`: lower requests, each checked by the performance-optimizer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use usage::{
    ContainerUsage, Detail, NamespaceUsage, Resources, WorkloadKind, WorkloadUsage,
    gather::{Gather, WindowInput, WindowRead, gather, rfc3339},
    quantity, seconds,
};

use super::Tools;
use crate::{
    domain::{
        cost::{cents, monthly_savings},
        idle::idle_time,
        rightsizing::{Cut, propose},
    },
    metrics::Category,
};

/// Proposals that are checked when the caller does not say.
const DEFAULT_CHECKS: u32 = 50;
/// Most proposals that are checked in one run; each takes one or two calls.
const MOST_CHECKS: u32 = 200;

/// Recommends lower requests.
#[derive(Debug, Clone)]
pub struct RecommendRightsizing(pub Tools);

/// What to look at.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace.
    pub namespace: String,
    /// One workload; all when missing.
    pub workload: Option<String>,
    /// From when to when.
    pub window: Option<WindowInput>,
    /// How many proposals to check, those with the largest savings first; 1 to 200. Default: 50.
    pub max_checks: Option<u32>,
}

/// Recommendations, and what became of the other containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace.
    pub namespace: String,
    /// What was read.
    pub window: WindowRead,
    /// Judged safe; dearest first.
    pub recommendations: Vec<Rightsizing>,
    /// Judged risky or refused, also after the cut was halved.
    pub withheld: Vec<Withheld>,
    /// Nothing was proposed.
    pub kept: Vec<Kept>,
    /// What the workloads cost today, US dollars a month.
    pub monthly_cost_usd: f64,
    /// Sum of the recommendations, US dollars a month. It becomes money when a node can go for it.
    pub potential_savings_usd: f64,
    /// Where the prices come from.
    pub prices: String,
}

/// CPU and memory as Kubernetes quantities; missing where nothing changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Quantities {
    /// CPU, for example `250m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory, for example `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

impl From<&Resources> for Quantities {
    fn from(resources: &Resources) -> Self {
        Self {
            cpu: resources.cpu.map(quantity::cpu),
            memory: resources.memory.map(quantity::memory),
        }
    }
}

/// The judgement of the performance-optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The recorded load would have run as before.
    Safe,
    /// It would have been throttled, evicted or close to a limit at times.
    Risky,
    /// It would not have run, or too little is known.
    Refused,
}

/// One proposal and its judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Requests that were judged.
    pub requests: Quantities,
    /// The judgement.
    pub verdict: Verdict,
    /// Its reasons.
    pub reasons: Vec<String>,
}

/// A container whose requests should be lowered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rightsizing {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    pub workload: String,
    /// Name of the container.
    pub container: String,
    /// Requests today.
    pub current: Quantities,
    /// Requests to set.
    pub recommended: Quantities,
    /// Share of the CPU request that goes.
    pub cpu_reduction: f64,
    /// Share of the memory request that goes.
    pub memory_reduction: f64,
    /// US dollars a month, for the pods of the window at the prices of their nodes.
    pub monthly_savings_usd: f64,
    /// Whether usage would allow less: ask again after a week at the new requests.
    pub more_possible: bool,
    /// Each proposal with its judgement; the last one is recommended.
    pub checks: Vec<Check>,
}

/// A container whose cut was judged too risky.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Withheld {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    pub workload: String,
    /// Name of the container.
    pub container: String,
    /// Requests today.
    pub current: Quantities,
    /// Each proposal with its judgement.
    pub checks: Vec<Check>,
}

/// A container that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    pub workload: String,
    /// Name of the container.
    pub container: String,
    /// Why.
    pub reason: String,
}

/// What `assess_resize` is asked.
#[derive(Debug, Serialize)]
struct Question<'a> {
    namespace: &'a str,
    workload: &'a str,
    kind: WorkloadKind,
    container: &'a str,
    requests: &'a Quantities,
    window: &'a WindowInput,
}

/// What is read of its answer.
#[derive(Debug, Deserialize)]
struct Answer {
    verdict: Verdict,
    reasons: Vec<String>,
}

/// A container with a cut to check.
struct Candidate<'a> {
    workload: &'a WorkloadUsage,
    container: &'a ContainerUsage,
    cut: Cut,
    savings: f64,
}

impl Skill for RecommendRightsizing {
    const ID: &'static str = "recommend_rightsizing";
    const NAME: &'static str = "Recommend right-sizing";
    const DESCRIPTION: &'static str = "Requests lowered by 30 to 50 % where p99 of CPU and the largest memory peak leave 15 % room, priced, each judged by the performance-optimizer; what it finds risky is halved once or withheld.";
    const TAGS: &'static [&'static str] = &["cost", "finops", "rightsizing", "requests"];
    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let max_checks = input.max_checks.unwrap_or(DEFAULT_CHECKS);
        if !(1..=MOST_CHECKS).contains(&max_checks) {
            return Err(SkillError::rejected(
                "max_checks",
                format!("1 to {MOST_CHECKS}"),
                max_checks.to_string(),
            ));
        }
        let wanted = Gather {
            namespace: &input.namespace,
            workload: input.workload.as_deref(),
            kind: None,
            window: input.window.as_ref(),
            detail: Detail::Workloads,
        };
        let usage = gather(context, self.0.usage.as_ref(), wanted).await?;
        let (candidates, mut kept) = self.candidates(&usage);
        let (mut recommendations, mut withheld) = (Vec::new(), Vec::new());
        let total = u64::try_from(candidates.len())
            .unwrap_or(u64::MAX)
            .min(u64::from(max_checks));
        for (done, candidate) in (0..).zip(&candidates) {
            if done >= total {
                kept.push(candidate.kept(format!("not checked: max_checks is {max_checks}")));
                continue;
            }
            context.check_canceled()?;
            context.progress(
                &format!("checking {}", candidate.workload.name),
                done,
                total,
            );
            match self.check(context, &usage, candidate).await? {
                Ok(recommended) => recommendations.push(recommended),
                Err(risky) => withheld.push(risky),
            }
        }
        let savings = cents(recommendations.iter().map(|r| r.monthly_savings_usd).sum());
        let cost = cents(self.0.costs(&usage).iter().sum());
        self.0
            .metrics
            .savings(&usage.namespace, Category::Rightsizing, savings);
        Ok(Output {
            window: usage.window.into(),
            namespace: input.namespace,
            recommendations,
            withheld,
            kept,
            monthly_cost_usd: cost,
            potential_savings_usd: savings,
            prices: self.0.prices.source.clone(),
        })
    }
}

impl RecommendRightsizing {
    /// Containers with a cut, largest savings first, and the others with the reason. An idle
    /// workload is left to `find_idle_resources`: no dollar counts twice.
    fn candidates<'a>(&self, usage: &'a NamespaceUsage) -> (Vec<Candidate<'a>>, Vec<Kept>) {
        let (mut candidates, mut kept) = (Vec::new(), Vec::new());
        for workload in &usage.workloads {
            let is_idle = matches!(idle_time(usage, workload, &self.0.idle), Ok(Some(_)));
            for container in &workload.containers {
                match propose(container, &self.0.cut) {
                    _ if is_idle => kept.push(Kept::new(
                        workload,
                        container,
                        "idle: see find_idle_resources",
                    )),
                    Some(cut) => {
                        let savings = monthly_savings(
                            usage,
                            container,
                            &cut.freed(&container.requests),
                            &self.0.prices,
                        );
                        candidates.push(Candidate {
                            workload,
                            container,
                            cut,
                            savings,
                        });
                    }
                    None => kept.push(Kept::new(workload, container, self.why_kept(container))),
                }
            }
        }
        candidates.sort_by(|a, b| b.savings.total_cmp(&a.savings));
        (candidates, kept)
    }

    fn why_kept(&self, container: &ContainerUsage) -> String {
        if container.requests == Resources::default() {
            return String::from("it requests nothing");
        }
        format!(
            "its use with {:.0} % room allows no cut of {:.0} %",
            self.0.cut.headroom * 100.0,
            self.0.cut.min * 100.0
        )
    }

    /// Asks for the cut, then for half of it.
    async fn check(
        &self,
        context: &Context,
        usage: &NamespaceUsage,
        candidate: &Candidate<'_>,
    ) -> Result<Result<Rightsizing, Withheld>, SkillError> {
        let Candidate {
            workload,
            container,
            ..
        } = candidate;
        let mut checks = Vec::new();
        let mut next = Some(candidate.cut);
        while let Some(cut) = next {
            let check = ask(context, usage, candidate, &cut).await?;
            let is_safe = check.verdict == Verdict::Safe;
            checks.push(check);
            if is_safe {
                return Ok(Ok(self.recommended(usage, candidate, &cut, checks)));
            }
            next = if checks.len() == 1 {
                cut.halved(&container.requests, &self.0.cut)
            } else {
                None
            };
        }
        Ok(Err(Withheld {
            kind: workload.kind,
            workload: workload.name.clone(),
            container: container.name.clone(),
            current: Quantities::from(&container.requests),
            checks,
        }))
    }

    fn recommended(
        &self,
        usage: &NamespaceUsage,
        candidate: &Candidate<'_>,
        cut: &Cut,
        checks: Vec<Check>,
    ) -> Rightsizing {
        let Candidate {
            workload,
            container,
            ..
        } = candidate;
        let freed = cut.freed(&container.requests);
        let share = |freed: Option<f64>, all: Option<f64>| {
            cents(freed.zip(all).map_or(0.0, |(freed, all)| freed / all))
        };
        Rightsizing {
            kind: workload.kind,
            workload: workload.name.clone(),
            container: container.name.clone(),
            current: Quantities::from(&container.requests),
            recommended: Quantities::from(&cut.requests),
            cpu_reduction: share(freed.cpu, container.requests.cpu),
            memory_reduction: share(freed.memory, container.requests.memory),
            monthly_savings_usd: cents(monthly_savings(usage, container, &freed, &self.0.prices)),
            more_possible: cut.goes_on(),
            checks,
        }
    }
}

impl Candidate<'_> {
    fn kept(&self, reason: String) -> Kept {
        Kept::new(self.workload, self.container, reason)
    }
}

impl Kept {
    fn new(
        workload: &WorkloadUsage,
        container: &ContainerUsage,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            kind: workload.kind,
            workload: workload.name.clone(),
            container: container.name.clone(),
            reason: reason.into(),
        }
    }
}

/// Asks the performance-optimizer about a cut, over the same window.
async fn ask(
    context: &Context,
    usage: &NamespaceUsage,
    candidate: &Candidate<'_>,
    cut: &Cut,
) -> Result<Check, SkillError> {
    let requests = Quantities::from(&cut.requests);
    let window = WindowInput {
        end: Some(rfc3339(usage.window.end())),
        days: Some(seconds(usage.window.length()) / 86_400.0),
        step_seconds: u32::try_from(usage.window.step()).ok(),
    };
    let question = Question {
        namespace: &usage.namespace,
        workload: &candidate.workload.name,
        kind: candidate.workload.kind,
        container: &candidate.container.name,
        requests: &requests,
        window: &window,
    };
    let Answer { verdict, reasons } = context
        .call("performance-optimizer", "assess_resize", &question)
        .await?;
    Ok(Check {
        requests,
        verdict,
        reasons,
    })
}
