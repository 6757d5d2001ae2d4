//! `apply_migration`: brings a database to the newest version of a source.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Effect, Skill, SkillError};

use super::{
    adoption::{self, AdoptChoice, AdoptFields, OutOfOrder},
    fleet::{FleetWork, Pace, applying, fingerprint},
    parts::{
        INPUT_FILES, MigrationSource, PlanReport, Workbench, checked_release, checked_retention,
    },
    scope::{Named, Scope, Tenants},
};
use crate::{
    clients::Database,
    domain::{
        Version,
        fleet::FleetReport,
        history::DirtyDecision,
        hooks::{HookCall, HookSpec},
    },
    engine::{self, AdoptOutcome, AdoptRequest, Applied, ApplyRequest, FailedScript, Job},
};

/// Applies migrations with a ledger inside the database.
#[derive(Debug, Clone)]
pub struct ApplyMigration(pub Workbench);

/// What to apply.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyMigrationInput {
    /// Name of a configured database, or of one of its tenants as `DATABASE/SCHEMA`; either this or `fleet`.
    pub database: Option<String>,
    /// Name of a configured fleet.
    pub fleet: Option<String>,
    /// Tenants of the database: schemas that are migrated together, like a fleet.
    pub tenants: Option<Tenants>,
    /// How a fleet is walked through.
    pub pace: Option<Pace>,
    /// The migrations.
    #[serde(default)]
    pub source: MigrationSource,
    /// The release they come with: `assess_rollback` can name it later.
    pub release: Option<String>,
    /// Only plan; the default.
    #[serde(default = "yes")]
    pub dry_run: bool,
    /// Required when `dry_run` is false: the same key never applies twice.
    pub idempotency_key: Option<String>,
    /// Digest of the plan that the caller saw; refused when the plan is another by now.
    pub plan_digest: Option<String>,
    /// Take over the history of another tool without running it again: `auto`, or the tool's name. What is then pending
    /// is applied by the next call.
    pub adopt: Option<AdoptChoice>,
    /// What became of versions that the other tool left dirty, by version.
    #[serde(default)]
    pub adopt_dirty: BTreeMap<String, DirtyDecision>,
    /// Take every version up to this one as there, in a database without any history.
    pub baseline: Option<String>,
    /// What becomes of pending migrations that are older than the newest in force.
    #[serde(default)]
    pub out_of_order: OutOfOrder,
    /// Hooks beside those that the source declares; one of the same name replaces it.
    #[serde(default)]
    pub hooks: Vec<HookSpec>,
    /// How long dropped tables, columns and rows are kept, as an ISO 8601 duration of days and times (`P7D`, the
    /// default), or `none`.
    pub retain: Option<String>,
    /// What becomes of a script that cannot run in one transaction and fails half way: `resume` (the default) leaves what it
    /// applied for the next run to continue, `revert` reverts it statement by statement.
    #[serde(default)]
    pub on_failure: FailedScript,
}

fn yes() -> bool {
    true
}

/// What was, or would be, applied.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ApplyMigrationOutput {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The plan; absent when the run continued its own plan after a restart.
    pub plan: Option<PlanReport>,
    /// Digest of the plan that was, or would be, followed.
    pub plan_digest: String,
    /// Versions that this run applied, in order.
    pub applied: Vec<String>,
    /// Versions that an earlier, interrupted run had begun and this one finished.
    pub finished: Vec<String>,
    /// Versions that this run took over without running them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopted: Vec<String>,
    /// The newest version in force; absent on a dry run or without any.
    pub head: Option<String>,
    /// Fingerprint of the catalog afterwards.
    pub fingerprint: String,
    /// The hooks that ran, with what backups answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookCall>,
    /// The members, when the call was for a fleet; look at `complete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetReport>,
}

impl Skill for ApplyMigration {
    const ID: &'static str = "apply_migration";
    const NAME: &'static str = "Apply a migration";
    const DESCRIPTION: &'static str = "Applies pending migrations one by one under a lock, with their proven inverse in a ledger inside the database. \
        Every statement takes effect exactly once, also over crashes. Needs an approval outside dev databases and for plans that are not proven.";
    const TAGS: &'static [&'static str] = &["database", "migration", "apply", "schema"];
    const INPUT_FILES: &'static [&'static str] = INPUT_FILES;
    const EFFECT: Effect = Effect::Mutate;

    type Input = ApplyMigrationInput;
    type Output = ApplyMigrationOutput;

    async fn run(
        &self,
        context: &Context,
        mut input: Self::Input,
    ) -> Result<Self::Output, SkillError> {
        input.release = checked_release(input.release)?;
        let named = Named {
            database: input.database.clone(),
            fleet: input.fleet.clone(),
            tenants: input.tenants.clone(),
        };
        match self.0.scope(context, named).await? {
            Scope::Database(database) => Box::pin(self.one(context, &database, input)).await,
            Scope::Fleet(name, members) => self.fleet(context, (&name, members), input).await,
        }
    }
}

