//! Whether a database is as its ledger says, and fit to be migrated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Direction, MigrationRecord, MigrationState, RunRecord};

/// Oldest PostgreSQL that is tested, as `server_version_num`.
const OLDEST_SERVER: i64 = 150_000;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaState {
    /// The catalog is as the last run left it.
    InSync,
    /// Somebody else changed the catalog, or a run is half way.
    Drifted,
    /// There is no ledger: no run has been here.
    Unmanaged,
}

/// How much a finding matters.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// A later run may stumble over it.
    Warning,
    /// The next run will be refused or fail.
    Error,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// A fixed word, for example `invalid_index`.
    pub check: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about; a name, never a value.
    pub object: String,
    /// What is the matter and what helps.
    pub sentence: String,
}

/// The rights of the role that a database is configured with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rights {
    /// The role that statements run as.
    pub role: String,
    /// Whether the role that logs in is a superuser.
    pub superuser: bool,
    /// Whether it may make scratch databases for proofs.
    pub creates_databases: bool,
    /// Whether it may make schemas, the ledger's among them.
    pub creates_schemas: bool,
    /// Tables that it does not own and so cannot alter; the first 20.
    pub foreign_tables: Vec<String>,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether there is a ledger.
    pub managed: bool,
    /// Fingerprint of the catalog now.
    pub fingerprint: String,
    /// Fingerprint that the last run left.
    pub expected: Option<String>,
    /// What the ledger holds.
    pub migrations: Vec<MigrationRecord>,
    /// All runs, oldest first.
    pub runs: Vec<RunRecord>,
    /// Indexes that are not valid.
    pub invalid_indexes: Vec<String>,
    /// Constraints that were never validated.
    pub unvalidated: Vec<String>,
    /// Partitions that are half detached.
    pub detaching: Vec<String>,
    /// `server_version_num`; absent for SQLite.
    pub server: Option<i64>,
    /// Whether statements of one session arrive at different backends.
    pub pooled: bool,
    /// The role's rights; absent for SQLite.
    pub rights: Option<Rights>,
    /// Whether the operator allows a superuser here.
    pub superuser_allowed: bool,
}

/// Judges what was read.
pub fn judge(facts: &Facts) -> (SchemaState, Vec<Finding>) {
    let mut found = Vec::new();
    catalog_findings(facts, &mut found);
    run_findings(facts, &mut found);
    server_findings(facts, &mut found);
    found.sort_by(|left, right| {
        (right.severity, &left.check, &left.object).cmp(&(
            left.severity,
            &right.check,
            &right.object,
        ))
    });
    let changed = facts
        .expected
        .as_ref()
        .is_some_and(|expected| *expected != facts.fingerprint);
    let halfway = facts.migrations.iter().any(is_halfway);
    let state = match (facts.managed, changed || halfway) {
        (false, _) => SchemaState::Unmanaged,
        (true, true) => SchemaState::Drifted,
        (true, false) => SchemaState::InSync,
    };
    (state, found)
}

fn finding(check: &str, severity: Severity, object: &str, sentence: &str) -> Finding {
    Finding {
        check: check.into(),
        severity,
        object: object.into(),
        sentence: sentence.into(),
    }
}

fn is_halfway(migration: &MigrationRecord) -> bool {
    [Direction::Up, Direction::Down, Direction::Undo]
        .map(Direction::running)
        .contains(&migration.state)
}

fn catalog_findings(facts: &Facts, found: &mut Vec<Finding>) {
    let lists = [
        (
            &facts.invalid_indexes,
            "invalid_index",
            "the index is not valid and serves no query: drop it, or REINDEX INDEX CONCURRENTLY",
        ),
        (
            &facts.unvalidated,
            "not_valid_constraint",
            "the constraint does not hold for older rows: VALIDATE CONSTRAINT",
        ),
        (
            &facts.detaching,
            "half_detached_partition",
            "DETACH PARTITION CONCURRENTLY did not finish: DETACH PARTITION ... FINALIZE",
        ),
    ];
    for (objects, check, sentence) in lists {
        for object in objects {
            found.push(finding(check, Severity::Warning, object, sentence));
        }
    }
}

