//! SQLite's schema as catalog entries.
//!
//! `sqlite_schema.sql` keeps the author's text, so a table that was rebuilt or altered differs from its equal in white
//! space, quotes and comments. Tables are therefore taken apart: every column and every table constraint becomes an
//! entry of normalised tokens; other objects are their normalised text.

use rusqlite::Connection;

use super::TargetError;
use crate::domain::{
    Catalog, Dialect, Entry, Place, history,
    lex::{self, Token},
};

/// Everything but SQLite's own tables and the ledger.
pub(super) const OBJECTS: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema \
    WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND tbl_name NOT LIKE 'db\\_migrator\\_%' ESCAPE '\\' AND sql IS NOT NULL";
const COLUMNS: &str =
    "SELECT name, dflt_value, cid, hidden FROM pragma_table_xinfo($1) ORDER BY cid";
/// The columns of one table, quoted as [`quoted`] does; generated ones are not written to. Counting costs no more than
/// asking whether there is a row.
pub(super) const ABOUT: &str = "SELECT '\"' || replace(lower(c.name), '\"', '\"\"') || '\"', 0 FROM sqlite_schema AS t LEFT JOIN pragma_table_xinfo(t.name) AS c \
    ON c.hidden < 2 WHERE t.type = 'table' AND lower(t.name) = $1";
pub(super) const SETTINGS: &str = "SELECT 'user_version', user_version FROM pragma_user_version UNION ALL SELECT 'application_id', application_id FROM pragma_application_id";

/// Reads the catalog.
pub(super) fn read(connection: &Connection) -> Result<Catalog, TargetError> {
    let mut entries = Vec::new();
    let mut statement = connection.prepare_cached(OBJECTS)?;
    let objects = statement.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, String>(3)?,
        ))
    })?;
    for object in objects {
        let (kind, name, table, sql) = object?;
        if history::TABLES.contains(&table.as_str()) {
            continue;
        }
        if kind == "table" {
            table_entries(connection, &name, &sql, &mut entries)?;
        } else {
            let definition = lex::normalized(&sql, Dialect::Sqlite).unwrap_or(sql);
            entries.push(Entry {
                kind,
                name: fold(&name),
                definition: format!("on {}: {definition}", fold(&table)),
                position: None,
                place: None,
            });
        }
    }
    let mut statement = connection.prepare_cached(SETTINGS)?;
    let settings = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    })?;
    for setting in settings {
        let (name, value) = setting?;
        if value != 0 {
            entries.push(Entry {
                kind: "setting".into(),
                name,
                definition: value.to_string(),
                position: None,
                place: None,
            });
        }
    }
    Ok(Catalog::new(entries))
}

pub(super) fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", fold(name).replace('"', "\"\""))
}

/// The name inside quotes.
pub(super) fn bare(quoted: &str) -> String {
    lex::bare_name(quoted).replace("\"\"", "\"")
}

fn table_entries(
    connection: &Connection,
    name: &str,
    sql: &str,
    entries: &mut Vec<Entry>,
) -> Result<(), TargetError> {
    let mut statement = connection.prepare_cached(COLUMNS)?;
    let columns = statement.query_map([name], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, Option<String>>(1)?,
            row.get::<_, i64>(2)?,
            row.get::<_, i64>(3)? >= 2,
        ))
    })?;
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let Parts { items, options } = parts(sql);
    let place = Place {
        table: quoted(name),
        column: None,
        default: None,
    };
    entries.push(Entry {
        kind: "table".into(),
        name: fold(name),
        definition: options,
        position: None,
        place: Some(place),
    });
    let (definitions, constraints) = items.split_at(columns.len().min(items.len()));
    for ((column, default, position, generated), definition) in columns
        .into_iter()
        .zip(definitions.iter().map(Some).chain(std::iter::repeat(None)))
    {
        let place = (!generated).then(|| Place {
            table: quoted(name),
            column: Some(quoted(&column)),
            default,
        });
        let definition = definition.cloned().unwrap_or_default();
        entries.push(Entry {
            kind: "column".into(),
            name: format!("{}.{}", fold(name), fold(&column)),
            definition,
            position: Some(position),
            place,
        });
    }
    for (at, constraint) in sorted(constraints).into_iter().enumerate() {
        entries.push(Entry {
            kind: "constraint".into(),
            name: format!("{}.{at}", fold(name)),
            definition: constraint,
            position: None,
            place: None,
        });
    }
    Ok(())
}

