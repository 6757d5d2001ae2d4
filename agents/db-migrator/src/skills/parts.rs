//! Inputs and answers that several skills share.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, SkillError};

use crate::{
    Metrics,
    clients::{Database, Databases, Workspace, workspace::WorkspaceError},
    domain::{
        Dialect, Inverse, Migration, Plan, PlannedMigration, Risk, SourceFile, Verdict, Version,
        lex,
        plan::{PlannedScript, strongest_lock},
        source,
        statement::Lock,
    },
    engine::{Goal, Job},
};

/// Most inline files of a request.
const MAX_INLINE_FILES: usize = 200;
/// Most bytes of all inline files of a request.
const MAX_INLINE_BYTES: usize = 1 << 20;
/// Longest path, file name, release or database name.
const MAX_NAME: usize = 200;
/// Statements that a report lists for each half of a migration; their number is always given.
const MAX_LISTED_STATEMENTS: usize = 50;

/// What every skill works with.
#[derive(Debug, Clone)]
pub struct Workbench {
    /// The configured databases.
    pub databases: Arc<Databases>,
    /// The root of `source.path`.
    pub workspace: Workspace,
    /// Counters.
    pub metrics: Metrics,
}

impl Workbench {
    pub(super) fn database(&self, name: &str) -> Result<&Database, SkillError> {
        self.databases.find(name).ok_or_else(|| {
            SkillError::rejected(
                "database",
                format!("one of: {}", self.databases.names()),
                bounded(name),
            )
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
        source: MigrationSource,
        dialect: Dialect,
    ) -> Result<Vec<Migration>, SkillError> {
        let workspace = self.workspace.clone();
        let read = tokio::task::spawn_blocking(move || {
            let files = source.files(&workspace)?;
            source::read(&files, dialect).map_err(|error| {
                SkillError::rejected("source", "SQL migrations", error.to_string())
            })
        });
        read.await
            .map_err(|error| SkillError::failed_with("cannot read the source", error))?
    }
}

fn bounded(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

/// Where migrations are: a folder of the workspace, or files in the request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrationSource {
    /// Folder below the agent's workspace, for example `examples/shop/releases/1.0.0/migrations`.
    pub path: Option<String>,
    /// The files themselves, at most 200 and 1 MiB together.
    pub files: Option<Vec<InlineFile>>,
}

/// One file in a request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InlineFile {
    /// Name, for example `0001_create_orders.up.sql`; no `..`, not absolute.
    pub name: String,
    /// SQL.
    pub content: String,
}

impl MigrationSource {
    fn files(self, workspace: &Workspace) -> Result<Vec<SourceFile>, SkillError> {
        match (self.path, self.files) {
            (Some(path), None) => workspace
                .read(&path)
                .map_err(|error| rejected_path(&path, &error)),
            (None, Some(files)) => inline(files),
            _ => Err(SkillError::rejected(
                "source",
                "either path or files",
                "both or neither",
            )),
        }
    }
}

fn rejected_path(path: &str, error: &WorkspaceError) -> SkillError {
    match error {
        WorkspaceError::Unreadable(_) => SkillError::failed(error.to_string()),
        _ => SkillError::rejected(
            "source.path",
            "a folder of SQL files below the workspace",
            format!("{}: {error}", bounded(path)),
        ),
    }
}

fn inline(files: Vec<InlineFile>) -> Result<Vec<SourceFile>, SkillError> {
    let total: usize = files.iter().map(|file| file.content.len()).sum();
    if files.len() > MAX_INLINE_FILES || total > MAX_INLINE_BYTES {
        return Err(SkillError::rejected(
            "source.files",
            "at most 200 files and 1 MiB",
            format!("{} files and {total} bytes", files.len()),
        ));
    }
    let escapes = |name: &str| {
        name.is_empty()
            || name.len() > MAX_NAME
            || name.starts_with('/')
            || name.contains(['\\', '\0'])
            || name.split('/').any(|part| part == "..")
    };
    if let Some((at, file)) = files
        .iter()
        .enumerate()
        .find(|(_, file)| escapes(&file.name))
    {
        return Err(SkillError::rejected(
            format!("source.files[{at}].name"),
            "a relative name without ..",
            bounded(&file.name),
        ));
    }
    Ok(files
        .into_iter()
        .map(|file| SourceFile {
            name: file.name,
            content: file.content,
        })
        .collect())
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
        }
    }
}

fn migration_report(migration: &PlannedMigration, dialect: Dialect) -> MigrationReport {
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
    }
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

    fn inline_names(names: &[&str]) -> Result<Vec<SourceFile>, SkillError> {
        inline(
            names
                .iter()
                .map(|name| InlineFile {
                    name: (*name).into(),
                    content: String::new(),
                })
                .collect(),
        )
    }

    #[test]
    fn refuses_inline_files_that_escape_or_are_too_many() {
        for bad in ["../a.sql", "/a.sql", "a/../../b.sql", "", "a\\b.sql"] {
            assert!(
                matches!(inline_names(&[bad]), Err(SkillError::Rejected { field, .. }) if field == "source.files[0].name"),
                "{bad}"
            );
        }
        assert!(inline_names(&["0001_a/up.sql"]).is_ok());
        assert!(
            matches!(inline_names(&["a.sql"; 201]), Err(SkillError::Rejected { field, .. }) if field == "source.files")
        );
    }

    #[test]
    fn wants_exactly_one_goal() {
        assert!(matches!(goal(Some("0003"), None), Ok(Goal::Version(_))));
        assert!(matches!(goal(None, Some("1.0.0")), Ok(Goal::Release(_))));
        assert!(goal(None, None).is_err() && goal(Some("1"), Some("1")).is_err());
        assert!(goal(Some("latest"), None).is_err() && goal(None, Some("a\nb")).is_err());
    }
}
