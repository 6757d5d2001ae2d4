//! What this agent can do.

mod adoption;
mod apply_migration;
mod assess_rollback;
mod complete_migration;
mod fleet;
mod hooks;
mod lint_migration;
mod migration_status;
mod parts;
mod plan_migration;
mod rollback_migration;
mod scope;
mod source;
mod verify_schema;

pub use adoption::{AdoptChoice, AdoptedMigration, AdoptionReport, OutOfOrder};
pub use apply_migration::{ApplyMigration, ApplyMigrationInput, ApplyMigrationOutput};
pub use assess_rollback::{AssessRollback, AssessRollbackInput, AssessRollbackOutput};
pub use complete_migration::{CompleteMigration, CompleteMigrationInput, CompleteMigrationOutput};
pub use lint_migration::{
    LintFormat, LintMigration, LintMigrationInput, LintMigrationOutput, RuleChoice,
};
pub use migration_status::{
    AppliedMigration, Drift, Expansion, LastRun, MigrationStatus, MigrationStatusInput,
    MigrationStatusOutput,
};
pub use parts::{
    Decision, InlineFile, MigrationReport, MigrationSource, PlanReport, StatementReport,
    UndoReport, Workbench,
};
pub use plan_migration::{PlanMigration, PlanMigrationInput};
pub use rollback_migration::{RollbackMigration, RollbackMigrationInput, RollbackMigrationOutput};
pub use verify_schema::{VerifySchema, VerifySchemaInput, VerifySchemaOutput};
