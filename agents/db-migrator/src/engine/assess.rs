//! Reads what a rollback would do and cost, from the ledger and the rows as they are now.

use shared::SkillError;

use super::{Job, ledger, measure::measure_present, recover::head};
use crate::{
    clients::{Session, TargetError},
    domain::{
        Assessment, Direction, MigrationState, RunRecord, Version,
        assess::{Facts, assess},
        expand::classified,
        proof::TableRows,
        statement::Lock,
    },
};

/// Where a rollback leads.
#[derive(Debug, Clone)]
pub enum Goal {
    /// A version, `0` for none.
    Version(Version),
    /// What was in force when this release had been applied.
    Release(String),
}

/// Says whether a database may go back, without changing anything and without a lock.
///
/// # Errors
/// `Rejected` for a release or version that the ledger does not know; `Unavailable` when the database does not answer.
pub async fn assess_rollback(job: Job<'_>, goal: &Goal) -> Result<Assessment, SkillError> {
    let mut session = job.connect().await?;
    let assessment = job.assess_with(session.as_mut(), goal).await;
    job.close(session).await;
    assessment
}

impl Job<'_> {
    pub(super) async fn assess_with(
        &self,
        session: &mut dyn Session,
        goal: &Goal,
    ) -> Result<Assessment, SkillError> {
        let (facts, runs) = self.reading(facts(session)).await?;
        let target = target(goal, &facts, &runs)?;
        let mut assessment = assess(&self.database.name, &facts, &target);
        self.weigh_retained(session, &mut assessment).await?;
        Ok(assessment)
    }

    /// The version that a goal means.
    pub(super) async fn target(
        &self,
        session: &mut dyn Session,
        goal: &Goal,
    ) -> Result<Version, SkillError> {
        let (facts, runs) = self.reading(facts(session)).await?;
        target(goal, &facts, &runs)
    }
}

fn target(goal: &Goal, facts: &Facts, runs: &[RunRecord]) -> Result<Version, SkillError> {
    match goal {
        Goal::Version(version) => {
            let known = *version == Version::zero()
                || facts
                    .migrations
                    .iter()
                    .any(|(migration, _)| migration.version == *version);
            if known {
                Ok(version.clone())
            } else {
                Err(SkillError::rejected(
                    "to_version",
                    "a version in force, or 0",
                    version.to_string(),
                ))
            }
        }
        Goal::Release(release) => {
            let run = runs.iter().rev().find(|run| {
                run.release.as_deref() == Some(release)
                    && run.outcome.as_deref() == Some("completed")
            });
            let run = run.ok_or_else(|| {
                SkillError::rejected(
                    "release",
                    "a release that was applied to this database",
                    release.clone(),
                )
            })?;
            Ok(run
                .head
                .clone()
                .map_or_else(Version::zero, Version::recorded))
        }
    }
}

async fn facts(session: &mut dyn Session) -> Result<(Facts, Vec<RunRecord>), TargetError> {
    let catalog = session.catalog().await?;
    let fingerprint = catalog.fingerprint();
    if !ledger::exists(session).await? {
        return Ok((
            Facts {
                fingerprint,
                ..Facts::default()
            },
            Vec::new(),
        ));
    }
    let tables = catalog.tables();
    let mut facts = Facts {
        fingerprint,
        ..Facts::default()
    };
    let dialect = session.dialect();
    for migration in ledger::migrations(session).await? {
        if matches!(
            migration.state,
            MigrationState::Planned | MigrationState::Reverted | MigrationState::Abandoned
        ) {
            continue;
        }
        let steps = ledger::steps(session, migration.sequence, Direction::Down).await?;
        let down = steps.into_iter().map(|step| {
            let lock = classified(&step.text, dialect)
                .map_or(Lock::AccessExclusive, |statement| statement.lock);
            (step.text, lock)
        });
        let down = down.collect();
        let mut rows = Vec::new();
        for then in &migration.additions {
            // A table or column that is gone has no rows to lose; the drift shows in the fingerprint.
            let now = measure_present(session, &tables, Some(&then.addition)).await?;
            rows.push(now.map(|now| TableRows {
                rows: now.rows,
                digest: now.digest,
            }));
        }
        facts.rows.push(rows);
        facts.migrations.push((migration, down));
    }
    facts
        .migrations
        .sort_by_key(|(migration, _)| migration.sequence);
    Ok((facts, ledger::runs(session).await?))
}

/// The newest version in force.
pub(super) async fn current(session: &mut dyn Session) -> Result<Option<String>, TargetError> {
    Ok(head(&ledger::migrations(session).await?))
}
