//! Judges what a shadow run of up, down, up showed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    catalog::{Catalog, Change, Entry, Place},
    lex::bare_name,
    statement::Rename,
};

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
            vec![format!("its down script fails: {error}")],
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
    let before = &observed.before;
    if before.catalog.fingerprint() != restored.catalog.fingerprint() {
        let differences = before.catalog.differences(&restored.catalog);
        let evidence = differences
            .iter()
            .filter(|difference| difference.change != Change::Moved)
            .map(|difference| format!("after its down script: {difference}"));
        return (Verdict::Wrong, evidence.collect(), gone);
    }
    if let Some(Err(error)) = &observed.second_up {
        return (
            Verdict::Wrong,
            vec![format!(
                "it cannot be applied again after its down script: {error}"
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
            .map(|difference| format!("applied again after its down script: {difference}"))
            .collect();
        return (Verdict::Wrong, evidence, gone);
    }
    let lost = lost_rows(before, restored);
    let unprovable = !observed.unseen_rows.is_empty() && !gone.is_empty();
    if !lost.is_empty() || unprovable {
        return (Verdict::Lossy, lost, gone);
    }
    if before.catalog.ordered_fingerprint() != restored.catalog.ordered_fingerprint() {
        return (
            Verdict::OrderOnly,
            vec!["its down script restores everything but the order of columns".into()],
            Vec::new(),
        );
    }
    (
        Verdict::Reversible,
        vec!["up, down, up on a shadow left catalog and rows as they were".into()],
        Vec::new(),
    )
}

/// Tables whose rows differ after up and down.
fn lost_rows(before: &Snapshot, restored: &Snapshot) -> Vec<String> {
    let differs = before.rows.iter().filter_map(|(table, rows)| {
        let now = restored.rows.get(table)?;
        let table = table.replace('"', "");
        let sentence = match now.rows.cmp(&rows.rows) {
            _ if now == rows => return None,
            std::cmp::Ordering::Less => format!(
                "up and down lose {} of {} rows of {table}",
                rows.rows - now.rows,
                rows.rows
            ),
            std::cmp::Ordering::Greater => format!(
                "up and down leave {} rows more in {table}",
                now.rows - rows.rows
            ),
            std::cmp::Ordering::Equal => format!(
                "up and down change values in the {} rows of {table}",
                rows.rows
            ),
        };
        Some(sentence)
    });
    differs.collect()
}

/// Existing rows and values that up takes away.
fn destroyed(observed: &Observed) -> Vec<String> {
    let (before, after) = (&observed.before, &observed.after);
    let rows_of = |table: &str| {
        let seen = before.rows.get(table).map_or(0, |rows| rows.rows);
        seen.max(observed.unseen_rows.get(table).copied().unwrap_or_default())
    };
    let differences = before.catalog.differences(&after.catalog);
    let removed = differences
        .iter()
        .filter(|difference| difference.change == Change::Removed)
        .filter_map(|difference| {
            let entry = before
                .catalog
                .find(&difference.kind, &difference.name)
                .filter(|entry| !is_renamed_away(observed, entry))?;
            let place = entry.place.as_ref()?;
            let dropped_with_table = place.column.is_some()
                && !after.catalog.entries().iter().any(|e| {
                    e.kind == "table" && e.place.as_ref().is_some_and(|p| p.table == place.table)
                });
            let rows = rows_of(&place.table);
            (rows > 0 && !dropped_with_table).then(|| {
                format!(
                    "it drops {} {}, which holds {rows} rows",
                    difference.kind, difference.name
                )
            })
        });
    let fewer = before.rows.iter().filter_map(|(table, rows)| {
        let now = after.rows.get(table)?;
        (now.rows < rows.rows).then(|| {
            format!(
                "it deletes {} of {} rows of {}",
                rows.rows - now.rows,
                rows.rows,
                table.replace('"', "")
            )
        })
    });
    removed.chain(fewer).collect()
}

/// The last part of a qualified name, without quotes.
fn last_part(name: &str) -> String {
    bare_name(name.rsplit('.').next().unwrap_or(name))
}

/// Whether the table of an entry, or its column, has another name after up.
fn is_renamed_away(observed: &Observed, entry: &Entry) -> bool {
    let Some(place) = &entry.place else {
        return false;
    };
    observed.renames.iter().any(|rename| {
        rename.table == last_part(&place.table)
            && rename.column == place.column.as_deref().map(bare_name)
    })
}

/// Whether an entry that looks new is something old under a new name.
fn is_renamed_here(observed: &Observed, entry: &Entry) -> bool {
    let Some(place) = &entry.place else {
        return false;
    };
    let named = |rename: &&Rename| match &place.column {
        Some(column) => rename.column.is_some() && rename.to == bare_name(column),
        None => rename.column.is_none() && rename.to == last_part(&place.table),
    };
    let existed = |rename: &Rename| {
        let places = observed
            .before
            .catalog
            .entries()
            .iter()
            .filter_map(|entry| entry.place.as_ref());
        places.clone().any(|place| {
            last_part(&place.table) == rename.table
                && place.column.as_deref().map(bare_name) == rename.column
        })
    };
    observed.renames.iter().filter(named).any(existed)
}

/// Tables of before whose rows are others after up. A changed set of columns counts too: that costs a second look, no more.
fn touches(observed: &Observed) -> Vec<String> {
    let changed = observed.before.rows.iter().filter(|(table, rows)| {
        observed
            .after
            .rows
            .get(*table)
            .is_some_and(|now| now != *rows)
    });
    changed.map(|(table, _)| table.clone()).collect()
}

/// Tables and columns that exist only after up; a new table counts once, not for each of its columns.
fn additions(observed: &Observed) -> Vec<Addition> {
    let (before, after) = (&observed.before.catalog, &observed.after.catalog);
    let is_new = |kind: &str, name: &str| before.find(kind, name).is_none();
    let new_tables = after
        .entries()
        .iter()
        .filter(|e| e.kind == "table" && is_new("table", &e.name))
        .filter_map(|e| e.place.clone())
        .map(|p| p.table)
        .collect::<Vec<_>>();
    let added = after
        .entries()
        .iter()
        .filter(|entry| is_new(&entry.kind, &entry.name) && !is_renamed_here(observed, entry))
        .filter_map(|entry| {
            let place = entry.place.clone()?;
            let counted = place.column.is_some() && new_tables.contains(&place.table);
            let columns = if place.column.is_none() {
                after.columns(&place.table)
            } else {
                Vec::new()
            };
            let seen = observed
                .after
                .rows
                .get(&place.table)
                .is_some_and(|rows| rows.rows > 0);
            (!counted).then(|| Addition {
                what: format!("{} {}", entry.kind, entry.name),
                place,
                columns,
                seeded: seen || !observed.unseen_rows.is_empty(),
            })
        });
    added.collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::catalog::tests::{column, table},
        *,
    };
    use crate::domain::Entry;

    fn snapshot(entries: Vec<Entry>, rows: &[(&str, u64, &str)]) -> Snapshot {
        let rows = rows.iter().map(|(table, rows, digest)| {
            (
                (*table).to_owned(),
                TableRows {
                    rows: *rows,
                    digest: (*digest).to_owned(),
                },
            )
        });
        Snapshot {
            catalog: Catalog::new(entries),
            rows: rows.collect(),
        }
    }

    fn with_note(position: i64) -> Vec<Entry> {
        vec![
            table("t"),
            column("t", "id", "int", 1),
            column("t", "note", "text", position),
        ]
    }

    fn without_note() -> Vec<Entry> {
        vec![table("t"), column("t", "id", "int", 1)]
    }

    fn check(
        before: &Snapshot,
        after: &Snapshot,
        down: Option<Result<Snapshot, String>>,
        expected: Verdict,
    ) -> Proof {
        let second_up = down.as_ref().map(|_| Ok(after.catalog.clone()));
        let observed = Observed {
            before: before.clone(),
            after: after.clone(),
            down,
            second_up,
            unseen_rows: BTreeMap::new(),
            renames: vec![],
        };
        let proof = judge(&observed);
        assert_eq!(proof.verdict, expected, "{:?}", proof.evidence);
        proof
    }

    #[test]
    fn calls_an_added_column_reversible_and_remembers_it() {
        let before = snapshot(without_note(), &[("t", 2, "x")]);
        let after = snapshot(with_note(2), &[("t", 2, "y")]);
        let proof = check(
            &before,
            &after,
            Some(Ok(before.clone())),
            Verdict::Reversible,
        );
        assert_eq!(
            proof
                .adds
                .iter()
                .map(|a| a.what.as_str())
                .collect::<Vec<_>>(),
            ["column t.note"]
        );
    }

    #[test]
    fn calls_a_dropped_column_lossy_when_its_values_do_not_return() {
        let before = snapshot(with_note(2), &[("t", 2, "x")]);
        let after = snapshot(without_note(), &[("t", 2, "y")]);
        let proof = check(
            &before,
            &after,
            Some(Ok(snapshot(with_note(2), &[("t", 2, "z")]))),
            Verdict::Lossy,
        );
        assert_eq!(
            proof.destroys,
            ["it drops column t.note, which holds 2 rows"]
        );
        let empty = snapshot(with_note(2), &[("t", 0, "")]);
        check(
            &empty,
            &snapshot(without_note(), &[("t", 0, "")]),
            Some(Ok(empty.clone())),
            Verdict::Reversible,
        );
    }

    #[test]
    fn tells_order_wrong_and_missing_downs_apart() {
        let before = snapshot(
            vec![
                table("t"),
                column("t", "note", "text", 1),
                column("t", "id", "int", 2),
            ],
            &[("t", 0, "")],
        );
        let after = snapshot(without_note(), &[("t", 0, "")]);
        let reordered = snapshot(with_note(2), &[("t", 0, "")]);
        check(&before, &after, Some(Ok(reordered)), Verdict::OrderOnly);
        let proof = check(&before, &after, Some(Ok(after.clone())), Verdict::Wrong);
        assert_eq!(
            proof.evidence,
            ["after its down script: removed column t.note"]
        );
        check(&before, &after, Some(Err("syntax".into())), Verdict::Wrong);
        check(&before, &after, None, Verdict::Irreversible);
        check(&before, &before, None, Verdict::Reversible);
    }

    #[test]
    fn does_not_trust_a_shadow_without_rows() {
        let (before, after) = (
            snapshot(with_note(2), &[("t", 0, "")]),
            snapshot(without_note(), &[("t", 0, "")]),
        );
        let observed = Observed {
            down: Some(Ok(before.clone())),
            second_up: Some(Ok(after.catalog.clone())),
            before,
            after,
            unseen_rows: BTreeMap::from([("t".to_owned(), 9)]),
            renames: vec![],
        };
        assert_eq!(judge(&observed).verdict, Verdict::Lossy);
    }

    #[test]
    fn does_not_take_a_renamed_column_for_a_new_one() {
        let before = snapshot(with_note(2), &[("t", 2, "x")]);
        let after = snapshot(
            vec![
                table("t"),
                column("t", "id", "int", 1),
                column("t", "remark", "text", 2),
            ],
            &[("t", 2, "x")],
        );
        let rename = |table: &str| Rename {
            table: table.into(),
            column: Some("note".into()),
            to: "remark".into(),
        };
        let observed = |renames| Observed {
            before: before.clone(),
            after: after.clone(),
            down: None,
            second_up: None,
            unseen_rows: BTreeMap::new(),
            renames,
        };
        let proof = judge(&observed(vec![rename("t")]));
        assert_eq!((proof.adds.len(), proof.destroys.len()), (0, 0));
        let proof = judge(&observed(vec![rename("u")]));
        assert_eq!(
            (proof.adds.len(), proof.destroys.len()),
            (1, 1),
            "a rename elsewhere explains nothing"
        );
    }

    #[test]
    fn reports_a_dropped_table_once() {
        let before = snapshot(with_note(2), &[("t", 4, "x")]);
        let proof = check(&before, &snapshot(vec![], &[]), None, Verdict::Irreversible);
        assert_eq!(proof.destroys, ["it drops table t, which holds 4 rows"]);
    }
}
