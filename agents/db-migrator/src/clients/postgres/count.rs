//! Counts and digests rows.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use super::{
    super::{
        question::{Counted, Own},
        target::TargetError,
    },
    values::query,
};
use crate::domain::proof::TableRows;

/// From this many on, empty tables are left out by one question before the rest is counted.
const MANY: usize = 8;
/// Tables in one query: with more of them, planning it grows faster than their number.
const MAX_TABLES: usize = 64;

/// A heap (whose id is fixed) without a block, and without children: it holds no row.
macro_rules! empty {
    () => {
        "c.relkind = 'r' AND c.relam = 2 AND NOT c.relhassubclass AND pg_relation_size(c.oid) = 0"
    };
}

/// The columns of one table, and whether it is empty. The size is asked for once, not for each of them.
pub(super) const ABOUT: &str = concat!(
    "SELECT quote_ident(a.attname), c.empty FROM (SELECT c.oid, (",
    empty!(),
    ")::int::bigint AS empty FROM pg_class c WHERE c.oid = to_regclass($1) AND c.relkind = 'r' OFFSET 0) c \
     LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''"
);

/// Fails by a division unless those of the named tables that are there are empty.
const ALL_EMPTY: &str = concat!(
    "SELECT 1::bigint / (NOT EXISTS (SELECT FROM jsonb_array_elements_text($1::text::jsonb) AS named (name) \
     JOIN pg_class c ON c.oid = to_regclass(named.name) WHERE NOT (",
    empty!(),
    ")))::int"
);
/// SQLSTATE of that division.
pub(super) const NOT_EMPTY: &str = "22012";

/// What fails a transaction unless those of these quoted tables that are there hold no row.
pub(super) fn all_empty(tables: &[String]) -> Own {
    Own {
        sql: ALL_EMPTY.into(),
        parameters: vec![serde_json::to_string(tables).unwrap_or_default().into()],
    }
}

/// Those of the named tables that are empty.
const EMPTY: &str = concat!(
    "SELECT named.name FROM jsonb_array_elements_text($1::text::jsonb) AS named (name) \
     JOIN pg_class c ON c.oid = to_regclass(named.name) WHERE ",
    empty!()
);

/// Counts rows up to `most` and digests those that are not more.
pub(super) async fn count(
    client: &Client,
    all: &[Counted],
    most: u64,
) -> Result<Vec<TableRows>, TargetError> {
    let mut found = vec![TableRows::default(); all.len()];
    let empty = if all.len() < MANY {
        BTreeSet::new()
    } else {
        without_rows(client, all.iter().map(|one| &one.table)).await?
    };
    let holding = (0_i64..).zip(all);
    let holding = holding.filter(|(_, one)| !empty.contains(&one.table));
    let branches = holding.map(|(at, one)| counted(at, one, most));
    ask(client, branches.collect(), &mut found).await?;
    Ok(found)
}

/// The second scan happens only where it is small.
fn counted(at: i64, one: &Counted, most: u64) -> String {
    let number = one.query(most);
    let digest = one.digested.as_ref().map_or_else(
        || "NULL::text".to_owned(),
        |columns| {
            let digest = digest(columns);
            let columns = columns.join(", ");
            let table = &one.table;
            format!(
                "CASE WHEN number.rows BETWEEN 1 AND {most} THEN (SELECT {digest} FROM (SELECT {columns} FROM {table}) AS db_migrator_row) END"
            )
        },
    );
    format!("SELECT {at}::bigint, number.rows, {digest} FROM ({number}) AS number (rows)")
}

/// The sum of the rows' hashes does not depend on their order.
fn digest(columns: &[String]) -> &'static str {
    if columns.is_empty() {
        "'0'"
    } else {
        "coalesce(sum(hashtextextended(db_migrator_row::text, 0)::numeric), 0)::text"
    }
}

/// The tables that hold no row.
async fn without_rows<'a>(
    client: &Client,
    tables: impl Iterator<Item = &'a String>,
) -> Result<BTreeSet<String>, TargetError> {
    let tables = tables.collect::<BTreeSet<_>>();
    let names = serde_json::to_string(&tables).unwrap_or_default();
    let rows = query(client, EMPTY, &[names.into()]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

/// All rows of tables over these columns.
pub(super) async fn rows(
    client: &Client,
    tables: &[(String, Vec<String>)],
) -> Result<Vec<TableRows>, TargetError> {
    let none = TableRows {
        rows: 0,
        digest: "0".into(),
    };
    let mut found = vec![none; tables.len()];
    let empty = if tables.len() < MANY {
        BTreeSet::new()
    } else {
        without_rows(client, tables.iter().map(|(table, _)| table)).await?
    };
    let holding = (0_i64..).zip(tables);
    let holding = holding.filter(|(_, (table, _))| !empty.contains(table));
    let branches = holding.map(|(at, (table, columns))| {
        let digest = digest(columns);
        let columns = columns.join(", ");
        format!(
            "SELECT {at}::bigint, count(*)::bigint, {digest} FROM (SELECT {columns} FROM {table}) AS db_migrator_row"
        )
    });
    ask(client, branches.collect(), &mut found).await?;
    Ok(found)
}

/// Each branch answers with a place, the number of rows and their digest.
async fn ask(
    client: &Client,
    branches: Vec<String>,
    found: &mut [TableRows],
) -> Result<(), TargetError> {
    for some in branches.chunks(MAX_TABLES) {
        for row in query(client, &some.join(" UNION ALL "), &[]).await? {
            let at = usize::try_from(row.integer(0)?).unwrap_or(usize::MAX);
            if let Some(place) = found.get_mut(at) {
                *place = TableRows {
                    rows: u64::try_from(row.integer(1)?).unwrap_or_default(),
                    digest: row.optional_text(2)?.unwrap_or_default(),
                };
            }
        }
    }
    Ok(())
}
