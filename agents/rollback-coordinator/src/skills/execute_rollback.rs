//! `execute_rollback`: carries a plan out, and carries on after a crash.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{
    Context, Effect, Skill, SkillError,
    telemetry::{Chain, traces},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use super::planner::{Planned, Planner, Wanted};
use crate::{
    domain::{
        Cause, Journal, Named, Origin, Outcome, Pause, Plan, Recording, Strategy, Via,
        journal::Entry,
    },
    metrics::Metrics,
    saga::Saga,
};

/// Executes a rollback.
#[derive(Debug, Clone)]
pub struct ExecuteRollback {
    /// Makes the plan.
    pub planner: Planner,
    /// Carries it out.
    pub saga: Saga,
    /// Counts it.
    pub metrics: Metrics,
}

/// What to roll back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Namespace of the workload.
    namespace: String,
    /// The workload.
    #[serde(default)]
    workload: Option<Named>,
    /// Name of a Deployment, in the place of `workload`.
    #[serde(default)]
    deployment: Option<String>,
    /// Revision to go back to; the newest earlier one that was healthy when absent.
    #[serde(default)]
    to_revision: Option<u64>,
    /// Revision that was found to be bad; another one in force is refused.
    #[serde(default)]
    from_revision: Option<u64>,
    /// What was found to be the cause; only a release is cured by another revision.
    #[serde(default)]
    cause: Option<Cause>,
    /// How traffic leaves the bad version where a route splits it: at once (the default) or step by step.
    #[serde(default)]
    strategy: Strategy,
    /// Who brings the old revision back: this agent in the cluster (the default), or a deploy job of GitLab.
    #[serde(default)]
    via: Via,
    /// Return the plan only (the default).
    #[serde(default = "yes")]
    dry_run: bool,
    /// Names this rollback; required when `dry_run` is false.
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "the runtime reads it; it stands here for the schema"
    )]
    idempotency_key: Option<String>,
    /// Digest of the plan that was looked at; another plan is refused.
    #[serde(default)]
    plan_digest: Option<String>,
}

fn yes() -> bool {
    true
}

/// The plan, and what became of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// Whether anything was done.
    pub executed: bool,
    /// Id for `rollback_status`.
    pub rollback_id: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The plan.
    pub plan: Plan,
    /// SHA-256 of the canonical plan.
    pub plan_digest: String,
    /// The steps with their durations.
    pub steps: Vec<Entry>,
    /// Whether GitOps is still paused, and what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitops: Option<Pause>,
    /// How it is written down in GitLab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
    /// What did not go as planned and did not matter enough to stop it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

impl Skill for ExecuteRollback {
    const ID: &'static str = "execute_rollback";
    const NAME: &'static str = "Execute a rollback";
    const DESCRIPTION: &'static str = "Rolls a workload back to an earlier revision, its database first when the schema has to move; without dry_run: false it returns the plan. Lossy rollbacks wait for an approval.";
    const TAGS: &'static [&'static str] = &["rollback", "kubernetes", "database"];
    const EFFECT: Effect = Effect::Mutate;

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        if let Some(journal) = self.saga.history.journal(context.task_id()).await? {
            return self.finish(context, journal).await;
        }
        let wanted = Wanted {
            namespace: input.namespace,
            workload: input.workload,
            deployment: input.deployment,
            to_revision: input.to_revision,
            from_revision: input.from_revision,
            cause: input.cause,
            strategy: input.strategy,
            via: input.via,
        };
        let (Planned { plan, plan_digest }, workload) = self.planner.plan(context, &wanted).await?;
        if input
            .plan_digest
            .is_some_and(|digest| digest != plan_digest)
        {
            return Err(SkillError::rejected(
                "plan_digest",
                "the digest of the plan as it is now",
                "another digest",
            ));
        }
        if input.dry_run {
            return Ok(planned(plan, plan_digest));
        }
        if plan.needs_approval {
            context.require_approval(
                &plan_digest,
                format!(
                    "rollback of {} to revision {}: {}",
                    plan.id(),
                    plan.to_revision,
                    plan.reasons.join("; ")
                ),
            )?;
        }
        self.metrics
            .triggered(context.caller().name == "monitoring-agent");
        let now = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        let origin = Origin::of(&workload, &plan).ok_or_else(|| {
            SkillError::failed("the plan names a revision that the deployment does not have")
        })?;
        let mut journal = Journal::begin(
            context.task_id(),
            plan,
            &context.caller().name,
            origin,
            &now,
        );
        journal.traceparent = traces::traceparent(&tracing::Span::current());
        self.finish(context, journal).await
    }
}

/// The answer of a dry run.
fn planned(plan: Plan, plan_digest: String) -> Output {
    Output {
        executed: false,
        rollback_id: None,
        outcome: None,
        plan,
        plan_digest,
        steps: Vec::new(),
        gitops: None,
        recording: None,
        remarks: Vec::new(),
    }
}

impl ExecuteRollback {
    /// Runs what is left of a journal; one that has ended is answered as it ended.
    async fn finish(&self, context: &Context, journal: Journal) -> Result<Output, SkillError> {
        let journal = if journal.is_open() {
            let began = Instant::now();
            let result = Box::pin(self.saga.run(context, journal)).await;
            self.metrics
                .ended(began.elapsed().as_secs_f64(), result.is_ok());
            result?
        } else {
            let guard = &self.saga.guard;
            let id = journal.plan.id();
            let left = guard.release_left(context, &id, &journal.rollback_id);
            if let Err(error) = left.await {
                tracing::warn!(error = %Chain(&error), "the lock is not let go: its time runs out");
            }
            journal
        };
        let plan_digest = shared::digest::of_json(&journal.plan);
        Ok(Output {
            executed: true,
            rollback_id: Some(journal.rollback_id),
            outcome: Some(journal.outcome),
            plan: journal.plan,
            plan_digest,
            steps: journal.entries,
            gitops: journal.gitops,
            recording: journal.recording,
            remarks: journal.remarks,
        })
    }
}
