//! Finds and finishes what a crashed run left.

use shared::SkillError;

use super::{
    Job,
    execute::{Script, is_interrupted},
    ledger, parts,
};
use crate::{
    clients::Session,
    domain::{Direction, MigrationRecord, MigrationState},
};

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
            self.run_recorded(session, migration, direction, true)
                .await?;
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
        let in_parts = parts::exist(session)
            .await
            .map_err(|error| self.skill(error))?;
        for (done, migration) in own.iter().enumerate() {
            if in_parts {
                self.run_backfills(session).await?;
            }
            self.context.check_canceled()?;
            self.context.progress(
                &format!("applying {} {}", migration.version, migration.name),
                done as u64,
                own.len() as u64,
            );
            let last = done + 1 == own.len();
            self.run_recorded(session, migration, Direction::Up, last)
                .await?;
        }
        if in_parts {
            self.run_backfills(session).await?;
        }
        Ok(own)
    }

    /// Runs one half of a migration from the ledger alone.
    pub(super) async fn run_recorded(
        &self,
        session: &mut dyn Session,
        migration: &MigrationRecord,
        direction: Direction,
        verify: bool,
    ) -> Result<(), SkillError> {
        let steps = ledger::steps(session, migration.sequence, direction)
            .await
            .map_err(|error| self.skill(error))?;
        self.execute(
            session,
            &Script {
                migration,
                direction,
                steps,
                verify,
            },
        )
        .await
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
