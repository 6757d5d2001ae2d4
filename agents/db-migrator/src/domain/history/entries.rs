//! What the rows of each tool's table mean.

use super::{Entry, EntryState, History, Tool};
use crate::domain::Version;

/// A row of a history as text, in the order in which the tool wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    /// The version; absent for what has none.
    pub version: Option<String>,
    /// Whether it succeeded, is clean, or is applied.
    pub good: bool,
    /// The checksum.
    pub checksum: Option<String>,
    /// Flyway's type of the row.
    pub kind: String,
}

impl History {
    /// Reads the rows of a tool's table.
    pub fn read(tool: Tool, table: String, rows: Vec<Row>) -> Self {
        let mut history = Self {
            tool,
            table,
            entries: Vec::new(),
            cumulative: tool == Tool::GolangMigrate,
            notes: Vec::new(),
        };
        for row in rows {
            history.take(row);
        }
        history
    }

    fn take(&mut self, row: Row) {
        let Some(version) = row.version.as_deref().and_then(version) else {
            let what = row.version.unwrap_or_else(|| row.kind.clone());
            if self.tool == Tool::Flyway && !matches!(row.kind.as_str(), "SCHEMA" | "TABLE") {
                self.notes
                    .push(format!("a row of type {what} without version was left out"));
            }
            return;
        };
        let state = match (self.tool, row.kind.as_str(), row.good) {
            // The row of goose that says the table is there.
            (Tool::Goose, _, _) if version == Version::zero() => return,
            (Tool::Goose, _, false) | (Tool::Flyway, "DELETE", _) => None,
            (Tool::Flyway, kind, true) if kind.starts_with("UNDO") => None,
            (Tool::Flyway, "BASELINE", true) => Some(EntryState::Baseline),
            (_, _, true) => Some(EntryState::Applied),
            (_, _, false) => Some(EntryState::Dirty),
        };
        self.entries.retain(|entry| entry.version != version);
        self.entries.extend(state.map(|state| Entry {
            version,
            state,
            checksum: row.checksum,
        }));
    }
}

/// A version as tools record it; golang-migrate's -1 stands for none.
fn version(text: &str) -> Option<Version> {
    Version::parse(text)
}
