//! The values of one column, kept in a side table: for a change of type that loses, and for a column that no rename can hide.

use super::{Kept, RESERVED, Retained, Staged, Taken, tag};
use crate::domain::Dialect;

/// A column whose values are kept.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Whose SQL.
    pub dialect: Dialect,
    /// The table, quoted.
    pub table: &'a str,
    /// The column, quoted.
    pub column: &'a str,
    /// The primary key, quoted; not empty.
    pub key: &'a [String],
}

impl Values<'_> {
    fn side(&self, name: &str) -> String {
        match self.dialect {
            Dialect::Postgres => format!("{name}.kept"),
            Dialect::Sqlite => name.to_owned(),
        }
    }

    fn text(&self, value: &str) -> String {
        match self.dialect {
            Dialect::Postgres => format!("{value}::text"),
            Dialect::Sqlite => format!("quote({value})"),
        }
    }

    fn keys(&self) -> String {
        let key = self.key.iter().enumerate();
        key.map(|(nth, column)| format!("changed.{column} = kept.key_{nth}"))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    /// The statement with the values kept before it. `drops` says whether the column is gone after it.
    pub fn staged(&self, statement: &str, place: (&str, usize), drops: bool) -> Staged {
        let Self { table, column, .. } = self;
        let name = format!("{RESERVED}_{}", tag(place.0, place.1));
        let (side, keys) = (self.side(&name), self.keys());
        let (mut up, mut end) = (Vec::new(), vec![format!("DROP TABLE {side}")]);
        if self.dialect == Dialect::Postgres {
            up.push(format!("CREATE SCHEMA {name}"));
            end.push(format!("DROP SCHEMA {name}"));
        }
        up.push(self.copy(&side));
        up.push(statement.to_owned());
        let now = self.text(&format!("changed.{column}"));
        let mut first = Vec::new();
        if !drops {
            up.push(format!(
                "UPDATE {side} AS kept SET wrote = {now} FROM {table} AS changed WHERE {keys}"
            ));
            let differs = format!("{now} IS DISTINCT FROM kept.wrote");
            first.push(format!(
                "DELETE FROM {side} AS kept WHERE EXISTS (SELECT 1 FROM {table} AS changed WHERE {keys} AND {differs})"
            ));
        }
        let mut down = vec![format!(
            "UPDATE {table} AS changed SET {column} = kept.old FROM {side} AS kept WHERE {keys}"
        )];
        let purge = end.iter().map(|text| {
            text.replacen("DROP TABLE", "DROP TABLE IF EXISTS", 1)
                .replacen("DROP SCHEMA", "DROP SCHEMA IF EXISTS", 1)
        });
        let purge = purge.collect();
        down.extend(end);
        let shown = format!("{}.{}", table.replace('"', ""), column.replace('"', ""));
        let (lost, since) = if drops {
            let without = format!(
                "SELECT count(*) FROM {table} AS changed WHERE NOT EXISTS (SELECT 1 FROM {side} AS kept WHERE {keys})"
            );
            (
                without,
                format!("inserted since without a value for {shown}"),
            )
        } else {
            let written = format!(
                "SELECT count(*) FROM {side} AS kept JOIN {table} AS changed ON {keys} WHERE {now} IS DISTINCT FROM kept.wrote"
            );
            (written, format!("written since to {shown} in its new type"))
        };
        Staged {
            taken: Taken::Values(self.table.to_owned(), self.column.to_owned()),
            up,
            first,
            down,
            last: Vec::new(),
            brings: Vec::new(),
            retained: Retained {
                what: format!("values of {shown}"),
                kind: Kept::Rows,
                purge,
                lost: Some(lost),
                since,
            },
        }
    }

    fn copy(&self, side: &str) -> String {
        let Self { table, column, .. } = self;
        let key = self.key.iter().enumerate();
        let key = key.map(|(nth, column)| format!("{column} AS key_{nth}"));
        format!(
            "CREATE TABLE {side} AS SELECT {}, {column} AS old, {} AS wrote FROM {table}",
            key.collect::<Vec<_>>().join(", "),
            self.text(column)
        )
    }
}
