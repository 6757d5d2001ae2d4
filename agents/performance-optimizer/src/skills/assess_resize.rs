//! `assess_resize`: whether a container would live with other requests and limits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};
use usage::{
    ContainerUsage, Detail, WorkloadKind, WorkloadUsage,
    gather::{Gather, WindowInput, WindowRead, gather},
};

use super::{Tools, one_workload, resources::Quantities};
use crate::domain::resize::{Assessment, Prediction, Proposal, Verdict, assess};

/// Judges proposed requests and limits.
#[derive(Debug, Clone)]
pub struct AssessResize(pub Tools);

/// What is proposed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace.
    pub namespace: String,
    /// Workload.
    pub workload: String,
    /// Its kind, where two workloads share a name.
    pub kind: Option<WorkloadKind>,
    /// Container; not needed when there is one.
    pub container: Option<String>,
    /// Requests as they would be; what is missing stays as it is.
    #[serde(default)]
    pub requests: Quantities,
    /// Limits as they would be; what is missing stays as it is.
    #[serde(default)]
    pub limits: Quantities,
    /// From when to when.
    pub window: Option<WindowInput>,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Namespace.
    pub namespace: String,
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Name of the workload.
    pub workload: String,
    /// Name of the container.
    pub container: String,
    /// What was read.
    pub window: WindowRead,
    /// Requests that were judged, rounded up to a millicore and a mebibyte.
    pub requests: Quantities,
    /// Limits that were judged.
    pub limits: Quantities,
    /// `safe`, `risky` or `refused`.
    pub verdict: Verdict,
    /// Why, worst first; empty when safe.
    pub reasons: Vec<String>,
    /// What the recorded load would have met.
    pub prediction: Prediction,
}

impl Skill for AssessResize {
    const ID: &'static str = "assess_resize";
    const NAME: &'static str = "Assess a resize";
    const DESCRIPTION: &'static str = "Judges proposed CPU and memory requests and limits by the recorded distribution: safe, risky or refused, with predicted throttling, kills for memory and headroom.";
    const TAGS: &'static [&'static str] = &["performance", "rightsizing", "risk"];
    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let _timer = self.0.metrics.time(Self::ID);
        let (requests, limits) = (
            input.requests.read("requests")?,
            input.limits.read("limits")?,
        );
        if [requests.cpu, requests.memory, limits.cpu, limits.memory]
            .iter()
            .all(Option::is_none)
        {
            return Err(SkillError::rejected(
                "requests",
                "cpu or memory, here or in limits",
                "nothing",
            ));
        }
        let wanted = Gather {
            namespace: &input.namespace,
            workload: Some(&input.workload),
            kind: input.kind,
            window: input.window.as_ref(),
            detail: Detail::Workloads,
        };
        let usage = gather(context, self.0.usage.as_ref(), wanted).await?;
        let workload = one_workload(&usage)?;
        let container = one_container(workload, input.container.as_deref())?;
        let proposal = Proposal::merged(requests, limits, container);
        let Assessment {
            verdict,
            reasons,
            prediction,
        } = assess(container, &proposal);
        Ok(Output {
            namespace: input.namespace,
            kind: workload.kind,
            workload: workload.name.clone(),
            container: container.name.clone(),
            window: usage.window.into(),
            requests: Quantities::write(&proposal.requests),
            limits: Quantities::write(&proposal.limits),
            verdict,
            reasons,
            prediction,
        })
    }
}

fn one_container<'a>(
    workload: &'a WorkloadUsage,
    name: Option<&str>,
) -> Result<&'a ContainerUsage, SkillError> {
    let found = match (name, workload.containers.as_slice()) {
        (None, [one]) => Some(one),
        (None, _) => None,
        (Some(name), all) => all.iter().find(|c| c.name == name),
    };
    let names: Vec<_> = workload
        .containers
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    found.ok_or_else(|| {
        let got: String = name.unwrap_or("none").chars().take(63).collect();
        SkillError::rejected("container", format!("one of {}", names.join(", ")), got)
    })
}
