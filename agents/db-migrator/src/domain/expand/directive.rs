//! `-- migrate: online` before a statement.

use super::{NotOnline, names};
use crate::domain::{
    Dialect,
    lex::{self, Token},
    source::Script,
};

/// What shall happen online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `ALTER COLUMN c TYPE t [USING e]`.
    Type {
        /// The column, unquoted.
        column: String,
        /// The new type as written.
        to: String,
        /// The expression that computes the new value.
        using: Option<String>,
    },
    /// `RENAME COLUMN a TO b`.
    Rename {
        /// The column, unquoted.
        column: String,
        /// The new name, unquoted.
        to: String,
    },
    /// `ALTER COLUMN c SET NOT NULL`.
    NotNull {
        /// The column, unquoted.
        column: String,
    },
    /// `ADD CONSTRAINT n CHECK ...` or `... FOREIGN KEY ...`.
    Constraint {
        /// Its name as written.
        name: String,
        /// The statement as written.
        statement: String,
    },
}

/// A statement with a directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Online {
    /// The table as written.
    pub table: String,
    /// What shall happen.
    pub action: Action,
    /// The name of the new column until the contract, when the author gave one.
    pub alias: Option<String>,
    /// The expression that computes the old value from the new one, when the author gave one.
    pub back: Option<String>,
}

/// For each statement of a script, what its directive asks for.
///
/// # Errors
/// `NotOnline`, when a directive stands before something that cannot run online.
pub fn read(script: &Script, dialect: Dialect) -> Result<Vec<Option<Online>>, NotOnline> {
    let tokens = lex::tokens(&script.text, dialect).unwrap_or_default();
    let (mut at, mut end) = (0, 0);
    let mut found = Vec::new();
    for statement in &script.statements {
        while tokens.get(at).is_some_and(|token| token.is_symbol(';')) {
            end = tokens.get(at).map_or(end, Token::end);
            at += 1;
        }
        let start = tokens.get(at).map_or(end, |token| token.start);
        let directive = directive(script.text.get(end..start).unwrap_or_default());
        at += lex::tokens(&statement.text, dialect).map_or(0, |tokens| tokens.len());
        end = tokens
            .get(at.saturating_sub(1))
            .map_or(end, Token::end)
            .max(end);
        found.push(match directive {
            None => None,
            Some(_) if dialect == Dialect::Sqlite => {
                return Err(NotOnline::new(
                    "-- migrate: online",
                    "SQLite has one writer at a time, so there is nothing to keep online",
                ));
            }
            Some(rest) => Some(online(&statement.text, &rest)?),
        });
    }
    Ok(found)
}

/// The rest of a line `-- migrate: online ...` in the comments before a statement.
fn directive(comments: &str) -> Option<String> {
    comments.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("--")?.trim();
        let rest = rest.strip_prefix("migrate:")?.trim_start();
        let rest = rest.strip_prefix("online")?;
        (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim().to_owned())
    })
}

/// The table and the change of type that a statement is, when that is all it does.
pub fn changed_type(statement: &str) -> Option<(String, Action)> {
    let tokens = lex::tokens(statement, Dialect::Postgres).ok()?;
    let found = parse(statement, &tokens);
    found.filter(|(_, action)| matches!(action, Action::Type { .. }))
}

fn online(statement: &str, rest: &str) -> Result<Online, NotOnline> {
    let shown = lex::masked(statement, Dialect::Postgres);
    let tokens = lex::tokens(statement, Dialect::Postgres).unwrap_or_default();
    let parsed = parse(statement, &tokens);
    let (table, action) = parsed.ok_or_else(|| {
        NotOnline::new(
            shown,
            "online works for one action a statement: ALTER COLUMN ... TYPE, ALTER COLUMN ... SET NOT NULL, RENAME COLUMN, \
             ADD CONSTRAINT name CHECK or FOREIGN KEY",
        )
    })?;
    let (rest, back) = match rest.split_once("back ") {
        Some((rest, back)) => (rest.trim(), Some(back.trim().to_owned())),
        None => (rest, None),
    };
    let alias = rest
        .strip_prefix("as ")
        .map(|name| names::unquoted(name.trim()));
    if !rest.is_empty() && alias.is_none() {
        return Err(NotOnline::new(
            format!("-- migrate: online {rest}"),
            "expected `online`, `online as NAME` or `online as NAME back EXPRESSION`",
        ));
    }
    Ok(Online {
        table,
        action,
        alias,
        back,
    })
}

