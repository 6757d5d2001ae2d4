//! What a statement takes away.

use crate::domain::{
    Dialect, Statement,
    lex::{self, Kind, Token},
};

/// What a statement takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// A table, as written.
    Table(String),
    /// A column: (table as written, column unquoted).
    Column(String, String),
    /// Rows or values of a table, as written.
    Rows(String, Change),
    /// The values of a column, by a change of its type: (table as written, column unquoted).
    Values(String, String),
    /// A sequence with its position, as written.
    Sequence(String),
}

/// What happens to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `DELETE`.
    Delete,
    /// `UPDATE`.
    Update,
    /// `TRUNCATE`.
    Truncate,
}

/// What a statement takes away, when it can be kept: one table, one column, or rows of one table, without CASCADE.
pub fn taken(statement: &Statement, dialect: Dialect) -> Option<Taken> {
    let tokens = lex::tokens(&statement.text, dialect).ok()?;
    let words = Words {
        text: &statement.text,
        tokens: &tokens,
    };
    let plain = !tokens.iter().any(|token| token.is("cascade"));
    words
        .dropped_table()
        .filter(|_| plain)
        .or_else(|| words.dropped_column().filter(|_| plain))
        .or_else(|| words.dropped_sequence().filter(|_| plain))
        .or_else(|| {
            words
                .changed_rows()
                .filter(|_| plain || words.starts(0, &["update"]).is_some())
        })
        .or_else(|| {
            words
                .changed_type()
                .filter(|_| dialect == Dialect::Postgres)
        })
}

struct Words<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
}

