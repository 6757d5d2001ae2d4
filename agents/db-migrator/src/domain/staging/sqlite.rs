//! The staged forms on SQLite.

use super::{Kept, RESERVED, Retained, Staged, Taken, tag, target::Change};

/// A table as `sqlite_schema` has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableFacts {
    /// Its name, quoted.
    pub table: String,
    /// Its own text and that of its indexes and triggers, in order of creation.
    pub definitions: Vec<String>,
    /// Its columns that hold values of their own, quoted.
    pub columns: Vec<String>,
    /// Columns that refuse nulls and have no default, unquoted.
    pub required: Vec<String>,
}

fn shown(name: &str) -> String {
    name.replace('"', "")
}

fn side(version: &str, ordinal: usize) -> String {
    format!("{RESERVED}_{}", tag(version, ordinal))
}

fn retained(what: String, kind: Kept, purge: String) -> Retained {
    Retained {
        what,
        kind,
        purge: vec![purge],
        lost: None,
        since: String::new(),
    }
}

/// A dropped table is copied into a side table: a renamed one would keep the names of its indexes.
pub fn table(taken: &Taken, facts: &TableFacts, statement: &str, place: (&str, usize)) -> Staged {
    let TableFacts {
        table,
        definitions,
        columns,
        ..
    } = facts;
    let side = side(place.0, place.1);
    let list = columns.join(", ");
    let mut down = definitions.iter().take(1).cloned().collect::<Vec<_>>();
    down.push(format!(
        "INSERT INTO {table} ({list}) SELECT {list} FROM {side}"
    ));
    down.push(format!("DROP TABLE {side}"));
    down.extend(definitions.iter().skip(1).cloned());
    Staged {
        taken: taken.clone(),
        up: vec![
            format!("CREATE TABLE {side} AS SELECT {list} FROM {table}"),
            statement.to_owned(),
        ],
        down,
        brings: definitions
            .iter()
            .skip(1)
            .filter_map(|text| created(text))
            .collect(),
        retained: retained(
            format!("table {}", shown(table)),
            Kept::Table,
            format!("DROP TABLE IF EXISTS {side}"),
        ),
    }
}

/// The name that a `CREATE` makes, in lower case.
fn created(text: &str) -> Option<String> {
    let words = text.split_whitespace().collect::<Vec<_>>();
    let at = words.iter().position(|word| {
        word.eq_ignore_ascii_case("index") || word.eq_ignore_ascii_case("trigger")
    })?;
    words
        .get(at + 1)
        .map(|name| shown(name).to_ascii_lowercase())
}

/// A dropped column gets a reserved name. One that refuses nulls and has no default would stop every insert.
pub fn column(taken: &Taken, facts: &TableFacts, column: &str, version: &str) -> Option<Staged> {
    if facts
        .required
        .iter()
        .any(|required| required.eq_ignore_ascii_case(column))
    {
        return None;
    }
    let table = &facts.table;
    let hidden = super::retained_column(version, column);
    let quoted = format!("\"{}\"", column.replace('"', "\"\""));
    Some(Staged {
        taken: taken.clone(),
        up: vec![format!(
            "ALTER TABLE {table} RENAME COLUMN {quoted} TO {hidden}"
        )],
        down: vec![format!(
            "ALTER TABLE {table} RENAME COLUMN {hidden} TO {quoted}"
        )],
        brings: Vec::new(),
        retained: retained(
            format!("column {}.{column}", shown(table)),
            Kept::Column,
            format!("ALTER TABLE {table} DROP COLUMN {hidden}"),
        ),
    })
}

/// Rows that a statement deletes or overwrites are copied by a trigger that lives as long as the statement.
pub fn rows(
    taken: &Taken,
    change: Change,
    facts: &TableFacts,
    statement: &str,
    place: (&str, usize),
) -> Staged {
    let TableFacts { table, columns, .. } = facts;
    let side = side(place.0, place.1);
    let list = columns.join(", ");
    let old = columns
        .iter()
        .map(|column| format!("OLD.{column}"))
        .collect::<Vec<_>>()
        .join(", ");
    let event = if change == Change::Update {
        "UPDATE"
    } else {
        "DELETE"
    };
    let back = if change == Change::Update {
        let set = columns.iter().map(|column| {
            format!("{column} = (SELECT kept.{column} FROM {side} AS kept WHERE kept.{RESERVED}_row = {table}.rowid)")
        });
        format!(
            "UPDATE {table} SET {} WHERE rowid IN (SELECT {RESERVED}_row FROM {side})",
            set.collect::<Vec<_>>().join(", ")
        )
    } else {
        format!("INSERT OR IGNORE INTO {table} ({list}) SELECT {list} FROM {side}")
    };
    Staged {
        taken: taken.clone(),
        up: vec![
            format!(
                "CREATE TABLE {side} AS SELECT rowid AS {RESERVED}_row, {list} FROM {table} WHERE 0"
            ),
            format!(
                "CREATE TRIGGER {side}_keep BEFORE {event} ON {table} BEGIN INSERT INTO {side} VALUES (OLD.rowid, {old}); END"
            ),
            statement.to_owned(),
            format!("DROP TRIGGER {side}_keep"),
        ],
        down: vec![back, format!("DROP TABLE {side}")],
        brings: Vec::new(),
        retained: retained(
            format!("rows of {}", shown(table)),
            Kept::Rows,
            format!("DROP TABLE IF EXISTS {side}"),
        ),
    }
}
