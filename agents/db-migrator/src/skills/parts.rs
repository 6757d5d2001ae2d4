//! Inputs and answers that several skills share.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, SkillError};

use super::adoption::AdoptionReport;
pub(super) use super::source::INPUT_FILES;
pub use super::source::{InlineFile, MigrationSource};
use crate::{
    Metrics,
    clients::{Database, Databases, OciRegistries, Workspace},
    domain::{
        Dialect, Inverse, Migration, Plan, PlannedMigration, Risk, SourceFile, Verdict, Version,
        expand::Expansion,
        fleet::FleetReport,
        hooks::{Hook, HookReport},
        lex,
        plan::{PlannedScript, strongest_lock},
        source::{self, SourceError},
        staging::Retention,
        statement::Lock,
        undo::{StepUndo, Undo},
    },
    engine::{Goal, Job},
};

/// Longest path, file name, release or database name.
pub(super) const MAX_NAME: usize = 200;
/// Statements that a report lists for each half of a migration; their number is always given.
const MAX_LISTED_STATEMENTS: usize = 50;

/// What every skill works with.
#[derive(Debug, Clone)]
pub struct Workbench {
    /// The configured databases.
    pub databases: Arc<Databases>,
    /// The root of `source.path` and `source.archive`.
    pub workspace: Workspace,
    /// The registries of `source.oci`.
    pub registries: OciRegistries,
    /// Counters.
    pub metrics: Metrics,
}

impl Workbench {
    /// The database of this name, or a tenant as `NAME/SCHEMA`.
    pub(super) fn database(&self, name: &str) -> Result<Database, SkillError> {
        self.databases.target(name).ok_or_else(|| {
            SkillError::rejected(
                "database",
                format!("one of: {}", self.databases.names()),
                bounded(name),
            )
        })
    }

    /// The database of a service.
    pub(super) fn of_service(&self, service: &str) -> Result<&Database, SkillError> {
        self.databases.of_service(service).ok_or_else(|| {
            let expected = "a service that a database names, or a database's name";
            SkillError::rejected("service", expected, bounded(service))
        })
    }

    pub(super) fn job<'a>(&'a self, context: &'a Context, database: &'a Database) -> Job<'a> {
        Job {
            context,
            database,
            metrics: &self.metrics,
        }
    }

    /// Reads the source off the async threads.
    pub(super) async fn read(
        &self,
        context: &Context,
        source: MigrationSource,
        dialect: Dialect,
    ) -> Result<Vec<Migration>, SkillError> {
        Ok(self.read_with_files(context, source, dialect).await?.0)
    }

    /// The same with the files, of which some declare hooks.
    pub(super) async fn read_with_files(
        &self,
        context: &Context,
        source: MigrationSource,
        dialect: Dialect,
    ) -> Result<(Vec<Migration>, Vec<SourceFile>), SkillError> {
        let layout = source.layout;
        let values = source.placeholders(self)?;
        let files = source.gather(self, context).await?;
        let read = tokio::task::spawn_blocking(move || {
            let read = source::read_with(&files, dialect, layout, &values);
            read.map(|read| (read, files))
        });
        let read = read
            .await
            .map_err(|error| SkillError::failed_with("cannot read the source", error))?;
        let (read, files) = read.map_err(|error| {
            let field = match error {
                SourceError::Ambiguous { .. } => "source.layout",
                _ => "source",
            };
            SkillError::rejected(field, "SQL migrations", error.to_string())
        })?;
        for note in &read.notes {
            tracing::info!(
                layout = read.layout.name(),
                note,
                "a file of a source was left out"
            );
        }
        Ok((read.migrations, files))
    }
}

