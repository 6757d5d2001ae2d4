//! Reads what a rollback would do and cost, from the ledger and the rows as they are now.

use std::collections::BTreeMap;

use shared::SkillError;

use super::{Job, ledger, measure::measure_since, misfits::misfits, recover::head};
use crate::{
    clients::{Session, TargetError},
    domain::{
        Assessment, Dialect, Direction, MigrationRecord, MigrationState, RunRecord, StepRecord,
        StepState, Version,
        assess::{Facts, assess, demands},
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
    let target = &job.database.target;
    // Looking at catalog and rows takes as long as reading the ledger.
    let both = target.connect_twice(job.run()).await;
    let (mut session, mut beside) = both.map_err(|error| job.skill(error))?;
    let assessed = job
        .assess_beside(session.as_mut(), beside.as_mut(), goal)
        .await;
    job.close(session).await;
    if let Some(beside) = beside {
        job.close(beside).await;
    }
    assessed
}

impl Job<'_> {
    pub(super) async fn assess_with(
        &self,
        session: &mut dyn Session,
        goal: &Goal,
    ) -> Result<Assessment, SkillError> {
        self.assess_beside(session, None, goal).await
    }

    async fn assess_beside(
        &self,
        session: &mut dyn Session,
        mut beside: Option<&mut Box<dyn Session>>,
        goal: &Goal,
    ) -> Result<Assessment, SkillError> {
        let known = facts(session, beside.as_deref_mut());
        let (mut facts, runs, tables) = self.reading(known).await?;
        let target = target(goal, &facts, &runs)?;
        self.reading(look_above(session, beside, &mut facts, &target, &tables))
            .await?;
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
        let (facts, runs, _) = self.reading(facts(session, None)).await?;
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

/// Quoted tables with their columns.
type Tables = Vec<(String, Vec<String>)>;

/// Catalog and ledger, without the statements and rows that only what is reverted needs.
async fn facts(
    session: &mut dyn Session,
    beside: Option<&mut Box<dyn Session>>,
) -> Result<(Facts, Vec<RunRecord>, Tables), TargetError> {
    let (shape, known) = match beside {
        Some(beside) => futures::join!(beside.shape(), known(session)),
        None => (session.shape().await, known(session).await),
    };
    let (shape, (mut facts, runs)) = (shape?, known?);
    facts.fingerprint.clone_from(&shape.fingerprint);
    Ok((facts, runs, shape.tables.clone()))
}

/// What the ledger knows.
async fn known(session: &mut dyn Session) -> Result<(Facts, Vec<RunRecord>), TargetError> {
    let mut facts = Facts::default();
    if !ledger::exists(session).await? {
        return Ok((facts, Vec::new()));
    }
    let mut migrations = ledger::migrations(session).await?;
    migrations.retain(|migration| {
        !matches!(
            migration.state,
            MigrationState::Planned | MigrationState::Reverted | MigrationState::Abandoned
        )
    });
    migrations.sort_by_key(|migration| migration.sequence);
    let halfway = migrations.iter().find(|migration| {
        matches!(
            migration.state,
            MigrationState::Applying | MigrationState::Undoing
        )
    });
    if let Some(migration) = halfway {
        let found = ledger::undo::halfway(session, migration.sequence).await?;
        facts.halfway = found.map(|found| (migration.sequence, found));
    }
    facts.rows = vec![Vec::new(); migrations.len()];
    facts.migrations = migrations
        .into_iter()
        .map(|migration| (migration, Vec::new()))
        .collect();
    Ok((facts, ledger::runs(session).await?))
}

/// The downs of everything above the target, with one query for all, and the rows that they would drop.
async fn look_above(
    session: &mut dyn Session,
    beside: Option<&mut Box<dyn Session>>,
    facts: &mut Facts,
    target: &Version,
    tables: &Tables,
) -> Result<(), TargetError> {
    let above = |migration: &MigrationRecord| migration.version > *target;
    let of_above = facts.migrations.iter().map(|(migration, _)| migration);
    let of_above = of_above.filter(|migration| above(migration));
    let sequences = of_above.clone().map(|migration| migration.sequence);
    let (Some(first), Some(last)) = (sequences.clone().min(), sequences.max()) else {
        return Ok(());
    };
    // A table or column that is gone has no rows to lose; the drift shows in the fingerprint.
    let additions = of_above.flat_map(|migration| &migration.additions);
    let (steps, now) = match beside {
        Some(beside) => futures::join!(
            both_ways(session, first, last),
            measure_since(beside.as_mut(), tables, additions)
        ),
        None => (
            both_ways(session, first, last).await,
            measure_since(session, tables, additions).await,
        ),
    };
    let ((ups, mut downs), now) = (steps?, now?);

    let mut now = now.into_iter().map(|now| {
        now.map(|now| TableRows {
            rows: now.rows,
            digest: now.digest,
        })
    });
    for ((migration, _), rows) in facts.migrations.iter().zip(&mut facts.rows) {
        if above(migration) {
            rows.extend(now.by_ref().take(migration.additions.len()));
        }
    }
    let asking = ups
        .iter()
        .filter(|(_, steps)| steps.iter().any(|step| demands(&step.text)));
    facts.demanding = asking.map(|(sequence, _)| *sequence).collect();
    let waits = |step: &StepRecord| step.state != StepState::Applied;
    let unfinished = ups.iter().filter(|(_, steps)| steps.iter().any(waits));
    facts.unfinished = unfinished.map(|(sequence, _)| *sequence).collect();
    read_downs(session.dialect(), facts, target, &mut downs);
    facts.misfits = misfits(session, ways_back(facts, target)).await?;
    Ok(())
}

type Steps = BTreeMap<i64, Vec<StepRecord>>;

/// The statements of the ways back, with their locks.
fn read_downs(dialect: Dialect, facts: &mut Facts, target: &Version, downs: &mut Steps) {
    for (migration, down) in &mut facts.migrations {
        if migration.version <= *target {
            continue;
        }
        let steps = downs.remove(&migration.sequence).unwrap_or_default();
        let steps = steps.into_iter().map(|step| {
            let lock = classified(&step.text, dialect)
                .map_or(Lock::AccessExclusive, |statement| statement.lock);
            (step.text, lock)
        });
        *down = steps.collect();
        if let Some((sequence, halfway)) = &facts.halfway
            && *sequence == migration.sequence
        {
            *down = halfway.ways();
        }
    }
}

/// The statements of a range of migrations, up and down.
async fn both_ways(
    session: &mut dyn Session,
    first: i64,
    last: i64,
) -> Result<(Steps, Steps), TargetError> {
    let ups = ledger::steps_between(session, first, last, Direction::Up).await?;
    let downs = ledger::steps_between(session, first, last, Direction::Down).await?;
    Ok((ups, downs))
}

/// The statements of the ways back of what is in force above a version.
fn ways_back<'a>(facts: &'a Facts, target: &Version) -> Vec<(i64, &'a str)> {
    let in_force = |migration: &MigrationRecord| {
        migration.version > *target && migration.state == MigrationState::Applied
    };
    let above = facts.migrations.iter().filter(|(one, _)| in_force(one));
    let downs = above.flat_map(|(migration, down)| {
        let texts = down.iter().map(|(text, _)| text.as_str());
        texts.map(|text| (migration.sequence, text))
    });
    downs.collect()
}

/// The newest version in force.
pub(super) async fn current(session: &mut dyn Session) -> Result<Option<String>, TargetError> {
    Ok(head(&ledger::migrations(session).await?))
}
