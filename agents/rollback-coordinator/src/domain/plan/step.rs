//! The steps of a rollback.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Plan;

/// One step of the saga. The order of the variants is the order of execution.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// One rollback at a time for a workload, whichever coordinator runs it.
    Lock,
    /// Pauses what would bring the bad revision back from Git, from the root down.
    PauseGitops,
    /// Keeps pipelines and controllers still that would write the same fields.
    Freeze,
    /// Writes the record that Helm begins a rollback with, so that Helm keeps off.
    ClaimRelease,
    /// Moves traffic off the bad version.
    ShiftTraffic,
    /// Pauses the rollout, so that nobody starts new pods of the bad revision.
    PauseRollout,
    /// Scales the workload to zero and waits until its last pod is gone.
    StopWriters,
    /// Reverts the schema: from here on there is only forward.
    RollBackDatabase,
    /// Puts back the content of `ConfigMaps` and Secrets that the target ran with.
    RestoreConfiguration,
    /// Brings the other objects of the Helm release back.
    RestoreObjects,
    /// Puts the old template back and resumes the rollout.
    RestoreTemplate,
    /// Has GitLab run the job again that deployed the old revision, and follows it to its end.
    Redeploy,
    /// Waits until all pods of the old revision are ready.
    AwaitReady,
    /// Asks monitoring-agent whether the workload is healthy.
    Verify,
    /// Writes down in Helm's history how it ended.
    RecordRelease,
    /// Records a deployment of the old revision in GitLab.
    RecordDeployment,
    /// Gives pipelines and controllers their way again.
    Thaw,
    /// Lets Git go on if it holds the good revision; else that is waited for after the rollback.
    ResumeGitops,
    /// Lets the next rollback in.
    Release,
}

impl Step {
    /// Whether the saga can still be undone before this step takes effect.
    pub fn is_pivot(self, plan: &Plan) -> bool {
        match (&plan.database, &plan.redeploy) {
            (Some(_), _) => self == Self::RollBackDatabase,
            (None, Some(_)) => self == Self::Redeploy,
            (None, None) => self == Self::RestoreTemplate,
        }
    }

    /// One line for people.
    pub fn say(self) -> &'static str {
        match self {
            Self::Lock => "locking the workload",
            Self::PauseGitops => "pausing GitOps",
            Self::Freeze => "keeping pipelines and controllers still",
            Self::ClaimRelease => "beginning a rollback in Helm's history",
            Self::ShiftTraffic => "moving traffic off the bad version",
            Self::PauseRollout => "pausing the rollout",
            Self::StopWriters => "stopping the bad revision's writers",
            Self::RollBackDatabase => "rolling back the database",
            Self::RestoreConfiguration => "restoring the configuration",
            Self::RestoreObjects => "restoring the other objects of the release",
            Self::RestoreTemplate => "restoring the old template",
            Self::Redeploy => "running GitLab's deploy job of the old revision again",
            Self::AwaitReady => "waiting for the old revision",
            Self::Verify => "verifying health",
            Self::RecordRelease => "recording the rollback in Helm's history",
            Self::RecordDeployment => "recording the deployment in GitLab",
            Self::Thaw => "giving pipelines and controllers their way again",
            Self::ResumeGitops => "looking whether Git holds the good revision",
            Self::Release => "releasing the lock",
        }
    }
}
