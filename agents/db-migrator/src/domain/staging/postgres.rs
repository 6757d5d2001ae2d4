//! The staged forms on PostgreSQL.

use super::{Kept, RESERVED, Retained, Staged, Taken, retained_column, tag, target::Change};
use crate::domain::expand::ColumnFacts;

/// A table and what hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableFacts {
    /// The table, quoted and qualified.
    pub table: String,
    /// Its schema, quoted.
    pub schema: String,
    /// Its name, quoted.
    pub name: String,
    /// Its foreign keys: (quoted name, definition).
    pub references: Vec<(String, String)>,
    /// Its columns that hold values of their own, quoted.
    pub columns: Vec<String>,
    /// Its primary key, quoted.
    pub key: Vec<String>,
    /// Its indexes, constraints and triggers, unquoted and in lower case.
    pub attached: Vec<String>,
}

fn last(name: &str) -> String {
    let bare = name.rsplit('.').next().unwrap_or(name);
    bare.replace('"', "").to_ascii_lowercase()
}

fn shown(name: &str) -> String {
    name.replace('"', "")
}

/// A dropped table moves into a schema of its own. Its foreign keys go: they would bind tables that stay.
pub fn table(taken: &Taken, facts: &TableFacts, version: &str, ordinal: usize) -> Staged {
    let TableFacts {
        table,
        schema,
        name,
        references,
        ..
    } = facts;
    let hidden = format!("{RESERVED}_{}", tag(version, ordinal));
    let mut up = vec![format!("CREATE SCHEMA {hidden}")];
    up.extend(
        references
            .iter()
            .map(|(key, _)| format!("ALTER TABLE {table} DROP CONSTRAINT {key}")),
    );
    up.push(format!("ALTER TABLE {table} SET SCHEMA {hidden}"));
    let mut down = vec![
        format!("ALTER TABLE {hidden}.{name} SET SCHEMA {schema}"),
        format!("DROP SCHEMA {hidden}"),
    ];
    down.extend(
        references.iter().map(|(key, definition)| {
            format!("ALTER TABLE {table} ADD CONSTRAINT {key} {definition}")
        }),
    );
    Staged {
        taken: taken.clone(),
        up,
        down,
        brings: facts.attached.clone(),
        retained: Retained {
            what: format!("table {}", shown(table)),
            kind: Kept::Table,
            purge: vec![
                format!("DROP TABLE IF EXISTS {hidden}.{name}"),
                format!("DROP SCHEMA IF EXISTS {hidden}"),
            ],
            lost: None,
            since: String::new(),
        },
    }
}

/// Indexes and constraints of a column: how they go, how they come back, and their names.
#[derive(Debug, Default)]
struct Attached {
    up: Vec<String>,
    down: Vec<String>,
    brings: Vec<String>,
}

fn attached(facts: &ColumnFacts) -> Option<Attached> {
    let table = &facts.table;
    let Attached {
        mut up,
        mut down,
        mut brings,
    } = Attached::default();
    for index in &facts.indexes {
        brings.push(last(&index.name));
        if index.constraint.is_empty() {
            up.push(format!("DROP INDEX {}", index.name));
            down.push(index.definition.clone());
            continue;
        }
        let bare = index.name.rsplit('.').next().unwrap_or_default();
        let name = format!("\"{}\"", bare.trim_matches('"'));
        up.push(format!("ALTER TABLE {table} DROP CONSTRAINT {name}"));
        let (_, definition) = index.definition.split_once(" USING ")?;
        let columns = definition.get(definition.find('(')?..)?;
        let kind = match index.constraint.as_str() {
            "p" => "PRIMARY KEY",
            "u" => "UNIQUE",
            _ => return None,
        };
        down.push(format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} {kind} {columns}"
        ));
    }
    for constraint in &facts.constraints {
        let name = &constraint.name;
        up.push(format!("ALTER TABLE {table} DROP CONSTRAINT {name}"));
        down.push(format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} {}",
            constraint.definition
        ));
        brings.push(last(name));
    }
    Some(Attached { up, down, brings })
}

