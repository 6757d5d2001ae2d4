//! `migration_status`: where a database stands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::parts::{INPUT_FILES, MigrationSource, Workbench, checked_release};
use crate::{
    domain::{
        Dialect, MigrationRecord, RunRecord, Verdict,
        gate::{ReleaseState, release_state},
    },
    engine::{self, ExpansionStatus, Progress, Status},
};

/// Reads ledger and catalog without a lock.
#[derive(Debug, Clone)]
pub struct MigrationStatus(pub Workbench);

/// What to look at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrationStatusInput {
    /// Name of a configured database.
    pub database: String,
    /// Migrations to compare with: what is pending, and what was edited after it was applied.
    pub source: Option<MigrationSource>,
    /// A release to ask about: whether its schema is in force.
    pub release: Option<String>,
}

/// Where the database stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct MigrationStatusOutput {
    /// The database's name.
    pub database: String,
    /// `sqlite` or `postgres`.
    pub dialect: Dialect,
    /// Whether proven migrations need no approval here.
    pub dev: bool,
    /// The newest version in force.
    pub head: Option<String>,
    /// What the ledger holds, oldest first, without what was reverted.
    pub applied: Vec<AppliedMigration>,
    /// Versions of the source that are not in force.
    pub pending: Vec<String>,
    /// Whether the database is as its last run left it.
    pub drift: Drift,
    /// Where the schema of the asked release stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_state: Option<ReleaseState>,
    /// The last run.
    pub last_run: Option<LastRun>,
}

/// One migration of the ledger.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AppliedMigration {
    /// Its version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// The release it came with.
    pub release: Option<String>,
    /// `applied`; `planned`, `applying` or `reverting` while a run is at it or was interrupted.
    pub state: String,
    /// What was proven about its rollback.
    pub verdict: Verdict,
    /// SHA-256 of its up text.
    pub checksum: String,
    /// What is left of it after up; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<Expansion>,
}

/// A migration in parts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Expansion {
    /// `expanded` until `complete_migration` contracted it, then `completed`.
    pub state: String,
    /// `none`, `pending`, `running` or `done`.
    pub backfill: String,
    /// Rows that the backfill wrote.
    pub rows_done: u64,
    /// Rows of its table when it began; an estimate.
    pub rows_total: u64,
}

/// What changed behind the agent's back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// Whether the catalog differs from what the last run left.
    pub catalog_changed: bool,
    /// Fingerprint of the catalog now.
    pub fingerprint: String,
    /// Fingerprint that the last run left.
    pub expected_fingerprint: Option<String>,
    /// Why the source does not continue what the database has: an edited or a late migration.
    pub source_conflict: Option<String>,
}

/// The last run.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    /// The A2A task that it was.
    pub task_id: String,
    /// `apply` or `rollback`.
    pub kind: String,
    /// `completed`, why not, or absent while it runs or after a crash.
    pub outcome: Option<String>,
    /// The release it brought.
    pub release: Option<String>,
    /// When it began, by the database's clock.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
}

impl Skill for MigrationStatus {
    const ID: &'static str = "migration_status";
    const NAME: &'static str = "Migration status";
    const DESCRIPTION: &'static str = "Lists what is applied and pending in a database, and whether its catalog or its migrations were changed since. Takes no lock.";
    const TAGS: &'static [&'static str] = &["database", "migration", "status", "drift"];
    const INPUT_FILES: &'static [&'static str] = INPUT_FILES;

    type Input = MigrationStatusInput;
    type Output = MigrationStatusOutput;

    async fn run(&self, context: &Context, input: Self::Input) -> Result<Self::Output, SkillError> {
        let database = self.0.database(&input.database)?;
        let dialect = database.target.dialect();
        let source = match MigrationSource::given(input.source, context) {
            Some(source) => self.0.read(context, source, dialect).await?,
            None => Vec::new(),
        };
        let release = checked_release(input.release)?;
        let status = engine::status(self.0.job(context, &database), &source).await?;
        let state = |release| release_state(release, &status.runs, &status.migrations);
        let release_state = release.as_deref().map(state);
        Ok(MigrationStatusOutput {
            database: database.name.clone(),
            dialect,
            dev: database.dev,
            release_state,
            ..output(status)
        })
    }
}

fn output(status: Status) -> MigrationStatusOutput {
    let catalog_changed = status
        .expected_fingerprint
        .as_ref()
        .is_some_and(|expected| *expected != status.fingerprint);
    MigrationStatusOutput {
        database: String::new(),
        dialect: Dialect::Sqlite,
        dev: false,
        head: status.head,
        applied: status
            .migrations
            .into_iter()
            .map(|record| {
                let expansion = status
                    .expansions
                    .iter()
                    .find(|one| one.sequence == record.sequence);
                applied(record, expansion.map(expansion_report))
            })
            .collect(),
        pending: status
            .pending
            .into_iter()
            .map(|(version, _)| version)
            .collect(),
        drift: Drift {
            catalog_changed,
            fingerprint: status.fingerprint,
            expected_fingerprint: status.expected_fingerprint,
            source_conflict: status.conflict,
        },
        release_state: None,
        last_run: status.last_run.map(last_run),
    }
}

fn expansion_report(status: &ExpansionStatus) -> Expansion {
    let sum = |number: fn(&Progress) -> u64| status.backfills.iter().map(number).sum();
    Expansion {
        state: if status.completed {
            "completed"
        } else {
            "expanded"
        }
        .to_owned(),
        backfill: status.backfill().to_owned(),
        rows_done: sum(|progress| progress.rows_done),
        rows_total: sum(|progress| progress.rows_total),
    }
}

fn applied(record: MigrationRecord, expansion: Option<Expansion>) -> AppliedMigration {
    AppliedMigration {
        expansion,
        version: record.version.to_string(),
        name: record.name,
        release: record.release,
        state: record.state.name().to_owned(),
        verdict: record.verdict,
        checksum: record.checksum,
    }
}

fn last_run(run: RunRecord) -> LastRun {
    LastRun {
        task_id: run.id,
        kind: run.kind,
        outcome: run.outcome,
        release: run.release,
        started_at: run.started_at,
        finished_at: run.finished_at,
    }
}
