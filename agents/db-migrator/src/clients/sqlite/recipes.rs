//! SQLite's objects with the statements that make and unmake them.

use rusqlite::Connection;

use super::{
    TargetError,
    catalog::{OBJECTS, Parts, SETTINGS, fold, parts, quoted, sorted},
};
use crate::domain::{
    Dialect,
    inverse::{Blueprint, Recipe, tables::Column},
    lex,
};

const COLUMNS: &str = "SELECT name, \"notnull\" <> 0 AND dflt_value IS NULL AND pk = 0, hidden >= 2, upper(type) FROM pragma_table_xinfo($1) ORDER BY cid";

/// Reads how everything but SQLite's own tables and the ledger is made.
pub(super) fn read(connection: &Connection) -> Result<Blueprint, TargetError> {
    let mut recipes = Vec::new();
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
        recipes.push(if kind == "table" {
            self::table(connection, &name, sql)?
        } else {
            let state = lex::normalized(&sql, Dialect::Sqlite).unwrap_or_else(|_| sql.clone());
            Recipe {
                parent: (kind != "view").then(|| fold(&table)),
                ..recipe(kind, &name, sql, state)
            }
        });
    }
    let mut statement = connection.prepare_cached(SETTINGS)?;
    let settings = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    })?;
    for setting in settings {
        let (name, value) = setting?;
        if value != 0 {
            recipes.push(setting_recipe(name, value));
        }
    }
    Ok(Blueprint {
        recipes,
        dependencies: Vec::new(),
    })
}

fn recipe(kind: String, name: &str, sql: String, state: String) -> Recipe {
    Recipe {
        name: fold(name),
        own: quoted(name),
        state,
        make: vec![vec![sql]],
        unmake: vec![format!(
            "DROP {} {}",
            kind.to_ascii_uppercase(),
            quoted(name)
        )],
        kind,
        ..Recipe::default()
    }
}

fn setting_recipe(name: String, value: i64) -> Recipe {
    let set = vec![vec![format!("PRAGMA {name} = {value}")]];
    Recipe {
        kind: "setting".into(),
        state: value.to_string(),
        make: set.clone(),
        set,
        unmake: vec![format!("PRAGMA {name} = 0")],
        name,
        ..Recipe::default()
    }
}

fn table(connection: &Connection, name: &str, sql: String) -> Result<Recipe, TargetError> {
    let Parts { items, options } = parts(&sql);
    let mut statement = connection.prepare_cached(COLUMNS)?;
    let columns = statement.query_map([name], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, bool>(1)?,
            row.get::<_, bool>(2)?,
            row.get::<_, String>(3)?,
        ))
    })?;
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let is_virtual = items.is_empty();
    let columns = columns
        .into_iter()
        .zip(&items)
        .map(|((column, required, generated, kind), definition)| Column {
            name: quoted(&column),
            definition: definition.clone(),
            generated,
            filler: required.then(|| filler(&kind)),
        })
        .collect::<Vec<_>>();
    let state = [sorted(&items).join(", "), options].join("; ");
    let kind = if is_virtual { "virtual table" } else { "table" };
    Ok(Recipe {
        kind: kind.into(),
        unmake: vec![format!("DROP TABLE {}", quoted(name))],
        columns,
        ..recipe(kind.into(), name, sql, state)
    })
}

/// A value of the column's affinity for rows that have none.
fn filler(kind: &str) -> &'static str {
    if ["CHAR", "CLOB", "TEXT", "DATE", "TIME"]
        .iter()
        .any(|part| kind.contains(part))
    {
        "''"
    } else if kind.contains("BLOB") {
        "x''"
    } else {
        "0"
    }
}
