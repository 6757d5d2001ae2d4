//! The staged forms on PostgreSQL.

mod rows;

pub use rows::{again, rows};

use super::{Kept, RESERVED, Retained, Staged, Taken, retained_column, tag};
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
    /// Its indexes, constraints, triggers and own sequences, unquoted and in lower case.
    pub attached: Vec<String>,
    /// Its columns that no statement may set, quoted.
    pub fixed: Vec<String>,
    /// Its parent, quoted and qualified, and its bound, when it is a partition.
    pub partition: Option<(String, String)>,
    /// Foreign keys that come from its parent, quoted.
    pub inherited: Vec<String>,
    /// Its partitions at any depth: quoted and qualified, schema, name.
    pub parts: Vec<(String, String, String)>,
}

fn bare(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.replace('"', "").to_ascii_lowercase()
}

fn shown(name: &str) -> String {
    name.replace('"', "")
}

/// A dropped table moves into a schema of its own, with its partitions, and away from its parent. Its foreign keys go:
/// they would bind tables that stay.
pub fn table(taken: &Taken, facts: &TableFacts, version: &str, ordinal: usize) -> Staged {
    let TableFacts {
        table,
        schema,
        name,
        references,
        partition,
        inherited,
        parts,
        ..
    } = facts;
    let hidden = format!("{RESERVED}_{}", tag(version, ordinal));
    let mut up = vec![format!("CREATE SCHEMA {hidden}")];
    if let Some((parent, _)) = partition {
        up.push(format!("ALTER TABLE {parent} DETACH PARTITION {table}"));
    }
    let keys = references.iter().map(|(key, _)| key).chain(inherited);
    up.extend(keys.map(|key| format!("ALTER TABLE {table} DROP CONSTRAINT {key}")));
    up.push(format!("ALTER TABLE {table} SET SCHEMA {hidden}"));
    let moved = parts.iter();
    up.extend(moved.map(|(part, ..)| format!("ALTER TABLE {part} SET SCHEMA {hidden}")));
    let mut down = vec![format!("ALTER TABLE {hidden}.{name} SET SCHEMA {schema}")];
    let moved = parts.iter();
    down.extend(
        moved.map(|(_, schema, name)| format!("ALTER TABLE {hidden}.{name} SET SCHEMA {schema}")),
    );
    down.push(format!("DROP SCHEMA {hidden}"));
    let keys = references
        .iter()
        .map(|(key, definition)| format!("ALTER TABLE {table} ADD CONSTRAINT {key} {definition}"));
    let mut last = keys.collect::<Vec<_>>();
    if let Some((parent, bound)) = partition {
        last.push(format!(
            "ALTER TABLE {parent} ATTACH PARTITION {table} {bound}"
        ));
    }
    Staged {
        taken: taken.clone(),
        up,
        first: Vec::new(),
        down,
        last,
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

/// A dropped sequence moves into a schema of its own: made anew, it would give the same numbers twice.
pub fn sequence(taken: &Taken, (schema, name): (&str, &str), place: (&str, usize)) -> Staged {
    let hidden = format!("{RESERVED}_{}", tag(place.0, place.1));
    Staged {
        taken: taken.clone(),
        up: vec![
            format!("CREATE SCHEMA {hidden}"),
            format!("ALTER SEQUENCE {schema}.{name} SET SCHEMA {hidden}"),
        ],
        first: Vec::new(),
        down: vec![
            format!("ALTER SEQUENCE {hidden}.{name} SET SCHEMA {schema}"),
            format!("DROP SCHEMA {hidden}"),
        ],
        last: Vec::new(),
        brings: Vec::new(),
        retained: Retained {
            what: format!("sequence {}", shown(&format!("{schema}.{name}"))),
            kind: Kept::Table,
            purge: vec![
                format!("DROP SEQUENCE IF EXISTS {hidden}.{name}"),
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
    last: Vec<String>,
    brings: Vec<String>,
}

fn attached(facts: &ColumnFacts) -> Option<Attached> {
    let table = &facts.table;
    let Attached {
        mut up,
        mut down,
        mut last,
        mut brings,
    } = Attached::default();
    for index in &facts.indexes {
        brings.push(bare(&index.name));
        if index.constraint.is_empty() {
            up.push(format!("DROP INDEX {}", index.name));
            down.push(index.definition.clone());
            continue;
        }
        let own = index.name.rsplit('.').next().unwrap_or_default();
        let name = format!("\"{}\"", own.trim_matches('"'));
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
        let add = format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} {}",
            constraint.definition
        );
        if constraint.definition.starts_with("FOREIGN KEY") {
            last.push(add);
        } else {
            down.push(add);
        }
        brings.push(bare(name));
    }
    Some(Attached {
        up,
        down,
        last,
        brings,
    })
}

/// A dropped column gets a reserved name, without its constraints and indexes, as DROP COLUMN would leave the table.
/// Rows inserted meanwhile get its default, or null. A sequence that it owns is hidden, that of an identity is made anew.
pub fn column(
    taken: &Taken,
    facts: &ColumnFacts,
    identity: Option<&str>,
    place: (&str, usize),
) -> Option<Staged> {
    if facts.obstacles.iter().any(|obstacle| obstacle != IDENTITY) {
        return None;
    }
    let ColumnFacts { table, column, .. } = facts;
    let hidden = retained_column(place.0, &shown(column));
    let numbers = numbers(facts, identity, place);
    let constant = facts
        .default
        .as_ref()
        .is_some_and(|default| !default.contains('('));
    let Attached {
        mut up,
        down,
        last,
        brings,
    } = attached(facts)?;
    let mut back = vec![format!(
        "ALTER TABLE {table} RENAME COLUMN {hidden} TO {column}"
    )];
    back.extend(down);
    let mut down = back;
    up.extend(numbers.up);
    loosen(facts, constant, (&mut up, &mut down));
    up.extend(numbers.hide);
    up.push(format!(
        "ALTER TABLE {table} RENAME COLUMN {column} TO {hidden}"
    ));
    // The default names the sequence: it has to be back before it.
    down.splice(0..0, numbers.show);
    down.extend(numbers.down);
    let mut purge = vec![format!(
        "ALTER TABLE IF EXISTS {table} DROP COLUMN IF EXISTS {hidden}"
    )];
    purge.extend(numbers.purge);
    Some(Staged {
        taken: taken.clone(),
        up,
        first: Vec::new(),
        down,
        last,
        brings: brings.into_iter().chain(numbers.brings).collect(),
        retained: Retained {
            what: format!("column {}.{}", shown(table), shown(column)),
            kind: Kept::Column,
            purge,
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

/// A hidden column refuses no row, and computes no default.
fn loosen(facts: &ColumnFacts, constant: bool, (up, down): (&mut Vec<String>, &mut Vec<String>)) {
    let ColumnFacts { table, column, .. } = facts;
    let alter = format!("ALTER TABLE {table} ALTER COLUMN {column}");
    if facts.not_null {
        up.push(format!("{alter} DROP NOT NULL"));
        down.push(facts.strict.as_ref().map_or_else(
            || format!("{alter} SET NOT NULL"),
            |name| format!("ALTER TABLE {table} ADD CONSTRAINT {name} NOT NULL {column}"),
        ));
    }
    if let Some(default) = facts.default.as_ref().filter(|_| !constant) {
        up.push(format!("{alter} DROP DEFAULT"));
        down.push(format!("{alter} SET DEFAULT {default}"));
    }
}

/// What a column is called that draws from a sequence of its own.
const IDENTITY: &str = "it is an identity column";

/// The sequence of a column, out of sight.
#[derive(Debug, Default)]
struct Numbers {
    up: Vec<String>,
    hide: Vec<String>,
    show: Vec<String>,
    down: Vec<String>,
    purge: Vec<String>,
    brings: Vec<String>,
}

fn numbers(facts: &ColumnFacts, identity: Option<&str>, place: (&str, usize)) -> Numbers {
    let ColumnFacts { table, column, .. } = facts;
    if let Some(kind) = identity {
        let literal = |name: &str| format!("'{}'", name.replace('\'', "''"));
        let sequence = format!(
            "pg_get_serial_sequence({}, {})",
            literal(table),
            literal(&column.trim_matches('"').replace("\"\"", "\""))
        );
        return Numbers {
            up: vec![format!(
                "ALTER TABLE {table} ALTER COLUMN {column} DROP IDENTITY"
            )],
            down: vec![
                format!(
                    "ALTER TABLE {table} ALTER COLUMN {column} ADD GENERATED {kind} AS IDENTITY"
                ),
                format!(
                    "SELECT setval({sequence}, max({column})) FROM {table} HAVING max({column}) > 0"
                ),
            ],
            ..Numbers::default()
        };
    }
    let Some((schema, name)) = facts.sequence.as_deref().and_then(split) else {
        return Numbers::default();
    };
    let sequence = format!("{schema}.{name}");
    let hidden = format!("{RESERVED}_{}", tag(place.0, place.1));
    Numbers {
        hide: vec![
            format!("CREATE SCHEMA {hidden}"),
            format!("ALTER SEQUENCE {sequence} OWNED BY NONE"),
            format!("ALTER SEQUENCE {sequence} SET SCHEMA {hidden}"),
        ],
        show: vec![
            format!("ALTER SEQUENCE {hidden}.{name} SET SCHEMA {schema}"),
            format!("DROP SCHEMA {hidden}"),
        ],
        down: vec![format!(
            "ALTER SEQUENCE {sequence} OWNED BY {table}.{column}"
        )],
        purge: vec![
            format!("DROP SEQUENCE IF EXISTS {hidden}.{name}"),
            format!("DROP SCHEMA IF EXISTS {hidden}"),
        ],
        brings: vec![bare(&sequence)],
        up: Vec::new(),
    }
}

/// Schema and name, quoted, of a qualified name.
fn split(name: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let dot = name.find(|c| {
        quoted ^= c == '"';
        c == '.' && !quoted
    })?;
    Some((name.get(..dot)?, name.get(dot + 1..)?))
}
