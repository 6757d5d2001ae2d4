//! `check_health`: how workloads are at this moment.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError, ToolCall};

use super::check_name;
use crate::{
    checkup::checkup,
    clients::{Inventory, Wanted},
    domain::{At, Thresholds, Verdict, WorkloadHealth, WorkloadKind, incident::WorkloadName},
    watch::now,
};

/// Judges the health of workloads.
#[derive(Debug, Clone)]
pub struct CheckHealth {
    /// Fresh reads.
    pub inventory: Arc<dyn Inventory>,
    /// The numbers in use.
    pub thresholds: Thresholds,
}

/// What to look at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace; one of this agent's targets.
    pub namespace: String,
    /// One workload of it; every Deployment, `StatefulSet` and `DaemonSet` when absent.
    #[serde(default)]
    pub workload: Option<WorkloadName>,
}

/// The judgement.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// That of the worst workload; healthy when there is none.
    pub verdict: Verdict,
    /// The namespace.
    pub namespace: String,
    /// When the cluster was read.
    pub checked_at: At,
    /// Each workload, by name.
    pub workloads: Vec<WorkloadHealth>,
}

impl Skill for CheckHealth {
    const ID: &'static str = "check_health";
    const NAME: &'static str = "Check health";
    const DESCRIPTION: &'static str = "Reads Deployments, StatefulSets and DaemonSets, their revisions and pods from the cluster at this moment and judges them: healthy, progressing, degraded or failing, with bad pods and reasons.";
    const TAGS: &'static [&'static str] = &["health", "kubernetes", "monitoring"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let Input {
            namespace,
            workload,
        } = input;
        check_name("namespace", &namespace)?;
        context.check_target(&namespace)?;
        let name = workload.as_ref().map(|workload| workload.name.as_str());
        if let Some(name) = name {
            check_name("workload.name", name)?;
        }
        let kind = workload.as_ref().map(|workload| workload.kind);
        let resources = kind.map_or("workloads", WorkloadKind::plural);
        let resource = format!("{resources}/{namespace}/{}", name.unwrap_or("*"));
        let call = ToolCall::read("kubernetes.list", [resource]);
        let wanted = Wanted {
            kind,
            name: name.map(str::to_owned),
        };
        let read = self.inventory.observe(&namespace, &wanted);
        let observed = context.tool(call, read).await?;
        let checked_at = now();
        let workloads = checkup(&observed, checked_at, &self.thresholds);
        if name.is_some() && workloads.is_empty() {
            let expected = "a workload of this kind in the namespace";
            return Err(SkillError::rejected(
                "workload.name",
                expected,
                "an unknown name",
            ));
        }
        let verdict = workloads.iter().map(|workload| workload.verdict).max();
        let verdict = verdict.unwrap_or(Verdict::Healthy);
        Ok(Output {
            verdict,
            namespace,
            checked_at,
            workloads,
        })
    }
}
