//! What is known of the database, and what a lint wants to know of it.

use std::collections::BTreeMap;

use super::{
    change::{Action, Change, ConstraintKind},
    script::{LintScript, Parsed},
};
use crate::domain::{Dialect, Verdict, lex::bare_name};

/// A table below this is read or written from end to end within some milliseconds: 1 MiB are 128 pages.
pub const SMALL_BYTES: u64 = 1 << 20;
/// A table with fewer rows counts as small, too.
pub const SMALL_ROWS: u64 = 10_000;

/// How large a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize {
    /// Estimated rows, when the server has counted.
    pub rows: Option<u64>,
    /// Bytes, with all partitions; absent where the database does not say.
    pub bytes: Option<u64>,
}

impl TableSize {
    /// Whether working through all of it goes unnoticed.
    pub fn is_small(&self) -> bool {
        self.bytes.is_some_and(|bytes| bytes < SMALL_BYTES)
            || self.rows.is_some_and(|rows| rows < SMALL_ROWS)
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.bytes == Some(0) || (self.bytes.is_none() && self.rows == Some(0))
    }
}

/// Something about the rows that decides whether a statement fails.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The table as the script writes it.
    pub table: String,
    /// The columns as the script writes them.
    pub columns: Vec<String>,
    /// What about them.
    pub probe: Probe,
}

/// What about the columns of some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// Two rows have the same values, and no null among them.
    Duplicates,
    /// A row has a null.
    Nulls,
}

/// What a shadow run proved about a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFact {
    /// Its version.
    pub version: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub evidence: Vec<String>,
}

/// The newest migration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its version.
    pub version: String,
    /// The release it came with.
    pub release: Option<String>,
}

/// What is known of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Major version of the PostgreSQL server.
    pub server_version: u32,
    /// Sizes by table; absent without a database.
    pub tables: Option<BTreeMap<String, TableSize>>,
    /// Answers to [`questions`]; what could not be found out in time is absent.
    pub answers: BTreeMap<Question, bool>,
    /// What a shadow run proved.
    pub proofs: Vec<ProofFact>,
    /// The newest migration in force.
    pub in_force: Option<InForce>,
    /// Version and sentence of what does not continue the ledger: an edited or a late migration.
    pub conflict: Option<(String, bool, String)>,
}

impl Facts {
    /// How large a table is, if it is there.
    pub fn size(&self, table: &str) -> Option<TableSize> {
        self.tables.as_ref()?.get(table).copied()
    }
}

/// What only the rows can tell about these scripts.
pub fn questions(scripts: &[LintScript], dialect: Dialect) -> Vec<Question> {
    let mut found = scripts
        .iter()
        .filter(|script| !script.applied)
        .flat_map(|script| {
            let parsed = Parsed::new(script, dialect);
            let asked = parsed
                .statements
                .iter()
                .flat_map(|statement| asked(&statement.change));
            asked.collect::<Vec<_>>()
        })
        .collect::<Vec<_>>();
    found.sort();
    found.dedup();
    found
}

/// What only the rows can tell about a change.
pub(super) fn asked(change: &Change) -> Vec<Question> {
    let question = |table: &str, columns: Vec<String>, probe| Question {
        table: table.to_owned(),
        columns,
        probe,
    };
    match change {
        Change::CreateIndex(index) if index.unique && !index.partial => index
            .columns
            .iter()
            .cloned()
            .collect::<Option<Vec<_>>>()
            .map(|columns| question(&index.table.written, columns, Probe::Duplicates))
            .into_iter()
            .collect(),
        Change::AlterTable { table, actions } => {
            let asked = actions.iter().filter_map(|action| match action {
                Action::SetNotNull(column) => Some((vec![column.clone()], Probe::Nulls)),
                Action::AddConstraint(constraint) if !constraint.using_index => {
                    let probe = match constraint.kind {
                        ConstraintKind::Unique | ConstraintKind::PrimaryKey => Probe::Duplicates,
                        ConstraintKind::NotNull if !constraint.not_valid => Probe::Nulls,
                        _ => return None,
                    };
                    Some((constraint.columns.clone(), probe))
                }
                _ => None,
            });
            asked
                .filter(|(columns, _)| !columns.is_empty())
                .map(|(columns, probe)| question(&table.written, columns, probe))
                .collect()
        }
        _ => Vec::new(),
    }
}

impl Question {
    /// The question in SQL, of no more rows than this: one row when the answer is yes. Names are written as in the
    /// script, which the lexer read as names.
    pub fn sql(&self, at_most: Option<u64>) -> String {
        let columns = self.columns.join(", ");
        let table = at_most.map_or_else(
            || self.table.clone(),
            |rows| format!("(SELECT {columns} FROM {} LIMIT {rows})", self.table),
        );
        match self.probe {
            Probe::Nulls => {
                format!("SELECT CAST(1 AS bigint) FROM {table} WHERE {columns} IS NULL LIMIT 1")
            }
            Probe::Duplicates => {
                let given = self
                    .columns
                    .iter()
                    .map(|column| format!("{column} IS NOT NULL"))
                    .collect::<Vec<_>>()
                    .join(" AND ");
                format!(
                    "SELECT CAST(1 AS bigint) FROM {table} WHERE {given} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"
                )
            }
        }
    }

    /// The table as it is compared.
    pub fn bare_table(&self) -> String {
        bare_name(self.table.rsplit('.').next().unwrap_or(&self.table))
    }
}
