//! `abort_rollback`: undoes a rollback that has not reached its pivot, in whatever process it runs.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Effect, Skill, SkillError};
use tokio::time::{Instant, sleep};

use crate::{
    domain::{Journal, Outcome, journal::Entry},
    history::{Gate, History},
};

/// Longest wait for a rollback to be undone.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between looks at its journal.
const PAUSE: Duration = Duration::from_millis(100);

/// Aborts rollbacks.
#[derive(Debug, Clone)]
pub struct AbortRollback(pub History);

/// Which rollback.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Id of the rollback (its task).
    rollback_id: String,
    /// Say what an abort would come to (the default).
    #[serde(default = "yes")]
    dry_run: bool,
    /// Names this abort; required when `dry_run` is false.
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "the runtime reads it; it stands here for the schema"
    )]
    idempotency_key: Option<String>,
}

fn yes() -> bool {
    true
}

/// What the abort came to.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The rollback.
    pub rollback_id: String,
    /// Whether it is (or would be) undone.
    pub aborted: bool,
    /// Where it stands.
    pub outcome: Outcome,
    /// The same in a sentence.
    pub says: String,
    /// Its steps.
    pub steps: Vec<Entry>,
}

impl Skill for AbortRollback {
    const ID: &'static str = "abort_rollback";
    const NAME: &'static str = "Abort a rollback";
    const DESCRIPTION: &'static str = "Undoes a rollback that has not reached its point of no return, in whatever process it runs; after that point it says so and the rollback goes on.";
    const TAGS: &'static [&'static str] = &["rollback"];
    const EFFECT: Effect = Effect::Mutate;

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let journal = self.journal(&input.rollback_id).await?;
        context.check_target(&journal.plan.namespace)?;
        if !journal.is_open() {
            let says = format!("it ended as {} before", word(journal.outcome));
            return Ok(output(journal, false, says));
        }
        if input.dry_run {
            let late = journal.past_pivot();
            let says = if late { LATE } else { "it would be undone" };
            return Ok(output(journal, !late, says.to_owned()));
        }
        let by = &context.caller().name;
        match self.0.abort(&input.rollback_id, by).await? {
            Gate::Pivoted => {
                let journal = self.journal(&input.rollback_id).await?;
                Ok(output(journal, false, LATE.to_owned()))
            }
            Gate::Aborted { .. } => self.await_end(context, &input.rollback_id).await,
        }
    }
}

/// What is said after the pivot.
const LATE: &str = "it is past its point of no return, so it goes on";

impl AbortRollback {
    async fn journal(&self, rollback_id: &str) -> Result<Journal, SkillError> {
        let journal = self.0.journal(rollback_id).await?;
        journal.ok_or_else(|| {
            let expected = "the id of a rollback that began; a task that still waits for its approval is canceled instead";
            SkillError::rejected("rollback_id", expected, "an unknown id")
        })
    }

    /// Waits until whoever runs the rollback has undone it.
    async fn await_end(&self, context: &Context, rollback_id: &str) -> Result<Output, SkillError> {
        let until = (Instant::now() + PATIENCE).min(context.deadline() - PAUSE);
        loop {
            let journal = self.journal(rollback_id).await?;
            if !journal.is_open() {
                let undone = journal.outcome == Outcome::Compensated;
                let says = if undone {
                    "it is undone".to_owned()
                } else {
                    format!("it ended as {}", word(journal.outcome))
                };
                return Ok(output(journal, undone, says));
            }
            if Instant::now() > until {
                let says = "it goes no further and is undone as soon as its coordinator goes on";
                return Ok(output(journal, true, says.to_owned()));
            }
            context.check_canceled()?;
            sleep(PAUSE).await;
        }
    }
}

fn output(journal: Journal, aborted: bool, says: String) -> Output {
    Output {
        rollback_id: journal.rollback_id,
        aborted,
        outcome: journal.outcome,
        says,
        steps: journal.entries,
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Running => "running",
        Outcome::Compensating => "compensating",
        Outcome::RolledBack => "rolled_back",
        Outcome::Compensated => "compensated",
        Outcome::Stuck => "stuck",
    }
}
