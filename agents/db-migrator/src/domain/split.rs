//! Splits a script into statements, where PostgreSQL's own parser and SQLite's shell would.
//!
//! A `;` ends a statement unless it is in parentheses (the actions of `CREATE RULE`), in a `BEGIN ATOMIC ... END` body
//! or in the body of a SQLite trigger. Such a body ends at the `END` that follows a `;`: no statement starts with `END`
//! there, and no `CASE` holds a `;`.

use std::ops::Range;

use super::{
    Dialect,
    lex::{self, Token, Unterminated},
};

/// Parentheses deeper than this are refused: parsers recurse.
const MAX_DEPTH: usize = 200;

/// Why a script cannot be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A literal or comment without end.
    #[error(transparent)]
    Unterminated(#[from] Unterminated),
    /// Too many open parentheses.
    #[error("parentheses nest deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A client command such as `\connect` is no SQL.
    #[error("a psql command at byte {0} is not SQL")]
    ClientCommand(usize),
    /// The rows that follow `COPY ... FROM STDIN` are no SQL.
    #[error("COPY ... FROM STDIN at byte {0} reads rows from a client: use INSERT")]
    CopyData(usize),
    /// `standard_conforming_strings = off`: every string literal after it means something else.
    #[error("standard_conforming_strings at byte {0} must stay on: write E'...' for escapes")]
    Escapes(usize),
}

impl SplitError {
    /// The byte of the script that it is about.
    pub fn byte(&self) -> usize {
        match self {
            Self::Unterminated(error) => error.start,
            Self::TooDeep => 0,
            Self::ClientCommand(at) | Self::CopyData(at) | Self::Escapes(at) => *at,
        }
    }
}

/// The statements of a script, without their final `;`, comments around them and empty statements.
///
/// # Errors
/// Every variant of [`SplitError`].
pub fn split(script: &str, dialect: Dialect) -> Result<Vec<String>, SplitError> {
    let ranges = ranges(script, dialect)?;
    Ok(ranges
        .into_iter()
        .filter_map(|range| script.get(range).map(str::to_owned))
        .collect())
}

/// The bytes of each statement that [`split`] finds.
///
/// # Errors
/// Every variant of [`SplitError`].
pub fn ranges(script: &str, dialect: Dialect) -> Result<Vec<Range<usize>>, SplitError> {
    let (tokens, unterminated) = lex::scan(script, dialect);
    let mut found = Vec::new();
    let mut scanner = Scanner::default();
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        if token.is_symbol('\\') {
            return Err(SplitError::ClientCommand(token.start));
        }
        if scanner.step(token, dialect) {
            found.extend(statement(tokens.get(start..at), dialect)?);
            start = at + 1;
        }
        if scanner.depth() > MAX_DEPTH {
            return Err(SplitError::TooDeep);
        }
    }
    if let Some(error) = unterminated {
        return Err(error.into());
    }
    found.extend(statement(tokens.get(start..), dialect)?);
    Ok(found)
}

/// The range of a statement's tokens; `None` for an empty one.
fn statement(
    tokens: Option<&[Token<'_>]>,
    dialect: Dialect,
) -> Result<Option<Range<usize>>, SplitError> {
    let Some((first, last)) = tokens.and_then(|all| Some((all.first()?, all.last()?))) else {
        return Ok(None);
    };
    let tokens = tokens.unwrap_or_default();
    if dialect == Dialect::Postgres {
        let reads_client = tokens
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if a.is("from") && b.is("stdin")));
        if first.is("copy") && reads_client {
            return Err(SplitError::CopyData(first.start));
        }
        if first.is("set") && turns_escapes_on(tokens) {
            return Err(SplitError::Escapes(first.start));
        }
    }
    Ok(Some(first.start..last.end()))
}

