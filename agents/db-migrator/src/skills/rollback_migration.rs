//! `rollback_migration`: goes back by the downs that the ledger holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Effect, Skill, SkillError};

use super::parts::{Workbench, goal};
use crate::{
    domain::Assessment,
    engine::{self, RollbackRequest},
};

/// Reverts migrations without needing their files.
#[derive(Debug, Clone)]
pub struct RollbackMigration(pub Workbench);

/// Where to go back to: exactly one of `to_version` and `release`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackMigrationInput {
    /// Name of a configured database.
    pub database: String,
    /// The version that shall be in force afterwards; `0` for none.
    pub to_version: Option<String>,
    /// The release to go back to, as named when it was applied.
    pub release: Option<String>,
    /// Only assess; the default.
    #[serde(default = "yes")]
    pub dry_run: bool,
    /// Required when `dry_run` is false: the same key never reverts twice.
    pub idempotency_key: Option<String>,
}

fn yes() -> bool {
    true
}

/// What was, or would be, reverted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RollbackMigrationOutput {
    /// The database's name.
    pub database: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// What the ledger said before the first statement; absent when the task's run had ended already.
    pub assessment: Option<Assessment>,
    /// Versions that this run reverted, newest first.
    pub reverted: Vec<String>,
    /// The newest version in force afterwards; absent on a dry run or without any.
    pub head: Option<String>,
    /// Fingerprint of the catalog afterwards; absent on a dry run.
    pub fingerprint: Option<String>,
}

impl Skill for RollbackMigration {
    const ID: &'static str = "rollback_migration";
    const NAME: &'static str = "Roll a database back";
    const DESCRIPTION: &'static str = "Runs the proven inverse of every migration above a version or release, from the ledger alone. \
        rollback-coordinator needs no approval for what is proven to lose no row; everything lossy or unproven always does.";
    const TAGS: &'static [&'static str] = &["database", "rollback", "migration", "schema"];
    const EFFECT: Effect = Effect::Mutate;

    type Input = RollbackMigrationInput;
    type Output = RollbackMigrationOutput;

    async fn run(&self, context: &Context, input: Self::Input) -> Result<Self::Output, SkillError> {
        let database = self.0.database(&input.database)?;
        let goal = goal(input.to_version.as_deref(), input.release.as_deref())?;
        let job = self.0.job(context, database);
        let name = database.name.clone();
        if input.dry_run {
            let assessment = Some(engine::assess_rollback(job, &goal).await?);
            return Ok(RollbackMigrationOutput {
                database: name,
                dry_run: true,
                assessment,
                reverted: Vec::new(),
                head: None,
                fingerprint: None,
            });
        }
        let done = engine::rollback(job, RollbackRequest { goal }).await?;
        let reverted = done
            .reverted
            .iter()
            .map(|migration| migration.version.to_string())
            .collect();
        Ok(RollbackMigrationOutput {
            database: name,
            dry_run: false,
            assessment: done.assessment,
            reverted,
            head: done.head,
            fingerprint: Some(done.fingerprint),
        })
    }
}
