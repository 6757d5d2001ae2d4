//! Finds and finishes what a crashed run left.

use std::collections::BTreeMap;

use shared::SkillError;

use super::{Job, execute::is_interrupted, ledger, parts, script::Script};
use crate::{
    clients::Session,
    domain::{Dialect, Direction, MigrationRecord, MigrationState, StepRecord},
};

/// Migrations whose statements are in memory at once.
const LOADED_AT_ONCE: usize = 100;

impl Job<'_> {
    /// Finishes the one migration that is in the middle of its statements, whichever run began it: it was approved then,
    /// and forward is the only way that leads to a proven state. Returns what was finished.
    pub(super) async fn finish_interrupted(
        &self,
        session: &mut dyn Session,
    ) -> Result<Vec<MigrationRecord>, SkillError> {
        let migrations = self.migrations(session).await?;
        let interrupted = migrations
            .into_iter()
            .filter(|migration| is_interrupted(migration.state))
            .collect::<Vec<_>>();
        for migration in &interrupted {
            let direction = if migration.state == MigrationState::Applying {
                Direction::Up
            } else {
                Direction::Down
            };
            let script = self.recorded(session, migration, direction, true).await?;
            self.execute(session, &script).await?;
        }
        Ok(interrupted)
    }

    /// Applies what this very run planned before it crashed. Returns what was applied.
    pub(super) async fn continue_planned(
        &self,
        session: &mut dyn Session,
    ) -> Result<Vec<MigrationRecord>, SkillError> {
        let migrations = self.migrations(session).await?;
        let own = migrations
            .into_iter()
            .filter(|migration| {
                migration.state == MigrationState::Planned && migration.run == self.run()
            })
            .collect::<Vec<_>>();
        let backfills = self.reading(parts::exist(session)).await?;
        let total = own.len() as u64;
        let dialect = session.dialect();
        let compares_before = dialect == Dialect::Postgres;
        // What a hook of a step has seen must not be lost.
        let alone = self.database.desk.hooks(self.run()).is_none() && !backfills;
        let mut done = 0;
        // The statements of many migrations come with one query.
        for chunk in own.chunks(LOADED_AT_ONCE) {
            let mut steps = self.steps_of(session, chunk).await?;
            for migration in chunk {
                if backfills {
                    self.run_backfills(session).await?;
                }
                self.context.check_canceled()?;
                self.context.progress(
                    &format!("applying {} {}", migration.version, migration.name),
                    done,
                    total,
                );
                done += 1;
                let script = Script {
                    migration,
                    direction: Direction::Up,
                    steps: steps.remove(&migration.sequence).unwrap_or_default(),
                    verify: done == if compares_before { 1 } else { total },
                    flushes_later: done < total && alone && dialect == Dialect::Postgres,
                };
                self.run_hooked(session, &script).await?;
            }
        }
        if backfills {
            self.run_backfills(session).await?;
        }
        Ok(own)
    }

    async fn steps_of(
        &self,
        session: &mut dyn Session,
        migrations: &[MigrationRecord],
    ) -> Result<BTreeMap<i64, Vec<StepRecord>>, SkillError> {
        let sequences = migrations.iter().map(|migration| migration.sequence);
        let (Some(first), Some(last)) = (sequences.clone().min(), sequences.max()) else {
            return Ok(BTreeMap::new());
        };
        ledger::steps_between(session, first, last, Direction::Up)
            .await
            .map_err(|error| self.skill(error))
    }

    /// One half of a migration as the ledger holds it.
    pub(super) async fn recorded<'a>(
        &self,
        session: &mut dyn Session,
        migration: &'a MigrationRecord,
        direction: Direction,
        verify: bool,
    ) -> Result<Script<'a>, SkillError> {
        let steps = ledger::steps(session, migration.sequence, direction)
            .await
            .map_err(|error| self.skill(error))?;
        Ok(Script {
            migration,
            direction,
            steps,
            verify,
            flushes_later: false,
        })
    }

    pub(super) async fn migrations(
        &self,
        session: &mut dyn Session,
    ) -> Result<Vec<MigrationRecord>, SkillError> {
        self.reading(ledger::migrations(session)).await
    }
}

/// The newest version in force.
pub(super) fn head(migrations: &[MigrationRecord]) -> Option<String> {
    let in_force = migrations
        .iter()
        .filter(|migration| migration.state == MigrationState::Applied);
    in_force
        .map(|migration| &migration.version)
        .max()
        .map(ToString::to_string)
}