/// Whether `SET [SESSION | LOCAL] standard_conforming_strings { = | TO } value` says anything but on.
fn turns_escapes_on(tokens: &[Token<'_>]) -> bool {
    let named = tokens
        .iter()
        .position(|token| lex::bare_name(token.text) == "standard_conforming_strings");
    let says_on = tokens.last().is_some_and(|value| {
        let value = value.text.trim_matches('\'').to_ascii_lowercase();
        matches!(value.as_str(), "on" | "true" | "yes" | "1" | "default")
    });
    named.is_some_and(|at| at <= 2) && !says_on
}

/// How far the beginning of a statement is that may have a body with statements of its own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Head {
    #[default]
    Start,
    Create,
    /// `CREATE [OR REPLACE] {FUNCTION | PROCEDURE}` or, in SQLite, `CREATE [TEMP] TRIGGER`.
    HasBody,
    Other,
}

impl Head {
    fn step(self, token: &Token<'_>, dialect: Dialect) -> Self {
        let any = |words: &[&str]| words.iter().any(|word| token.is(word));
        let (prefixes, objects): (&[&str], &[&str]) = match dialect {
            Dialect::Sqlite => (&["temp", "temporary"], &["trigger"]),
            Dialect::Postgres => (&["or", "replace"], &["function", "procedure"]),
        };
        match self {
            Self::Start if token.is("create") => Self::Create,
            Self::Create if any(prefixes) => Self::Create,
            Self::Create if any(objects) => Self::HasBody,
            Self::HasBody => Self::HasBody,
            Self::Start | Self::Create | Self::Other => Self::Other,
        }
    }
}

/// What the last token was, as far as bodies care.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    #[default]
    Other,
    Semicolon,
    Begin,
    Atomic,
}

/// Follows parentheses and bodies.
#[derive(Debug, Default)]
struct Scanner {
    head: Head,
    last: Last,
    parentheses: usize,
    /// One for each open body.
    bodies: usize,
}

impl Scanner {
    fn depth(&self) -> usize {
        self.parentheses + self.bodies
    }

    /// Whether this token is the `;` that ends a statement.
    fn step(&mut self, token: &Token<'_>, dialect: Dialect) -> bool {
        let last = std::mem::take(&mut self.last);
        self.head = self.head.step(token, dialect);
        if token.is_symbol('(') {
            self.parentheses += 1;
        } else if token.is_symbol(')') {
            self.parentheses = self.parentheses.saturating_sub(1);
        } else if self.parentheses == 0 && token.is_symbol(';') {
            self.head = Head::Start;
            self.last = Last::Semicolon;
            return self.bodies == 0;
        } else if self.parentheses == 0 && token.kind == lex::Kind::Word {
            self.word(token, last, dialect);
        }
        false
    }

