//! Judges what a shadow run of up, down, up showed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod rows;
#[cfg(test)]
mod tests;

use super::{
    catalog::{Catalog, Change, Place},
    statement::Rename,
};
use rows::{additions, destroyed, lost_rows, touches, unseen_changes};

/// At most this many sentences of evidence a migration.
const MAX_EVIDENCE: usize = 12;

/// What the shadow run proved about a migration's rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Down restores the catalog and every row, and up works again after it.
    Reversible,
    /// The same, but columns end up in another order: `SELECT *` and `INSERT` without a column list notice.
    OrderOnly,
    /// Down fails, or leaves another catalog than there was, or up does not work again after it.
    Wrong,
    /// Down restores the catalog but not the rows.
    Lossy,
    /// There is no down.
    Irreversible,
    /// It ran elsewhere, and running it on a shadow does not lead to the catalog that is there.
    Unproven,
}

impl Verdict {
    /// The word in ledger and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reversible => "reversible",
            Self::OrderOnly => "order_only",
            Self::Wrong => "wrong",
            Self::Lossy => "lossy",
            Self::Irreversible => "irreversible",
            Self::Unproven => "unproven",
        }
    }

    /// Reads the ledger's word.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Reversible,
            Self::OrderOnly,
            Self::Wrong,
            Self::Lossy,
            Self::Irreversible,
            Self::Unproven,
        ]
        .into_iter()
        .find(|verdict| verdict.name() == word)
    }

    /// Whether the rollback was proven.
    pub const fn is_proven(self) -> bool {
        matches!(self, Self::Reversible | Self::OrderOnly)
    }

    /// The bounded label of metrics.
    pub const fn risk(self) -> Risk {
        match self {
            Self::Reversible | Self::OrderOnly => Risk::Low,
            Self::Wrong => Risk::Medium,
            Self::Lossy | Self::Irreversible | Self::Unproven => Risk::High,
        }
    }
}

/// Where the script that reverts a migration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Inverse {
    /// The author wrote it.
    Author,
    /// It was made from the difference of the catalogs and proven like an author's.
    Synthesised,
    /// There is none, or none is needed.
    None,
}

impl Inverse {
    /// The word in ledger and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::Synthesised => "synthesised",
            Self::None => "none",
        }
    }

    /// Reads the ledger's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Author, Self::Synthesised, Self::None]
            .into_iter()
            .find(|inverse| inverse.name() == word)
    }

    /// What sentences call it.
    pub const fn script(self) -> &'static str {
        match self {
            Self::Author | Self::None => "its down script",
            Self::Synthesised => "its synthesised inverse",
        }
    }
}

/// How much a migration can cost.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Its rollback is proven.
    Low,
    /// Its rollback restores the rows but not the schema.
    Medium,
    /// Its rollback loses rows, or there is none.
    High,
}

impl Risk {
    /// `low`, `medium` or `high`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// How many rows a table has and what they add up to, whatever their order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableRows {
    /// Number of rows.
    pub rows: u64,
    /// Order-independent digest of their values; empty when there were too many to read.
    pub digest: String,
}

/// Catalog and rows at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The schema.
    pub catalog: Catalog,
    /// Rows by quoted table.
    pub rows: BTreeMap<String, TableRows>,
}

/// What happened when a migration went up, down and up again on the shadow.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Before the first up.
    pub before: Snapshot,
    /// After the first up.
    pub after: Snapshot,
    /// After the down: what was there, or why it failed; absent when there is no down.
    pub down: Option<Result<Snapshot, String>>,
    /// After the second up: its catalog, or why it failed.
    pub second_up: Option<Result<Catalog, String>>,
    /// Rows by table in the real database when the shadow holds none of them.
    pub unseen_rows: BTreeMap<String, u64>,
    /// What the up script renames.
    pub renames: Vec<Rename>,
    /// Where the down comes from.
    pub inverse: Inverse,
    /// Statements of the up script that may write rows, by their keywords and object.
    pub writes: Vec<String>,
}