fn parse(text: &str, tokens: &[Token<'_>]) -> Option<(String, Action)> {
    if has_second_action(tokens) {
        return None;
    }
    let mut at = skip(tokens, 0, &["alter"])?;
    at = skip(tokens, at, &["table"])?;
    at = skip(tokens, at, &["if", "exists"]).unwrap_or(at);
    at = skip(tokens, at, &["only"]).unwrap_or(at);
    let first = tokens.get(at)?;
    while tokens.get(at + 1).is_some_and(|token| token.is_symbol('.')) {
        at += 2;
    }
    let table = text.get(first.start..tokens.get(at)?.end())?.to_owned();
    at += 1;
    let slice = |from: usize, to: usize| {
        let (first, last) = (tokens.get(from)?, tokens.get(to.checked_sub(1)?)?);
        text.get(first.start..last.end()).map(str::to_owned)
    };
    let last = tokens.len();
    if let Some(at) = skip(tokens, at, &["rename"]) {
        let at = skip(tokens, at, &["column"]).unwrap_or(at);
        let column = names::meaning(tokens.get(at)?)?;
        let to = skip(tokens, at + 1, &["to"])?;
        let to = names::meaning(tokens.get(to)?)?;
        return (column != "constraint").then_some((table, Action::Rename { column, to }));
    }
    if let Some(at) = skip(tokens, at, &["add", "constraint"]) {
        let kind = tokens.get(at + 1)?;
        return (kind.is("check") || kind.is("foreign")).then_some((
            table,
            Action::Constraint {
                name: tokens.get(at)?.text.to_owned(),
                statement: text.to_owned(),
            },
        ));
    }
    let at = skip(tokens, at, &["alter"])?;
    let at = skip(tokens, at, &["column"]).unwrap_or(at);
    let column = names::meaning(tokens.get(at)?)?;
    let at = at + 1;
    if skip(tokens, at, &["set", "not", "null"]) == Some(last) {
        return Some((table, Action::NotNull { column }));
    }
    let at = skip(tokens, at, &["set", "data"]).unwrap_or(at);
    let at = skip(tokens, at, &["type"])?;
    let using = tokens.iter().skip(at).position(|token| token.is("using"));
    let (to, using) = match using {
        Some(offset) => (slice(at, at + offset)?, Some(slice(at + offset + 1, last)?)),
        None => (slice(at, last)?, None),
    };
    Some((table, Action::Type { column, to, using }))
}

/// The place after these words, when they are there.
fn skip(tokens: &[Token<'_>], at: usize, words: &[&str]) -> Option<usize> {
    let there = words
        .iter()
        .enumerate()
        .all(|(offset, word)| tokens.get(at + offset).is_some_and(|token| token.is(word)));
    there.then_some(at + words.len())
}

fn has_second_action(tokens: &[Token<'_>]) -> bool {
    let mut depth = 0_usize;
    tokens.iter().any(|token| {
        if token.is_symbol('(') {
            depth += 1;
        } else if token.is_symbol(')') {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && token.is_symbol(',')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SourceFile, source};

    fn script(text: &str) -> Script {
        let file = SourceFile {
            name: "1_a.sql".into(),
            content: text.into(),
        };
        source::read(&[file], Dialect::Postgres)
            .unwrap()
            .remove(0)
            .up
    }

    #[test]
    fn reads_directives_of_the_statement_they_stand_before() {
        let script = script(
            "-- a comment; ALTER TABLE t ALTER c TYPE bigint\ncreate table t (c int);\n\n-- why\n-- migrate: online as c_big back c_big / 2\n\
             alter table only public.t alter column \"C\" set data type numeric(10, 2) using \"C\" * 2;\nselect 1;",
        );
        let found = read(&script, Dialect::Postgres).unwrap();
        let expected = Online {
            table: "public.t".into(),
            action: Action::Type {
                column: "C".into(),
                to: "numeric(10, 2)".into(),
                using: Some("\"C\" * 2".into()),
            },
            alias: Some("c_big".into()),
            back: Some("c_big / 2".into()),
        };
        assert_eq!(found, [None, Some(expected), None]);
        assert!(read(&script, Dialect::Sqlite).is_err());
    }

    #[test]
    fn reads_every_action_and_refuses_the_rest() {
        let action = |text: &str| {
            read(
                &script(&format!("-- migrate: online\n{text}")),
                Dialect::Postgres,
            )
            .map(|mut found| found.remove(0).unwrap().action)
        };
        assert!(matches!(
            action("alter table t alter c set not null"),
            Ok(Action::NotNull { column }) if column == "c"
        ));
        assert!(matches!(
            action("alter table t rename a to b"),
            Ok(Action::Rename { .. })
        ));
        assert!(matches!(
            action("alter table t add constraint x check (a > 0)"),
            Ok(Action::Constraint { .. })
        ));
        for bad in [
            "alter table t alter a type bigint, alter b type bigint",
            "alter table t add constraint x unique (a)",
            "alter table t add check (a > 0)",
            "drop table t",
        ] {
            assert!(action(bad).is_err(), "{bad}");
        }
        let unknown = script("-- migrate: online sideways\nalter table t alter a type bigint");
        assert!(read(&unknown, Dialect::Postgres).is_err());
    }
}
