//! The journal of one rollback: what was intended before each effect, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    companions::target_template,
    delivery::{Recording, Redeployed},
    frozen::Frozen,
    hold::Hold,
    pause::Pause,
    plan::{Plan, Step},
    workload::Workload,
};

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
    /// It failed before anything was irrevocable, and what was done is being undone.
    Compensating,
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

/// The workload as the plan found it. Revisions get new numbers when they come back; these stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// Unique id of the workload.
    pub uid: String,
    /// Pods it should have had.
    pub replicas: u32,
    /// Name of the bad revision.
    pub from_name: String,
    /// Name of the target.
    pub to_name: String,
    /// The target's pod template.
    pub template: serde_json::Value,
    /// The bad revision's pod template.
    #[serde(default)]
    pub from_template: serde_json::Value,
    /// When the bad revision was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_created: Option<String>,
    /// When the target was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_created: Option<String>,
}

impl Origin {
    /// What a plan starts from; `None` when the workload does not have the plan's revisions.
    pub fn of(workload: &Workload, plan: &Plan) -> Option<Self> {
        let from = workload.revision(plan.from_revision)?;
        let to = workload.revision(plan.to_revision)?;
        Some(Self {
            uid: workload.uid.clone(),
            replicas: workload.replicas,
            from_name: from.name.clone(),
            to_name: to.name.clone(),
            template: target_template(&to.template, &plan.companions),
            from_template: from.template.clone(),
            from_created: from.created.clone(),
            to_created: to.created.clone(),
        })
    }
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
    /// The workload as the plan found it.
    pub origin: Origin,
    /// The steps so far.
    pub entries: Vec<Entry>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// What it holds, with what was there before; what is let go leaves the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Hold>,
    /// The deploy freeze that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    /// How it is written down in GitLab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
    /// How far GitLab's job is that brings the old revision back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeployed: Option<Redeployed>,
    /// What did not go as planned and did not matter enough to stop it, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The trace that it belongs to, for what is done after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What became of the pause of GitOps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitops: Option<Pause>,
    /// Digest of what db-migrator said once nobody wrote any more: while it still says so, nothing was reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessed: Option<String>,
}

impl Journal {
    /// A journal of a plan that nobody has begun.
    pub fn begin(rollback_id: &str, plan: Plan, caller: &str, origin: Origin, now: &str) -> Self {
        let entries = plan
            .steps
            .iter()
            .map(|step| Entry {
                step: *step,
                state: StepState::Pending,
            })
            .collect();
        Self {
            rollback_id: rollback_id.into(),
            plan,
            caller: caller.into(),
            origin,
            entries,
            outcome: Outcome::Running,
            started_at: now.into(),
            held: Vec::new(),
            frozen: None,
            recording: None,
            redeployed: None,
            remarks: Vec::new(),
            traceparent: None,
            gitops: None,
            assessed: None,
        }
    }

    /// Whether something is still as the rollback wants it and not as its owner does.
    pub fn holds_something(&self) -> bool {
        !self.held.is_empty() || self.frozen.is_some()
    }

    /// Whether it has ended well and is not yet written down in GitLab.
    pub fn owes_record(&self) -> bool {
        self.outcome == Outcome::RolledBack
            && self.has(Step::RecordDeployment)
            && self.recording.as_ref().is_none_or(|one| !one.is_settled())
    }

    /// Notes what did not go as planned, once.
    pub fn remark(&mut self, what: String) {
        if !self.remarks.contains(&what) {
            self.remarks.push(what);
        }
    }

    /// Whether a template of the workload is what the rollback brought back. A deploy job decides itself what it applies.
    pub fn has_restored(&self, template: &serde_json::Value) -> bool {
        match self.plan.redeploy {
            Some(_) => *template != self.origin.from_template,
            None => *template == self.origin.template,
        }
    }

    /// The commit of the bad deployment, as far as it is known.
    pub fn left_commit(&self) -> Option<&str> {
        let recorded = self.recording.as_ref().and_then(Recording::left);
        let redeploy = self.plan.redeploy.as_ref();
        recorded.or_else(|| redeploy?.left.as_deref())
    }

    /// Whether what writes the same fields may have its way again: not while nobody knows what state the workload is in.
    pub fn may_thaw(&self) -> bool {
        match self.outcome {
            Outcome::RolledBack | Outcome::Compensating | Outcome::Compensated => true,
            Outcome::Running | Outcome::Stuck => self.has_left(),
        }
    }

    /// Whether nothing was rolled back, so that Git may go on as before.
    pub fn is_undone(&self) -> bool {
        matches!(self.outcome, Outcome::Compensating | Outcome::Compensated)
    }

    /// The next step to do, or to do again.
    pub fn next(&self) -> Option<Step> {
        self.entries
            .iter()
            .find(|entry| !matches!(entry.state, StepState::Done { .. }))
            .map(|entry| entry.step)
    }

    /// Writes down a state of a step.
    pub fn set(&mut self, step: Step, state: StepState) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.step == step) {
            entry.state = state;
        }
    }

    /// Whether the step that cannot be undone has been begun.
    pub fn past_pivot(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.step.is_pivot(&self.plan) && entry.state != StepState::Pending)
    }

    /// Whether the plan has a step.
    pub fn has(&self, step: Step) -> bool {
        self.entries.iter().any(|entry| entry.step == step)
    }

    /// Whether a step was never begun.
    pub fn is_pending(&self, step: Step) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.step == step && entry.state == StepState::Pending)
    }

    /// Whether the bad revision was replaced by the target.
    pub fn has_left(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(entry.step, Step::RestoreTemplate | Step::Redeploy)
                && matches!(entry.state, StepState::Done { .. })
        })
    }

    /// Whether there is something to do.
    pub fn is_open(&self) -> bool {
        match self.outcome {
            Outcome::Running | Outcome::Compensating => true,
            Outcome::RolledBack | Outcome::Compensated | Outcome::Stuck => false,
        }
    }

    /// Why a step failed.
    pub fn failure(&self) -> Option<&str> {
        self.entries.iter().find_map(|entry| match &entry.state {
            StepState::Failed { reason } => Some(reason.as_str()),
            StepState::Pending | StepState::Started | StepState::Done { .. } => None,
        })
    }

    /// How many steps are done, of how many.
    pub fn progress(&self) -> (u64, u64) {
        let done = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.state, StepState::Done { .. }))
            .count();
        (done as u64, self.entries.len() as u64)
    }
}