/// The judgement on one migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in sentences.
    pub evidence: Vec<String>,
    /// Existing rows or values that are gone after up and that down does not bring back.
    pub destroys: Vec<String>,
    /// Where rows written after the migration would be lost with its rollback.
    pub adds: Vec<Addition>,
    /// Quoted tables that were there before and whose rows it changes: what it writes is no application's data.
    pub touches: Vec<String>,
}

/// A table or column that a migration adds, so that its rollback drops what was written into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addition {
    /// `table` or `column` and its name.
    pub what: String,
    /// Where it is.
    pub place: Place,
    /// The table's quoted columns when it was added, in the order of their names.
    pub columns: Vec<String>,
    /// Whether it held anything right after the migration, so that this has to be measured.
    pub seeded: bool,
}

/// Judges one migration.
pub fn judge(observed: &Observed) -> Proof {
    let gone = destroyed(observed);
    let (verdict, mut evidence, destroys) = match &observed.down {
        None if observed.before.catalog == observed.after.catalog
            && gone.is_empty()
            && observed.before.rows == observed.after.rows =>
        {
            (
                Verdict::Reversible,
                vec!["it changes nothing that a rollback would restore".into()],
                Vec::new(),
            )
        }
        None => (
            Verdict::Irreversible,
            vec!["it has no down script".into()],
            gone,
        ),
        Some(Err(error)) => (
            Verdict::Wrong,
            vec![format!("{} fails: {error}", observed.inverse.script())],
            gone,
        ),
        Some(Ok(restored)) => judge_down(observed, restored, gone),
    };
    evidence.extend(destroys.iter().cloned());
    evidence.truncate(MAX_EVIDENCE);
    Proof {
        verdict,
        evidence,
        destroys,
        adds: additions(observed),
        touches: touches(observed),
    }
}

fn judge_down(
    observed: &Observed,
    restored: &Snapshot,
    gone: Vec<String>,
) -> (Verdict, Vec<String>, Vec<String>) {
    let (before, script) = (&observed.before, observed.inverse.script());
    if before.catalog.fingerprint() != restored.catalog.fingerprint() {
        let differences = before.catalog.differences(&restored.catalog);
        let evidence = differences
            .iter()
            .filter(|difference| difference.change != Change::Moved)
            .map(|difference| format!("after {script}: {difference}"));
        return (Verdict::Wrong, evidence.collect(), gone);
    }
    if let Some(Err(error)) = &observed.second_up {
        let mut lost = lost_rows(before, restored);
        if observed.inverse == Inverse::Synthesised && !lost.is_empty() {
            lost.push(format!(
                "with these rows it cannot be applied again: {error}"
            ));
            return (Verdict::Lossy, lost, gone);
        }
        return (
            Verdict::Wrong,
            vec![format!(
                "it cannot be applied again after {script}: {error}"
            )],
            gone,
        );
    }
    if let Some(Ok(again)) = &observed.second_up
        && again.fingerprint() != observed.after.catalog.fingerprint()
    {
        let evidence = observed
            .after
            .catalog
            .differences(again)
            .iter()
            .map(|difference| format!("applied again after {script}: {difference}"))
            .collect();
        return (Verdict::Wrong, evidence, gone);
    }
    let mut lost = lost_rows(before, restored);
    lost.extend(unseen_changes(observed));
    let unprovable = !observed.unseen_rows.is_empty() && !gone.is_empty();
    if !lost.is_empty() || unprovable {
        return (Verdict::Lossy, lost, gone);
    }
    if before.catalog.ordered_fingerprint() != restored.catalog.ordered_fingerprint() {
        return (
            Verdict::OrderOnly,
            vec![format!(
                "{script} restores everything but the order of columns"
            )],
            Vec::new(),
        );
    }
    (
        Verdict::Reversible,
        vec!["up, down, up on a shadow left catalog and rows as they were".into()],
        Vec::new(),
    )
}
