//! What happened to rows and values between two snapshots.

use std::collections::BTreeSet;

use super::{Addition, Observed, Snapshot};
use crate::domain::{
    catalog::{Change, Entry},
    lex::bare_name,
    statement::Rename,
};

/// Tables whose rows differ after up and down.
pub(super) fn lost_rows(before: &Snapshot, restored: &Snapshot) -> Vec<String> {
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
pub(super) fn destroyed(observed: &Observed) -> Vec<String> {
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

/// Tables of before whose rows or columns are others after up, and their names after it: a column may take the place of
/// another with the same values.
pub(super) fn touches(observed: &Observed) -> Vec<String> {
    let after = |table: &str| {
        let now = name_after(observed, table);
        let same = observed.after.rows.get_key_value(table);
        same.filter(|_| last_part(table) == now).or_else(|| {
            let mut tables = observed.after.rows.iter();
            tables.find(|(known, _)| last_part(known) == now)
        })
    };
    let columns = |table: &str, renamed: &str| {
        observed.before.catalog.columns(table) != observed.after.catalog.columns(renamed)
    };
    let mut found = Vec::new();
    for (table, rows) in &observed.before.rows {
        let changed = after(table).filter(|(renamed, now)| *now != rows || columns(table, renamed));
        if let Some((renamed, _)) = changed {
            found.push(table.clone());
            found.extend((renamed != table).then(|| renamed.clone()));
        }
    }
    found
}

/// The last part of a table's name after up.
fn name_after(observed: &Observed, table: &str) -> String {
    let whole = observed
        .renames
        .iter()
        .filter(|rename| rename.column.is_none());
    whole.fold(last_part(table), |name, rename| {
        if rename.table == name {
            rename.to.clone()
        } else {
            name
        }
    })
}

/// Tables and columns that exist only after up; a new table counts once, not for each of its columns.
pub(super) fn additions(observed: &Observed) -> Vec<Addition> {
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

/// Why the fate of rows is unknown although nothing is dropped: the shadow holds none of them.
pub(super) fn unseen_changes(observed: &Observed) -> Vec<String> {
    if observed.unseen_rows.is_empty() {
        return Vec::new();
    }
    let (before, after) = (&observed.before.catalog, &observed.after.catalog);
    let retyped = before.differences(after).into_iter().filter_map(|difference| {
        let find = |catalog: &super::Catalog| {
            let entry = catalog.find(&difference.kind, &difference.name)?;
            let table = entry.place.as_ref()?.table.clone();
            let kind = entry.definition.split("; ").next()?.to_owned();
            Some((table, kind))
        };
        let ((table, old), (_, new)) = (find(before)?, find(after)?);
        let rows = observed.unseen_rows.get(&table)?;
        (difference.change == Change::Changed && difference.kind == "column" && !widens(&old, &new))
            .then(|| {
                format!(
                    "it changes the type of {}, and the shadow does not hold the {rows} rows or more of its table",
                    difference.name
                )
            })
    });
    let written = observed
        .writes
        .iter()
        .map(|what| format!("{what} may change rows, and the shadow holds none of the database's"));
    let all = retyped.chain(written).collect::<BTreeSet<_>>();
    all.into_iter().collect()
}

/// Whether every value of the old type is one of the new, and the same after the way back.
fn widens(old: &str, new: &str) -> bool {
    const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];
    let rank = |name: &str| INTEGERS.iter().position(|known| *known == name);
    let length = |name: &str| {
        let inner = name.strip_prefix("character varying")?;
        let digits = inner.trim_matches(['(', ')']);
        if digits.is_empty() {
            return Some(u64::MAX);
        }
        digits.parse::<u64>().ok()
    };
    let length = |name: &str| {
        if name == "text" {
            Some(u64::MAX)
        } else {
            length(name)
        }
    };
    old == new
        || rank(old).zip(rank(new)).is_some_and(|(old, new)| old < new)
        || length(old)
            .zip(length(new))
            .is_some_and(|(old, new)| old <= new)
}

#[cfg(test)]
mod tests {
    use super::widens;

    #[test]
    fn knows_which_types_hold_all_values_of_another() {
        for (old, new) in [
            ("integer", "bigint"),
            ("character varying(10)", "character varying(20)"),
            ("character varying(10)", "text"),
        ] {
            assert!(widens(old, new) && !widens(new, old), "{old} {new}");
        }
        assert!(!widens("text", "integer") && !widens("numeric", "integer"));
    }
}
