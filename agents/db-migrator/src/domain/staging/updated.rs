//! Rows that a statement overwrites: kept one by one, as they were and as the statement left them, so that what was written
//! since stays.

use crate::domain::Dialect;

/// A table that is updated, and where its rows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Updated<'a> {
    /// Whose SQL.
    pub dialect: Dialect,
    /// The table, quoted.
    pub table: &'a str,
    /// The side table.
    pub side: &'a str,
    /// Columns that hold values of their own, quoted.
    pub columns: &'a [String],
    /// The primary key, quoted; without one whole rows are compared.
    pub key: &'a [String],
    /// Columns that no statement may set, quoted.
    pub fixed: &'a [String],
}

/// The column of the side table for the nth column as it was.
fn old(nth: usize) -> String {
    format!("old_{nth}")
}

/// The same as the statement left it.
fn new(nth: usize) -> String {
    format!("new_{nth}")
}

impl Updated<'_> {
    /// Makes the side table, empty.
    pub fn create(&self) -> String {
        let Self {
            table,
            side,
            columns,
            ..
        } = self;
        let list = |alias: &str, name: fn(usize) -> String| {
            let named = columns.iter().enumerate();
            named
                .map(|(nth, column)| format!("{alias}.{column} AS {}", name(nth)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!(
            "CREATE TABLE {side} AS SELECT {}, {} FROM {table} AS was, {table} AS now WHERE 1 = 0",
            list("was", old),
            list("now", new)
        )
    }

    /// The values that a trigger keeps of a row.
    pub fn values(&self) -> String {
        let side = |name: &str| {
            let columns = self.columns.iter();
            columns
                .map(|column| format!("{name}.{column}"))
                .collect::<Vec<_>>()
        };
        [side("OLD"), side("NEW")].concat().join(", ")
    }

    /// Whether two values are the same, whatever their type and collation.
    fn same(&self, left: &str, right: &str) -> String {
        match self.dialect {
            Dialect::Postgres => format!("{left}::text IS NOT DISTINCT FROM {right}::text"),
            Dialect::Sqlite => format!("quote({left}) = quote({right})"),
        }
    }

    /// A whole row as one text.
    fn row(&self, columns: &[String]) -> String {
        match self.dialect {
            Dialect::Postgres => format!("ROW({})::text", columns.join(", ")),
            Dialect::Sqlite => columns
                .iter()
                .map(|column| format!("quote({column})"))
                .collect::<Vec<_>>()
                .join(" || ',' || "),
        }
    }

    fn by_key(&self) -> String {
        let columns = self.columns.iter().enumerate();
        let key = columns.filter(|(_, column)| self.key.contains(column));
        key.map(|(nth, column)| format!("changed.{column} = kept.{}", new(nth)))
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    /// Whether every value that the statement changed is still what it made of it.
    fn still(&self) -> String {
        let columns = self.columns.iter().enumerate();
        let columns = columns.filter(|(_, column)| !self.key.contains(column));
        columns
            .map(|(nth, column)| {
                let unchanged =
                    self.same(&format!("kept.{}", old(nth)), &format!("kept.{}", new(nth)));
                let still = self.same(&format!("changed.{column}"), &format!("kept.{}", new(nth)));
                format!("({unchanged} OR {still})")
            })
            .collect::<Vec<_>>()
            .join(" AND ")
    }

    /// Sets what the statement changed; other columns keep what they hold now.
    fn set(&self) -> Option<String> {
        let columns = self.columns.iter().enumerate();
        let columns = columns
            .filter(|(_, column)| !self.key.contains(column) && !self.fixed.contains(column));
        let set = columns.map(|(nth, column)| {
            let (was, became) = (format!("kept.{}", old(nth)), format!("kept.{}", new(nth)));
            let unchanged = self.same(&was, &became);
            format!("{column} = CASE WHEN {unchanged} THEN changed.{column} ELSE {was} END")
        });
        let set = set.collect::<Vec<_>>().join(", ");
        (!set.is_empty()).then_some(set)
    }

    /// Rows of table and side table that are the same, paired one to one.
    fn pairs(&self, join: &str) -> String {
        let Self { table, side, .. } = self;
        let place = match self.dialect {
            Dialect::Postgres => "tableoid AS part, ctid AS place",
            Dialect::Sqlite => "rowid AS place",
        };
        let now = self.row(self.columns);
        let names = (0..self.columns.len()).map(new).collect::<Vec<_>>();
        let became = self.row(&names);
        format!(
            "(SELECT *, row_number() OVER (PARTITION BY {became}) AS nth, {became} AS whole FROM {side}) AS kept \
             {join} (SELECT {place}, row_number() OVER (PARTITION BY {now}) AS nth, {now} AS whole FROM {table}) AS here \
             ON here.nth = kept.nth AND here.whole = kept.whole"
        )
    }

    /// Brings back the rows that are still as the statement left them. `None` when no column can be set.
    pub fn back(&self) -> Option<Vec<String>> {
        let Self { table, side, .. } = self;
        let set = self.set()?;
        if !self.key.is_empty() {
            return Some(vec![format!(
                "UPDATE {table} AS changed SET {set} FROM {side} AS kept WHERE {} AND {}",
                self.by_key(),
                self.still()
            )]);
        }
        let pairs = self.pairs("JOIN");
        // Places hold within one statement only, and only while nobody else writes.
        Some(match self.dialect {
            Dialect::Postgres => vec![
                format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"),
                format!(
                    "UPDATE {table} AS changed SET {set} FROM {pairs} WHERE changed.ctid = here.place AND changed.tableoid = here.part"
                ),
            ],
            Dialect::Sqlite => vec![format!(
                "UPDATE {table} AS changed SET {set} FROM {pairs} WHERE changed.rowid = here.place"
            )],
        })
    }

    /// Counts the rows that were written again since, or without a key are not to be found.
    pub fn lost(&self) -> String {
        let Self { table, side, .. } = self;
        if self.key.is_empty() {
            return format!(
                "SELECT count(*) FROM {} WHERE here.place IS NULL",
                self.pairs("LEFT JOIN")
            );
        }
        format!(
            "SELECT count(*) FROM {side} AS kept JOIN {table} AS changed ON {} WHERE NOT ({})",
            self.by_key(),
            self.still()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_only_what_the_statement_changed() {
        let columns = ["id".to_owned(), "note".to_owned()];
        let updated = Updated {
            dialect: Dialect::Sqlite,
            table: "t",
            side: "side",
            columns: &columns,
            key: &columns[..1],
            fixed: &[],
        };
        assert_eq!(
            updated.back().unwrap(),
            [
                "UPDATE t AS changed SET note = CASE WHEN quote(kept.old_1) = quote(kept.new_1) THEN changed.note ELSE kept.old_1 END \
                 FROM side AS kept WHERE changed.id = kept.new_0 AND \
                 (quote(kept.old_1) = quote(kept.new_1) OR quote(changed.note) = quote(kept.new_1))"
            ]
        );
        assert_eq!(updated.values(), "OLD.id, OLD.note, NEW.id, NEW.note");
        let fixed = Updated {
            fixed: &columns,
            ..updated
        };
        assert_eq!(fixed.back(), None);
    }
}
