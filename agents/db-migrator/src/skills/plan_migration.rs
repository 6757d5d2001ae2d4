//! `plan_migration`: what a source would change, proven on a shadow.

use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, Skill, SkillError};

use super::{
    fleet::{FleetWork, Scope, applying, refuse_retention},
    parts::{MigrationSource, PlanReport, Workbench, checked_retention},
};
use crate::{domain::hooks::HookSpec, engine};

/// Plans migrations by running them up, down and up on a shadow.
#[derive(Debug, Clone)]
pub struct PlanMigration(pub Workbench);

/// What to plan.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanMigrationInput {
    /// Name of a configured database; either this or `fleet`.
    pub database: Option<String>,
    /// Name of a configured fleet.
    pub fleet: Option<String>,
    /// The migrations.
    pub source: MigrationSource,
    /// Hooks beside those that the source declares.
    #[serde(default)]
    pub hooks: Vec<HookSpec>,
    /// How long dropped tables, columns and rows are kept, as for `apply_migration`: it changes what is proven.
    pub retain: Option<String>,
}

impl Skill for PlanMigration {
    const ID: &'static str = "plan_migration";
    const NAME: &'static str = "Plan a migration";
    const DESCRIPTION: &'static str = "Runs pending migrations up, down and up on a shadow of the database, says for each whether its rollback is proven, \
        and refuses what would lose data. Answers with the plan and the digest that an approval is bound to.";
    const TAGS: &'static [&'static str] = &["database", "migration", "plan", "rollback", "proof"];

    type Input = PlanMigrationInput;
    type Output = PlanReport;

    async fn run(&self, context: &Context, input: Self::Input) -> Result<Self::Output, SkillError> {
        let Self(bench) = self;
        match bench.scope(input.database.as_deref(), input.fleet.as_deref())? {
            Scope::Database(database) => {
                let (source, hooks) = bench
                    .read_hooked(input.source, database, input.hooks)
                    .await?;
                let retention = checked_retention(input.retain.as_deref())?;
                let job = bench.job(context, database);
                let mut plan = engine::plan_retaining(job, &source, retention).await?;
                plan.hooks = hooks;
                Ok(PlanReport::new(&plan, database.dev))
            }
            Scope::Fleet(name, members) => {
                refuse_retention(input.retain.as_deref())?;
                let source = Some(input.source);
                let fleet =
                    FleetWork::read(bench, (name, members), source, input.hooks, None).await?;
                let plan = fleet.plan(bench, context, applying(None)).await?;
                Ok(fleet.report(plan))
            }
        }
    }
}