/// A dropped column gets a reserved name, without its constraints and indexes, as DROP COLUMN would leave the table.
/// Rows inserted meanwhile get its default, or null.
pub fn column(taken: &Taken, facts: &ColumnFacts, version: &str) -> Option<Staged> {
    if facts.sequence.is_some() || !facts.obstacles.is_empty() {
        return None;
    }
    let ColumnFacts { table, column, .. } = facts;
    let hidden = retained_column(version, &shown(column));
    let constant = facts
        .default
        .as_ref()
        .is_some_and(|default| !default.contains('('));
    let Attached {
        mut up,
        down,
        brings,
    } = attached(facts)?;
    let mut back = vec![format!(
        "ALTER TABLE {table} RENAME COLUMN {hidden} TO {column}"
    )];
    back.extend(down);
    let mut down = back;
    if facts.not_null {
        up.push(format!(
            "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"
        ));
        down.push(format!(
            "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"
        ));
    }
    if let Some(default) = facts.default.as_ref().filter(|_| !constant) {
        up.push(format!(
            "ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"
        ));
        down.push(format!(
            "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}"
        ));
    }
    up.push(format!(
        "ALTER TABLE {table} RENAME COLUMN {column} TO {hidden}"
    ));
    Some(Staged {
        taken: taken.clone(),
        up,
        down,
        brings,
        retained: Retained {
            what: format!("column {}.{}", shown(table), shown(column)),
            kind: Kept::Column,
            purge: vec![format!(
                "ALTER TABLE IF EXISTS {table} DROP COLUMN IF EXISTS {hidden}"
            )],
            lost: (facts.not_null && !constant)
                .then(|| format!("SELECT count(*) FROM {table} WHERE {hidden} IS NULL")),
            since: format!(
                "inserted since without a value for {}.{}",
                shown(table),
                shown(column)
            ),
        },
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
    let hidden = format!("{RESERVED}_{}", tag(place.0, place.1));
    let list = columns.join(", ");
    let mut up = vec![
        format!("CREATE SCHEMA {hidden}"),
        format!("CREATE TABLE {hidden}.kept AS SELECT {list} FROM {table} WITH NO DATA"),
    ];
    up.extend(kept_by(change, table, (&hidden, &list), statement));
    let back = if change == Change::Update {
        overwritten(table, columns, key, &hidden)?
    } else {
        format!(
            "INSERT INTO {table} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {hidden}.kept ON CONFLICT DO NOTHING"
        )
    };
    Some(Staged {
        taken: taken.clone(),
        up,
        down: vec![
            back,
            format!("DROP TABLE {hidden}.kept"),
            format!("DROP SCHEMA {hidden}"),
        ],
        brings: Vec::new(),
        retained: Retained {
            what: format!("rows of {}", shown(table)),
            kind: Kept::Rows,
            purge: vec![
                format!("DROP TABLE IF EXISTS {hidden}.kept"),
                format!("DROP SCHEMA IF EXISTS {hidden}"),
            ],
            lost: None,
            since: String::new(),
        },
    })
}

/// The statement with the trigger around it; a truncated table is copied before.
fn kept_by(
    change: Change,
    table: &str,
    (hidden, list): (&str, &str),
    statement: &str,
) -> Vec<String> {
    let event = match change {
        Change::Delete => "DELETE",
        Change::Update => "UPDATE",
        Change::Truncate => {
            return vec![
                format!("INSERT INTO {hidden}.kept SELECT {list} FROM {table}"),
                statement.to_owned(),
            ];
        }
    };
    vec![
        format!(
            "CREATE FUNCTION {hidden}.keep() RETURNS trigger LANGUAGE plpgsql AS $migrate$ BEGIN INSERT INTO {hidden}.kept SELECT {list} FROM gone; RETURN NULL; END $migrate$"
        ),
        format!(
            "CREATE TRIGGER {RESERVED} AFTER {event} ON {table} REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION {hidden}.keep()"
        ),
        statement.to_owned(),
        format!("DROP TRIGGER {RESERVED} ON {table}"),
        format!("DROP FUNCTION {hidden}.keep()"),
    ]
}

/// Puts old values back by primary key; `None` without one.
fn overwritten(table: &str, columns: &[String], key: &[String], hidden: &str) -> Option<String> {
    let same = key
        .iter()
        .map(|column| format!("changed.{column} = kept.{column}"))
        .collect::<Vec<_>>();
    let set = columns
        .iter()
        .filter(|column| !key.contains(column))
        .map(|column| format!("{column} = kept.{column}"))
        .collect::<Vec<_>>();
    (!same.is_empty() && !set.is_empty()).then(|| {
        format!(
            "UPDATE {table} AS changed SET {} FROM {hidden}.kept AS kept WHERE {}",
            set.join(", "),
            same.join(" AND ")
        )
    })
}
