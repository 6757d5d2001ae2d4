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
    /// Finishes the one migration that is in the middle of its statements, whichever run began it, in the direction that
    /// was approved then. Returns what was finished.
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
            let script = match migration.state {
                MigrationState::Undoing => self.undo_script(session, migration).await?,
                MigrationState::Applying => {
                    self.recorded(session, migration, Direction::Up, true)
                        .await?
                }
                _ => {
                    self.recorded(session, migration, Direction::Down, true)
                        .await?
                }
            };
            self.execute(session, &script).await?;
        }
        Ok(interrupted
            .into_iter()
            .filter(|migration| migration.state != MigrationState::Undoing)
            .collect())
    }

    /// Applies what this very run planned. Returns what was applied. `as_planned` when the catalog was held against the
    /// plan right before.
    pub(super) async fn continue_planned(
        &self,
        session: &mut dyn Session,
        as_planned: bool,
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
        // What a hook of a step has seen must not be lost.
        let alone = self.database.desk.hooks(self.run()).is_none() && !backfills;
        // What hooks and backfills did in between may be anything.
        let compared = match dialect {
            Dialect::Postgres => (!(as_planned && alone)).then_some(1),
            Dialect::Sqlite => Some(total),
        };
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
                    verify: compared == Some(done),
                    flushes_later: done < total && alone && dialect == Dialect::Postgres,
                    foreign_keys_off: migration.foreign_keys_off.0,
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
        let (up, down) = migration.foreign_keys_off;
        Ok(Script {
            migration,
            direction,
            steps,
            verify,
            flushes_later: false,
            foreign_keys_off: if direction == Direction::Up { up } else { down },
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
