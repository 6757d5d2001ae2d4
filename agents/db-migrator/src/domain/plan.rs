//! A plan: proven migrations, ready to be run and to be approved by its digest.

use serde::Serialize;

use super::{
    Dialect, Risk, Verdict, Version,
    expand::Expansion,
    hooks::{self, Hook},
    proof::{Addition, Inverse, Proof},
    sha256_hex,
    staging::Retained,
    statement::{Lock, Statement},
    undo::{self, StepUndo},
};

/// One statement of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// What is run.
    pub statement: Statement,
    /// Fingerprints around it, recorded on the shadow when it cannot run in a transaction.
    pub around: Option<(String, String)>,
}

/// One half of a planned migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedScript {
    /// Its statements in order.
    pub steps: Vec<PlannedStep>,
    /// Whether all of them share one transaction.
    pub atomic: bool,
    /// Whether SQLite's foreign keys are off while it runs.
    pub foreign_keys_off: bool,
}

/// One migration of a plan with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMigration {
    /// Its place in the order.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// Checksum of its up text.
    pub checksum: String,
    /// What applies it.
    pub up: PlannedScript,
    /// What reverts it; proven when the verdict says so.
    pub down: Option<PlannedScript>,
    /// Where that comes from.
    pub inverse: Inverse,
    /// The judgement.
    pub proof: Proof,
    /// Fingerprint of the catalog before up.
    pub fingerprint_before: String,
    /// Fingerprint of the catalog after up.
    pub fingerprint_after: String,
    /// Fingerprint of the catalog after down: equal to `fingerprint_before` unless the down is wrong.
    pub fingerprint_reverted: Option<String>,
    /// What is still to be done after up, and what it keeps.
    pub parts: Parts,
}

/// What a migration leaves for later runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// Backfills and the contract.
    pub expansion: Option<Expansion>,
    /// What its up took away and keeps until the end of the retention window.
    pub retained: Vec<Retained>,
    /// What undoes each statement of an up that does not run in one transaction; empty for every other.
    pub undo: Vec<StepUndo>,
}

/// Migrations to apply, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The database's name.
    pub database: String,
    /// What kind of database it is.
    pub dialect: Dialect,
    /// Fingerprint of its catalog when the plan was made.
    pub fingerprint: String,
    /// The migrations.
    pub migrations: Vec<PlannedMigration>,
    /// What else happens at fixed points of the run.
    pub hooks: Vec<Hook>,
}

#[derive(Serialize)]
struct Canonical<'a> {
    schema: &'static str,
    database: &'a str,
    dialect: Dialect,
    fingerprint: &'a str,
    migrations: Vec<CanonicalMigration<'a>>,
}

#[derive(Serialize)]
struct CanonicalMigration<'a> {
    version: &'a str,
    checksum: &'a str,
    down: Option<String>,
    verdict: Verdict,
    destroys: bool,
    fingerprint_after: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<String>,
}

impl Plan {
    /// SHA-256 over the canonical content (RFC 8785): equal for equal database state and equal files.
    pub fn digest(&self) -> String {
        let migrations = self.migrations.iter().map(|migration| CanonicalMigration {
            version: migration.version.as_str(),
            checksum: &migration.checksum,
            down: migration.down.as_ref().map(script_hash),
            verdict: migration.proof.verdict,
            destroys: !migration.proof.destroys.is_empty(),
            fingerprint_after: &migration.fingerprint_after,
            undo: undo::hash(&migration.parts.undo),
        });
        let plan = digest(&Canonical {
            schema: "db-migrator/plan/v1",
            database: &self.database,
            dialect: self.dialect,
            fingerprint: &self.fingerprint,
            migrations: migrations.collect(),
        });
        hooks::digest(plan, &self.hooks)
    }

    /// The first migration that destroys something or whose rollback is not proven: a backup comes before it.
    pub fn backup_before(&self) -> Option<&Version> {
        self.migrations
            .iter()
            .find(|migration| {
                !migration.proof.verdict.is_proven() || !migration.proof.destroys.is_empty()
            })
            .map(|migration| &migration.version)
    }

    /// Why the plan is refused unless a person approves it: every migration whose rollback is not proven.
    pub fn refusals(&self) -> Vec<String> {
        let unproven = self
            .migrations
            .iter()
            .filter(|migration| !migration.proof.verdict.is_proven());
        let sentence = |migration: &PlannedMigration| {
            let proof = &migration.proof;
            format!(
                "{} {} is {}: {}",
                migration.version,
                migration.name,
                proof.verdict.name(),
                proof.evidence.join("; ")
            )
        };
        unproven.map(sentence).collect()
    }

