//! Whether a database can go back, decided from its ledger.

mod demands;
mod halfway;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    MigrationRecord, MigrationState, Verdict, Version,
    ledger::MeasuredAddition,
    plan::rollback_digest,
    proof::TableRows,
    sha256_hex,
    statement::Lock,
    undo::{Halfway, HalfwayReport},
};
pub use demands::demands;
use halfway::{against_undoing, undone, verdict};

/// The answer to "may the service go back?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing has to be reverted: roll back the application alone.
    SafeWithoutDatabase,
    /// The proven downs restore the schema without losing a row.
    Reversible,
    /// Going back loses rows, or was not proven: a person has to decide.
    PointOfNoReturn,
}

/// Rows that a rollback would drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowsAtRisk {
    /// `table` or `column` and its name.
    pub what: String,
    /// Rows or values written since the migration; at least this many.
    pub rows: u64,
}

/// One migration that would be reverted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revert {
    /// Its version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// What was proven about its down when it was applied.
    pub verdict: Verdict,
    /// Statements of its down.
    pub statements: u64,
    /// The strongest lock that its down takes.
    pub lock: Lock,
    /// SHA-256 of its down text.
    pub down_hash: String,
    /// Rows that its down would drop now.
    pub rows_at_risk: Vec<RowsAtRisk>,
}

/// What a rollback would do and cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assessment {
    /// The answer.
    pub answer: Answer,
    /// The version that would be in force afterwards; `0` for none.
    pub to_version: String,
    /// What would be reverted, newest first.
    pub reverts: Vec<Revert>,
    /// Rows at risk in all.
    pub rows_at_risk: u64,
    /// Whether everything since only added tables, columns and indexes that ask nothing of an application of the target
    /// version, so that it most likely runs on the schema as it is now.
    pub additive_only: bool,
    /// Why nobody can do it, whoever approves; absent when a way back is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impossible: Option<String>,
    /// SHA-256 that an approval of this rollback is bound to.
    pub plan_digest: String,
    /// Why, in sentences.
    pub evidence: Vec<String>,
    /// The migration that stopped half way, when there is one: it is finished or undone first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halfway: Option<HalfwayReport>,
}

/// What the database says at the moment of the question.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The migrations in the ledger that are in force or half way, in order of application, with their down texts.
    pub migrations: Vec<(MigrationRecord, Vec<(String, Lock)>)>,
    /// Rows now, for each addition of each migration in the same order; `None` when it is gone.
    pub rows: Vec<Vec<Option<TableRows>>>,
    /// Fingerprint of the catalog now.
    pub fingerprint: String,
    /// What stands of the migration that stopped half way and would be undone, by its place in the ledger.
    pub halfway: Option<(i64, Halfway)>,
    /// Places in the ledger of migrations that ask of every writer what one of before does not do.
    pub demanding: BTreeSet<i64>,
    /// Places in the ledger of migrations whose script has statements that did not run.
    pub unfinished: BTreeSet<i64>,
    /// Values that the type of before does not hold, with the place of the migration whose way back changes it.
    pub misfits: Vec<(i64, RowsAtRisk)>,
}

/// Rows written since the migration: zero when nothing changed, at least one when anything did.
pub fn written_since(then: &MeasuredAddition, now: Option<&TableRows>) -> u64 {
    match now {
        None => 0,
        Some(now) if then.addition.place.column.is_some() => now.rows.saturating_sub(then.rows),
        Some(now) if now.rows == then.rows && is_same(then, now) => 0,
        Some(now) => now.rows.saturating_sub(then.rows).max(1),
    }
}

/// Whether equally many rows are the same rows: none are, and those of a large table count as such.
fn is_same(then: &MeasuredAddition, now: &TableRows) -> bool {
    now.rows == 0 || now.digest.is_empty() || now.digest == then.digest
}

