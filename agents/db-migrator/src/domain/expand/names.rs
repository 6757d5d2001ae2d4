//! Names inside SQL text.

use crate::domain::{
    Dialect,
    lex::{self, Kind, Token},
    sha256_hex,
};

/// PostgreSQL cuts names after this many bytes; some are left for suffixes.
const MAX_NAME: usize = 52;

/// What a name token refers to: unquoted names fold to lower case.
pub(super) fn meaning(token: &Token<'_>) -> Option<String> {
    match token.kind {
        Kind::Word => Some(token.text.to_ascii_lowercase()),
        Kind::Quoted => Some(unquoted(token.text)),
        Kind::Text | Kind::Symbol => None,
    }
}

/// A name as the catalog has it.
pub(super) fn unquoted(name: &str) -> String {
    match name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_ascii_lowercase(),
    }
}

/// A name as SQL text, always in quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The last part of a qualified name, unquoted.
pub(super) fn last_part(name: &str) -> String {
    let tokens = lex::tokens(name, Dialect::Postgres).unwrap_or_default();
    tokens
        .last()
        .and_then(meaning)
        .unwrap_or_else(|| name.to_owned())
}

/// The schema part of a qualified name with its dot, or nothing.
pub(super) fn schema_of(name: &str) -> &str {
    let tokens = lex::tokens(name, Dialect::Postgres).unwrap_or_default();
    tokens
        .last()
        .and_then(|last| name.get(..last.start))
        .unwrap_or_default()
}

/// A name for something that belongs to a column: readable, short enough, and its own.
pub(super) fn derived(prefix: &str, table: &str, column: &str) -> String {
    let plain = |name: &str| {
        name.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect::<String>()
            .to_ascii_lowercase()
    };
    let name = format!("{prefix}_{}_{}", plain(table), plain(column));
    shortened(&name)
}

/// A name that fits, with a hash where it was cut.
pub(super) fn shortened(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let kept = name.chars().take(MAX_NAME - 9).collect::<String>();
    let hash = sha256_hex(name);
    format!("{kept}_{}", hash.get(..8).unwrap_or_default())
}

/// The name that PostgreSQL gives a NOT NULL constraint: of a long table and column as much of each as fits.
pub(super) fn of_not_null(table: &str, column: &str) -> String {
    const SUFFIX: &str = "_not_null";
    /// Bytes of a name, without the final zero.
    const MOST: usize = 63;
    let room = MOST - SUFFIX.len() - 1;
    let (mut first, mut second) = (table.len(), column.len());
    while first + second > room {
        if first > second {
            first -= 1;
        } else {
            second -= 1;
        }
    }
    let cut = |name: &str, length: usize| {
        let end = (0..=length).rev().find(|end| name.is_char_boundary(*end));
        name.get(..end.unwrap_or_default())
            .unwrap_or_default()
            .to_owned()
    };
    format!("{}_{}{SUFFIX}", cut(table, first), cut(column, second))
}

/// The text with a column's name replaced from byte `from` up to byte `to`. A name before `(` is a function's.
pub(super) fn renamed(sql: &str, range: std::ops::Range<usize>, column: &str, new: &str) -> String {
    let tokens = lex::tokens(sql, Dialect::Postgres).unwrap_or_default();
    let mut text = String::new();
    let mut end = 0;
    for (at, token) in tokens.iter().enumerate() {
        let called = tokens.get(at + 1).is_some_and(|next| next.is_symbol('('));
        let is_column = range.contains(&token.start)
            && !called
            && meaning(token).is_some_and(|name| name == column);
        if is_column {
            text.push_str(sql.get(end..token.start).unwrap_or_default());
            text.push_str(new);
            end = token.end();
        }
    }
    text.push_str(sql.get(end..).unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_column_and_nothing_that_looks_like_it() {
        let sql = "CREATE INDEX total ON public.t USING btree (total, total(a), \"Total\") WHERE total > 0 AND x <> 'total'";
        let at = sql.find("USING").unwrap();
        assert_eq!(
            renamed(sql, at..sql.len(), "total", "\"n\""),
            "CREATE INDEX total ON public.t USING btree (\"n\", total(a), \"Total\") WHERE \"n\" > 0 AND x <> 'total'"
        );
    }

    #[test]
    fn names_a_not_null_as_the_server_does() {
        assert_eq!(of_not_null("orders", "total"), "orders_total_not_null");
        let (table, column) = ("t".repeat(60), "c".repeat(50));
        let name = of_not_null(&table, &column);
        // 53 bytes are left for both; the table keeps the odd one.
        assert_eq!(name, format!("{}_{}_not_null", &table[..27], &column[..26]));
        let short = of_not_null(&table, "c");
        assert_eq!(short, format!("{}_c_not_null", &table[..52]));
        assert!(of_not_null(&"ä".repeat(40), "ö").len() <= 63);
    }

    #[test]
    fn keeps_names_short_and_apart() {
        let long = "x".repeat(80);
        let (a, b) = (derived("m", &long, "a"), derived("m", &long, "b"));
        assert!(a != b && a.len() <= MAX_NAME && b.len() <= MAX_NAME);
        assert_eq!(derived("m", "Orders", "total"), "m_orders_total");
        assert_eq!(last_part("public.\"Or.ders\""), "Or.ders");
        assert_eq!(schema_of("public.t"), "public.");
    }
}
