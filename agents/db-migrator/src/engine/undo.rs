//! Reverts a script that stopped half way, statement by statement, by the inverses that the ledger holds.

use schemars::JsonSchema;
use serde::Deserialize;
use shared::SkillError;

use super::{EngineError, Goal, Job, execute::STANDS, ledger, observe::Observer, script::Script};
use crate::{
    clients::{Session, Transaction},
    domain::{
        Answer, Direction, MigrationRecord, MigrationState, StepRecord, StepState, Version,
        hooks::Point,
        undo::{Halfway, Undo},
    },
};

/// What becomes of a script that fails half way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailedScript {
    /// What it applied stands, and the next run continues there.
    #[default]
    Resume,
    /// What it applied is reverted.
    Revert,
}

impl Job<'_> {
    /// Before a rollback: finishes what is half way, but for what the rollback is going to undo.
    pub(super) async fn settle(
        &self,
        session: &mut dyn Session,
        goal: &Goal,
    ) -> Result<(), SkillError> {
        let migrations = self.migrations(session).await?;
        let halfway = migrations
            .iter()
            .find(|migration| migration.state == MigrationState::Applying);
        if let Some(migration) = halfway {
            let target = self.target(session, goal).await?;
            if migration.version > target && self.halfway(session, migration).await?.is_some() {
                return Ok(());
            }
        }
        self.finish_interrupted(session).await.map(drop)
    }

    /// What of a migration stands; `None` when it can only be finished forward.
    async fn halfway(
        &self,
        session: &mut dyn Session,
        migration: &MigrationRecord,
    ) -> Result<Option<Halfway>, SkillError> {
        self.reading(ledger::undo::halfway(session, migration.sequence))
            .await
    }

    /// Undoes the migration above the target that stopped half way, with the hooks of the rollback.
    pub(super) async fn undo_above(
        &self,
        session: &mut dyn Session,
        target: &Version,
    ) -> Result<(), SkillError> {
        let migrations = self.migrations(session).await?;
        let halfway = migrations.iter().find(|migration| {
            migration.state == MigrationState::Applying && migration.version > *target
        });
        let Some(migration) = halfway else {
            return Ok(());
        };
        if self
            .database
            .desk
            .backs_up_before(self.run(), migration.version.as_str())
        {
            self.hook(session, Point::Backup, Some(migration)).await?;
        }
        self.hook(session, Point::BeforeStep, Some(migration))
            .await?;
        self.undo(session, migration).await?;
        self.hook(session, Point::AfterStep, Some(migration)).await
    }

    /// Reverts what a migration applied. Returns the number of statements.
    async fn undo(
        &self,
        session: &mut dyn Session,
        migration: &MigrationRecord,
    ) -> Result<u64, SkillError> {
        self.resolve(session, migration).await?;
        let Some(halfway) = self.halfway(session, migration).await? else {
            return Err(SkillError::failed(format!(
                "{} {} has no inverses of single statements in the ledger: apply_migration finishes it",
                migration.version, migration.name
            )));
        };
        if let Some(refusal) = refusal(migration, &halfway) {
            return Err(SkillError::failed(refusal));
        }
        let catalog = self.reading(session.catalog()).await?.fingerprint();
        if halfway
            .expected()
            .is_some_and(|expected| expected != catalog)
        {
            return Err(SkillError::failed(format!(
                "{} {} stopped half way, and the catalog is another than on the shadow after its last statement: somebody else changed the schema",
                migration.version, migration.name
            )));
        }
        self.begin_undo(session, migration).await?;
        let script = self.undo_script(session, migration).await?;
        let count = script.steps.len() as u64;
        self.execute(session, &script).await?;
        Ok(count)
    }

    /// From here on the way is back, and what the run had planned beyond is given up: both or none.
    async fn begin_undo(
        &self,
        session: &mut dyn Session,
        migration: &MigrationRecord,
    ) -> Result<(), SkillError> {
        let state = Direction::Undo.running();
        let row = ledger::state_row(session.dialect(), migration.sequence, state, self.run());
        let written = async {
            session.begin(Transaction::default()).await?;
            ledger::abandon_planned(session, "").await?;
            ledger::write(session, row).await?;
            session.commit().await
        };
        written.await.map_err(|error| self.skill(error))
    }

    /// Finds out whether the statement in doubt took effect.
    async fn resolve(
        &self,
        session: &mut dyn Session,
        migration: &MigrationRecord,
    ) -> Result<(), SkillError> {
        let script = self
            .recorded(session, migration, Direction::Up, true)
            .await?;
        let doubt = script
            .steps
            .iter()
            .find(|step| step.state == StepState::Intent);
        let Some(step) = doubt else {
            return Ok(());
        };
        let mut observer = Observer::new(self, session);
        let resolved = async {
            let applied = self.clear_up(session, &script, step, &mut observer).await?;
            let state = if applied {
                StepState::Applied
            } else {
                StepState::Pending
            };
            self.note(session, &script, step, state).await
        };
        let resolved: Result<(), EngineError> = resolved.await;
        resolved.map_err(|error| error.into_skill(self))
    }

    /// The inverses of what stands, newest first, as a script.
    pub(super) async fn undo_script<'a>(
        &self,
        session: &mut dyn Session,
        migration: &'a MigrationRecord,
    ) -> Result<Script<'a>, SkillError> {
        let halfway = self.halfway(session, migration).await?.unwrap_or_default();
        let mut foreign_keys_off = false;
        let mut steps = Vec::new();
        for step in halfway.open() {
            let (text, transactional) = match &step.undo.undo {
                Undo::By(way) => {
                    foreign_keys_off |= way.foreign_keys_off;
                    (way.text.clone(), way.transactional)
                }
                Undo::Nothing => (String::new(), true),
                Undo::Unproven(_) => {
                    let refusal = refusal(migration, &halfway).unwrap_or_default();
                    return Err(SkillError::failed(refusal));
                }
            };
            steps.push(StepRecord {
                ordinal: step.undo.ordinal,
                text,
                transactional,
                state: Direction::Undo.read(step.state),
                around: Some(step.undo.around.clone()),
            });
        }
        Ok(Script {
            migration,
            direction: Direction::Undo,
            steps,
            verify: true,
            foreign_keys_off,
            flushes_later: false,
        })
    }

    /// What a failed apply says, after it did what the request wants then. Only what loses no row is reverted without a
    /// person.
    pub(super) async fn after_failure(
        &self,
        session: &mut dyn Session,
        error: SkillError,
        on_failure: FailedScript,
    ) -> SkillError {
        let SkillError::Failed { message, .. } = &error else {
            return error;
        };
        if on_failure == FailedScript::Resume {
            return error;
        }
        let reason = message
            .strip_suffix(STANDS)
            .unwrap_or(message)
            .trim_end_matches("; ")
            .to_owned();
        match self.revert_failed(session).await {
            Ok(None) => error,
            Ok(Some(count)) => SkillError::failed(format!(
                "{reason}; the {count} statements that it had applied were reverted"
            )),
            Err(second) => SkillError::failed(format!(
                "{reason}; what it had applied could not be reverted: {second}"
            )),
        }
    }

    async fn revert_failed(&self, session: &mut dyn Session) -> Result<Option<u64>, SkillError> {
        let migrations = self.migrations(session).await?;
        let halfway = migrations
            .iter()
            .find(|migration| migration.state == MigrationState::Applying);
        let Some(migration) = halfway else {
            return Ok(None);
        };
        self.resolve(session, migration).await?;
        let below = migrations.iter().filter(|other| {
            other.state == MigrationState::Applied && other.version < migration.version
        });
        let below = below.map(|other| other.version.clone()).max();
        let goal = Goal::Version(below.unwrap_or_else(Version::zero));
        let assessment = self.assess_with(session, &goal).await?;
        if assessment.answer != Answer::Reversible {
            return Err(SkillError::failed(assessment.evidence.join("; ")));
        }
        self.undo(session, migration).await.map(Some)
    }

    /// Refuses to go on with a run whose work was reverted while it was away.
    pub(super) async fn refuse_taken_back(
        &self,
        session: &mut dyn Session,
    ) -> Result<(), SkillError> {
        let gone = self
            .reading(ledger::undo::taken_back(session, self.run()))
            .await?;
        match gone {
            None => Ok(()),
            Some(version) => Err(SkillError::failed(format!(
                "{version}, which this task had begun, was reverted after it failed or by a rollback: call it again to apply it"
            ))),
        }
    }
}

/// Why a script that stopped half way cannot be undone.
fn refusal(migration: &MigrationRecord, halfway: &Halfway) -> Option<String> {
    let (step, reason) = halfway.blocked()?;
    Some(format!(
        "{} {} stopped half way, and {} has no proven inverse ({reason}): apply_migration finishes it",
        migration.version,
        migration.name,
        step.named()
    ))
}
