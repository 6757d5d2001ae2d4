//! Migrations, their proofs and what may be rolled back: types and decisions without I/O.

pub mod assess;
pub mod catalog;
pub mod concurrent;
pub mod dialect;
pub mod drift;
pub mod expand;
pub mod fleet;
pub mod gate;
pub mod history;
pub mod hooks;
pub mod inverse;
pub mod ledger;
pub mod lex;
pub mod lint;
pub mod pending;
pub mod plan;
pub mod progress;
pub mod proof;
pub mod redact;
pub mod source;
pub mod split;
pub mod staging;
pub mod statement;
pub mod tenant;
pub mod tool;
pub mod undo;
pub mod version;
pub mod waiting;

pub use assess::{Answer, Assessment};
pub use catalog::{Catalog, Entry, Place};
pub use dialect::Dialect;
pub use ledger::{Direction, MigrationRecord, MigrationState, RunRecord, StepRecord, StepState};
pub use plan::{Plan, PlannedMigration, PlannedStep};
pub use proof::{Inverse, Risk, Verdict};
pub use source::{Migration, SourceFile};
pub use statement::Statement;
pub use tenant::Tenant;
pub use tool::Tool;
pub use version::Version;

/// SHA-256 of a text as 64 hex digits.
pub fn sha256_hex(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(text.as_bytes()))
}
