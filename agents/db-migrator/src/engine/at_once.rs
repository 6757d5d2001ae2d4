//! Sends a script with its ledger rows at once: one round trip, and a few more where rows are measured around it.

use tokio::time::Instant;

use super::{
    EngineError, Job, ledger,
    measure::Baselines,
    observe::Observer,
    script::{Script, is_key_switch},
};
use crate::{
    clients::{Batch, BatchOutcome, Ran, Session, TargetError, question},
    domain::{Direction, StepRecord},
};

impl Job<'_> {
    /// One round trip for all of it; a few more where there are rows to measure.
    pub(super) async fn attempt_at_once(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        steps: &[&StepRecord],
        observer: &mut Observer,
    ) -> Result<(), EngineError> {
        let dialect = session.dialect();
        let run = steps
            .iter()
            .filter(|step| !is_key_switch(&step.text, dialect));
        let run = run.collect::<Vec<_>>();
        let texts = run
            .iter()
            .map(|step| step.text.as_str())
            .collect::<Vec<_>>();
        let rows = ledger::done_rows(session, script.steps_of(None), self.run());
        let mut calls = run
            .iter()
            .map(|step| self.call_of(dialect, script, step))
            .collect::<Vec<_>>();
        calls.push(self.commit_call(dialect, script));
        let batch = Batch {
            transaction: script.transaction(observer.waiting.timeout_ms()),
            statements: &texts,
            own: &rows,
        };
        let what = format!("{} {}", script.direction.name(), script.name());
        let started = Instant::now();
        let effect = self.observed(observer, &what, send(session, script, batch));
        let ran = self.audited_batch(calls, effect).await;
        self.metrics
            .stepped(dialect, started.elapsed().as_secs_f64());
        if ran.is_err() && script.is_measured() {
            undo(session).await;
        }
        ran
    }
}

/// Runs a batch as cheaply as what its migration may do to rows allows.
async fn send(session: &mut dyn Session, script: &Script<'_>, batch: Batch<'_>) -> BatchOutcome {
    if !script.is_measured() {
        return session.batch(batch).await;
    }
    if script.only_defines(batch.statements, session.dialect()) {
        let touched = &script.migration.touches;
        let outcome = session.batch_without_rows(batch, touched).await;
        if !matches!(outcome.commit, Err(TargetError::NotEmpty)) {
            return outcome;
        }
    }
    let migration = script.migration;
    match Baselines::begin(session, batch.transaction, migration, Vec::new()).await {
        Ok(baselines) => measured(session, script, batch, baselines).await,
        Err(error) => BatchOutcome::failed(batch.statements.len(), 0, error),
    }
}

/// Runs a batch in an open transaction; its rows are measured between its statements and its commit.
async fn measured(
    session: &mut dyn Session,
    script: &Script<'_>,
    batch: Batch<'_>,
    baselines: Baselines,
) -> BatchOutcome {
    let own = (script.direction == Direction::Up).then_some(script.migration);
    let tables = baselines.tables(own);
    let questions = tables.iter().map(|table| session.about(table));
    let questions = questions.collect::<Vec<_>>();
    let Ran {
        statements,
        answers,
    } = session.run(batch.statements, &questions).await;
    let closing = async {
        if statements.iter().any(Result::is_err) {
            return Err(TargetError::Skipped);
        }
        let present = question::tables(&tables, answers?)?;
        let mut rows = baselines.shift(session, own, Some(present)).await?;
        rows.extend_from_slice(batch.own);
        session.commit_with(&rows).await
    };
    let commit = closing.await;
    BatchOutcome { statements, commit }
}

/// After a lost connection this fails too; what counts is the first error.
pub(super) async fn undo(session: &mut dyn Session) {
    if let Err(second) = session.rollback().await {
        tracing::debug!(error = %second, "a transaction ended with its connection");
    }
}
