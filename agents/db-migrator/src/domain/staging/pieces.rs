//! Statements that take several things at once, as statements that take one each.

use crate::domain::{
    Dialect,
    lex::{self, Kind, Token},
};

/// What a statement is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// One statement for each thing, without `CASCADE`.
    pub texts: Vec<String>,
    /// Whether what depends on them goes too.
    pub cascade: bool,
    /// The table or tables, as written.
    pub tables: Vec<String>,
    /// Whether rows are taken, not objects: then the statement itself still runs.
    pub truncates: bool,
}

/// Takes a statement apart. `None` when it takes one thing and nothing with it, or is none of these.
pub fn pieces(text: &str, dialect: Dialect) -> Option<Pieces> {
    if dialect == Dialect::Sqlite {
        return None;
    }
    let tokens = lex::tokens(text, dialect).ok()?;
    let mut at = Cursor {
        text,
        tokens: &tokens,
        at: 0,
    };
    let found = if at.take("drop") {
        if at.take("sequence") {
            at.tables("DROP SEQUENCE")?
        } else if at.take("table") {
            at.tables("DROP TABLE")?
        } else {
            return None;
        }
    } else if at.take("truncate") {
        at.take("table");
        at.truncated()?
    } else if at.take("alter") && at.take("table") {
        at.columns()?
    } else {
        return None;
    };
    (found.texts.len() > 1 || found.cascade).then_some(found)
}

struct Cursor<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is(word));
        self.at += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let found = self.peek().is_some_and(|token| token.is_symbol(symbol));
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Option<String> {
        let first = self.peek()?;
        loop {
            let token = self.peek()?;
            if !matches!(token.kind, Kind::Word | Kind::Quoted) {
                return None;
            }
            self.at += 1;
            if !self.symbol('.') {
                return Some(self.text.get(first.start..token.end())?.to_owned());
            }
        }
    }

    fn names(&mut self) -> Option<Vec<String>> {
        let mut names = Vec::new();
        loop {
            names.push(self.name()?);
            self.symbol('*');
            if !self.symbol(',') {
                return Some(names);
            }
        }
    }

    /// `CASCADE` or not, at the end.
    fn end(&mut self) -> Option<bool> {
        let cascade = self.take("cascade");
        self.take("restrict");
        self.peek().is_none().then_some(cascade)
    }

    fn tables(&mut self, head: &str) -> Option<Pieces> {
        let exists = if self.take("if") && self.take("exists") {
            " IF EXISTS"
        } else {
            ""
        };
        let tables = self.names()?;
        let cascade = self.end()?;
        let texts = tables.iter().map(|table| format!("{head}{exists} {table}"));
        Some(Pieces {
            texts: texts.collect(),
            cascade,
            truncates: false,
            tables,
        })
    }

    fn truncated(&mut self) -> Option<Pieces> {
        self.take("only");
        let tables = self.names()?;
        if self.take("restart") || self.take("continue") {
            self.take("identity");
        }
        let cascade = self.end()?;
        let texts = tables.iter().map(|table| format!("TRUNCATE {table}"));
        Some(Pieces {
            texts: texts.collect(),
            cascade,
            truncates: true,
            tables,
        })
    }

    /// The actions of an `ALTER TABLE` of which at least one drops a column.
    fn columns(&mut self) -> Option<Pieces> {
        let head = self.tokens.first()?.start;
        if self.take("if") {
            self.take("exists");
        }
        self.take("only");
        let table = self.name()?;
        let head = self.text.get(head..self.tokens.get(self.at - 1)?.end())?;
        let (mut texts, mut cascade, mut drops) = (Vec::new(), false, false);
        for action in self.actions()? {
            let [first, .., last] = action else {
                return None;
            };
            let second = action.get(1)?;
            let drop = first.is("drop") && !second.is("constraint");
            let trailing = drop && (last.is("cascade") || last.is("restrict"));
            cascade |= first.is("drop") && last.is("cascade");
            drops |= drop;
            if first.is("drop") && last.is("cascade") && !drop {
                return None;
            }
            let end = if trailing {
                action.get(action.len() - 2)?.end()
            } else {
                last.end()
            };
            texts.push(format!("{head} {}", self.text.get(first.start..end)?));
        }
        drops.then(|| Pieces {
            texts,
            cascade,
            truncates: false,
            tables: vec![table],
        })
    }

    fn actions(&self) -> Option<Vec<&'a [Token<'a>]>> {
        let rest = self.tokens.get(self.at..)?;
        let (mut found, mut depth, mut start) = (Vec::new(), 0_usize, 0);
        for (at, token) in rest.iter().enumerate() {
            if token.is_symbol('(') || token.is_symbol('[') {
                depth += 1;
            } else if token.is_symbol(')') || token.is_symbol(']') {
                depth = depth.checked_sub(1)?;
            } else if token.is_symbol(',') && depth == 0 {
                found.push(rest.get(start..at)?);
                start = at + 1;
            }
        }
        found.push(rest.get(start..)?);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, texts: &[&str], cascade: bool) {
        let found = pieces(text, Dialect::Postgres).unwrap();
        assert_eq!(
            (found.texts, found.cascade),
            (texts.iter().map(ToString::to_string).collect(), cascade),
            "{text}"
        );
    }

    #[test]
    fn takes_statements_apart() {
        check(
            "drop table if exists a, s.\"B\" cascade",
            &["DROP TABLE IF EXISTS a", "DROP TABLE IF EXISTS s.\"B\""],
            true,
        );
        check(
            "ALTER TABLE only t DROP a cascade, ADD COLUMN b numeric(10, 2), drop column if exists c",
            &[
                "ALTER TABLE only t DROP a",
                "ALTER TABLE only t ADD COLUMN b numeric(10, 2)",
                "ALTER TABLE only t drop column if exists c",
            ],
            true,
        );
        check("truncate a, b", &["TRUNCATE a", "TRUNCATE b"], false);
        for whole in [
            "drop table a",
            "alter table t drop column a",
            "alter table t add column a int, add column b int",
            "alter table t drop constraint k cascade, drop column a",
            "drop view a, b",
            "truncate a",
        ] {
            assert_eq!(pieces(whole, Dialect::Postgres), None, "{whole}");
        }
    }
}