    fn word(&mut self, token: &Token<'_>, last: Last, dialect: Dialect) {
        let has_body = self.head == Head::HasBody;
        let opens = match dialect {
            Dialect::Sqlite => token.is("begin") && self.bodies == 0,
            Dialect::Postgres => token.is("atomic") && last == Last::Begin,
        };
        if has_body && opens {
            self.bodies += 1;
            self.head = Head::Start;
            self.last = Last::Atomic;
        } else if token.is("begin") {
            self.last = Last::Begin;
        } else if token.is("end") && matches!(last, Last::Semicolon | Last::Atomic) {
            self.bodies = self.bodies.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, dialect: Dialect, expected: &[&str]) {
        assert_eq!(split(script, dialect).unwrap(), expected, "{script}");
    }

    #[test]
    fn splits_at_semicolons_outside_literals_and_bodies() {
        check(
            "select 1; -- a;\n ;; select ';' ; select 2",
            Dialect::Postgres,
            &["select 1", "select ';'", "select 2"],
        );
        check(
            "create function f() returns int language plpgsql as $$ begin return 1; end $$; select 1;",
            Dialect::Postgres,
            &[
                "create function f() returns int language plpgsql as $$ begin return 1; end $$",
                "select 1",
            ],
        );
        check(
            "create function f(a int) returns int language sql begin atomic select case when a > 1 then 1 else 2 end; end; select 1",
            Dialect::Postgres,
            &[
                "create function f(a int) returns int language sql begin atomic select case when a > 1 then 1 else 2 end; end",
                "select 1",
            ],
        );
        check(
            "create rule r as on insert to t do also (insert into l values (1); insert into l values (2)); select 1",
            Dialect::Postgres,
            &[
                "create rule r as on insert to t do also (insert into l values (1); insert into l values (2))",
                "select 1",
            ],
        );
        check(
            "create trigger g after insert on t begin update t set a = case when 1 then 2 end; delete from l; end; select 1;",
            Dialect::Sqlite,
            &[
                "create trigger g after insert on t begin update t set a = case when 1 then 2 end; delete from l; end",
                "select 1",
            ],
        );
    }

    #[test]
    fn ends_a_body_where_the_parser_does() {
        for whole in [
            "create function f() returns int begin atomic select 1 as end; select a.end, 1 end; end",
            "create or replace procedure f() begin atomic end",
            "create function begin(atomic int) returns int return 1",
            "create view v as select begin atomic from t",
            "create rule r as on insert to t do also (select 1; select 2)",
            "create function f() returns int begin atomic create rule r as on insert to t do (select 1; select 2); end",
        ] {
            check(
                &format!("{whole}; select 1"),
                Dialect::Postgres,
                &[whole, "select 1"],
            );
        }
    }

    #[test]
    fn refuses_rows_for_copy_and_other_literals_with_a_sentence() {
        let refused = |script: &str| split(script, Dialect::Postgres).unwrap_err();
        assert_eq!(
            refused("select 1;\ncopy t (a) from stdin;\nit's\n\\.\n"),
            SplitError::CopyData(10)
        );
        assert_eq!(
            refused("set local standard_conforming_strings to off; select '\\'';'"),
            SplitError::Escapes(0)
        );
        check(
            "set standard_conforming_strings = on; select 1",
            Dialect::Postgres,
            &["set standard_conforming_strings = on", "select 1"],
        );
    }

    #[test]
    fn survives_a_missing_semicolon_and_comments_at_the_end() {
        check(
            "-- head\ncreate table a (x int)\n-- tail",
            Dialect::Postgres,
            &["create table a (x int)"],
        );
        check("/* only a comment */ ;", Dialect::Sqlite, &[]);
    }

    #[test]
    fn refuses_what_is_no_sql() {
        assert!(matches!(
            split("\\connect other", Dialect::Postgres),
            Err(SplitError::ClientCommand(0))
        ));
        assert!(matches!(
            split("select 'a", Dialect::Sqlite),
            Err(SplitError::Unterminated(_))
        ));
        assert!(matches!(
            split(&"(".repeat(100_000), Dialect::Postgres),
            Err(SplitError::TooDeep)
        ));
    }

    #[test]
    fn never_panics_and_keeps_every_token_on_shuffled_sql() {
        let parts = [
            "create table t (a int)",
            ";",
            "'a;b'",
            "$$ x; $$",
            "begin",
            "atomic",
            "end",
            "case",
            "(",
            ")",
            "--c\n",
            "\"q\"",
            "create",
            "trigger",
            "select 1",
            "/*x*/",
        ];
        let mut seed = 7_u64;
        for _ in 0..3000 {
            let mut script = String::new();
            for _ in 0..12 {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                script.push_str(parts[usize::try_from(seed >> 33).unwrap() % parts.len()]);
                script.push(' ');
            }
            for dialect in [Dialect::Sqlite, Dialect::Postgres] {
                let Ok(pieces) = split(&script, dialect) else {
                    continue;
                };
                let words = |text: &str| {
                    lex::tokens(text, dialect)
                        .unwrap()
                        .iter()
                        .filter(|t| !t.is_symbol(';'))
                        .map(|t| t.text.to_owned())
                        .collect::<Vec<_>>()
                };
                assert_eq!(
                    pieces
                        .iter()
                        .flat_map(|piece| words(piece))
                        .collect::<Vec<_>>(),
                    words(&script),
                    "{script}"
                );
            }
        }
    }
}