/// Decides whether a database may go back to `target`.
pub fn assess(database: &str, facts: &Facts, target: &Version) -> Assessment {
    let reverts = reverts(facts, target);
    let rows_at_risk = reverts
        .iter()
        .flat_map(|revert| &revert.rows_at_risk)
        .map(|at_risk| at_risk.rows)
        .sum();
    let newest = facts.migrations.last().map(|(migration, _)| migration);
    let mut evidence = evidence(&reverts, newest, facts);
    evidence.extend(stays_on_top(facts, target));
    let interrupted = facts
        .migrations
        .iter()
        .map(|(migration, _)| migration)
        .find(|migration| migration.state != MigrationState::Applied);
    let halfway = interrupted.and_then(|migration| halfway::report(facts, migration, target));
    let answer = match (
        reverts.is_empty() && interrupted.is_none(),
        evidence.is_empty(),
    ) {
        (true, _) => Answer::SafeWithoutDatabase,
        (false, true) => Answer::Reversible,
        (false, false) => Answer::PointOfNoReturn,
    };
    let above = facts.migrations.iter();
    let above = above.filter(|(migration, _)| migration.version > *target);
    let digests = above
        .rev()
        .zip(&reverts)
        .map(|((migration, _), revert)| (migration.sequence, revert.down_hash.clone()))
        .collect::<Vec<_>>();
    Assessment {
        answer,
        to_version: target.to_string(),
        rows_at_risk,
        additive_only: interrupted.is_none_or(|one| only_fills(facts, one))
            && reverts
                .iter()
                .all(|revert| revert.verdict == Verdict::Reversible)
            && only_adds(facts, target),
        impossible: impossible(&reverts, halfway.as_ref()),
        plan_digest: rollback_digest(database, &facts.fingerprint, &digests),
        evidence: if evidence.is_empty() {
            good_news(&reverts, halfway.as_ref())
        } else {
            evidence
        },
        reverts,
        halfway,
    }
}

/// What would be reverted, newest first.
fn reverts(facts: &Facts, target: &Version) -> Vec<Revert> {
    let above = facts
        .migrations
        .iter()
        .zip(&facts.rows)
        .filter(|((migration, _), _)| migration.version > *target);
    above
        .rev()
        .map(|((migration, down), rows)| {
            let mut revert = Revert {
                verdict: verdict(facts, migration),
                ..revert(migration, down, rows)
            };
            let misfits = facts.misfits.iter();
            let own = misfits.filter(|(sequence, _)| *sequence == migration.sequence);
            let own = own.map(|(_, rows)| rows.clone());
            revert.rows_at_risk.extend(own);
            revert
        })
        .collect()
}

/// Whether what is left to do of a migration is its backfill: all of its statements ran.
fn only_fills(facts: &Facts, migration: &MigrationRecord) -> bool {
    migration.state == MigrationState::Applying && !facts.unfinished.contains(&migration.sequence)
}

/// What no approval changes: nothing is there that would lead back.
fn impossible(reverts: &[Revert], halfway: Option<&HalfwayReport>) -> Option<String> {
    let reverted = |one: &&HalfwayReport| reverts.iter().any(|it| it.version == one.version);
    if let Some(halfway) = halfway.filter(|one| !one.can_undo).filter(reverted) {
        return Some(format!(
            "{} {} stopped half way, and {} stands in the way of undoing it: apply_migration finishes it",
            halfway.version,
            halfway.name,
            halfway.blocked_by.as_deref().unwrap_or("a missing inverse")
        ));
    }
    let without = reverts
        .iter()
        .find(|revert| revert.verdict == Verdict::Irreversible)?;
    Some(format!(
        "{} {} has no down script: restore a backup or migrate forward",
        without.version, without.name
    ))
}

/// Migrations that ran late: they stay, but what is reverted was proven without them.
fn stays_on_top(facts: &Facts, target: &Version) -> Vec<String> {
    let mut above = facts.migrations.iter().map(|(migration, _)| migration);
    let first = above.find(|migration| migration.version > *target);
    let later = above.filter(|migration| migration.version <= *target);
    let sentence = |(kept, first): (&MigrationRecord, &MigrationRecord)| {
        format!(
            "{} was applied after {} and stays, so the proof of its rollback no longer holds",
            kept.version, first.version
        )
    };
    later.zip(first.into_iter().cycle()).map(sentence).collect()
}

