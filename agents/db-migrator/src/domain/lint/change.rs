//! What a statement changes, read from its tokens: enough for rules, in both dialects.

mod column;
mod read;

pub use column::{Column, Constant, Constraint, ConstraintKind};
pub use read::read;

use crate::domain::lex::bare_name;

/// A name as written and as compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As written, with schema and quotes.
    pub written: String,
    /// The last part in lower case, without quotes.
    pub bare: String,
}

impl Name {
    /// The name of these written parts.
    pub fn of(parts: &[&str]) -> Self {
        Self {
            written: parts.join("."),
            bare: parts.last().map(|last| bare_name(last)).unwrap_or_default(),
        }
    }
}

/// What a statement changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `CREATE TABLE`.
    CreateTable {
        /// The table.
        table: Name,
        /// Its columns, unless it is made from a query.
        columns: Vec<Column>,
        /// Its table constraints.
        constraints: Vec<Constraint>,
    },
    /// `DROP TABLE`.
    DropTable {
        /// The tables.
        tables: Vec<Name>,
        /// Whether a missing one is no error.
        if_exists: bool,
    },
    /// `ALTER TABLE`.
    AlterTable {
        /// The table.
        table: Name,
        /// What is done to it, in order.
        actions: Vec<Action>,
    },
    /// `CREATE INDEX`.
    CreateIndex(Index),
    /// `DROP INDEX`, with their names.
    DropIndex(Vec<Name>),
    /// `CREATE VIEW` or `CREATE MATERIALIZED VIEW`, and whether its query selects `*`.
    CreateView {
        /// Whether `*` stands in a select list.
        star: bool,
    },
    /// `INSERT`, `UPDATE`, `DELETE` or `TRUNCATE`.
    Rows {
        /// Which.
        verb: Verb,
        /// Its first table.
        table: Name,
        /// Whether a `WHERE` limits it.
        filtered: bool,
        /// Whether it reads rows: `INSERT ... SELECT`.
        selects: bool,
    },
    /// Anything else.
    Other,
}

/// What happens to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `INSERT`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
    /// `TRUNCATE`.
    Truncate,
}

/// An index to be made.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of the statement"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name, unless the server gives one.
    pub name: Option<Name>,
    /// Its table.
    pub table: Name,
    /// Its key columns as written; `None` for an expression.
    pub columns: Vec<Option<String>>,
    /// Whether it is unique.
    pub unique: bool,
    /// Whether it covers only some rows.
    pub partial: bool,
    /// Whether it is built without blocking writers.
    pub concurrently: bool,
    /// Whether an existing one of that name is taken for it.
    pub if_not_exists: bool,
}

/// One action of `ALTER TABLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `ADD COLUMN`.
    AddColumn(Column),
    /// `DROP COLUMN`, with its name.
    DropColumn(String),
    /// `ALTER COLUMN ... SET NOT NULL`, with its name.
    SetNotNull(String),
    /// `ALTER COLUMN ... TYPE`.
    SetType,
    /// `ADD CONSTRAINT`, or a constraint without a name.
    AddConstraint(Constraint),
    /// `RENAME COLUMN`, with the old name.
    RenameColumn(String),
    /// `RENAME TO`, with the new name.
    RenameTable(String),
    /// What rewrites the table or moves its file.
    Rewrite(&'static str),
    /// Anything else.
    Other,
}

impl Change {
    /// The table it is about, when it is about one.
    pub fn table(&self) -> Option<&Name> {
        match self {
            Self::CreateTable { table, .. }
            | Self::AlterTable { table, .. }
            | Self::Rows { table, .. } => Some(table),
            Self::CreateIndex(index) => Some(&index.table),
            Self::DropTable { tables, .. } => tables.first(),
            Self::DropIndex(_) | Self::CreateView { .. } | Self::Other => None,
        }
    }

    /// The actions of `ALTER TABLE`.
    pub fn actions(&self) -> &[Action] {
        match self {
            Self::AlterTable { actions, .. } => actions,
            _ => &[],
        }
    }
}
