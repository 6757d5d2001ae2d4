//! `plan_migration`: what a source would change, proven on a shadow.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use shared::{Context, Skill, SkillError};

use super::{
    adoption::{self, AdoptChoice, AdoptFields, OutOfOrder},
    fleet::{FleetWork, applying},
    parts::{INPUT_FILES, MigrationSource, PlanReport, Workbench, checked_retention},
    scope::{Named, Scope, Tenants},
};
use crate::{
    clients::Database,
    domain::{history::DirtyDecision, hooks::HookSpec},
    engine::{self, FailedScript},
};

/// Plans migrations by running them up, down and up on a shadow.
#[derive(Debug, Clone)]
pub struct PlanMigration(pub Workbench);

/// What to plan.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanMigrationInput {
    /// Name of a configured database, or of one of its tenants as `DATABASE/SCHEMA`; either this or `fleet`.
    pub database: Option<String>,
    /// Name of a configured fleet.
    pub fleet: Option<String>,
    /// Tenants of the database: schemas that are migrated together, like a fleet.
    pub tenants: Option<Tenants>,
    /// The migrations.
    #[serde(default)]
    pub source: MigrationSource,
    /// Take over the history of another tool without running it again: `auto`, or the tool's name.
    pub adopt: Option<AdoptChoice>,
    /// What became of versions that the other tool left dirty, by version.
    #[serde(default)]
    pub adopt_dirty: BTreeMap<String, DirtyDecision>,
    /// Take every version up to this one as there, in a database without any history.
    pub baseline: Option<String>,
    /// What becomes of pending migrations that are older than the newest in force.
    #[serde(default)]
    pub out_of_order: OutOfOrder,
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
    const INPUT_FILES: &'static [&'static str] = INPUT_FILES;

    type Input = PlanMigrationInput;
    type Output = PlanReport;

    async fn run(&self, context: &Context, input: Self::Input) -> Result<Self::Output, SkillError> {
        let Self(bench) = self;
        let named = Named {
            database: input.database.clone(),
            fleet: input.fleet.clone(),
            tenants: input.tenants.clone(),
        };
        match bench.scope(context, named).await? {
            Scope::Database(database) => Box::pin(self.one(context, &database, input)).await,
            Scope::Fleet(name, members) => {
                adoption::refuse_for_fleet(
                    input.adopt,
                    input.baseline.as_deref(),
                    input.out_of_order,
                )?;
                let retention = checked_retention(input.retain.as_deref())?;
                let source = Some(input.source);
                let fleet = FleetWork::read(
                    (bench, context),
                    (&name, members),
                    source,
                    input.hooks,
                    None,
                )
                .await?;
                let plan = fleet
                    .plan(
                        bench,
                        context,
                        applying(None, retention, FailedScript::Resume),
                    )
                    .await?;
                Ok(fleet.report(plan))
            }
        }
    }
}

impl PlanMigration {
    async fn one(
        &self,
        context: &Context,
        database: &Database,
        input: PlanMigrationInput,
    ) -> Result<PlanReport, SkillError> {
        let Self(bench) = self;
        let (mut source, hooks) = bench
            .read_hooked(context, input.source, database, input.hooks)
            .await?;
        input.out_of_order.mark(&mut source);
        let retention = checked_retention(input.retain.as_deref())?;
        let fields = AdoptFields {
            adopt: input.adopt,
            adopt_dirty: input.adopt_dirty,
            baseline: input.baseline.as_deref(),
            ..AdoptFields::default()
        };
        let job = bench.job(context, database);
        if let Some(request) = fields.request(&source)?
            && let Some(adoption) = engine::plan_adoption(job, &request).await?
        {
            return Ok(adoption::report(&adoption, database.dev));
        }
        let mut plan = engine::plan(job, &source, retention).await?;
        plan.hooks = hooks;
        Ok(PlanReport::new(&plan, database.dev))
    }
}
