//! A small SQL lexer for both dialects: enough to split, classify, mask and normalise, never to understand.

use super::Dialect;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Keyword, bare identifier or number.
    Word,
    /// Quoted identifier, with its quotes.
    Quoted,
    /// String literal in any form, with its quotes.
    Text,
    /// Any other single character.
    Symbol,
}

/// One token and where it starts (byte offset).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// The text as written.
    pub text: &'a str,
    /// Byte offset of its first byte.
    pub start: usize,
}

impl Token<'_> {
    /// Byte offset after its last byte.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether it is this keyword, in any case.
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether it is this symbol.
    pub fn is_symbol(&self, symbol: char) -> bool {
        self.kind == Kind::Symbol && self.text.starts_with(symbol)
    }
}

/// A quote or comment that never ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} that starts at byte {start} never ends")]
pub struct Unterminated {
    /// What was opened.
    pub what: &'static str,
    /// Where.
    pub start: usize,
}

/// Reads a script into tokens; comments and white space are left out.
///
/// # Errors
/// `Unterminated` when a literal, a quoted identifier or a comment has no end.
pub fn tokens(sql: &str, dialect: Dialect) -> Result<Vec<Token<'_>>, Unterminated> {
    match scan(sql, dialect) {
        (found, None) => Ok(found),
        (_, Some(error)) => Err(error),
    }
}

/// The tokens up to the end or up to what never ends.
pub fn scan(sql: &str, dialect: Dialect) -> (Vec<Token<'_>>, Option<Unterminated>) {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(rest) = sql.get(start..).filter(|rest| !rest.is_empty()) {
        let (kind, length) = match next(rest, start, dialect, found.last()) {
            Ok(next) => next,
            Err(error) => return (found, Some(error)),
        };
        if let Some(kind) = kind
            && let Some(text) = rest.get(..length)
        {
            found.push(Token { kind, text, start });
        }
        start += length.max(1);
    }
    (found, None)
}

fn next(
    rest: &str,
    start: usize,
    dialect: Dialect,
    previous: Option<&Token<'_>>,
) -> Result<(Option<Kind>, usize), Unterminated> {
    let never_ends = |what| Unterminated { what, start };
    let Some(first) = rest.chars().next() else {
        return Ok((None, 0));
    };
    if is_space(first) {
        return Ok((None, 1));
    }
    if rest.starts_with("--") {
        return Ok((None, line_comment_length(rest, dialect)));
    }
    if rest.starts_with("/*") {
        return match comment_length(rest, dialect) {
            Some(length) => Ok((None, length)),
            // SQLite lets the end of the input close a comment.
            None if dialect == Dialect::Sqlite => Ok((None, rest.len())),
            None => Err(never_ends("a comment")),
        };
    }
    if first == '\'' {
        let escapes = dialect == Dialect::Postgres
            && previous.is_some_and(|word| word.is("e") && word.end() == start);
        let length = if escapes {
            escaped_length(rest)
        } else {
            quoted_length(rest, '\'', false)
        };
        return length
            .map(|length| (Some(Kind::Text), length))
            .ok_or_else(|| never_ends("a string"));
    }
    if first == '"' || (first == '`' && dialect == Dialect::Sqlite) {
        return quoted_length(rest, first, false)
            .map(|length| (Some(Kind::Quoted), length))
            .ok_or_else(|| never_ends("a quoted name"));
    }
    if first == '[' && dialect == Dialect::Sqlite {
        return rest
            .find(']')
            .map(|at| (Some(Kind::Quoted), at + 1))
            .ok_or_else(|| never_ends("a quoted name"));
    }
    if first == '$'
        && dialect == Dialect::Postgres
        && let Some(tag) = dollar_tag(rest)
    {
        let body = rest.get(tag.len()..).unwrap_or_default();
        return body
            .find(tag)
            .map(|at| (Some(Kind::Text), at + 2 * tag.len()))
            .ok_or_else(|| never_ends("a dollar-quoted string"));
    }
    if is_word(first) {
        let is_number = first.is_ascii_digit();
        let length = rest
            .find(|c: char| !(is_word(c) || (c == '$' && !is_number)))
            .unwrap_or(rest.len());
        return Ok((Some(Kind::Word), length));
    }
    Ok((Some(Kind::Symbol), first.len_utf8()))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

/// PostgreSQL ends a line at a carriage return, too.
fn line_comment_length(rest: &str, dialect: Dialect) -> usize {
    let ends = |c: char| c == '\n' || (c == '\r' && dialect == Dialect::Postgres);
    rest.find(ends).unwrap_or(rest.len())
}

/// Length of the quoted part of an `E''` string with what continues it on later lines: `E'a'` and, on the next line,
/// `'b\'c'` are one literal, whose every part has escapes.
fn escaped_length(rest: &str) -> Option<usize> {
    let mut end = quoted_length(rest, '\'', true)?;
    while let Some(gap) = rest.get(end..).and_then(continuation_length) {
        let next = end + gap;
        end = next + quoted_length(rest.get(next..)?, '\'', true)?;
    }
    Some(end)
}

/// Length of white space and `--` comments with a line break, up to the quote that continues a literal.
fn continuation_length(rest: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        at += rest.get(at..)?.find(|c| !is_space(c))?;
        let here = rest.get(at..)?;
        if here.starts_with("--") {
            at += line_comment_length(here, Dialect::Postgres);
        } else {
            let broken = rest.get(..at)?.contains(['\n', '\r']);
            return (broken && here.starts_with('\'')).then_some(at);
        }
    }
}

