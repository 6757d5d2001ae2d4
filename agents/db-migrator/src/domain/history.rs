//! The histories that other tools keep, and what adopting one means.

mod checksum;
mod entries;
#[cfg(test)]
mod tests;

pub use checksum::ChecksumVerdict;
pub use entries::Row;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::Tool;
use super::{Migration, Version};

/// The names of all tables that hold a history: they belong to no project's schema.
pub const TABLES: [&str; 6] = [
    "_sqlx_migrations",
    "__diesel_schema_migrations",
    "refinery_schema_history",
    "schema_migrations",
    "goose_db_version",
    "flyway_schema_history",
];

impl Tool {
    /// Whose table this is by its name and its columns, sorted. Rails keeps a table like dbmate's, beside another one.
    pub fn of(table: &str, columns: &[&str], beside_rails: bool) -> Option<Self> {
        let has = |wanted: &[&str]| wanted.iter().all(|column| columns.contains(column));
        match table {
            "_sqlx_migrations" if has(&["version", "success", "checksum"]) => Some(Self::Sqlx),
            "__diesel_schema_migrations" if has(&["version", "run_on"]) => Some(Self::Diesel),
            "refinery_schema_history" if has(&["version", "name", "checksum"]) => {
                Some(Self::Refinery)
            }
            "schema_migrations" if columns == ["dirty", "version"] => Some(Self::GolangMigrate),
            "schema_migrations" if columns == ["version"] && !beside_rails => Some(Self::Dbmate),
            "goose_db_version" if has(&["id", "version_id", "is_applied"]) => Some(Self::Goose),
            "flyway_schema_history"
                if has(&["installed_rank", "version", "type", "checksum", "success"]) =>
            {
                Some(Self::Flyway)
            }
            _ => None,
        }
    }
}

/// How a version stands in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// It ran to its end.
    Applied,
    /// It failed, and nobody said since what became of it.
    Dirty,
    /// It was declared to be there already.
    Baseline,
}

/// One version of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub version: Version,
    /// How it stands.
    pub state: EntryState,
    /// The checksum that the tool keeps, as text.
    pub checksum: Option<String>,
}

/// A history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Whose.
    pub tool: Tool,
    /// Its table, quoted and with its schema.
    pub table: String,
    /// Its versions.
    pub entries: Vec<Entry>,
    /// Whether the newest entry stands for all older versions too.
    pub cumulative: bool,
    /// What of it was left out, and why.
    pub notes: Vec<String>,
}

/// What a person says about a version that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DirtyDecision {
    /// It is in force.
    Applied,
    /// Nothing of it is.
    NotApplied,
}

/// A migration that is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted<'a> {
    /// Which.
    pub migration: &'a Migration,
    /// Whether its file is the one that was run.
    pub checksum: ChecksumVerdict,
    /// Whether it was declared rather than run.
    pub baseline: bool,
}

/// Why a history cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// The source lacks a version that is in force.
    #[error("{} holds version {version}, which the source lacks", tool.name())]
    Missing {
        /// Whose history.
        tool: Tool,
        /// Which.
        version: Version,
    },
    /// A version failed half way.
    #[error("{} left version {version} dirty", tool.name())]
    Dirty {
        /// Whose history.
        tool: Tool,
        /// Which.
        version: Version,
    },
    /// A decision about a version that is not dirty.
    #[error("version {0} is not dirty")]
    NotDirty(Version),
}

/// What of a source is in force by a history, in the order of versions.
///
/// # Errors
/// Every variant of [`AdoptError`].
pub fn adopted<'a>(
    history: &History,
    source: &'a [Migration],
    decisions: &BTreeMap<Version, DirtyDecision>,
) -> Result<Vec<Adopted<'a>>, AdoptError> {
    let entry = |version: &Version| history.entries.iter().find(|e| e.version == *version);
    let stray = decisions
        .keys()
        .find(|version| entry(version).is_none_or(|entry| entry.state != EntryState::Dirty));
    if let Some(version) = stray {
        return Err(AdoptError::NotDirty(version.clone()));
    }
    for entry in &history.entries {
        let decision = decisions.get(&entry.version);
        if entry.state == EntryState::Dirty && decision.is_none() {
            return Err(AdoptError::Dirty {
                tool: history.tool,
                version: entry.version.clone(),
            });
        }
        let known = source.iter().any(|m| m.version == entry.version);
        let gone = decision == Some(&DirtyDecision::NotApplied);
        if !known && !gone && entry.state != EntryState::Baseline {
            return Err(AdoptError::Missing {
                tool: history.tool,
                version: entry.version.clone(),
            });
        }
    }
    let found = source.iter().filter_map(|migration| {
        let own = entry(&migration.version);
        // Only its own row says that a baseline migration or a repeatable ran.
        let special =
            migration.version.baselined().is_some() || migration.version.repeats().is_some();
        if own.is_none() && special {
            return None;
        }
        if own.is_some() && decisions.get(&migration.version) == Some(&DirtyDecision::NotApplied) {
            return None;
        }
        let baseline = is_baseline(history, migration);
        (own.is_some() || baseline || is_covered(history, migration)).then(|| Adopted {
            migration,
            checksum: own
                .filter(|_| !baseline)
                .and_then(|entry| entry.checksum.as_deref())
                .map_or(ChecksumVerdict::NotRecorded, |recorded| {
                    checksum::compare(history.tool, migration, recorded)
                }),
            baseline,
        })
    });
    // A repeatable that was edited since is no migration that was edited: it is to run again.
    let is_due = |adopted: &Adopted<'_>| {
        adopted.migration.version.repeats().is_some()
            && adopted.checksum == ChecksumVerdict::Differs
    };
    Ok(found.filter(|adopted| !is_due(adopted)).collect())
}

/// The versions of what is taken over, in order: repeatables come after the newest other one.
pub fn placed(taken: &[Adopted<'_>]) -> Vec<Version> {
    let versions = || taken.iter().map(|adopted| &adopted.migration.version);
    let newest = versions()
        .filter(|version| version.repeats().is_none())
        .max();
    versions()
        .map(|version| {
            if version.is_unplaced() {
                version.placed_after(newest, 1)
            } else {
                version.clone()
            }
        })
        .collect()
}

/// What of a source is left to run after these were taken over: a baseline stands for all versions up to its own.
pub fn left<'a>(source: &'a [Migration], taken: &[&Migration]) -> Vec<&'a Migration> {
    let floor = taken.iter().filter_map(|one| one.version.baselined()).max();
    let left = source.iter().filter(|migration| {
        let version = &migration.version;
        let covered = floor.as_ref().is_some_and(|floor| version <= floor);
        version.baselined().is_none()
            && !covered
            && !taken.iter().any(|taken| taken.version == *version)
    });
    left.collect()
}

/// Whether a newer entry stands for it.
fn is_covered(history: &History, migration: &Migration) -> bool {
    history.cumulative
        && history
            .entries
            .iter()
            .any(|entry| migration.version < entry.version)
}

/// Whether it is at or below a baseline and was not run itself.
fn is_baseline(history: &History, migration: &Migration) -> bool {
    let ran = history
        .entries
        .iter()
        .any(|entry| entry.version == migration.version && entry.state != EntryState::Baseline);
    !ran && history
        .entries
        .iter()
        .any(|e| e.state == EntryState::Baseline && migration.version <= e.version)
}
