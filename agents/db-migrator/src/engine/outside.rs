//! Runs the few statements that no transaction may hold: intent, statement, outcome, and after a crash the catalog.

use std::time::Duration;

use shared::SkillError;

use super::{EngineError, Job, ledger, leftovers::leftovers, observe::Observer, script::Script};
use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{
        Dialect, StepRecord, StepState,
        concurrent::{Concurrent, concurrent},
        waiting::named,
    },
};

/// Two concurrent statements on one table may deadlock; the server ends one of them.
const DEADLOCKS: u32 = 5;
/// How long the clean-up after a statement that failed may wait: what stopped the statement may stop it too.
const CLEAN_MS: u64 = 2_000;

impl Job<'_> {
    /// Write-ahead intent, statement, outcome; an intent that is already there is resolved from the catalog first.
    pub(super) async fn outside_transaction(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        step: &StepRecord,
    ) -> Result<(), EngineError> {
        let mut observer = Observer::new(self, session);
        if step.state == StepState::Intent
            && self.clear_up(session, script, step, &mut observer).await?
        {
            return self.note(session, script, step, StepState::Applied).await;
        }
        self.note(session, script, step, StepState::Intent).await?;
        let mut deadlocks = 0;
        loop {
            self.announce(script, step, &mut observer).await;
            self.make_way(session, step, &mut observer).await?;
            let error = match self.statement(session, script, step, &mut observer).await {
                Ok(()) => break,
                Err(EngineError::Target(error)) => error,
                Err(other) => return Err(other),
            };
            let alive = matches!(error, TargetError::Sql { .. } | TargetError::LockTimeout);
            let clean = alive && clean(session, step).await;
            deadlocks += 1;
            if clean && matches!(error, TargetError::LockTimeout) && deadlocks < DEADLOCKS {
                observer.gave_up(self).await;
                self.pause(Duration::from_millis(200)).await?;
                continue;
            }
            if clean {
                self.note(session, script, step, StepState::Pending).await?;
            }
            return Err(observer.explain(self, error));
        }
        if let Some(index) = invalid(session, step).await? {
            clean(session, step).await;
            self.note(session, script, step, StepState::Pending).await?;
            let message =
                format!("index {index} was left invalid, and the statement did not build it");
            return Err(SkillError::failed(message).into());
        }
        self.note(session, script, step, StepState::Applied).await
    }

    /// Whether a statement in doubt took effect.
    pub(super) async fn clear_up(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        step: &StepRecord,
        observer: &mut Observer,
    ) -> Result<bool, EngineError> {
        self.metrics.in_doubt(session.dialect());
        let what = format!("{}: clearing up statement {}", script.name(), step.ordinal);
        self.context.progress(&what, 0, 0);
        self.took_effect(session, step, observer, &what).await
    }

    pub(super) async fn note(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        step: &StepRecord,
        state: StepState,
    ) -> Result<(), EngineError> {
        let one = script.steps_of(Some(step.ordinal));
        let row = ledger::steps_row(session, one, state, self.run());
        Ok(ledger::write(session, row).await?)
    }

    /// Says which old transactions a concurrent statement is going to wait for.
    async fn announce(&self, script: &Script<'_>, step: &StepRecord, observer: &mut Observer) {
        if concurrent(&step.text).is_none() {
            return;
        }
        let old = observer.old_transactions().await;
        if !old.is_empty() {
            let what = format!(
                "{}: statement {} will wait for {}",
                script.name(),
                step.ordinal,
                named(&old)
            );
            self.context.progress(&what, 0, 0);
        }
    }

    /// Drops an invalid index of the name that is to be built: `IF NOT EXISTS` would take it for the index itself.
    async fn make_way(
        &self,
        session: &mut dyn Session,
        step: &StepRecord,
        observer: &mut Observer,
    ) -> Result<(), EngineError> {
        if !matches!(
            concurrent(&step.text),
            Some(Concurrent::CreateIndex { index: Some(_), .. })
        ) {
            return Ok(());
        }
        self.clear(session, step, observer, "dropping an invalid index")
            .await
    }

    /// Runs what is left to do after a broken statement, for as long as it takes.
    async fn clear(
        &self,
        session: &mut dyn Session,
        step: &StepRecord,
        observer: &mut Observer,
        what: &str,
    ) -> Result<(), EngineError> {
        for left in leftovers(session, &step.text).await? {
            let ran = self.observed(observer, what, session.execute(&left)).await;
            ran.map_err(|error| observer.explain(self, error))?;
        }
        Ok(())
    }

    /// Whether the statement in doubt changed the catalog. What it left half done is undone or completed first.
    async fn took_effect(
        &self,
        session: &mut dyn Session,
        step: &StepRecord,
        observer: &mut Observer,
        what: &str,
    ) -> Result<bool, EngineError> {
        self.clear(session, step, observer, what).await?;
        let Some((before, after)) = &step.around else {
            return Ok(false);
        };
        let fingerprint = session.catalog().await?.fingerprint();
        if fingerprint == *before {
            return Ok(false);
        }
        if fingerprint == *after {
            return Ok(true);
        }
        Err(EngineError::Skill(SkillError::failed(
            "a statement is in doubt and the catalog is neither as before nor as after it: somebody else changed the schema",
        )))
    }
}

/// Undoes what a failed statement left. `false` when something is left: the statement stays in doubt.
async fn clean(session: &mut dyn Session, step: &StepRecord) -> bool {
    let undoes = !matches!(
        concurrent(&step.text),
        Some(Concurrent::DropIndex { .. } | Concurrent::Detach { .. })
    );
    let cleaned = async {
        let left = leftovers(session, &step.text).await?;
        if left.is_empty() {
            return Ok(true);
        }
        if !undoes {
            return Ok(false);
        }
        session
            .execute(&format!("SET lock_timeout = {CLEAN_MS}"))
            .await?;
        for statement in left {
            session.execute(&statement).await?;
        }
        Ok::<_, TargetError>(true)
    };
    let cleaned = cleaned.await;
    // A transaction that holds nothing: its end resets what was set here.
    let whole = Transaction::default();
    let reset = async {
        session.begin(whole).await?;
        session.commit().await
    };
    if let Err(error) = reset.await {
        tracing::debug!(%error, "settings could not be reset");
    }
    cleaned.unwrap_or_else(|error| {
        tracing::warn!(%error, "what a failed statement left is cleaned up by the next run");
        false
    })
}

/// The index that a `CREATE INDEX CONCURRENTLY` was to build, when it is invalid after all.
async fn invalid(
    session: &mut dyn Session,
    step: &StepRecord,
) -> Result<Option<String>, EngineError> {
    let built = concurrent(&step.text);
    let Some(Concurrent::CreateIndex {
        index: Some(index), ..
    }) = built
    else {
        return Ok(None);
    };
    let left = leftovers(session, &step.text).await?;
    Ok((session.dialect() == Dialect::Postgres && !left.is_empty()).then_some(index))
}