/// Other white space of Unicode belongs to names, in both dialects.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// Comments nest in PostgreSQL and do not in SQLite.
fn comment_length(rest: &str, dialect: Dialect) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let here = rest.get(at..)?;
        let open = here
            .find("/*")
            .filter(|_| dialect == Dialect::Postgres || depth == 0);
        let close = here.find("*/");
        match (open, close) {
            (Some(open), close) if close.is_none_or(|close| open < close) => {
                depth += 1;
                at += open + 2;
            }
            (_, Some(close)) => {
                depth -= 1;
                at += close + 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            (_, None) => return None,
        }
    }
}

/// Length of a quoted thing whose quote is doubled inside, or escaped by a backslash in `E''` strings.
fn quoted_length(rest: &str, quote: char, backslash: bool) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if backslash && c == '\\' {
            chars.next();
        } else if c == quote {
            if chars
                .peek()
                .is_none_or(|(_, following)| *following != quote)
            {
                return Some(at + 1);
            }
            chars.next();
        }
    }
    None
}

/// `$$` or `$name$` at the start of `rest`; a name does not start with a digit.
fn dollar_tag(rest: &str) -> Option<&str> {
    let name_length = rest.get(1..)?.find('$')?;
    let name = rest.get(1..=name_length)?;
    let valid = name.chars().all(is_word) && !name.starts_with(|c: char| c.is_ascii_digit());
    valid.then(|| rest.get(..name_length + 2)).flatten()
}

/// The script's tokens in one line, one space apart, keywords and simple names in lower case, quotes around simple
/// names dropped: two texts that mean the same schema usually become equal.
///
/// # Errors
/// `Unterminated`, as [`tokens`].
pub fn normalized(sql: &str, dialect: Dialect) -> Result<String, Unterminated> {
    Ok(tokens(sql, dialect)?
        .iter()
        .map(|token| normalized_token(*token))
        .collect::<Vec<_>>()
        .join(" "))
}

/// A name without its quotes, in lower case.
pub fn bare_name(name: &str) -> String {
    name.trim_matches(['"', '`', '[', ']']).to_ascii_lowercase()
}

