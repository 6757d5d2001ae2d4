//! Runs one half of a migration so that every statement takes effect exactly once.
//!
//! A script whose statements may all run in a transaction commits together with its ledger rows. Any other script runs
//! statement by statement: those that may run in a transaction each commit with their row; for the few that may not, an
//! intent is written first, and after a crash the catalog tells whether the one statement in doubt took effect.

use shared::{SkillError, ToolCall};
use tokio::time::Instant;

use super::{
    EngineError, Job,
    at_once::undo,
    ledger,
    measure::{Baselines, measure_so_far},
    observe::Observer,
    script::{Part, Script, is_key_switch, renames},
};
use crate::{
    clients::{Own, Session, TargetError},
    domain::{Dialect, Direction, MigrationState, StepRecord, StepState, waiting::Waiting},
};

/// What a failure leaves of a script that goes forward.
pub(super) const STANDS: &str =
    "its earlier statements stand: the next run of apply_migration continues here";
/// What a failure leaves of one that goes back.
const UNDONE: &str = "what was reverted stays so: the next run continues here";

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
        if script.compares_before(session.dialect()) {
            compare(session, script, &script.migration.fingerprint_before)
                .await
                .map_err(|error| error.into_skill(self))?;
        }
        let statements = script.steps.iter().collect::<Vec<_>>();
        let result = self
            .in_transaction(
                session,
                script,
                Part {
                    steps: &statements,
                    last: true,
                },
            )
            .await;
        result.map_err(|error| self.explain(error, script, "nothing of it was kept"))
    }

    /// Runs statements and their ledger rows in one transaction; while a lock is not free, again in a new one.
    async fn in_transaction(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        part: Part<'_>,
    ) -> Result<(), EngineError> {
        let at_once = part.last && script.fits_a_batch(part.steps, session.dialect());
        let mut observer = Observer::new(self, session);
        loop {
            self.context.check_canceled()?;
            let tried = if at_once {
                self.attempt_at_once(session, script, part.steps, &mut observer)
                    .await
            } else {
                self.attempt(session, script, part, &mut observer).await
            };
            let error = match tried {
                Err(EngineError::Target(TargetError::LockTimeout)) => TargetError::LockTimeout,
                // Only once: afterwards nothing is prepared.
                Err(EngineError::Target(TargetError::Forgotten)) => continue,
                Err(EngineError::Target(error)) => return Err(observer.explain(self, error)),
                other => {
                    if observer.waiting.attempts > 0 {
                        let waited = observer.waited().as_secs_f64();
                        self.metrics.lock_wait(session.dialect(), waited);
                    }
                    return other;
                }
            };
            observer.gave_up(self).await;
            let pause = Waiting::pause(observer.waited(), dice());
            if !observer.has_time(pause) {
                let blockers = observer.waiting.in_the_way();
                return Err(if blockers.is_empty() {
                    error.into()
                } else {
                    locked(&blockers)
                });
            }
            let blockers = observer.waiting.blockers();
            self.hook_lock_wait(session, script.migration, blockers)
                .await?;
            self.context
                .progress(&format!("{} waits for a lock", script.name()), 0, 0);
            self.pause(pause).await?;
        }
    }

    /// Statement by statement, with measurements between them.
    async fn attempt(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        part: Part<'_>,
        observer: &mut Observer,
    ) -> Result<(), EngineError> {
        let ran = self
            .inside_transaction(session, script, part, observer)
            .await;
        if ran.is_err() {
            undo(session).await;
        }
        ran
    }

    async fn inside_transaction(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        part: Part<'_>,
        observer: &mut Observer,
    ) -> Result<(), EngineError> {
        let transaction = script.transaction(observer.waiting.timeout_ms());
        let renames = renames(part.steps, session.dialect());
        let baselines = Baselines::begin(session, transaction, script.migration, renames).await?;
        let mut rows = Vec::new();
        for step in part.steps {
            self.context.check_canceled()?;
            self.statement(session, script, step, observer).await?;
            if !script.atomic() {
                let one = script.steps_of(Some(step.ordinal));
                let row = ledger::steps_row(session, one, StepState::Applied, self.run());
                rows.push(row);
                if script.direction == Direction::Up {
                    rows.extend(measure_so_far(session, script.migration).await?);
                }
            }
        }
        let own = (part.last && script.direction == Direction::Up).then_some(script.migration);
        rows.extend(baselines.shift(session, own, None).await?);
        if part.last {
            if script.atomic() {
                let all = script.steps_of(None);
                let row = ledger::steps_row(session, all, StepState::Applied, self.run());
                rows.push(row);
            }
            rows.push(self.close_migration(session, script).await?);
        }
        self.context.check_canceled()?;
        let call = self.commit_call(session.dialect(), script);
        self.audited(call, session.commit_with(&rows)).await
    }

    pub(super) fn commit_call(&self, dialect: Dialect, script: &Script<'_>) -> ToolCall {
        ToolCall::write(
            dialect.commit_action(),
            [
                self.resource(),
                format!("migrations/{}", script.migration.version),
            ],
        )
    }

    /// A statement's name for the audit trail, never its text.
    pub(super) fn call_of(
        &self,
        dialect: Dialect,
        script: &Script<'_>,
        step: &StepRecord,
    ) -> ToolCall {
        let names = [
            self.resource(),
            format!("migrations/{}", script.migration.version),
            format!("statements/{}-{}", script.direction.name(), step.ordinal),
        ];
        ToolCall::write(dialect.execute_action(), names)
    }

    /// Runs one statement as an audited tool call.
    pub(super) async fn statement(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
        step: &StepRecord,
        observer: &mut Observer,
    ) -> Result<(), EngineError> {
        let dialect = session.dialect();
        if step.text.is_empty() || is_key_switch(&step.text, dialect) {
            return Ok(());
        }
        let total = script.steps.len() as u64;
        let done = u64::try_from(step.ordinal)
            .unwrap_or_default()
            .saturating_sub(1);
        let what = format!(
            "{} {}: statement {} of {total}",
            script.direction.name(),
            script.name(),
            done + 1
        );
        self.context.progress(&what, done, total);
        let started = Instant::now();
        let effect = self.observed(observer, &what, session.execute(&step.text));
        let ran = self
            .audited(self.call_of(dialect, script, step), effect)
            .await;
        self.metrics
            .stepped(dialect, started.elapsed().as_secs_f64());
        ran
    }

    /// Holds the catalog against the proof; answers with what moves the migration to its final state.
    async fn close_migration(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
    ) -> Result<Own, EngineError> {
        let compared =
            !script.atomic() || (script.verify && !script.compares_before(session.dialect()));
        if let Some(expected) = script.expected().filter(|_| compared) {
            compare(session, script, expected).await?;
        }
        Ok(ledger::state_row(
            session.dialect(),
            script.migration.sequence,
            script.direction.done(),
            self.run(),
        ))
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
                if script.direction == Direction::Undo {
                    UNDONE
                } else {
                    STANDS
                },
            )
        };
        let running = ledger::state_row(
            session.dialect(),
            script.migration.sequence,
            script.direction.running(),
            self.run(),
        );
        ledger::write(session, running)
            .await
            .map_err(|error| self.skill(error))?;
        for step in script
            .steps
            .iter()
            .filter(|step| step.state != StepState::Applied)
        {
            self.context.check_canceled()?;
            let ran = if step.transactional {
                self.in_transaction(
                    session,
                    script,
                    Part {
                        steps: &[step],
                        last: false,
                    },
                )
                .await
            } else {
                self.outside_transaction(session, script, step).await
            };
            ran.map_err(stopped)?;
        }
        self.in_transaction(
            session,
            script,
            Part {
                steps: &[],
                last: true,
            },
        )
        .await
        .map_err(stopped)
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

/// Holds the catalog against the shadow's.
async fn compare(
    session: &mut dyn Session,
    script: &Script<'_>,
    expected: &str,
) -> Result<(), EngineError> {
    if session.shape().await?.fingerprint == expected {
        return Ok(());
    }
    let message = format!(
        "{} {}: the catalog is another than on the shadow: somebody else changes the schema",
        script.direction.name(),
        script.name()
    );
    Err(SkillError::failed(message).into())
}

/// Spreads starters that wait for the same table.
fn dice() -> u8 {
    let [.., last] = uuid::Uuid::new_v4().into_bytes();
    last
}

fn locked(blockers: &str) -> EngineError {
    SkillError::failed(format!(
        "tables were locked by others until the deadline of the task: {blockers}"
    ))
    .into()
}

/// Whether a migration is in the middle of a script of more than one transaction.
pub(super) const fn is_interrupted(state: MigrationState) -> bool {
    matches!(
        state,
        MigrationState::Applying | MigrationState::Reverting | MigrationState::Undoing
    )
}
