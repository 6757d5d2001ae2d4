//! What a statement is called and what it names.

use super::{Rename, first_is, has, starts};
use crate::domain::{
    Dialect,
    lex::{self, Kind},
};

/// `CREATE UNIQUE INDEX CONCURRENTLY`, `ALTER TABLE`, `INSERT` and the like.
pub(super) fn kind(words: &[&str], dialect: Dialect) -> String {
    const MODIFIERS: [&str; 11] = [
        "OR",
        "REPLACE",
        "UNIQUE",
        "TEMP",
        "TEMPORARY",
        "UNLOGGED",
        "MATERIALIZED",
        "VIRTUAL",
        "CONSTRAINT",
        "FOREIGN",
        "EVENT",
    ];
    let takes_object = first_is(
        words,
        &[
            "CREATE", "DROP", "ALTER", "COMMENT", "REFRESH", "REINDEX", "LOCK",
        ],
    );
    let pragma = starts(words, &["PRAGMA"]) && dialect == Dialect::Sqlite;
    let mut kept = words.iter().take(1).copied().collect::<Vec<_>>();
    for word in words
        .iter()
        .skip(1)
        .take(if takes_object || pragma { 5 } else { 0 })
    {
        kept.push(*word);
        if !MODIFIERS.contains(word) {
            break;
        }
    }
    if has(words, "CONCURRENTLY") && takes_object {
        kept.push("CONCURRENTLY");
    }
    kept.join(" ")
}

/// Reads `ALTER TABLE [IF EXISTS] [ONLY] table RENAME [COLUMN] a TO b` and `... RENAME TO b`.
pub(super) fn rename(text: &str, dialect: Dialect) -> Option<Rename> {
    let tokens = lex::tokens(text, dialect).unwrap_or_default();
    let names = tokens
        .iter()
        .filter(|token| matches!(token.kind, Kind::Word | Kind::Quoted))
        .map(|token| lex::bare_name(token.text))
        .collect::<Vec<_>>();
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    let at = names
        .iter()
        .position(|name| *name == "rename")
        .filter(|_| names.starts_with(&["alter", "table"]))?;
    let table = (*names.get(at.checked_sub(1)?)?).to_owned();
    match names.get(at + 1..)? {
        ["to", to] => Some(Rename {
            table,
            column: None,
            to: (*to).to_owned(),
        }),
        ["column", from, "to", to] | [from, "to", to] => Some(Rename {
            table,
            column: Some((*from).to_owned()),
            to: (*to).to_owned(),
        }),
        _ => None,
    }
}

/// The first name after the leading keywords.
pub(super) fn object(text: &str, dialect: Dialect) -> String {
    const SKIPPED: [&str; 36] = [
        "CREATE",
        "DROP",
        "ALTER",
        "COMMENT",
        "ON",
        "OR",
        "REPLACE",
        "UNIQUE",
        "TEMP",
        "TEMPORARY",
        "UNLOGGED",
        "MATERIALIZED",
        "TABLE",
        "INDEX",
        "VIEW",
        "FUNCTION",
        "PROCEDURE",
        "TRIGGER",
        "TYPE",
        "DOMAIN",
        "SCHEMA",
        "SEQUENCE",
        "EXTENSION",
        "POLICY",
        "IF",
        "NOT",
        "EXISTS",
        "ONLY",
        "CONCURRENTLY",
        "INSERT",
        "INTO",
        "UPDATE",
        "DELETE",
        "FROM",
        "COLUMN",
        "CONSTRAINT",
    ];
    let tokens = lex::tokens(text, dialect).unwrap_or_default();
    let mut rest = tokens.iter().skip_while(|token| {
        token.kind == Kind::Word && SKIPPED.contains(&token.text.to_ascii_uppercase().as_str())
    });
    let named = tokens
        .first()
        .is_some_and(|first| SKIPPED.contains(&first.text.to_ascii_uppercase().as_str()));
    let mut name = String::new();
    while let Some(token) = rest
        .next()
        .filter(|token| named && matches!(token.kind, Kind::Word | Kind::Quoted))
    {
        name.push_str(token.text);
        match rest.next() {
            Some(dot) if dot.is_symbol('.') => name.push('.'),
            _ => break,
        }
    }
    name
}