impl ApplyMigration {
    async fn one(
        &self,
        context: &Context,
        database: &Database,
        input: ApplyMigrationInput,
    ) -> Result<ApplyMigrationOutput, SkillError> {
        let (mut source, hooks) = self
            .0
            .read_hooked(context, input.source, database, input.hooks)
            .await?;
        input.out_of_order.mark(&mut source);
        let retention = checked_retention(input.retain.as_deref())?;
        let job = self.0.job(context, database);
        let fields = AdoptFields {
            adopt: input.adopt,
            adopt_dirty: input.adopt_dirty,
            baseline: input.baseline.as_deref(),
            plan_digest: input.plan_digest.as_deref(),
            release: input.release.as_deref(),
        };
        if let Some(request) = fields.request(&source)? {
            let answer = adoption(job, &request, input.dry_run).await?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        if input.dry_run {
            let mut plan = engine::plan(job, &source, retention).await?;
            plan.hooks = hooks;
            return Ok(planned(PlanReport::new(&plan, database.dev)));
        }
        let request = ApplyRequest {
            source: &source,
            plan_digest: input.plan_digest.as_deref(),
            release: input.release.as_deref(),
            hooks: &hooks,
            covered: None,
            retention,
            on_failure: input.on_failure,
        };
        let applied = engine::apply(job, request).await?;
        Ok(output(applied, database.dev))
    }

    async fn fleet(
        &self,
        context: &Context,
        members: (&str, Vec<Database>),
        input: ApplyMigrationInput,
    ) -> Result<ApplyMigrationOutput, SkillError> {
        let Self(bench) = self;
        adoption::refuse_for_fleet(input.adopt, input.baseline.as_deref(), input.out_of_order)?;
        let source = Some(input.source);
        let fleet =
            FleetWork::read((bench, context), members, source, input.hooks, input.pace).await?;
        let retention = checked_retention(input.retain.as_deref())?;
        let work = applying(input.release.as_deref(), retention, input.on_failure);
        let (plan, report) = if input.dry_run {
            let plan = fleet.report(fleet.plan(bench, context, work).await?);
            (Some(plan.clone()), plan.fleet)
        } else {
            let work = (work, input.plan_digest.as_deref());
            (None, Some(fleet.run(bench, context, work).await?))
        };
        let digest = |report: &FleetReport| report.plan_digest.clone();
        Ok(ApplyMigrationOutput {
            dry_run: input.dry_run,
            plan,
            plan_digest: report.as_ref().map_or_else(String::new, digest),
            applied: Vec::new(),
            finished: Vec::new(),
            adopted: Vec::new(),
            head: None,
            fingerprint: report.as_ref().map_or_else(String::new, fingerprint),
            hooks: Vec::new(),
            fleet: report,
        })
    }
}

/// The answer of a dry run.
fn planned(plan: PlanReport) -> ApplyMigrationOutput {
    ApplyMigrationOutput {
        dry_run: true,
        plan_digest: plan.plan_digest.clone(),
        fingerprint: plan.fingerprint.clone(),
        plan: Some(plan),
        applied: Vec::new(),
        finished: Vec::new(),
        adopted: Vec::new(),
        head: None,
        hooks: Vec::new(),
        fleet: None,
    }
}

/// The answer when anything is taken over.
async fn adoption(
    job: Job<'_>,
    request: &AdoptRequest<'_>,
    dry_run: bool,
) -> Result<Option<ApplyMigrationOutput>, SkillError> {
    let dev = job.database.dev;
    if dry_run {
        let adoption = engine::plan_adoption(job, request).await?;
        return Ok(adoption.map(|adoption| planned(adoption::report(&adoption, dev))));
    }
    let versions = |all: Vec<Version>| all.iter().map(ToString::to_string).collect();
    Ok(match engine::adopt(job, request).await? {
        AdoptOutcome::Nothing => None,
        AdoptOutcome::Done(adoption) => {
            let all = adoption.plan.migrations.iter();
            let all = all.map(|migration| migration.version.clone());
            let all = all.collect::<Vec<_>>();
            Some(ApplyMigrationOutput {
                dry_run: false,
                head: all.iter().max().map(ToString::to_string),
                adopted: versions(all),
                ..planned(adoption::report(&adoption, dev))
            })
        }
        AdoptOutcome::Before(run, taken) => Some(ApplyMigrationOutput {
            dry_run: false,
            plan: None,
            plan_digest: run.plan_digest,
            applied: Vec::new(),
            finished: Vec::new(),
            adopted: versions(
                taken
                    .into_iter()
                    .map(|migration| migration.version)
                    .collect(),
            ),
            head: run.head,
            fingerprint: run.fingerprint.unwrap_or_default(),
            hooks: Vec::new(),
            fleet: None,
        }),
    })
}

fn output(applied: Applied, dev: bool) -> ApplyMigrationOutput {
    let versions = |migrations: Vec<crate::domain::MigrationRecord>| {
        migrations
            .into_iter()
            .map(|migration| migration.version.to_string())
            .collect()
    };
    ApplyMigrationOutput {
        dry_run: false,
        plan: applied.plan.map(|plan| PlanReport::new(&plan, dev)),
        plan_digest: applied.plan_digest,
        applied: versions(applied.migrations),
        finished: versions(applied.finished),
        adopted: Vec::new(),
        head: applied.head,
        fingerprint: applied.fingerprint,
        hooks: applied.hooks,
        fleet: None,
    }
}
