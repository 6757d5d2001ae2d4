//! SQLite's tables: what ALTER TABLE cannot change back is built anew, rows included.

use super::Recipe;

/// A column of a SQLite table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Quoted name.
    pub name: String,
    /// Its normalised definition.
    pub definition: String,
    /// Whether its values are computed.
    pub generated: bool,
    /// A value for rows that never had it, when it must not be null and has no default.
    pub filler: Option<&'static str>,
}

/// Ways to turn a table into what it was: dropping or adding columns, else a rebuild.
pub(super) fn alter(now: &Recipe, then: &Recipe) -> Vec<Vec<String>> {
    let table = &then.own;
    let lacks = |columns: &[Column], column: &Column| {
        !columns
            .iter()
            .any(|other| other.name == column.name && other.definition == column.definition)
    };
    let added = now
        .columns
        .iter()
        .filter(|column| lacks(&then.columns, column));
    let removed = then
        .columns
        .iter()
        .filter(|column| lacks(&now.columns, column));
    let mut plain = added
        .map(|column| format!("ALTER TABLE {table} DROP COLUMN {}", column.name))
        .collect::<Vec<_>>();
    plain.extend(
        removed.map(|column| format!("ALTER TABLE {table} ADD COLUMN {}", column.definition)),
    );
    let mut ways = Vec::new();
    let redefined = now.columns.iter().any(|column| {
        then.columns
            .iter()
            .any(|other| other.name == column.name && other.definition != column.definition)
    });
    if !plain.is_empty() && !redefined {
        ways.push(plain);
    }
    ways.extend(rebuild(now, then));
    ways
}

/// The rows wait in a copy while the table is made as it was. A rename would save the copy, but SQLite refuses it while
/// a view or trigger names the table that is not there.
fn rebuild(now: &Recipe, then: &Recipe) -> Vec<Vec<String>> {
    let Some(create) = then.make.first().and_then(|make| make.first()) else {
        return Vec::new();
    };
    let table = &then.own;
    let (mut into, mut values) = (Vec::new(), Vec::new());
    for column in then.columns.iter().filter(|column| !column.generated) {
        let kept = now.columns.iter().any(|other| other.name == column.name);
        if kept {
            into.push(column.name.as_str());
            values.push(column.name.as_str());
        } else if let Some(filler) = column.filler {
            into.push(column.name.as_str());
            values.push(filler);
        }
    }
    let (into, values) = (into.join(", "), values.join(", "));
    let copy =
        |to: &str, from: &str| format!("INSERT INTO {to} ({into}) SELECT {values} FROM {from}");
    let aside = "\"inverse_rebuilt\"";
    let drop = format!("DROP TABLE {table}");
    let all = now
        .columns
        .iter()
        .filter(|column| !column.generated)
        .map(|column| column.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let statements = if into.is_empty() {
        vec![drop, create.clone()]
    } else {
        vec![
            format!("CREATE TABLE {aside} AS SELECT {all} FROM {table}"),
            drop,
            create.clone(),
            copy(table, aside),
            format!("DROP TABLE {aside}"),
        ]
    };
    vec![statements]
}

/// Whether a statement needs SQLite's foreign keys off: dropping a table deletes its rows first, which others refer to.
pub fn needs_keys_off(statement: &str) -> bool {
    statement.starts_with("DROP TABLE ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[(&str, &str)]) -> Recipe {
        let columns = columns.iter().map(|(name, definition)| Column {
            name: (*name).into(),
            definition: (*definition).into(),
            generated: false,
            filler: definition.contains("not null").then_some("0"),
        });
        Recipe {
            own: "\"t\"".into(),
            make: vec![vec!["CREATE TABLE t (..)".into()]],
            columns: columns.collect(),
            ..Recipe::default()
        }
    }

    #[test]
    fn drops_an_added_column_in_place() {
        let ways = alter(
            &table(&[("\"a\"", "a int"), ("\"b\"", "b int")]),
            &table(&[("\"a\"", "a int")]),
        );
        assert_eq!(ways[0], ["ALTER TABLE \"t\" DROP COLUMN \"b\""]);
    }

    #[test]
    fn rebuilds_what_alter_cannot_change_and_keeps_the_rows() {
        let ways = alter(
            &table(&[("\"a\"", "a text")]),
            &table(&[("\"a\"", "a int"), ("\"n\"", "n int not null")]),
        );
        assert_eq!(
            ways[0],
            [
                "CREATE TABLE \"inverse_rebuilt\" AS SELECT \"a\" FROM \"t\"",
                "DROP TABLE \"t\"",
                "CREATE TABLE t (..)",
                "INSERT INTO \"t\" (\"a\", \"n\") SELECT \"a\", 0 FROM \"inverse_rebuilt\"",
                "DROP TABLE \"inverse_rebuilt\"",
            ]
        );
    }
}
