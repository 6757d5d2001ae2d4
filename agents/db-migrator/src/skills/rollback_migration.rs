//! `rollback_migration`: goes back by the downs that the ledger holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Effect, Skill, SkillError};

use super::{
    fleet::{FleetWork, Pace, reverting},
    hooks::{checked, stays_at_home},
    parts::{Workbench, goal},
    scope::{Named, Scope, Tenants},
};
use crate::{
    clients::Database,
    domain::{
        Assessment,
        fleet::FleetReport,
        hooks::{self, HookCall, HookSpec},
    },
    engine::{self, Goal, RollbackRequest},
};

/// Reverts migrations without needing their files.
#[derive(Debug, Clone)]
pub struct RollbackMigration(pub Workbench);

/// Where to go back to: exactly one of `to_version` and `release`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackMigrationInput {
    /// Name of a configured database, or of one of its tenants as `DATABASE/SCHEMA`; either this or `fleet`.
    pub database: Option<String>,
    /// Name of a configured fleet.
    pub fleet: Option<String>,
    /// Tenants of the database: schemas that are migrated together, like a fleet.
    pub tenants: Option<Tenants>,
    /// How a fleet is walked through.
    pub pace: Option<Pace>,
    /// Hooks beside those that came with the migrations; one of the same name replaces it.
    #[serde(default)]
    pub hooks: Vec<HookSpec>,
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
    /// The database's name, or the fleet's.
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
    /// The hooks that ran, with what backups answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookCall>,
    /// The members, when the call was for a fleet; look at `complete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetReport>,
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
        let goal = goal(input.to_version.as_deref(), input.release.as_deref())?;
        let named = Named {
            database: input.database.clone(),
            fleet: input.fleet.clone(),
            tenants: input.tenants.clone(),
        };
        match self.0.scope(context, named).await? {
            Scope::Database(database) => Box::pin(self.one(context, &database, goal, input)).await,
            Scope::Fleet(name, members) => {
                self.fleet(context, (&name, members), &goal, input).await
            }
        }
    }
}

impl RollbackMigration {
    async fn one(
        &self,
        context: &Context,
        database: &Database,
        goal: Goal,
        input: RollbackMigrationInput,
    ) -> Result<RollbackMigrationOutput, SkillError> {
        let dialect = database.target.dialect();
        let own = checked(&[], input.hooks, dialect, database.desk.outlets())?;
        stays_at_home(&own, database)?;
        let job = self.0.job(context, database);
        let name = database.name.clone();
        if input.dry_run {
            let mut assessment = engine::assess_rollback(job, &goal).await?;
            assessment.plan_digest = hooks::digest(assessment.plan_digest, &own);
            return Ok(RollbackMigrationOutput {
                database: name,
                dry_run: true,
                assessment: Some(assessment),
                reverted: Vec::new(),
                head: None,
                fingerprint: None,
                hooks: Vec::new(),
                fleet: None,
            });
        }
        let done = engine::rollback(
            job,
            RollbackRequest {
                goal,
                hooks: &own,
                covered: None,
            },
        )
        .await?;
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
            hooks: done.hooks,
            fleet: None,
        })
    }

    async fn fleet(
        &self,
        context: &Context,
        members: (&str, Vec<Database>),
        goal: &Goal,
        input: RollbackMigrationInput,
    ) -> Result<RollbackMigrationOutput, SkillError> {
        let Self(bench) = self;
        let database = members.0.to_owned();
        let fleet =
            FleetWork::read((bench, context), members, None, input.hooks, input.pace).await?;
        let work = reverting(goal);
        let report = if input.dry_run {
            fleet.plan(bench, context, work).await?.report
        } else {
            fleet.run(bench, context, (work, None)).await?
        };
        Ok(RollbackMigrationOutput {
            database,
            dry_run: input.dry_run,
            assessment: None,
            reverted: Vec::new(),
            head: None,
            fingerprint: None,
            hooks: Vec::new(),
            fleet: Some(report),
        })
    }
}
