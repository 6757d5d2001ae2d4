//! Runs one half of a migration so that every statement takes effect exactly once.
//!
//! A script whose statements may all run in a transaction commits together with its ledger rows. Any other script runs
//! statement by statement: those that may run in a transaction each commit with their row; for the few that may not, an
//! intent is written first, and after a crash the catalog tells whether the one statement in doubt took effect.

use shared::{SkillError, ToolCall};
use tokio::time::{Instant, sleep};

use super::{
    EngineError, Job, LOCK_ATTEMPTS, LOCK_TIMEOUT_MS, ledger,
    ledger::Steps,
    lock_pause,
    measure::{Baselines, measure_own},
};
use crate::{
    clients::{Session, TargetError, Transaction},
    domain::{
        Dialect, Direction, MigrationRecord, MigrationState, StepRecord, StepState,
        statement::Statement,
    },
};

/// One half of a migration, to be run.
#[derive(Debug)]
pub(super) struct Script<'a> {
    pub(super) migration: &'a MigrationRecord,
    pub(super) direction: Direction,
    pub(super) steps: Vec<StepRecord>,
    /// Whether the catalog is held against the proof before the commit. Within a run of ups the last one is enough: it
    /// starts where the proof started and runs the same statements.
    pub(super) verify: bool,
}

impl Script<'_> {
    fn atomic(&self) -> bool {
        match self.direction {
            Direction::Up => self.migration.atomic.0,
            Direction::Down => self.migration.atomic.1,
        }
    }

    fn transaction(&self) -> Transaction {
        let (up, down) = self.migration.foreign_keys_off;
        let foreign_keys_off = if self.direction == Direction::Up {
            up
        } else {
            down
        };
        Transaction {
            lock_timeout_ms: LOCK_TIMEOUT_MS,
            foreign_keys_off,
        }
    }

    /// The fingerprint that the shadow had after it.
    fn expected(&self) -> Option<&str> {
        match self.direction {
            Direction::Up => Some(&self.migration.fingerprint_after),
            Direction::Down => self.migration.fingerprint_reverted.as_deref(),
        }
    }

    fn steps_of(&self, ordinal: Option<i64>) -> Steps {
        Steps {
            migration: self.migration.sequence,
            direction: self.direction,
            ordinal,
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.migration.version, self.migration.name)
    }
}

