//! The skills of rollback-coordinator, one a file.

mod abort_rollback;
#[cfg(test)]
mod examples;
mod execute_rollback;
mod list_revisions;
mod plan_rollback;
mod planner;
mod redeploy;
mod resume_gitops;
mod rollback_status;
mod surroundings;
#[cfg(test)]
mod tests;

pub use abort_rollback::AbortRollback;
pub use execute_rollback::{
    ExecuteRollback, Input as ExecuteRollbackInput, Output as ExecuteRollbackOutput,
};
pub use list_revisions::ListRevisions;
pub use plan_rollback::PlanRollback;
pub use planner::Planner;
pub use resume_gitops::ResumeGitops;
pub use rollback_status::RollbackStatus;
