//! Compares the two on one script.

use std::{ops::Range, panic::catch_unwind};

use db_migrator::domain::{
    Dialect,
    split::{SplitError, ranges},
};

/// What PostgreSQL says about a script on which both agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is SQL.
    Parsed,
    /// It is none; the splitter neither panicked nor lost a token.
    Refused,
}

/// Where the bytes of a slice are in the text that it is of.
fn place(text: &str, slice: &str) -> (usize, usize) {
    let start = slice.as_ptr() as usize - text.as_ptr() as usize;
    (start, start + slice.len())
}

/// PostgreSQL's statements, from their first to their last token by its own scanner.
fn expected(sql: &str) -> Option<Vec<&str>> {
    let statements = pg_query::split_with_parser(sql).ok()?;
    let tokens = tokens(sql)?;
    let trimmed = statements.into_iter().filter_map(|statement| {
        let (start, end) = place(sql, statement);
        let mut inside = tokens
            .iter()
            .filter(|token| token.0 >= start && token.1 <= end && &sql[token.0..token.1] != ";");
        let first = inside.clone().next()?;
        // The `;` in bodies are no ends; the last token that is none is.
        let last = inside.next_back().unwrap_or(first);
        Some(&sql[first.0..last.1])
    });
    Some(trimmed.collect())
}

/// Ranges of PostgreSQL's tokens, without comments.
fn tokens(sql: &str) -> Option<Vec<(usize, usize)>> {
    use pg_query::protobuf::Token;
    let comments = [Token::SqlComment as i32, Token::CComment as i32];
    // The binding does not survive a script without any token.
    let tokens = pg_query::scan_tokens(&format!("{sql}\n;")).ok()?;
    let ranges = tokens
        .iter()
        .filter(|token| !comments.contains(&token.token))
        .map(|token| {
            (
                usize::try_from(token.start).unwrap(),
                usize::try_from(token.end).unwrap(),
            )
        });
    Some(ranges.filter(|token| token.1 <= sql.len()).collect())
}

/// # Errors
/// The sentence that says how they differ.
pub(crate) fn check(sql: &str) -> Result<Outcome, String> {
    if sql.contains('\0') {
        return Ok(Outcome::Refused);
    }
    let ours = catch_unwind(|| ranges(sql, Dialect::Postgres))
        .map_err(|_| format!("the splitter panics on {sql:?}"))?;
    let texts = |ours: &[Range<usize>]| {
        let texts = ours.iter().map(|range| &sql[range.clone()]);
        texts.collect::<Vec<_>>()
    };
    match (expected(sql), ours) {
        (Some(theirs), Ok(ours)) if theirs == texts(&ours) => Ok(Outcome::Parsed),
        (Some(_), Err(error)) if refused_on_purpose(sql, &error) => Ok(Outcome::Parsed),
        (None, Err(_)) => Ok(Outcome::Refused),
        (None, Ok(ours)) => keeps_every_token(sql, &ours).map(|()| Outcome::Refused),
        (theirs, ours) => Err(format!(
            "{sql:?}\n  PostgreSQL: {theirs:?}\n  splitter:   {ours:?}"
        )),
    }
}

/// What is SQL and yet no migration: the error must be about what the script really has.
fn refused_on_purpose(sql: &str, error: &SplitError) -> bool {
    let lower = sql.to_ascii_lowercase();
    match error {
        SplitError::CopyData(at) => lower[*at..].starts_with("copy") && lower.contains("stdin"),
        SplitError::Escapes(at) => {
            lower[*at..].starts_with("set") && lower.contains("standard_conforming_strings")
        }
        SplitError::TooDeep => sql.matches('(').count() > 200,
        SplitError::ClientCommand(_) | SplitError::Unterminated(_) => false,
    }
}

/// Nothing but white space, comments and `;` is outside of the pieces, by PostgreSQL's scanner where that reads the script.
fn keeps_every_token(sql: &str, pieces: &[Range<usize>]) -> Result<(), String> {
    let Some(tokens) = tokens(sql) else {
        return Ok(());
    };
    let lost = tokens.iter().find(|token| {
        let inside = pieces
            .iter()
            .any(|range| range.start <= token.0 && token.1 <= range.end);
        !inside && &sql[token.0..token.1] != ";"
    });
    lost.map_or(Ok(()), |token| {
        Err(format!(
            "{:?} of {sql:?} is in no statement",
            &sql[token.0..token.1]
        ))
    })
}
