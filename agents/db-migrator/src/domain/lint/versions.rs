//! Syntax that only newer servers know.

use super::{Hit, View, script::Statement};
use crate::domain::Dialect;

/// Words that follow each other, and the first major version that knows them. From the release notes of PostgreSQL.
const SINCE: [(&[&str], u32); 14] = [
    (&["nulls", "not", "distinct"], 15),
    (&["merge", "into"], 15),
    (&["security_invoker"], 15),
    (&["any_value"], 16),
    (&["set", "expression", "as"], 17),
    (&["json_table"], 17),
    (&["merge_action"], 17),
    (&["transaction_timeout"], 17),
    (&["without", "overlaps"], 18),
    (&["not", "enforced"], 18),
    (&["uuidv7"], 18),
    (&["virtual"], 18),
    (&["add", "not", "null"], 18),
    (&["array_sort"], 18),
];

/// All rules of this family.
pub(super) fn check(view: &View<'_>) -> Vec<Hit> {
    if view.dialect != Dialect::Postgres {
        return Vec::new();
    }
    let server = view.facts.server_version;
    let hit = |statement: &Statement<'_>| {
        let (words, since) = SINCE
            .iter()
            .filter(|(words, since)| *since > server && statement.has(words))
            .max_by_key(|(_, since)| since)
            .copied()
            .or_else(|| named_not_null(statement, server))?;
        let message = format!(
            "{} is known from PostgreSQL {since} on, this server is {server}",
            words.join(" ").to_ascii_uppercase()
        );
        Some(Hit::on("newer-server-needed", statement, message))
    };
    view.statements().iter().filter_map(hit).collect()
}

/// `ADD CONSTRAINT name NOT NULL column`, from PostgreSQL 18 on.
fn named_not_null(
    statement: &Statement<'_>,
    server: u32,
) -> Option<(&'static [&'static str], u32)> {
    let named = statement.tokens.windows(5).any(|window| {
        matches!(window, [add, constraint, _, not, null]
            if add.is("add") && constraint.is("constraint") && not.is("not") && null.is("null"))
    });
    (named && server < 18).then_some((&["add", "constraint", "not", "null"], 18))
}