/// One token of [`normalized`].
pub fn normalized_token(token: Token<'_>) -> String {
    match token.kind {
        Kind::Word => token.text.to_ascii_lowercase(),
        Kind::Quoted => {
            let bare = token.text.trim_matches(['"', '`', '[', ']']);
            if bare.chars().all(is_word) {
                bare.to_ascii_lowercase()
            } else {
                format!("\"{bare}\"")
            }
        }
        Kind::Text | Kind::Symbol => token.text.to_owned(),
    }
}

/// The statement on one line for people: comments dropped, string literals masked (they may hold secrets), at most
/// 160 characters.
pub fn masked(sql: &str, dialect: Dialect) -> String {
    let Ok(tokens) = tokens(sql, dialect) else {
        return String::from("(cannot be shown)");
    };
    let mut line = String::new();
    let mut end = 0;
    for token in tokens {
        if end != 0 && token.start > end {
            line.push(' ');
        }
        line.push_str(if token.kind == Kind::Text {
            "'***'"
        } else {
            token.text
        });
        end = token.end();
    }
    match line.char_indices().nth(160) {
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str, dialect: Dialect) -> Vec<&str> {
        tokens(sql, dialect)
            .unwrap()
            .iter()
            .map(|t| t.text)
            .collect()
    }

    #[test]
    fn reads_literals_of_postgres() {
        assert_eq!(
            texts(
                "select E'a\\'b;', 'it''s', $x$ ; $$ $x$ -- c;\n, \"a\"\"b\"",
                Dialect::Postgres
            ),
            [
                "select",
                "E",
                "'a\\'b;'",
                ",",
                "'it''s'",
                ",",
                "$x$ ; $$ $x$",
                ",",
                "\"a\"\"b\""
            ]
        );
        assert_eq!(
            texts("a /* x /* y */ ; */ b", Dialect::Postgres),
            ["a", "b"]
        );
        assert_eq!(texts("a$1 $1", Dialect::Postgres), ["a$1", "$", "1"]);
    }

    #[test]
    fn reads_what_only_the_servers_scanner_knows() {
        // Each part of a continued literal has the escapes of its first.
        assert_eq!(
            texts("E'a' -- c\n 'b\\';' ; 'x'", Dialect::Postgres),
            ["E", "'a' -- c\n 'b\\';'", ";", "'x'"]
        );
        assert_eq!(
            texts("E'a' 'b\\' ;", Dialect::Postgres),
            ["E", "'a'", "'b\\'", ";"]
        );
        // A carriage return ends a comment, a space of Unicode is part of a name, a number has no dollar sign.
        assert_eq!(texts("--a\rb", Dialect::Postgres), ["b"]);
        assert_eq!(texts("a\u{a0}b", Dialect::Postgres), ["a\u{a0}b"]);
        assert_eq!(texts("1$$;$$", Dialect::Postgres), ["1", "$$;$$"]);
    }

    #[test]
    fn reads_names_of_sqlite() {
        assert_eq!(
            texts("[a;b] `c;d` \"e\" /* x /* y */ z", Dialect::Sqlite),
            ["[a;b]", "`c;d`", "\"e\"", "z"]
        );
    }

    #[test]
    fn names_what_never_ends() {
        for (sql, what) in [
            ("'a", "a string"),
            ("\"a", "a quoted name"),
            ("/* /* */", "a comment"),
            ("$$ x", "a dollar-quoted string"),
        ] {
            assert_eq!(tokens(sql, Dialect::Postgres).unwrap_err().what, what);
        }
    }

    #[test]
    fn masks_literals_and_normalises_names() {
        assert_eq!(
            masked(
                "insert  into t -- c\n values ('secret', 1)",
                Dialect::Sqlite
            ),
            "insert into t values ('***', 1)"
        );
        assert_eq!(
            normalized("CREATE TABLE \"Orders\" ([id] int)", Dialect::Sqlite).unwrap(),
            "create table orders ( id int )"
        );
    }
}