pub(super) fn sorted(constraints: &[String]) -> Vec<String> {
    let mut sorted = constraints.to_vec();
    sorted.sort();
    sorted
}

/// A `CREATE TABLE` taken apart.
pub(super) struct Parts {
    /// Column definitions in order, then table constraints.
    pub(super) items: Vec<String>,
    /// What follows the list (`STRICT`, `WITHOUT ROWID`), or the whole text of a virtual table.
    pub(super) options: String,
}

pub(super) fn parts(sql: &str) -> Parts {
    let tokens = lex::tokens(sql, Dialect::Sqlite).unwrap_or_default();
    let join = |tokens: &[Token<'_>]| {
        tokens
            .iter()
            .map(|token| lex::normalized_token(*token))
            .collect::<Vec<_>>()
            .join(" ")
    };
    if tokens.iter().take(2).any(|token| token.is("virtual")) {
        return Parts {
            items: Vec::new(),
            options: join(&tokens),
        };
    }
    let Some(open) = tokens.iter().position(|token| token.is_symbol('(')) else {
        return Parts {
            items: Vec::new(),
            options: String::new(),
        };
    };
    let mut items = Vec::new();
    let (mut depth, mut start) = (0_usize, open + 1);
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.is_symbol('(') {
            depth += 1;
        } else if token.is_symbol(')') {
            depth = depth.saturating_sub(1);
        }
        let ends_item = (depth == 1 && token.is_symbol(',')) || depth == 0;
        if ends_item {
            items.push(join(tokens.get(start..at).unwrap_or_default()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    Parts {
        items,
        options: join(tokens.get(start..).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(sql: &str) -> Catalog {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        read(&connection).unwrap()
    }

    #[test]
    fn sees_a_rebuilt_table_as_equal() {
        let plain = catalog(
            "create table orders (id integer primary key, note text default 'A b', check (id > 0), unique (note)); create index i on orders (note);",
        );
        let rebuilt = catalog(
            "CREATE TABLE tmp ( \"id\" INTEGER PRIMARY KEY, -- key\n [note] TEXT DEFAULT 'A b', UNIQUE(note), CHECK(id>0) );\n\
             ALTER TABLE tmp RENAME TO orders; CREATE INDEX i ON \"orders\"(note);",
        );
        assert_eq!(plain.differences(&rebuilt), []);
    }

    #[test]
    fn sees_an_added_and_dropped_column_as_nothing() {
        let plain = catalog("create table t (a int, b text not null default 'x')");
        let undone = catalog(
            "create table t (a int, b text not null default 'x'); alter table t add column c int default 1; alter table t drop column c;",
        );
        assert_eq!(plain.ordered_fingerprint(), undone.ordered_fingerprint());
    }

    #[test]
    fn sees_every_kind_of_change() {
        let base = "create table t (a int, b text);";
        let plain = catalog(base);
        for change in [
            "alter table t add column c int",
            "create index i on t (a)",
            "create view v as select a from t",
            "pragma user_version = 3",
            "create trigger g after insert on t begin select 1; end",
            "create table u (x) strict",
            "create virtual table f using fts5(x)",
        ] {
            let sql = if change.contains("strict") {
                format!("{base} create table u (x int) strict")
            } else {
                format!("{base} {change}")
            };
            assert_ne!(plain.fingerprint(), catalog(&sql).fingerprint(), "{change}");
        }
        assert_ne!(
            catalog("create table t (a int default 'X')").fingerprint(),
            catalog("create table t (a int default 'x')").fingerprint()
        );
    }

    #[test]
    fn leaves_the_ledger_out() {
        assert!(catalog("create table db_migrator_run (id text primary key); create index db_migrator_i on db_migrator_run (id)").is_empty());
    }
}