fn run_findings(facts: &Facts, found: &mut Vec<Finding>) {
    for run in facts.runs.iter().filter(|run| run.outcome.is_none()) {
        let sentence = "the run has no outcome: it is still at work, or it crashed and the next run finishes it";
        found.push(finding(
            "unfinished_run",
            Severity::Warning,
            &run.id,
            sentence,
        ));
    }
    for migration in facts.migrations.iter().filter(|one| is_halfway(one)) {
        let name = format!("{} {}", migration.version, migration.name);
        let sentence = "some of its statements committed: the next apply_migration finishes it, and rollback_migration takes it back";
        found.push(finding(
            "halfway_migration",
            Severity::Error,
            &name,
            sentence,
        ));
    }
    let unproven = facts
        .migrations
        .iter()
        .filter(|one| one.state == MigrationState::Applied && !one.verdict.is_proven());
    for migration in unproven {
        let name = format!("{} {}", migration.version, migration.name);
        let sentence = "its rollback is not proven";
        found.push(finding(
            "unproven_rollback",
            Severity::Info,
            &name,
            sentence,
        ));
    }
}

fn server_findings(facts: &Facts, found: &mut Vec<Finding>) {
    if let Some(version) = facts.server.filter(|version| *version < OLDEST_SERVER) {
        let sentence = "the server is older than PostgreSQL 15, the oldest that is tested";
        found.push(finding(
            "server_version",
            Severity::Warning,
            &version.to_string(),
            sentence,
        ));
    }
    if facts.pooled {
        let sentence =
            "a connection pooler in transaction mode stands before the database: use a direct URL";
        found.push(finding("pooler", Severity::Error, "connection", sentence));
    }
    let Some(rights) = &facts.rights else {
        return;
    };
    let role = &rights.role;
    if rights.superuser {
        let (severity, sentence) = if facts.superuser_allowed {
            (
                Severity::Info,
                "the role is a superuser, which the operator allowed",
            )
        } else {
            (
                Severity::Error,
                "the role is a superuser: apply_migration is refused; use a role of its own, or superuser=allow",
            )
        };
        found.push(finding("superuser", severity, role, sentence));
        return;
    }
    if !rights.creates_databases {
        let sentence =
            "the role may not create databases, so nothing can be proven: ALTER ROLE ... CREATEDB";
        found.push(finding("missing_right", Severity::Error, role, sentence));
    }
    if !rights.creates_schemas && !facts.managed {
        let sentence = "the role may not create the ledger's schema: GRANT CREATE ON DATABASE";
        found.push(finding("missing_right", Severity::Error, role, sentence));
    }
    for table in &rights.foreign_tables {
        let sentence =
            "another role owns the table, so it cannot be altered: ALTER TABLE ... OWNER TO";
        found.push(finding("foreign_table", Severity::Warning, table, sentence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            managed: true,
            fingerprint: "a".into(),
            expected: Some("a".into()),
            server: Some(170_010),
            rights: Some(Rights {
                role: "migrator".into(),
                creates_databases: true,
                creates_schemas: true,
                ..Rights::default()
            }),
            ..Facts::default()
        }
    }

    #[test]
    fn answers_in_one_word() {
        assert_eq!(judge(&facts()), (SchemaState::InSync, vec![]));
        let changed = Facts {
            fingerprint: "b".into(),
            ..facts()
        };
        assert_eq!(judge(&changed).0, SchemaState::Drifted);
        let nobody = Facts {
            managed: false,
            expected: None,
            ..facts()
        };
        assert_eq!(judge(&nobody).0, SchemaState::Unmanaged);
    }

    #[test]
    fn puts_what_matters_first() {
        let facts = Facts {
            invalid_indexes: vec!["public.i".into()],
            pooled: true,
            server: Some(140_000),
            ..facts()
        };
        let (state, found) = judge(&facts);
        let checks: Vec<_> = found.iter().map(|one| one.check.as_str()).collect();
        assert_eq!(state, SchemaState::InSync);
        assert_eq!(checks, ["pooler", "invalid_index", "server_version"]);
    }

    #[test]
    fn minds_the_rights_of_the_role() {
        let with = |change: fn(&mut Facts, &mut Rights)| {
            let mut facts = facts();
            let mut rights = facts.rights.take().unwrap();
            change(&mut facts, &mut rights);
            facts.rights = Some(rights);
            let found = judge(&facts).1;
            found
                .into_iter()
                .map(|one| (one.check, one.severity))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            with(|_, rights| rights.superuser = true),
            [("superuser".into(), Severity::Error)]
        );
        let allowed = with(|facts, rights| {
            facts.superuser_allowed = true;
            rights.superuser = true;
        });
        assert_eq!(allowed, [("superuser".into(), Severity::Info)]);
        assert_eq!(
            with(|_, rights| rights.creates_databases = false),
            [("missing_right".into(), Severity::Error)]
        );
        assert_eq!(
            with(|_, rights| rights.foreign_tables = vec!["t".into()]),
            [("foreign_table".into(), Severity::Warning)]
        );
    }
}
