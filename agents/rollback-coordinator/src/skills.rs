//! The skills of rollback-coordinator, one a file.

mod execute_rollback;
mod list_revisions;
mod plan_rollback;
mod planner;
mod rollback_status;

pub use execute_rollback::ExecuteRollback;
pub use list_revisions::ListRevisions;
pub use plan_rollback::PlanRollback;
pub use planner::Planner;
pub use rollback_status::RollbackStatus;
