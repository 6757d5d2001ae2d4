//! Expand and contract: changes that old and new applications survive side by side.
//!
//! `apply_migration` expands (it only adds), a backfill brings old rows along, `complete_migration` contracts. An author
//! writes the three parts as files, or marks one statement with `-- migrate: online` and the parts are made from it.

pub mod backfill;
pub mod change;
pub mod directive;
pub mod facts;
mod names;
pub mod swap;

pub use backfill::Backfill;
pub use change::Change;
pub use facts::ColumnFacts;

use serde::{Deserialize, Serialize};

use super::{
    Migration, Statement,
    source::Script,
    staging::RESERVED,
    statement::{Lock, classify},
};
use crate::domain::Dialect;

/// Why a statement or a backfill cannot run online.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct NotOnline {
    /// The table, column or file it is about.
    pub what: String,
    /// Why.
    pub reason: String,
}

impl NotOnline {
    pub(crate) fn new(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            reason: reason.into(),
        }
    }
}

/// What an applied migration still has to do, as the ledger keeps it: no file is needed any more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Expansion {
    /// Columns that are in two forms until the contract.
    pub changes: Vec<Change>,
    /// Updates that bring old rows along, in order.
    pub backfills: Vec<Backfill>,
    /// Statements of the author's contract.
    pub contract: Vec<String>,
    /// Statements that the author says revert the contract.
    pub contract_down: Option<Vec<String>>,
}

impl Expansion {
    /// Whether `complete_migration` has anything to do.
    pub fn has_contract(&self) -> bool {
        !self.changes.is_empty() || !self.contract.is_empty()
    }

    /// Whether nothing is left after up.
    pub fn is_empty(&self) -> bool {
        self.backfills.is_empty() && !self.has_contract()
    }
}

/// A statement of our own, which commits by itself when it is not the only one of its script.
pub fn own_statement(text: impl Into<String>) -> Statement {
    let text = text.into();
    classified(&text, Dialect::Postgres).map_or_else(
        || Statement {
            kind: String::from("ALTER TABLE"),
            object: String::new(),
            transactional: true,
            commits_alone: true,
            foreign_key_switch: false,
            lock: Lock::AccessExclusive,
            rename: None,
            text,
        },
        |statement| Statement {
            commits_alone: true,
            rename: None,
            ..statement
        },
    )
}

/// Before a statement that holds a strong lock for a moment: the lock is not held until the log is on disk. Change and
/// ledger row are lost or kept together, and the end of the run waits for the disk.
pub(crate) const AT_ONCE: &str = "SET LOCAL synchronous_commit = off;\n";

/// What a statement of the ledger is. Text that names what is retained is forbidden to authors, not to us.
pub fn classified(text: &str, dialect: Dialect) -> Option<Statement> {
    let plain = text.strip_prefix(AT_ONCE).unwrap_or(text);
    let plain = plain.replace(RESERVED, "retained");
    classify(plain, dialect).ok().map(|statement| Statement {
        text: text.to_owned(),
        rename: statement.rename.filter(|_| !text.contains(RESERVED)),
        ..statement
    })
}

/// A script of our own, each statement in a transaction of its own.
pub fn own_script(texts: impl IntoIterator<Item = String>) -> Script {
    Script::of(texts.into_iter().map(own_statement).collect())
}

/// The migration with other scripts; its checksum stays that of what the author wrote.
#[must_use]
pub fn rewritten(migration: &Migration, up: Script, down: Option<Script>) -> Migration {
    Migration {
        up,
        down,
        ..migration.clone()
    }
}