pub(super) fn bounded(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

/// Where a rollback leads, from its two optional fields.
pub(super) fn goal(to_version: Option<&str>, release: Option<&str>) -> Result<Goal, SkillError> {
    match (to_version, release) {
        (Some(version), None) => {
            let parsed = Version::parse(version).ok_or_else(|| {
                SkillError::rejected(
                    "to_version",
                    "a version such as 0003, or 0",
                    bounded(version),
                )
            })?;
            Ok(Goal::Version(parsed))
        }
        (None, Some(release)) => Ok(Goal::Release(
            checked_release(Some(release.to_owned()))?.unwrap_or_default(),
        )),
        _ => Err(SkillError::rejected(
            "to_version",
            "either to_version or release",
            "both or neither",
        )),
    }
}

/// The retention window of a request: seven days unless it names another.
pub(super) fn checked_retention(retain: Option<&str>) -> Result<Retention, SkillError> {
    let Some(text) = retain else {
        return Ok(Retention::default());
    };
    Retention::parse(text).ok_or_else(|| {
        SkillError::rejected(
            "retain",
            "an ISO 8601 duration up to P366D such as P7D or PT12H, or none",
            bounded(text).escape_debug().to_string(),
        )
    })
}

/// A release name of 1 to 200 characters without control characters.
pub(super) fn checked_release(release: Option<String>) -> Result<Option<String>, SkillError> {
    let bad =
        |name: &str| name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control);
    match release {
        Some(name) if bad(&name) => Err(SkillError::rejected(
            "release",
            "1 to 200 printable characters",
            bounded(&name).escape_debug().to_string(),
        )),
        release => Ok(release),
    }
}

/// Whether a plan may be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing is pending.
    UpToDate,
    /// Every rollback is proven.
    Accepted,
    /// Some rollback is not: only a person's approval of this plan's digest lets it pass.
    Refused,
}

/// A proven plan.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PlanReport {
    /// The database's name.
    pub database: String,
    /// `sqlite` or `postgres`.
    pub dialect: Dialect,
    /// Whether it may be applied.
    pub decision: Decision,
    /// Why not, a sentence for each migration whose rollback is not proven.
    pub refusals: Vec<String>,
    /// Whether applying it needs a person's approval.
    pub approval_needed: bool,
    /// SHA-256 that an approval is bound to.
    pub plan_digest: String,
    /// Fingerprint of the catalog that the plan starts from.
    pub fingerprint: String,
    /// The highest risk among its migrations.
    pub risk: Risk,
    /// The migrations in order.
    pub migrations: Vec<MigrationReport>,
    /// What would be taken over without being run, before anything is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<AdoptionReport>,
    /// What else happens at fixed points of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookReport>,
    /// The members, when the plan is a fleet's; the migrations above are then those of the first that lacks any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetReport>,
}

/// One migration of a plan.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MigrationReport {
    /// Its version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// SHA-256 of its up text, line ends normalised.
    pub checksum: String,
    /// What the shadow run proved about its rollback.
    pub verdict: Verdict,
    /// Where what reverts it comes from.
    pub inverse: Inverse,
    /// Why.
    pub evidence: Vec<String>,
    /// Whether all of its up runs in one transaction.
    pub transactional: bool,
    /// The strongest lock of its up.
    pub lock: Lock,
    /// Number of statements of its up.
    pub statement_count: u64,
    /// The statements of its up, the first 50.
    pub statements: Vec<StatementReport>,
    /// The statements of its down, the first 50; absent without a down.
    pub down: Option<Vec<StatementReport>>,
    /// Updates in batches that follow its up; string literals masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backfills: Vec<String>,
    /// Whether `complete_migration` finishes it later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_contract: bool,
    /// What it takes away and keeps until the end of the retention window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<String>,
    /// What undoes each statement of an up that does not run in one transaction, the first 50: it may stop half way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<UndoReport>,
}

/// What undoes one statement.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UndoReport {
    /// Place of the statement within its script, from 1.
    pub statement: u64,
    /// What is run, string literals masked; absent when nothing has to be, or nothing is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Why no inverse is proven: once this statement took effect, the script can only be finished forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<String>,
}

