//! What the `CONCURRENTLY` statements of PostgreSQL work on: they are several transactions each, so one that breaks
//! leaves something of its own behind.

use super::{
    Dialect,
    lex::{self, Kind, Token},
};

/// A statement that works in several transactions. Names are as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concurrent {
    /// `CREATE INDEX CONCURRENTLY`: leaves an invalid index.
    CreateIndex {
        /// Its name, folded as the server folds it; absent when the server chooses one.
        index: Option<String>,
        /// The table.
        table: String,
    },
    /// `DROP INDEX CONCURRENTLY`: leaves an invalid index.
    DropIndex {
        /// The index.
        index: String,
    },
    /// `REINDEX CONCURRENTLY`: leaves indexes that end in `_ccnew` or `_ccold`.
    Reindex {
        /// `INDEX`, `TABLE`, `SCHEMA`, `DATABASE` or `SYSTEM`.
        kind: String,
        /// What is reindexed; empty for the current database.
        name: String,
    },
    /// `DETACH PARTITION CONCURRENTLY`: leaves a pending detach.
    Detach {
        /// The partitioned table.
        parent: String,
        /// The partition.
        partition: String,
    },
}

/// Reads a statement; `None` when it is none of these.
pub fn concurrent(text: &str) -> Option<Concurrent> {
    let tokens = lex::tokens(text, Dialect::Postgres).ok()?;
    let mut at = Cursor { rest: &tokens };
    if at.take("CREATE") {
        at.take("UNIQUE");
        if !(at.take("INDEX") && at.take("CONCURRENTLY")) {
            return None;
        }
        at.take("IF");
        at.take("NOT");
        at.take("EXISTS");
        let index = if at.sees("ON") {
            None
        } else {
            Some(at.name()?)
        };
        if !at.take("ON") {
            return None;
        }
        at.take("ONLY");
        let index = index.map(|index| folded(&index));
        let table = at.name()?;
        return Some(Concurrent::CreateIndex { index, table });
    }
    if at.take("DROP") {
        if !(at.take("INDEX") && at.take("CONCURRENTLY")) {
            return None;
        }
        at.take("IF");
        at.take("EXISTS");
        return Some(Concurrent::DropIndex { index: at.name()? });
    }
    if at.take("REINDEX") {
        let option = at.options();
        let kind = at.word()?;
        let keyword = at.take("CONCURRENTLY");
        return (option || keyword).then(|| Concurrent::Reindex {
            kind,
            name: at.name().unwrap_or_default(),
        });
    }
    at.detach()
}

/// A single name as the server stores it.
fn folded(name: &str) -> String {
    name.strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
        .map_or_else(|| name.to_lowercase(), |name| name.replace("\"\"", "\""))
}

#[derive(Debug)]
struct Cursor<'a> {
    rest: &'a [Token<'a>],
}

impl Cursor<'_> {
    fn sees(&self, keyword: &str) -> bool {
        self.rest.first().is_some_and(|token| token.is(keyword))
    }

    fn take(&mut self, keyword: &str) -> bool {
        let sees = self.sees(keyword);
        if sees {
            self.skip();
        }
        sees
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    fn word(&mut self) -> Option<String> {
        let word = self.rest.first().filter(|token| token.kind == Kind::Word)?;
        let word = word.text.to_ascii_uppercase();
        self.skip();
        Some(word)
    }

    /// `a`, `"A"` or `s.a`, as written.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        loop {
            let part = self.rest.first()?;
            if !matches!(part.kind, Kind::Word | Kind::Quoted) {
                return None;
            }
            name.push_str(part.text);
            self.skip();
            if !self.rest.first().is_some_and(|dot| dot.is_symbol('.')) {
                return Some(name);
            }
            name.push('.');
            self.skip();
        }
    }

    /// Passes over `(VERBOSE, CONCURRENTLY)`; whether it named the latter.
    fn options(&mut self) -> bool {
        if !self.rest.first().is_some_and(|open| open.is_symbol('(')) {
            return false;
        }
        let mut named = false;
        while let Some(token) = self.rest.first() {
            named |= token.is("CONCURRENTLY");
            let end = token.is_symbol(')');
            self.skip();
            if end {
                break;
            }
        }
        named
    }

    fn detach(&mut self) -> Option<Concurrent> {
        if !(self.take("ALTER") && self.take("TABLE")) {
            return None;
        }
        self.take("IF");
        self.take("EXISTS");
        let parent = self.name()?;
        if !(self.take("DETACH") && self.take("PARTITION")) {
            return None;
        }
        let partition = self.name()?;
        self.sees("CONCURRENTLY")
            .then_some(Concurrent::Detach { parent, partition })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_broken_statement_may_leave_behind() {
        let create = |index: Option<&str>, table: &str| Concurrent::CreateIndex {
            index: index.map(Into::into),
            table: table.into(),
        };
        let reindex = |kind: &str, name: &str| Concurrent::Reindex {
            kind: kind.into(),
            name: name.into(),
        };
        for (text, expected) in [
            (
                "create unique index concurrently if not exists \"I\" on only s.\"T\" (a)",
                create(Some("I"), "s.\"T\""),
            ),
            (
                "CREATE INDEX CONCURRENTLY Upper ON t (a)",
                create(Some("upper"), "t"),
            ),
            ("create index concurrently on t (a)", create(None, "t")),
            (
                "drop index concurrently if exists s.i",
                Concurrent::DropIndex {
                    index: "s.i".into(),
                },
            ),
            ("reindex index concurrently i", reindex("INDEX", "i")),
            (
                "reindex (verbose, concurrently) table s.t",
                reindex("TABLE", "s.t"),
            ),
            ("reindex database concurrently", reindex("DATABASE", "")),
            (
                "alter table if exists p detach partition s.q concurrently",
                Concurrent::Detach {
                    parent: "p".into(),
                    partition: "s.q".into(),
                },
            ),
        ] {
            assert_eq!(concurrent(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn leaves_other_statements_alone() {
        for text in [
            "create index i on t (a)",
            "drop index i",
            "reindex table t",
            "reindex (verbose) table t",
            "alter table p detach partition q",
            "alter table p detach partition q finalize",
            "refresh materialized view concurrently v",
            "vacuum t",
            "create index concurrently",
            "select 'create index concurrently i on t (a)'",
            "",
        ] {
            assert_eq!(concurrent(text), None, "{text}");
        }
    }
}
