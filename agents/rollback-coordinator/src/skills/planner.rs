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
        Assessment, Deployment, Facts, Plan, Refusal, Revision, Target, decide, plan::choose,
    },
    history::History,
};

/// Longest name of a Kubernetes object.
const MAX_NAME: usize = 253;

/// Which Deployment, and which revision of it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Namespace of the Deployment.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// Revision to go back to; the newest earlier one that was healthy when absent.
    #[serde(default)]
    pub to_revision: Option<u64>,
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
}

impl Planner {
    /// A Deployment with what is remembered of its revisions.
    ///
    /// # Errors
    /// `Rejected` for a bad or unknown name, `Denied` for a foreign namespace.
    pub async fn deployment(
        &self,
        context: &Context,
        namespace: &str,
        name: &str,
    ) -> Result<Deployment, SkillError> {
        check_name("namespace", namespace)?;
        check_name("deployment", name)?;
        context.check_target(namespace)?;
        let call = ToolCall::read(
            "kubernetes.get",
            [format!("deployments/{namespace}/{name}")],
        );
        let found = context
            .tool(call, self.control.deployment(namespace, name))
            .await?;
        let deployment = found.ok_or_else(|| {
            SkillError::rejected(
                "deployment",
                "a Deployment of the namespace",
                "an unknown name",
            )
        })?;
        self.history.complete(deployment).await
    }

    /// The plan of a rollback, and the Deployment as it was read.
    ///
    /// # Errors
    /// As [`Planner::deployment`]; `Failed` with the reason when there must be no rollback.
    pub async fn plan(
        &self,
        context: &Context,
        wanted: &Wanted,
    ) -> Result<(Planned, Deployment), SkillError> {
        let deployment = self
            .deployment(context, &wanted.namespace, &wanted.deployment)
            .await?;
        let target = wanted
            .to_revision
            .map_or(Target::LastHealthy, Target::Revision);
        let pair = choose(&deployment, target).map_err(refused)?;
        let assessment = assess(context, pair).await?;
        let plan = decide(Facts {
            deployment: &deployment,
            pair,
            assessment: assessment.as_ref(),
            diff: diff(pair),
        });
        let plan_digest = digest::of_json(&plan);
        Ok((Planned { plan, plan_digest }, deployment))
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