fn revert(
    migration: &MigrationRecord,
    down: &[(String, Lock)],
    rows: &[Option<TableRows>],
) -> Revert {
    let at_risk = migration
        .additions
        .iter()
        .zip(rows)
        .map(|(then, now)| RowsAtRisk {
            what: then.addition.what.clone(),
            rows: written_since(then, now.as_ref()),
        });
    Revert {
        version: migration.version.to_string(),
        name: migration.name.clone(),
        verdict: migration.verdict,
        statements: down.len() as u64,
        lock: down
            .iter()
            .map(|(_, lock)| *lock)
            .max()
            .unwrap_or(Lock::None),
        down_hash: sha256_hex(
            &down
                .iter()
                .map(|(text, _)| text.as_str())
                .collect::<Vec<_>>()
                .join(";\n"),
        ),
        rows_at_risk: at_risk.filter(|at_risk| at_risk.rows > 0).collect(),
    }
}

/// Everything that speaks against the rollback.
fn evidence(reverts: &[Revert], newest: Option<&MigrationRecord>, facts: &Facts) -> Vec<String> {
    let fingerprint = &facts.fingerprint;
    let mut found = Vec::new();
    let goes_back = |newest: &&MigrationRecord| {
        reverts
            .iter()
            .any(|revert| revert.version == newest.version.as_str())
    };
    let undoing = newest
        .filter(goes_back)
        .and_then(|newest| Some((newest, undone(facts, newest)?)));
    if let Some((newest, halfway)) = undoing {
        found.extend(against_undoing(newest, halfway, fingerprint));
    } else if let Some(newest) = newest.filter(|newest| newest.state != MigrationState::Applied) {
        found.push(format!(
            "{} {} is half way ({}): finish it first by running its task again",
            newest.version,
            newest.name,
            newest.state.name()
        ));
    } else if newest.is_some_and(|newest| newest.fingerprint_after != *fingerprint)
        && !reverts.is_empty()
    {
        found.push(
            "the catalog was changed since the last migration, so its proof no longer holds".into(),
        );
    }
    for revert in reverts {
        let stopped = undoing.is_some_and(|(newest, _)| newest.version.as_str() == revert.version);
        if !revert.verdict.is_proven() && !stopped {
            found.push(format!(
                "{} {} is {}",
                revert.version,
                revert.name,
                revert.verdict.name()
            ));
        }
        let lost = revert.rows_at_risk.iter().map(|at_risk| {
            format!(
                "reverting {} drops {} written to {} since",
                revert.version,
                count(at_risk.rows),
                at_risk.what
            )
        });
        found.extend(lost);
    }
    found
}

fn count(rows: u64) -> String {
    if rows == 1 {
        String::from("1 row")
    } else {
        format!("{rows} rows")
    }
}

fn good_news(reverts: &[Revert], halfway: Option<&HalfwayReport>) -> Vec<String> {
    if reverts.is_empty() {
        return vec!["no migration is newer than that version".into()];
    }
    reverts
        .iter()
        .map(|revert| match halfway.filter(|one| one.version == revert.version) {
            Some(halfway) => halfway.good_news(),
            None => format!(
                "the down of {} {} was proven on a shadow and nothing was written to what it drops",
                revert.version, revert.name
            ),
        })
        .collect()
}

/// Whether the downs above the target drop additions and do nothing else: as they restore the catalog, nothing else was
/// changed.
fn only_adds(facts: &Facts, target: &Version) -> bool {
    facts
        .migrations
        .iter()
        .filter(|(migration, _)| migration.version > *target)
        .all(|(migration, down)| {
            let drops = |text: &str| {
                let upper = text.to_ascii_uppercase();
                upper.starts_with("DROP INDEX")
                    || upper.starts_with("DROP TABLE")
                    || (upper.starts_with("ALTER TABLE") && upper.contains("DROP COLUMN"))
            };
            !migration.additions.is_empty()
                && !facts.demanding.contains(&migration.sequence)
                && down.iter().all(|(text, _)| drops(text))
        })
}

#[cfg(test)]
mod tests;
