//! Rows that a statement deletes or overwrites, in a side table.

use super::{TableFacts, shown};
use crate::domain::{
    Dialect,
    staging::{Kept, RESERVED, Retained, Staged, Taken, tag, target::Change, updated::Updated},
};

/// Rows that a statement deletes or overwrites are copied by a trigger that lives as long as the statement.
pub fn rows(
    taken: &Taken,
    change: Change,
    facts: &TableFacts,
    statement: &str,
    place: (&str, usize),
) -> Option<Staged> {
    let TableFacts {
        table,
        columns,
        key,
        fixed,
        ..
    } = facts;
    let hidden = format!("{RESERVED}_{}", tag(place.0, place.1));
    let side = format!("{hidden}.kept");
    let updated = Updated {
        dialect: Dialect::Postgres,
        table,
        side: &side,
        columns,
        key,
        fixed,
    };
    let (kept, mut down, counts, since) = if change == Change::Update {
        let up = triggered(
            "UPDATE",
            (table, &hidden),
            (&updated.values(), ""),
            statement,
        );
        let up = std::iter::once(updated.create()).chain(up).collect();
        let since = "that it changed were written again since and stay";
        (up, updated.back()?, Some(updated.lost()), since)
    } else {
        let since = "that it deleted were inserted anew since and stay";
        let names = (table.as_str(), hidden.as_str());
        let (up, back) = deleted(change, names, &columns.join(", "), statement);
        (up, vec![back], again(table, &side, key), since)
    };
    let mut up = vec![format!("CREATE SCHEMA {hidden}")];
    up.extend(kept.into_iter().filter(|text: &String| !text.is_empty()));
    down.push(format!("DROP TABLE {side}"));
    down.push(format!("DROP SCHEMA {hidden}"));
    Some(Staged {
        taken: taken.clone(),
        up,
        first: Vec::new(),
        down,
        last: Vec::new(),
        brings: Vec::new(),
        retained: Retained {
            what: format!("rows of {}", shown(table)),
            kind: Kept::Rows,
            purge: vec![
                format!("DROP TABLE IF EXISTS {side}"),
                format!("DROP SCHEMA IF EXISTS {hidden}"),
            ],
            lost: counts,
            since: format!("of {} {since}", shown(table)),
        },
    })
}

/// A statement that deletes rows with what keeps them, and what brings them back.
fn deleted(
    change: Change,
    (table, hidden): (&str, &str),
    list: &str,
    statement: &str,
) -> (Vec<String>, String) {
    let side = format!("{hidden}.kept");
    let mut up = vec![format!(
        "CREATE TABLE {side} AS SELECT {list} FROM {table} WITH NO DATA"
    )];
    if change == Change::Truncate {
        up.push(format!("INSERT INTO {side} SELECT {list} FROM {table}"));
        up.push(statement.to_owned());
    } else {
        up.extend(triggered("DELETE", (table, hidden), ("", list), statement));
    }
    let back = format!(
        "INSERT INTO {table} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {side} ON CONFLICT DO NOTHING"
    );
    (up, back)
}

/// Counts the deleted rows whose key is taken again.
pub fn again(table: &str, side: &str, key: &[String]) -> Option<String> {
    let same = key
        .iter()
        .map(|column| format!("changed.{column} = kept.{column}"))
        .collect::<Vec<_>>();
    (!same.is_empty()).then(|| {
        format!(
            "SELECT count(*) FROM {side} AS kept JOIN {table} AS changed ON {}",
            same.join(" AND ")
        )
    })
}

/// A statement with a trigger around it that keeps each row (`row`), or all old rows at once (`rows`).
fn triggered(
    event: &str,
    (table, hidden): (&str, &str),
    (row, rows): (&str, &str),
    statement: &str,
) -> Vec<String> {
    let (keeps, answers, scope) = if rows.is_empty() {
        (
            format!("VALUES ({row})"),
            "NEW",
            String::from("FOR EACH ROW"),
        )
    } else {
        (
            format!("SELECT {rows} FROM gone"),
            "NULL",
            String::from("REFERENCING OLD TABLE AS gone FOR EACH STATEMENT"),
        )
    };
    vec![
        format!(
            "CREATE FUNCTION {hidden}.keep() RETURNS trigger LANGUAGE plpgsql AS $migrate$ BEGIN INSERT INTO {hidden}.kept {keeps}; RETURN {answers}; END $migrate$"
        ),
        format!(
            "CREATE TRIGGER {RESERVED} AFTER {event} ON {table} {scope} EXECUTE FUNCTION {hidden}.keep()"
        ),
        statement.to_owned(),
        format!("DROP TRIGGER {RESERVED} ON {table}"),
        format!("DROP FUNCTION {hidden}.keep()"),
    ]
}