/// One statement of a plan.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatementReport {
    /// Leading keywords, for example `CREATE INDEX`.
    pub kind: String,
    /// The object it names.
    pub object: String,
    /// The statement on one line, string literals masked, at most 160 characters.
    pub sql: String,
    /// The strongest lock it takes.
    pub lock: Lock,
    /// Whether it may run inside a transaction.
    pub transactional: bool,
}

impl PlanReport {
    pub(super) fn new(plan: &Plan, dev: bool) -> Self {
        let refusals = plan.refusals();
        let decision = match (plan.migrations.is_empty(), refusals.is_empty()) {
            (true, _) => Decision::UpToDate,
            (false, true) => Decision::Accepted,
            (false, false) => Decision::Refused,
        };
        Self {
            database: plan.database.clone(),
            dialect: plan.dialect,
            decision,
            approval_needed: decision == Decision::Refused
                || (decision == Decision::Accepted && !dev),
            refusals,
            plan_digest: plan.digest(),
            fingerprint: plan.fingerprint.clone(),
            risk: plan.risk(),
            migrations: plan
                .migrations
                .iter()
                .map(|migration| migration_report(migration, plan.dialect))
                .collect(),
            adoption: None,
            hooks: plan.hooks.iter().map(Hook::report).collect(),
            fleet: None,
        }
    }
}

fn migration_report(migration: &PlannedMigration, dialect: Dialect) -> MigrationReport {
    let expansion = migration.parts.expansion.as_ref();
    MigrationReport {
        version: migration.version.to_string(),
        name: migration.name.clone(),
        checksum: migration.checksum.clone(),
        verdict: migration.proof.verdict,
        inverse: migration.inverse,
        evidence: migration.proof.evidence.clone(),
        transactional: migration.up.atomic,
        lock: strongest_lock(migration.up.steps.iter().map(|step| &step.statement)),
        statement_count: migration.up.steps.len() as u64,
        statements: statements(&migration.up, dialect),
        down: migration
            .down
            .as_ref()
            .map(|down| statements(down, dialect)),
        backfills: expansion
            .iter()
            .flat_map(|expansion| &expansion.backfills)
            .map(|backfill| lex::masked(&backfill.whole(), dialect))
            .collect(),
        has_contract: expansion.is_some_and(Expansion::has_contract),
        retained: migration
            .parts
            .retained
            .iter()
            .map(|retained| retained.what.clone())
            .collect(),
        undo: undo(&migration.parts.undo, dialect),
    }
}

fn undo(steps: &[StepUndo], dialect: Dialect) -> Vec<UndoReport> {
    let report = |step: &StepUndo| UndoReport {
        statement: u64::try_from(step.ordinal).unwrap_or_default(),
        sql: match &step.undo {
            Undo::By(way) => Some(lex::masked(&way.text, dialect)),
            Undo::Nothing | Undo::Unproven(_) => None,
        },
        unproven: match &step.undo {
            Undo::Unproven(reason) => Some(reason.clone()),
            Undo::Nothing | Undo::By(_) => None,
        },
    };
    steps
        .iter()
        .take(MAX_LISTED_STATEMENTS)
        .map(report)
        .collect()
}

fn statements(script: &PlannedScript, dialect: Dialect) -> Vec<StatementReport> {
    let listed = script
        .steps
        .iter()
        .take(MAX_LISTED_STATEMENTS)
        .map(|step| &step.statement);
    let report = |statement: &crate::domain::Statement| StatementReport {
        kind: statement.kind.clone(),
        object: statement.object.clone(),
        sql: lex::masked(&statement.text, dialect),
        lock: statement.lock,
        transactional: statement.transactional,
    };
    listed.map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wants_exactly_one_goal() {
        assert!(matches!(goal(Some("0003"), None), Ok(Goal::Version(_))));
        assert!(matches!(goal(None, Some("1.0.0")), Ok(Goal::Release(_))));
        assert!(goal(None, None).is_err() && goal(Some("1"), Some("1")).is_err());
        assert!(goal(Some("latest"), None).is_err() && goal(None, Some("a\nb")).is_err());
    }
}
