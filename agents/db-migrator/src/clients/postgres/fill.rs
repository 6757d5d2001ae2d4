//! Copies the rows of a database into its scratch database, so that lossy migrations show.

use std::collections::{BTreeMap, BTreeSet};

use futures::{SinkExt, StreamExt, pin_mut};
use tokio_postgres::Client;

use super::{TargetError, integer, query};
use crate::domain::Tenant;

/// Larger databases are proven on their schema alone.
const MAX_BYTES: i64 = 256 << 20;

const SIZE: &str = "SELECT coalesce(sum(pg_table_size(t::regclass)), 0)::bigint FROM unnest(string_to_array($1, E'\\n')) AS t";
const REFERENCES: &str = "SELECT format('%I.%I', n.nspname, c.relname), format('%I.%I', fn.nspname, f.relname) FROM pg_constraint k \
    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace WHERE k.contype = 'f'";
const TRIGGERS: &str = "SELECT format('ALTER TABLE %I.%I %s TRIGGER %I', n.nspname, c.relname, $1, t.tgname) FROM pg_trigger t \
    JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND t.tgenabled = $2 AND n.nspname <> 'db_migrator'";
const COLUMNS: &str = "SELECT coalesce(string_agg(format('%I', attname), ', ' ORDER BY attnum), '') FROM pg_attribute \
    WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";
const SEQUENCES: &str = "SELECT format('SELECT setval(%L, %s)', format('%I.%I', schemaname, sequencename), last_value) FROM pg_sequences \
    WHERE last_value IS NOT NULL AND schemaname !~ '^db_migrator(_tenant_|$)' AND ($1::text IS NULL OR schemaname = $1)";

/// Copies all rows in one snapshot, parents before children. `false` when there are too many bytes.
pub(super) async fn fill(
    (live, scratch): (&Client, &Client),
    tables: &[(String, Vec<String>)],
    tenant: Option<&Tenant>,
) -> Result<bool, TargetError> {
    let names = tables
        .iter()
        .map(|(table, _)| table.clone())
        .collect::<Vec<_>>();
    if names.is_empty() {
        return Ok(true);
    }
    if integer(live, SIZE, &[names.join("\n").into()]).await? > MAX_BYTES {
        return Ok(false);
    }
    let ordered = parents_first(
        &names,
        query(scratch, REFERENCES, &[])
            .await?
            .iter()
            .map(|row| Ok((row.text(0)?, row.text(1)?)))
            .collect::<Result<_, TargetError>>()?,
    );
    let disable = texts(scratch, TRIGGERS, &["DISABLE".into(), "O".into()]).await?;
    let enable = texts(scratch, TRIGGERS, &["ENABLE".into(), "O".into()]).await?;
    let begin = format!(
        "{}; TRUNCATE {} CASCADE",
        disable.join("; "),
        ordered.join(", ")
    );
    scratch
        .batch_execute(begin.trim_start_matches("; "))
        .await?;
    live.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let copied = copy_all((live, scratch), &ordered, tenant).await;
    live.batch_execute("ROLLBACK").await?;
    copied?;
    scratch.batch_execute(&enable.join("; ")).await?;
    Ok(true)
}

async fn copy_all(
    (live, scratch): (&Client, &Client),
    tables: &[String],
    tenant: Option<&Tenant>,
) -> Result<(), TargetError> {
    for table in tables {
        copy(live, scratch, table).await?;
    }
    let schema = tenant.map(|tenant| tenant.schema().to_owned());
    for statement in texts(live, SEQUENCES, &[schema.into()]).await? {
        scratch.batch_execute(&statement).await?;
    }
    Ok(())
}

async fn copy(live: &Client, scratch: &Client, table: &str) -> Result<(), TargetError> {
    let columns = texts(live, COLUMNS, &[table.into()])
        .await?
        .pop()
        .unwrap_or_default();
    if columns.is_empty() {
        return Ok(());
    }
    let source = live
        .copy_out(&format!(
            "COPY {table} ({columns}) TO STDOUT (FORMAT binary)"
        ))
        .await?;
    let sink = scratch
        .copy_in(&format!(
            "COPY {table} ({columns}) FROM STDIN (FORMAT binary)"
        ))
        .await?;
    pin_mut!(source);
    pin_mut!(sink);
    while let Some(chunk) = source.next().await {
        sink.send(chunk?).await?;
    }
    sink.close().await?;
    Ok(())
}

async fn texts(
    client: &Client,
    sql: &str,
    parameters: &[super::Value],
) -> Result<Vec<String>, TargetError> {
    query(client, sql, parameters)
        .await?
        .iter()
        .map(|row| row.text(0))
        .collect()
}

/// Orders tables so that a row's references exist before it; a cycle ends in the order of names.
fn parents_first(tables: &[String], references: Vec<(String, String)>) -> Vec<String> {
    let mut parents: BTreeMap<String, BTreeSet<String>> = tables
        .iter()
        .map(|table| (table.clone(), BTreeSet::new()))
        .collect();
    for (child, parent) in references
        .into_iter()
        .filter(|(child, parent)| child != parent)
    {
        if let Some(known) = parents.get_mut(&child).filter(|_| tables.contains(&parent)) {
            known.insert(parent);
        }
    }
    let mut ordered = Vec::new();
    while !parents.is_empty() {
        let free = parents
            .iter()
            .find(|(_, waits)| waits.is_empty())
            .or_else(|| parents.iter().next())
            .map(|(table, _)| table.clone());
        let Some(table) = free else { break };
        parents.remove(&table);
        for waits in parents.values_mut() {
            waits.remove(&table);
        }
        ordered.push(table);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_parents_before_children() {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let pair = |child: &str, parent: &str| (child.to_owned(), parent.to_owned());
        let ordered = parents_first(
            &owned(&["a", "b", "c"]),
            vec![
                pair("a", "b"),
                pair("b", "c"),
                pair("c", "c"),
                pair("a", "other"),
            ],
        );
        assert_eq!(ordered, ["c", "b", "a"]);
        assert_eq!(
            parents_first(&owned(&["a", "b"]), vec![pair("a", "b"), pair("b", "a")]).len(),
            2
        );
    }
}
