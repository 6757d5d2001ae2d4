//! The staged forms on SQLite.

use super::{
    Kept, RESERVED, Retained, Staged, Taken, postgres::again, tag, target::Change,
    updated::Updated, values::Values,
};
use crate::domain::Dialect;

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
    /// Its declared primary key, quoted.
    pub key: Vec<String>,
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
        first: Vec::new(),
        down,
        last: Vec::new(),
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

/// A dropped column gets a reserved name. One that refuses nulls and has no default would stop every insert: its values
/// are kept by primary key.
pub fn column(
    taken: &Taken,
    facts: &TableFacts,
    (column, statement): (&str, &str),
    place: (&str, usize),
) -> Option<Staged> {
    let table = &facts.table;
    let quoted = format!("\"{}\"", column.replace('"', "\"\""));
    let is_it = |required: &String| required.eq_ignore_ascii_case(column);
    if facts.required.iter().any(is_it) {
        let values = Values {
            dialect: Dialect::Sqlite,
            table,
            column: &quoted,
            key: &facts.key,
        };
        return (!facts.key.is_empty()).then(|| values.staged(statement, place, true));
    }
    let hidden = super::retained_column(place.0, column);
    Some(Staged {
        taken: taken.clone(),
        up: vec![format!(
            "ALTER TABLE {table} RENAME COLUMN {quoted} TO {hidden}"
        )],
        first: Vec::new(),
        down: vec![format!(
            "ALTER TABLE {table} RENAME COLUMN {hidden} TO {quoted}"
        )],
        last: Vec::new(),
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
) -> Option<Staged> {
    let TableFacts {
        table,
        columns,
        key,
        ..
    } = facts;
    let side = side(place.0, place.1);
    let list = columns.join(", ");
    let updated = Updated {
        dialect: Dialect::Sqlite,
        table,
        side: &side,
        columns,
        key,
        fixed: &[],
    };
    let name = shown(table);
    let (create, event, values, mut down, counts, since);
    if change == Change::Update {
        (create, event) = (updated.create(), "AFTER UPDATE");
        values = updated.values();
        down = updated.back()?;
        counts = Some(updated.lost());
        since = format!("of {name} that it changed were written again since and stay");
    } else {
        create = format!("CREATE TABLE {side} AS SELECT {list} FROM {table} WHERE 0");
        event = "BEFORE DELETE";
        let old = columns.iter().map(|column| format!("OLD.{column}"));
        values = old.collect::<Vec<_>>().join(", ");
        down = vec![format!(
            "INSERT OR IGNORE INTO {table} ({list}) SELECT {list} FROM {side}"
        )];
        counts = again(table, &side, key);
        since = format!("of {name} that it deleted were inserted anew since and stay");
    }
    down.push(format!("DROP TABLE {side}"));
    let purge = format!("DROP TABLE IF EXISTS {side}");
    Some(Staged {
        taken: taken.clone(),
        up: vec![
            create,
            format!(
                "CREATE TRIGGER {side}_keep {event} ON {table} BEGIN INSERT INTO {side} VALUES ({values}); END"
            ),
            statement.to_owned(),
            format!("DROP TRIGGER {side}_keep"),
        ],
        first: Vec::new(),
        down,
        last: Vec::new(),
        brings: Vec::new(),
        retained: Retained {
            lost: counts,
            since,
            ..retained(format!("rows of {name}"), Kept::Rows, purge)
        },
    })
}