impl Words<'_> {
    fn starts(&self, at: usize, words: &[&str]) -> Option<usize> {
        let there = words.iter().enumerate().all(|(offset, word)| {
            self.tokens
                .get(at + offset)
                .is_some_and(|token| token.is(word))
        });
        there.then_some(at + words.len())
    }

    fn optional(&self, at: usize, words: &[&str]) -> usize {
        self.starts(at, words).unwrap_or(at)
    }

    /// A qualified name at a place, and the place after it.
    fn name(&self, at: usize) -> Option<(String, usize)> {
        let is_name = |at: usize| {
            self.tokens
                .get(at)
                .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
        };
        let first = is_name(at)?;
        let mut last = at;
        while self
            .tokens
            .get(last + 1)
            .is_some_and(|token| token.is_symbol('.'))
        {
            is_name(last + 2)?;
            last += 2;
        }
        let end = self.tokens.get(last)?.end();
        Some((self.text.get(first.start..end)?.to_owned(), last + 1))
    }

    fn ends(&self, at: usize) -> Option<()> {
        (self.optional(at, &["restrict"]) == self.tokens.len()).then_some(())
    }

    fn dropped_table(&self) -> Option<Taken> {
        let at = self.starts(0, &["drop", "table"])?;
        let (table, at) = self.name(self.optional(at, &["if", "exists"]))?;
        self.ends(at)?;
        Some(Taken::Table(table))
    }

    fn dropped_sequence(&self) -> Option<Taken> {
        let at = self.starts(0, &["drop", "sequence"])?;
        let (sequence, at) = self.name(self.optional(at, &["if", "exists"]))?;
        self.ends(at)?;
        Some(Taken::Sequence(sequence))
    }

    fn dropped_column(&self) -> Option<Taken> {
        let at = self.starts(0, &["alter", "table"])?;
        let at = self.optional(self.optional(at, &["if", "exists"]), &["only"]);
        let (table, at) = self.name(at)?;
        let at = self.starts(at, &["drop"])?;
        if self.starts(at, &["constraint"]).is_some() {
            return None;
        }
        let at = self.optional(self.optional(at, &["column"]), &["if", "exists"]);
        let column = self.column(at)?;
        self.ends(at + 1)?;
        Some(Taken::Column(table, column))
    }

    /// A column as a catalog names it.
    fn column(&self, at: usize) -> Option<String> {
        let token = self.tokens.get(at)?;
        match token.kind {
            Kind::Word => Some(token.text.to_ascii_lowercase()),
            Kind::Quoted => Some(
                token
                    .text
                    .trim_matches(['"', '`', '[', ']'])
                    .replace("\"\"", "\""),
            ),
            Kind::Text | Kind::Symbol => None,
        }
    }

    /// `ALTER TABLE t ALTER COLUMN c TYPE ...` and nothing else.
    fn changed_type(&self) -> Option<Taken> {
        let at = self.starts(0, &["alter", "table"])?;
        let at = self.optional(self.optional(at, &["if", "exists"]), &["only"]);
        let (table, at) = self.name(at)?;
        let at = self.optional(self.starts(at, &["alter"])?, &["column"]);
        let column = self.column(at)?;
        let at = self.starts(self.optional(at + 1, &["set", "data"]), &["type"])?;
        let mut depth = 0_usize;
        for token in self.tokens.get(at..)? {
            if token.is_symbol('(') {
                depth += 1;
            } else if token.is_symbol(')') {
                depth = depth.checked_sub(1)?;
            } else if token.is_symbol(',') && depth == 0 {
                return None;
            }
        }
        Some(Taken::Values(table, column))
    }

    fn changed_rows(&self) -> Option<Taken> {
        let (at, change) = if let Some(at) = self.starts(0, &["delete", "from"]) {
            (self.optional(at, &["only"]), Change::Delete)
        } else if let Some(at) = self.starts(0, &["update"]) {
            (self.optional(at, &["only"]), Change::Update)
        } else {
            let at = self.optional(self.starts(0, &["truncate"])?, &["table"]);
            (self.optional(at, &["only"]), Change::Truncate)
        };
        let (table, at) = self.name(at)?;
        if change == Change::Truncate {
            let at = self.optional(at, &["restart", "identity"]);
            self.ends(self.optional(at, &["continue", "identity"]))?;
        }
        Some(Taken::Rows(table, change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::statement::classify;

    #[test]
    fn reads_what_is_taken_and_leaves_the_rest() {
        let check = |text: &str| {
            taken(
                &classify(text.into(), Dialect::Postgres).unwrap(),
                Dialect::Postgres,
            )
        };
        assert_eq!(
            check("DROP TABLE IF EXISTS s.\"T\" RESTRICT"),
            Some(Taken::Table("s.\"T\"".into()))
        );
        assert_eq!(
            check("alter table only t drop column \"N\""),
            Some(Taken::Column("t".into(), "N".into()))
        );
        assert_eq!(
            check("alter table t drop Note"),
            Some(Taken::Column("t".into(), "note".into()))
        );
        assert_eq!(
            check("delete from t where a in (select 1)"),
            Some(Taken::Rows("t".into(), Change::Delete))
        );
        assert_eq!(
            check("update t as x set a = 1"),
            Some(Taken::Rows("t".into(), Change::Update))
        );
        assert_eq!(
            check("truncate t restart identity"),
            Some(Taken::Rows("t".into(), Change::Truncate))
        );
        assert_eq!(
            check("alter table t alter column C set data type numeric(3, 1) using round(c, 1)"),
            Some(Taken::Values("t".into(), "c".into()))
        );
        assert_eq!(
            check("drop sequence if exists s.numbers"),
            Some(Taken::Sequence("s.numbers".into()))
        );
        for other in [
            "drop sequence a cascade",
            "alter table t alter c type int, add column d int",
            "alter table t alter c set default 1",
            "drop table a, b",
            "drop table a cascade",
            "alter table t drop constraint c",
            "alter table t drop a, drop b",
            "truncate a, b",
            "delete from t where x = 'a' cascade",
            "create table t (a int)",
        ] {
            assert_eq!(check(other), None, "{other}");
        }
    }
}
