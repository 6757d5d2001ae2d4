//! The inverse of an `INSERT` of constant rows.

use crate::domain::{
    Catalog, Dialect,
    lex::{self, Kind, Token},
};

/// Longer lists of rows are not turned round.
const MAX_BYTES: usize = 64 << 10;

/// Deletes exactly the rows that `INSERT INTO t [(columns)] VALUES (constants), ...` writes. `None` for anything else: what
/// a query or a function gave once, it may not give again.
pub fn uninserted(text: &str, catalog: &Catalog, dialect: Dialect) -> Option<String> {
    let tokens = lex::tokens(text, dialect)
        .ok()
        .filter(|_| text.len() <= MAX_BYTES)?;
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    if !(is(0, "insert") && is(1, "into")) {
        return None;
    }
    let mut at = 3;
    while tokens.get(at).is_some_and(|token| token.is_symbol('.')) {
        at += 2;
    }
    let table = text.get(tokens.get(2)?.start..tokens.get(at - 1)?.end())?;
    let mut columns = positions(catalog, table);
    if tokens.get(at)?.is_symbol('(') {
        let (named, end) = list(text, &tokens, at)?;
        (columns, at) = (named, end);
    }
    if !is(at, "values") {
        return None;
    }
    let mut rows = Vec::new();
    at += 1;
    loop {
        let (values, end) = list(text, &tokens, at)?;
        rows.push(condition(&columns, &values, dialect)?);
        at = end;
        match tokens.get(at) {
            None => break,
            Some(token) if token.is_symbol(',') => at += 1,
            Some(_) => return None,
        }
    }
    Some(format!("DELETE FROM {table} WHERE {}", rows.join(" OR ")))
}

/// The items of a list in brackets that has none inside, and the place after it.
fn list(text: &str, tokens: &[Token<'_>], at: usize) -> Option<(Vec<String>, usize)> {
    let mut start = tokens.get(at).filter(|token| token.is_symbol('('))?.end();
    let (mut items, mut next) = (Vec::new(), at + 1);
    loop {
        let token = tokens.get(next)?;
        let (ends, separates) = (token.is_symbol(')'), token.is_symbol(','));
        if token.is_symbol('(') || token.is_symbol('[') || token.is("default") {
            return None;
        }
        if ends || separates {
            items.push(text.get(start..token.start)?.trim().to_owned());
            start = token.end();
        }
        next += 1;
        if ends {
            return Some((items, next));
        }
    }
}

fn condition(columns: &[String], values: &[String], dialect: Dialect) -> Option<String> {
    if values.is_empty() || values.len() > columns.len() {
        return None;
    }
    let same = columns.iter().zip(values).map(|(column, value)| {
        constant(value, dialect).then(|| format!("{column} IS NOT DISTINCT FROM {value}"))
    });
    let same = same.collect::<Option<Vec<_>>>()?;
    Some(format!("({})", same.join(" AND ")))
}

/// Whether a value is the same whenever it is computed.
fn constant(value: &str, dialect: Dialect) -> bool {
    let tokens = lex::tokens(value, dialect).unwrap_or_default();
    let fixed = |token: &Token<'_>| match token.kind {
        Kind::Text => true,
        Kind::Symbol => "+-.:".contains(token.text),
        Kind::Quoted => false,
        Kind::Word => {
            token.text.starts_with(|c: char| c.is_ascii_digit())
                || ["null", "true", "false"].iter().any(|word| token.is(word))
        }
    };
    !tokens.is_empty() && tokens.iter().all(fixed)
}

/// The quoted columns of a table in their order.
fn positions(catalog: &Catalog, table: &str) -> Vec<String> {
    let last = |name: &str| lex::bare_name(name.rsplit('.').next().unwrap_or(name));
    let mut found = catalog
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.position?, entry.place.as_ref()?)))
        .filter(|(_, place)| last(&place.table) == last(table))
        .filter_map(|(position, place)| Some((position, place.column.clone()?)))
        .collect::<Vec<_>>();
    found.sort();
    found.into_iter().map(|(_, column)| column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::tests::column;

    fn turned(text: &str) -> Option<String> {
        let catalog = Catalog::new(vec![
            column("t", "b", "text", 2),
            column("t", "a", "integer", 1),
        ]);
        uninserted(text, &catalog, Dialect::Postgres)
    }

    #[test]
    fn deletes_the_rows_of_constant_values() {
        let one = turned("insert into s.t (b, a) values ('x, )', -1), (NULL, 2)").unwrap();
        assert_eq!(
            one,
            "DELETE FROM s.t WHERE (b IS NOT DISTINCT FROM 'x, )' AND a IS NOT DISTINCT FROM -1) \
             OR (b IS NOT DISTINCT FROM NULL AND a IS NOT DISTINCT FROM 2)"
        );
        let named = turned("INSERT INTO t VALUES (1, 'x')").unwrap();
        assert!(
            named.contains("FROM 1 AND") && named.ends_with("FROM 'x')"),
            "{named}"
        );
    }

    #[test]
    fn leaves_what_may_be_another_value_next_time() {
        for text in [
            "insert into t (a) values (now())",
            "insert into t (a) values (current_timestamp)",
            "insert into t (a) values (default)",
            "insert into t (a) select 1",
            "insert into t (a) values (1) on conflict do nothing",
            "insert into t (a) values (1, 2)",
            "insert into t default values",
            "insert into t values (1, 'x', 3)",
            "insert into t (a) values (timestamp 'now')",
        ] {
            let found = turned(text);
            assert!(found.is_none(), "{text}: {found:?}");
        }
    }
}