impl Job<'_> {
    /// Runs one half of a migration to its end, also when an earlier run began it.
    pub(super) async fn execute(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
    ) -> Result<(), SkillError> {
        let started = Instant::now();
        let result = if script.atomic() {
            self.execute_at_once(session, script).await
        } else {
            self.execute_stepwise(session, script).await
        };
        let waits = matches!(result, Err(SkillError::Canceled));
        if !waits {
            let risk = script.migration.verdict.risk();
            self.metrics.executed(
                session.dialect(),
                result.is_ok(),
                risk,
                started.elapsed().as_secs_f64(),
            );
        }
        result
    }

    async fn execute_at_once(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
    ) -> Result<(), SkillError> {
        let statements = script.steps.iter().collect::<Vec<_>>();
        let result = self
            .in_transaction(session, script, &statements, true)
            .await;
        result.map_err(|error| self.explain(error, script, "nothing of it was kept"))
    }

    /// Runs statements and their ledger rows in one transaction; while a lock is not free, again in a new one.
    async fn in_transaction(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        steps: &[&StepRecord],
        last: bool,
    ) -> Result<(), EngineError> {
        let mut attempt = 0;
        loop {
            self.context.check_canceled()?;
            session.begin(script.transaction()).await?;
            let tried = self.attempt(session, script, steps, last).await;
            let Err(error) = tried else { return Ok(()) };
            // After a lost connection this fails too; what counts is the first error.
            if let Err(second) = session.rollback().await {
                tracing::debug!(error = %second, "a transaction ended with its connection");
            }
            let pause = lock_pause(attempt);
            attempt += 1;
            let again = matches!(error, EngineError::Target(TargetError::LockTimeout))
                && attempt < LOCK_ATTEMPTS
                && Instant::now() + pause < self.until();
            if !again {
                return Err(error);
            }
            sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        steps: &[&StepRecord],
        last: bool,
    ) -> Result<(), EngineError> {
        let renames = steps
            .iter()
            .filter_map(|step| classified(&step.text, session.dialect())?.rename)
            .collect();
        let baselines = Baselines::read(session, script.migration, renames).await?;
        for step in steps {
            self.context.check_canceled()?;
            self.statement(session, script, step).await?;
            if !script.atomic() {
                ledger::set_steps(
                    session,
                    script.steps_of(Some(step.ordinal)),
                    StepState::Applied,
                    self.run(),
                )
                .await?;
            }
        }
        baselines.shift(session).await?;
        if last {
            if script.atomic() {
                ledger::set_steps(
                    session,
                    script.steps_of(None),
                    StepState::Applied,
                    self.run(),
                )
                .await?;
            }
            self.close_migration(session, script).await?;
        }
        let call = ToolCall::write(
            session.dialect().commit_action(),
            [
                self.resource(),
                format!("migrations/{}", script.migration.version),
            ],
        );
        self.audited(call, session.commit()).await
    }

    /// Runs one statement as an audited tool call. Its name is recorded, never its text.
    async fn statement(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        step: &StepRecord,
    ) -> Result<(), EngineError> {
        if is_key_switch(&step.text, session.dialect()) {
            return Ok(());
        }
        let total = script.steps.len() as u64;
        let done = u64::try_from(step.ordinal)
            .unwrap_or_default()
            .saturating_sub(1);
        self.context.progress(
            &format!(
                "{} {}: statement {} of {total}",
                script.direction.name(),
                script.name(),
                done + 1
            ),
            done,
            total,
        );
        let names = [
            self.resource(),
            format!("migrations/{}", script.migration.version),
            format!("statements/{}-{}", script.direction.name(), step.ordinal),
        ];
        let call = ToolCall::write(session.dialect().execute_action(), names);
        self.audited(call, session.execute(&step.text)).await
    }

    /// Holds the catalog against the proof and moves the migration to its final state.
    async fn close_migration(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
    ) -> Result<(), EngineError> {
        let expected = script
            .expected()
            .filter(|_| script.verify || !script.atomic());
        if let Some(expected) = expected
            && session.catalog().await?.fingerprint() != expected
        {
            let message = format!(
                "{} {} led to another catalog than on the shadow: somebody else changes the schema",
                script.direction.name(),
                script.name()
            );
            return Err(EngineError::Skill(SkillError::failed(message)));
        }
        if script.direction == Direction::Up {
            measure_own(session, script.migration).await?;
        }
        Ok(ledger::set_state(
            session,
            script.migration.sequence,
            script.direction.done(),
            self.run(),
        )
        .await?)
    }

    async fn execute_stepwise(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
    ) -> Result<(), SkillError> {
        let stopped = |error| {
            self.explain(
                error,
                script,
                "its earlier statements stand: the next run of apply_migration continues here",
            )
        };
        ledger::set_state(
            session,
            script.migration.sequence,
            script.direction.running(),
            self.run(),
        )
        .await
        .map_err(|error| self.skill(error))?;
        for step in script
            .steps
            .iter()
            .filter(|step| step.state != StepState::Applied)
        {
            self.context.check_canceled()?;
            let ran = if step.transactional {
                self.in_transaction(session, script, &[step], false).await
            } else {
                self.outside_transaction(session, script, step).await
            };
            ran.map_err(stopped)?;
        }
        self.in_transaction(session, script, &[], true)
            .await
            .map_err(stopped)
    }

    /// Write-ahead intent, statement, outcome; an intent that is already there is resolved from the catalog first.
    async fn outside_transaction(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        step: &StepRecord,
    ) -> Result<(), EngineError> {
        let row = script.steps_of(Some(step.ordinal));
        if step.state == StepState::Intent && took_effect(session, step).await? {
            return Ok(ledger::set_steps(session, row, StepState::Applied, self.run()).await?);
        }
        ledger::set_steps(session, row, StepState::Intent, self.run()).await?;
        if let Err(error) = self.statement(session, script, step).await {
            if matches!(
                error,
                EngineError::Target(TargetError::Sql { .. } | TargetError::LockTimeout)
            ) {
                drop_invalid_index(session, step).await?;
                ledger::set_steps(session, row, StepState::Pending, self.run()).await?;
            }
            return Err(error);
        }
        Ok(ledger::set_steps(session, row, StepState::Applied, self.run()).await?)
    }

    fn explain(&self, error: EngineError, script: &Script<'_>, kept: &str) -> SkillError {
        match error {
            EngineError::Target(TargetError::Sql { code, message }) => SkillError::failed(format!(
                "{} {}: {message} ({code}); {kept}",
                script.direction.name(),
                script.name()
            )),
            other => other.into_skill(self),
        }
    }
}

fn is_key_switch(text: &str, dialect: Dialect) -> bool {
    dialect == Dialect::Sqlite
        && text
            .get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("pragma"))
        && classified(text, dialect).is_some_and(|statement| statement.foreign_key_switch)
}

fn classified(text: &str, dialect: Dialect) -> Option<Statement> {
    crate::domain::expand::classified(text, dialect)
}

/// Whether the statement in doubt changed the catalog. A half-built index is dropped, so that it can run again.
async fn took_effect(session: &mut dyn Session, step: &StepRecord) -> Result<bool, EngineError> {
    let Some((before, after)) = &step.around else {
        return Ok(false);
    };
    let mut fingerprint = session.catalog().await?.fingerprint();
    if fingerprint != *before && fingerprint != *after {
        drop_invalid_index(session, step).await?;
        fingerprint = session.catalog().await?.fingerprint();
    }
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

/// Drops what a broken `CREATE INDEX CONCURRENTLY` or `REINDEX CONCURRENTLY` of this very statement left invalid.
async fn drop_invalid_index(
    session: &mut dyn Session,
    step: &StepRecord,
) -> Result<(), TargetError> {
    const LEFTOVERS: &str = "SELECT format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND (i.indexrelid = to_regclass($1) \
        OR (c.relname ~ '_cc(new|old)[0-9]*$' AND regexp_replace(c.relname, '_cc(new|old)[0-9]*$', '') = (parse_ident($1))[array_length(parse_ident($1), 1)]))";
    let statement = classified(&step.text, session.dialect()).filter(|statement| {
        statement.kind.ends_with("CONCURRENTLY") && !statement.object.is_empty()
    });
    let Some(statement) = statement.filter(|_| session.dialect() == Dialect::Postgres) else {
        return Ok(());
    };
    for row in session.query(LEFTOVERS, &[statement.object.into()]).await? {
        session.execute(&row.text(0)?).await?;
    }
    Ok(())
}

/// Whether a migration is in the middle of a script of more than one transaction.
pub(super) const fn is_interrupted(state: MigrationState) -> bool {
    matches!(state, MigrationState::Applying | MigrationState::Reverting)
}