    /// Why a failure half way cannot be promised to be reverted; absent when it can.
    pub fn unrevertible(&self) -> Option<String> {
        let several =
            |migration: &&PlannedMigration| !migration.up.atomic && migration.up.steps.len() > 1;
        self.migrations
            .iter()
            .filter(several)
            .find_map(|migration| {
                let reason = if migration.parts.undo.is_empty() {
                    Some("it is only finished forward, and then reverted as a whole".to_owned())
                } else {
                    undo::unrevertible(&migration.parts.undo)
                };
                reason.map(|reason| format!("{} {}: {reason}", migration.version, migration.name))
            })
    }

    /// The highest risk among its migrations.
    pub fn risk(&self) -> Risk {
        self.migrations
            .iter()
            .map(|migration| migration.proof.verdict.risk())
            .max()
            .unwrap_or(Risk::Low)
    }

    /// One line for an approver.
    pub fn summary(&self) -> String {
        let versions = self
            .migrations
            .iter()
            .map(|migration| migration.version.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let warning = match self.risk() {
            Risk::Low => "every rollback is proven",
            Risk::Medium => "a rollback does not restore the schema",
            Risk::High => "a rollback loses data or is missing",
        };
        format!(
            "applying {versions} to database {} ({warning})",
            self.database
        )
    }
}

/// The digest of a rollback: which migrations of which database, by which proven text.
pub fn rollback_digest(database: &str, fingerprint: &str, reverts: &[(i64, String)]) -> String {
    #[derive(Serialize)]
    struct Rollback<'a> {
        schema: &'static str,
        database: &'a str,
        fingerprint: &'a str,
        reverts: &'a [(i64, String)],
    }
    digest(&Rollback {
        schema: "db-migrator/rollback/v1",
        database,
        fingerprint,
        reverts,
    })
}

/// SHA-256 over the statements of a script.
pub fn script_hash(script: &PlannedScript) -> String {
    sha256_hex(
        &script
            .steps
            .iter()
            .map(|step| step.statement.text.as_str())
            .collect::<Vec<_>>()
            .join(";\n"),
    )
}

/// SHA-256 over the canonical form (RFC 8785) of strings, numbers and lists.
pub(super) fn digest(content: &impl Serialize) -> String {
    let canonical = serde_json_canonicalizer::to_string(content)
        .expect("strings, numbers and lists always serialize");
    sha256_hex(&canonical)
}

/// What a migration puts at risk when it is rolled back later.
pub fn additions(migration: &PlannedMigration) -> &[Addition] {
    &migration.proof.adds
}

/// The strongest lock of some statements.
pub fn strongest_lock<'a>(statements: impl IntoIterator<Item = &'a Statement>) -> Lock {
    statements
        .into_iter()
        .map(|statement| statement.lock)
        .max()
        .unwrap_or(Lock::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::statement::classify;

    fn plan(verdict: Verdict, down: &str) -> Plan {
        let script = |text: &str| PlannedScript {
            steps: vec![PlannedStep {
                statement: classify(text.into(), Dialect::Sqlite).unwrap(),
                around: None,
            }],
            atomic: true,
            foreign_keys_off: false,
        };
        let proof = Proof {
            verdict,
            evidence: vec!["because".into()],
            destroys: vec![],
            adds: vec![],
            touches: vec![],
        };
        let migration = PlannedMigration {
            version: Version::parse("1").unwrap(),
            name: "a".into(),
            checksum: "c".into(),
            up: script("create table a (x)"),
            down: Some(script(down)),
            inverse: Inverse::Author,
            proof,
            fingerprint_before: "f0".into(),
            fingerprint_after: "f1".into(),
            fingerprint_reverted: Some("f0".into()),
            parts: Parts::default(),
        };
        Plan {
            hooks: vec![],
            database: "shop".into(),
            dialect: Dialect::Sqlite,
            fingerprint: "f0".into(),
            migrations: vec![migration],
        }
    }

    #[test]
    fn binds_the_digest_to_what_would_be_done() {
        let one = plan(Verdict::Reversible, "drop table a");
        assert_eq!(
            one.digest(),
            plan(Verdict::Reversible, "drop table a").digest()
        );
        assert_ne!(
            one.digest(),
            plan(Verdict::Reversible, "drop table b").digest()
        );
        assert_ne!(one.digest(), plan(Verdict::Lossy, "drop table a").digest());
        assert_ne!(
            one.digest(),
            Plan {
                fingerprint: "f9".into(),
                ..one.clone()
            }
            .digest()
        );
    }

    #[test]
    fn refuses_what_is_not_proven() {
        assert!(
            plan(Verdict::OrderOnly, "drop table a")
                .refusals()
                .is_empty()
        );
        assert_eq!(
            plan(Verdict::Lossy, "drop table a").refusals(),
            ["1 a is lossy: because"]
        );
        assert_eq!(plan(Verdict::Irreversible, "x").risk(), Risk::High);
    }
}
