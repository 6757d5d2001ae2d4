//! `complete_migration`: contracts what `apply_migration` expanded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Effect, Skill, SkillError};

use super::parts::{PlanReport, Workbench, checked_retention, goal};
use crate::engine::{self, CompleteRequest, Completed};

/// Runs the contracts of expanded migrations.
#[derive(Debug, Clone)]
pub struct CompleteMigration(pub Workbench);

/// What to complete: everything that is expanded, or up to one of `to_version` and `release`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteMigrationInput {
    /// Name of a configured database.
    pub database: String,
    /// Complete no migration above this version.
    pub to_version: Option<String>,
    /// Complete no migration above what was in force when this release had been applied.
    pub release: Option<String>,
    /// Only plan; the default.
    #[serde(default = "yes")]
    pub dry_run: bool,
    /// Required when `dry_run` is false: the same key never completes twice.
    pub idempotency_key: Option<String>,
    /// Digest of the plan that the caller saw; refused when the plan is another by now.
    pub plan_digest: Option<String>,
    /// How long the old form is kept, as an ISO 8601 duration of days and times (`P7D`, the default), or `none`.
    pub retain: Option<String>,
    /// Drop everything that is retained, also before the end of its window. Always needs an approval.
    #[serde(default)]
    pub purge: bool,
}

fn yes() -> bool {
    true
}

/// What was, or would be, completed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CompleteMigrationOutput {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The contracts with their proof; absent when the run continued its own plan after a restart.
    pub plan: Option<PlanReport>,
    /// Digest of the plan that was, or would be, followed.
    pub plan_digest: String,
    /// Contracts that this run applied, in order.
    pub completed: Vec<String>,
    /// What was dropped for good.
    pub purged: Vec<String>,
    /// The newest version in force; absent on a dry run or without any.
    pub head: Option<String>,
    /// Fingerprint of the catalog afterwards.
    pub fingerprint: String,
}

impl Skill for CompleteMigration {
    const ID: &'static str = "complete_migration";
    const NAME: &'static str = "Complete a migration";
    const DESCRIPTION: &'static str = "Runs the contracts of expanded migrations once their backfill is done: each is proven on a shadow with its way back, \
        and what it takes away is retained so that a rollback loses no row. Needs an approval outside dev databases.";
    const TAGS: &'static [&'static str] = &["database", "migration", "contract", "schema"];
    const EFFECT: Effect = Effect::Mutate;

    type Input = CompleteMigrationInput;
    type Output = CompleteMigrationOutput;

    async fn run(&self, context: &Context, input: Self::Input) -> Result<Self::Output, SkillError> {
        let database = self.0.database(&input.database)?;
        let retention = checked_retention(input.retain.as_deref())?;
        let goal = match (input.to_version.as_deref(), input.release.as_deref()) {
            (None, None) => None,
            (version, release) => Some(goal(version, release)?),
        };
        let job = self.0.job(context, &database);
        let request = CompleteRequest {
            goal,
            plan_digest: input.plan_digest.as_deref(),
            retention,
            purge: input.purge,
        };
        if input.dry_run {
            let plan = engine::plan_contracts(job, &request).await?;
            let plan = PlanReport::new(&plan, database.dev);
            return Ok(CompleteMigrationOutput {
                dry_run: true,
                plan_digest: plan.plan_digest.clone(),
                fingerprint: plan.fingerprint.clone(),
                plan: Some(plan),
                completed: Vec::new(),
                purged: Vec::new(),
                head: None,
            });
        }
        let done = engine::complete(job, request).await?;
        Ok(output(done, database.dev))
    }
}

fn output(done: Completed, dev: bool) -> CompleteMigrationOutput {
    let Completed { applied, purged } = done;
    let versions = applied
        .migrations
        .iter()
        .map(|migration| migration.version.to_string());
    CompleteMigrationOutput {
        dry_run: false,
        completed: versions.collect(),
        plan: applied.plan.map(|plan| PlanReport::new(&plan, dev)),
        plan_digest: applied.plan_digest,
        purged,
        head: applied.head,
        fingerprint: applied.fingerprint,
    }
}
