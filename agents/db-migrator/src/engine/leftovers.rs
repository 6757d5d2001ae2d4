//! Cleans up after a statement of several transactions that broke between two of them.

use crate::{
    clients::{Session, TargetError, Value},
    domain::{
        Dialect,
        concurrent::{Concurrent, concurrent},
    },
};

/// Indexes with their tables; those that somebody builds at this moment are nobody's leftovers.
const BROKEN: &str = "SELECT format('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname NOT LIKE 'pg\\_toast%' \
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)";
/// An index that `REINDEX CONCURRENTLY` made or replaced is called like the other one, cut where the name gets too long.
const SUFFIX: &str = "'_cc(new|old)[0-9]*$'";

/// The statements that undo, or for a drop or detach complete, what is left of `text`. None when nothing is.
pub(super) async fn leftovers(
    session: &mut dyn Session,
    text: &str,
) -> Result<Vec<String>, TargetError> {
    if session.dialect() != Dialect::Postgres {
        return Ok(Vec::new());
    }
    let Some(statement) = concurrent(text) else {
        return Ok(Vec::new());
    };
    let (sql, parameters) = find(statement);
    let rows = session.query(&sql, &parameters).await?;
    rows.iter().map(|row| row.text(0)).collect()
}

fn find(statement: Concurrent) -> (String, Vec<Value>) {
    match statement {
        Concurrent::CreateIndex { index: Some(index), table } => (
            format!("{BROKEN} AND i.indrelid = to_regclass($1) AND c.relname = $2"),
            vec![table.into(), index.into()],
        ),
        Concurrent::CreateIndex { index: None, table } => (
            format!("{BROKEN} AND i.indrelid = to_regclass($1)"),
            vec![table.into()],
        ),
        Concurrent::DropIndex { index } => (
            format!("{BROKEN} AND i.indexrelid = to_regclass($1)"),
            vec![index.into()],
        ),
        Concurrent::Reindex { kind, name } => reindexed(&kind, name),
        Concurrent::Detach { parent, partition } => (
            "SELECT format('ALTER TABLE %s DETACH PARTITION %s FINALIZE', inhparent::regclass, inhrelid::regclass) FROM pg_inherits \
             WHERE inhdetachpending AND inhparent = to_regclass($1) AND inhrelid = to_regclass($2)"
                .to_owned(),
            vec![parent.into(), partition.into()],
        ),
    }
}

fn reindexed(kind: &str, name: String) -> (String, Vec<Value>) {
    // Of the indexes that were to be rebuilt.
    let of = format!(
        "EXISTS (SELECT FROM pg_index o JOIN pg_class oc ON oc.oid = o.indexrelid WHERE o.indrelid = i.indrelid \
         AND o.indexrelid <> i.indexrelid AND starts_with(oc.relname, regexp_replace(c.relname, {SUFFIX}, ''))"
    );
    let (scope, parameters) = match kind {
        "INDEX" => (
            format!("{of} AND o.indexrelid = to_regclass($1))"),
            vec![name.into()],
        ),
        "TABLE" => (
            format!("{of}) AND i.indrelid = to_regclass($1)"),
            vec![name.into()],
        ),
        "SCHEMA" => (
            format!("{of}) AND n.oid = to_regnamespace($1)"),
            vec![name.into()],
        ),
        _ => (format!("{of})"), Vec::new()),
    };
    (
        format!("{BROKEN} AND c.relname ~ {SUFFIX} AND {scope}"),
        parameters,
    )
}
