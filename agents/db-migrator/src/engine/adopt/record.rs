//! Writes an adoption into the ledger.

use shared::{SkillError, ToolCall};

use super::Adoption;
use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{Direction, MigrationState, StepState},
    engine::{
        Job,
        ledger::{self, NewRun, Steps},
        recover::head,
    },
};

impl Job<'_> {
    /// One transaction: either all of it is ours afterwards or nothing is.
    pub(super) async fn record_adoption(
        &self,
        session: &mut dyn Session,
        adoption: &Adoption,
        release: Option<&str>,
    ) -> Result<(), SkillError> {
        let transaction = Transaction::default();
        session
            .begin(transaction)
            .await
            .map_err(|error| self.skill(error))?;
        let call = ToolCall::write(
            session.dialect().commit_action(),
            [self.resource(), String::from("adoption")],
        );
        let written = async {
            self.write(session, adoption, release).await?;
            session.commit().await
        };
        let written = self.audited(call, written).await;
        if written.is_err()
            && let Err(error) = session.rollback().await
        {
            tracing::debug!(%error, "a transaction ended with its connection");
        }
        written.map_err(|error| error.into_skill(self))
    }

    async fn write(
        &self,
        session: &mut dyn Session,
        adoption: &Adoption,
        release: Option<&str>,
    ) -> Result<(), TargetError> {
        let digest = adoption.digest();
        let new = NewRun {
            id: self.run(),
            kind: "adopt",
            plan_digest: &digest,
            release: release.map(str::to_owned),
            caller: &self.context.caller().name,
        };
        ledger::install(session).await?;
        ledger::begin_run(session, new).await?;
        ledger::record_plan(session, self.run(), &adoption.plan, release).await?;
        let own = ledger::migrations(session).await?;
        for migration in own.iter().filter(|migration| migration.run == self.run()) {
            let steps = Steps {
                migration: migration.sequence,
                direction: Direction::Up,
                ordinal: None,
            };
            let steps = ledger::steps_row(session, steps, StepState::Applied, self.run());
            ledger::write(session, steps).await?;
            let state = (migration.sequence, MigrationState::Applied);
            let state = ledger::state_row(session.dialect(), state.0, state.1, self.run());
            ledger::write(session, state).await?;
        }
        let head = head(&ledger::migrations(session).await?);
        let fingerprint = &adoption.plan.fingerprint;
        ledger::finish_run(session, self.run(), "completed", head, fingerprint).await
    }
}
