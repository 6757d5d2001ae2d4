//! `plan_migration`: what a source would change, proven on a shadow.

use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, Skill, SkillError};

use super::parts::{MigrationSource, PlanReport, Workbench, checked_retention};
use crate::engine;

/// Plans migrations by running them up, down and up on a shadow.
#[derive(Debug, Clone)]
pub struct PlanMigration(pub Workbench);

/// What to plan.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanMigrationInput {
    /// Name of a configured database.
    pub database: String,
    /// The migrations.
    pub source: MigrationSource,
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
        let database = self.0.database(&input.database)?;
        let source = self.0.read(input.source, database.target.dialect()).await?;
        let retention = checked_retention(input.retain.as_deref())?;
        let job = self.0.job(context, database);
        let plan = engine::plan_retaining(job, &source, retention).await?;
        Ok(PlanReport::new(&plan, database.dev))
    }
}
