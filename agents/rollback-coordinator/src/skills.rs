//! The skills of rollback-coordinator, one a file.

mod execute_rollback;
mod list_revisions;
mod plan_rollback;
mod planner;
mod rollback_status;
#[cfg(test)]
mod tests;

pub use execute_rollback::{
    ExecuteRollback, Input as ExecuteRollbackInput, Output as ExecuteRollbackOutput,
};
pub use list_revisions::ListRevisions;
pub use plan_rollback::PlanRollback;
pub use planner::Planner;
pub use rollback_status::RollbackStatus;
