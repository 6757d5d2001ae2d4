//! The journal of one rollback: what was intended before each effect, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Step};

/// Where one step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Begun; after a crash it is looked at and done again.
    Started,
    /// Done.
    Done {
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// Failed.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How a rollback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Steps are left.
    Running,
    /// The old revision is ready and healthy.
    RolledBack,
    /// It failed before anything was irrevocable, and what was done is undone.
    Compensated,
    /// It failed after the pivot: a person has to look.
    Stuck,
}

/// One step with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// The step.
    pub step: Step,
    /// Where it stands.
    #[serde(flatten)]
    pub state: StepState,
}

/// A rollback from its plan to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Journal {
    /// The A2A task that executes it.
    pub rollback_id: String,
    /// The plan.
    pub plan: Plan,
    /// Who asked, for the trigger label of metrics.
    pub caller: String,
    /// The template of the bad revision, to compensate with.
    #[schemars(with = "serde_json::Value")]
    pub pre_image: serde_json::Value,
    /// The steps so far.
    pub entries: Vec<Entry>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, RFC 3339.
    pub started_at: String,
}

impl Journal {
    /// A journal of a plan that nobody has begun.
    pub fn begin(rollback_id: &str, plan: Plan, caller: &str, pre_image: serde_json::Value, now: &str) -> Self {
        let entries = plan.steps.iter().map(|step| Entry { step: *step, state: StepState::Pending }).collect();
        Self {
            rollback_id: rollback_id.into(),
            plan,
            caller: caller.into(),
            pre_image,
            entries,
            outcome: Outcome::Running,
            started_at: now.into(),
        }
    }

    /// The next step to do, or to do again.
    pub fn next(&self) -> Option<Step> {
        self.entries.iter().find(|entry| !matches!(entry.state, StepState::Done { .. })).map(|entry| entry.step)
    }

    /// Writes down a state of a step.
    pub fn set(&mut self, step: Step, state: StepState) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.step == step) {
            entry.state = state;
        }
    }

    /// Whether the step that cannot be undone has been begun.
    pub fn past_pivot(&self) -> bool {
        self.entries.iter().any(|entry| entry.step.is_pivot(&self.plan) && entry.state != StepState::Pending)
    }

    /// How many steps are done, of how many.
    pub fn progress(&self) -> (u64, u64) {
        let done = self.entries.iter().filter(|entry| matches!(entry.state, StepState::Done { .. })).count();
        (done as u64, self.entries.len() as u64)
    }
}
