//! Gathers the facts of a rollback and decides on its plan.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{Context, SkillError, ToolCall, digest};
use similar::TextDiff;

use crate::{
    clients::RolloutControl,
    domain::{
        Assessment, Cause, Facts, Kind, Named, Plan, Refusal, Revision, Strategy, Target, Via,
        Workload, WorkloadId, decide, plan::choose,
    },
    escort::Escort,
    guard::Guard,
    history::History,
    traffic::Gradual,
};

/// Longest name of a Kubernetes object.
const MAX_NAME: usize = 253;

/// Which workload, and which revision of it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Namespace of the workload.
    pub namespace: String,
    /// The workload.
    #[serde(default)]
    pub workload: Option<Named>,
    /// Name of a Deployment, in the place of `workload`.
    #[serde(default)]
    pub deployment: Option<String>,
    /// Revision to go back to; the newest earlier one that was healthy when absent.
    #[serde(default)]
    pub to_revision: Option<u64>,
    /// Revision that was found to be bad; another one in force is refused.
    #[serde(default)]
    pub from_revision: Option<u64>,
    /// What was found to be the cause; only a release is cured by another revision.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// How traffic leaves the bad version where a route splits it: at once (the default) or step by step.
    #[serde(default)]
    pub strategy: Strategy,
    /// Who brings the old revision back: this agent in the cluster (the default), or a deploy job of GitLab.
    #[serde(default)]
    pub via: Via,
}

/// A plan with its digest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// SHA-256 of the canonical plan: an approval is bound to it.
    pub plan_digest: String,
}

/// Makes plans.
#[derive(Debug, Clone)]
pub struct Planner {
    /// The cluster.
    pub control: Arc<dyn RolloutControl>,
    /// The agent's memory.
    pub history: History,
    /// What surrounds a rollback.
    pub guard: Guard,
    /// The steps of a gradual rollback.
    pub gradual: Gradual,
}

impl Planner {
    /// A workload with what is remembered of its revisions.
    ///
    /// # Errors
    /// `Rejected` for an unknown name, `Denied` for a foreign namespace.
    pub async fn workload(
        &self,
        context: &Context,
        Subject { id, field }: &Subject,
    ) -> Result<Workload, SkillError> {
        context.check_target(&id.namespace)?;
        let call = ToolCall::read("kubernetes.get", [id.to_string()]);
        let found = context.tool(call, self.control.workload(id)).await?;
        let workload = found.ok_or_else(|| {
            let expected = format!("a {} of the namespace", id.kind.as_str());
            SkillError::rejected(*field, expected, "an unknown name")
        })?;
        self.history.complete(workload).await
    }

    /// The plan of a rollback, and the workload as it was read.
    ///
    /// # Errors
    /// As [`Planner::workload`]; `Failed` with the reason when there must be no rollback.
    pub async fn plan(
        &self,
        context: &Context,
        wanted: &Wanted,
    ) -> Result<(Planned, Workload), SkillError> {
        let subject = Subject::of(
            &wanted.namespace,
            wanted.workload.as_ref(),
            wanted.deployment.as_deref(),
        )?;
        let workload = self.workload(context, &subject).await?;
        let target = wanted
            .to_revision
            .map_or(Target::LastHealthy, Target::Revision);
        let pair = choose(&workload, target).map_err(refused)?;
        let assessment = assess(context, pair).await?;
        let plan = decide(Facts {
            workload: &workload,
            pair,
            assessment: assessment.as_ref(),
            diff: diff(pair),
        })
        .map_err(refused)?;
        let mut plan = match self.control.objects() {
            _ if wanted.via == Via::Gitlab => {
                self.redeployed(context, wanted, (&workload, plan)).await?
            }
            Some(objects) => {
                let escort = Escort::new(objects, self.history.clone());
                let gradual = Some(&self.gradual).filter(|_| wanted.strategy == Strategy::Gradual);
                let (companions, reasons) = escort.plan(context, &workload, pair, gradual).await?;
                plan.accompanied(companions, reasons)
            }
            None => plan,
        };
        let found = self
            .surroundings(context, wanted, (&workload, &plan, assessment.as_ref()))
            .await?;
        found
            .enter(&mut plan, &workload, wanted.to_revision.is_some())
            .map_err(|objection| SkillError::failed(format!("no rollback: {objection}")))?;
        let plan_digest = digest::of_json(&plan);
        Ok((Planned { plan, plan_digest }, workload))
    }
}

fn refused(refusal: Refusal) -> SkillError {
    match refusal {
        Refusal::UnknownRevision { wanted, ref known } => {
            SkillError::rejected("to_revision", format!("one of {known}"), wanted.to_string())
        }
        other => SkillError::failed(format!("no rollback: {other}")),
    }
}

/// db-migrator's assessment, when the two releases declare different schema versions of one database.
async fn assess(
    context: &Context,
    (from, to): (&Revision, &Revision),
) -> Result<Option<Assessment>, SkillError> {
    let (Some((database, now)), Some((target_database, then))) = (from.schema(), to.schema())
    else {
        return Ok(None);
    };
    if database != target_database || now == then {
        return Ok(None);
    }
    context
        .call(
            "db-migrator",
            "assess_rollback",
            &json!({"database": database, "to_version": then}),
        )
        .await
        .map(Some)
}

/// The workload that a request names.
#[derive(Debug)]
pub struct Subject {
    id: WorkloadId,
    /// Where the request names it.
    field: &'static str,
}

impl Subject {
    /// Takes `workload` or `deployment`.
    ///
    /// # Errors
    /// `Rejected` when both or none are given, and for what is no name.
    pub fn of(
        namespace: &str,
        workload: Option<&Named>,
        deployment: Option<&str>,
    ) -> Result<Self, SkillError> {
        check_name("namespace", namespace)?;
        let (field, Named { kind, name }) = match (workload, deployment) {
            (Some(workload), None) => ("workload", workload.clone()),
            (None, Some(name)) => {
                let (kind, name) = (Kind::Deployment, name.to_owned());
                ("deployment", Named { kind, name })
            }
            (both, _) => {
                let got = both.map_or("none of them", |_| "both");
                let expected = "`workload` with kind and name, or `deployment`";
                return Err(SkillError::rejected("workload", expected, got));
            }
        };
        check_name(field, &name)?;
        let namespace = namespace.to_owned();
        Ok(Self {
            id: WorkloadId {
                namespace,
                kind,
                name,
            },
            field,
        })
    }
}

fn check_name(field: &str, name: &str) -> Result<(), SkillError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(fits) {
        Ok(())
    } else {
        Err(SkillError::rejected(
            field,
            "a Kubernetes name (a-z, 0-9, - and ., at most 253 characters)",
            "another text",
        ))
    }
}

/// Template of the bad revision against the target's, as people read them.
fn diff((from, to): (&Revision, &Revision)) -> String {
    let text = |template: &Value| serde_json::to_string_pretty(template).unwrap_or_default();
    let (old, new) = (text(&from.template), text(&to.template));
    let names = (
        format!("revision {}", from.number),
        format!("revision {}", to.number),
    );
    TextDiff::from_lines(&old, &new)
        .unified_diff()
        .header(&names.0, &names.1)
        .to_string()
}
