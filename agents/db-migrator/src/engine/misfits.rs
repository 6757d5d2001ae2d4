//! Values written since a migration that the type of before does not hold: its way back would fail on them, or cut them.

use crate::{
    clients::{Session, TargetError},
    domain::{
        Dialect,
        assess::RowsAtRisk,
        expand::directive::{Action, changed_type},
    },
};

/// Most values that are counted of a column.
const MAX_COUNTED: u32 = 100_000;
/// Class of errors about values.
const DATA_EXCEPTION: &str = "22";

/// A way back that changes a type.
struct Recast {
    table: String,
    /// The column, unquoted and quoted.
    name: String,
    column: String,
    /// The type of before as written.
    to: String,
    /// What computes the value of before.
    value: String,
}

/// What the ways back would not bring over, for each place in the ledger. What cannot be asked so is left to the proof:
/// a column that another way back renames first, or types between which there is no cast.
pub(super) async fn misfits(
    session: &mut dyn Session,
    downs: Vec<(i64, &str)>,
) -> Result<Vec<(i64, RowsAtRisk)>, TargetError> {
    let mut found = Vec::new();
    if session.dialect() != Dialect::Postgres {
        return Ok(found);
    }
    for (sequence, down) in downs {
        let Some(recast) = recast(down) else {
            continue;
        };
        let rows = count(session, &recast).await?;
        if rows > 0 {
            let Recast { table, name, .. } = recast;
            let what = format!("column {table}.{name} that its old type does not hold");
            found.push((sequence, RowsAtRisk { what, rows }));
        }
    }
    Ok(found)
}

fn recast(down: &str) -> Option<Recast> {
    let (table, Action::Type { column, to, using }) = changed_type(down)? else {
        return None;
    };
    let quoted = format!("\"{}\"", column.replace('"', "\"\""));
    Some(Recast {
        table,
        to,
        value: using.unwrap_or_else(|| quoted.clone()),
        name: column,
        column: quoted,
    })
}

async fn count(session: &mut dyn Session, recast: &Recast) -> Result<u64, TargetError> {
    let Some(now) = present_type(session, recast).await? else {
        return Ok(0);
    };
    let Recast {
        table,
        column,
        to,
        value,
        ..
    } = recast;
    let changed = format!("(({value})::{to})::{now} IS DISTINCT FROM {column}");
    let sql = format!(
        "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {changed} LIMIT {MAX_COUNTED}) AS sample"
    );
    match number(session, &sql).await {
        // Either the way back fails on a value, or only what was brought over does not go forth again as it is.
        Err(error) if is_about_values(&error) => {
            let there = format!("SELECT count(({value})::{to}) FROM {table}");
            match number(session, &there).await {
                Err(error) if is_about_values(&error) => Ok(1),
                there => or_unknown(there.map(|_| 0)),
            }
        }
        rows => or_unknown(rows),
    }
}

async fn number(session: &mut dyn Session, sql: &str) -> Result<u64, TargetError> {
    let rows = session.query(sql, &[]).await?;
    let first = rows.first().ok_or(TargetError::Unreadable("a row"))?;
    Ok(u64::try_from(first.integer(0)?).unwrap_or_default())
}

/// The type that a column has now.
async fn present_type(
    session: &mut dyn Session,
    recast: &Recast,
) -> Result<Option<String>, TargetError> {
    let sql = "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a \
               WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped";
    let rows = session
        .query(
            sql,
            &[recast.table.as_str().into(), recast.name.as_str().into()],
        )
        .await?;
    rows.first().map(|row| row.text(0)).transpose()
}

fn is_about_values(error: &TargetError) -> bool {
    matches!(error, TargetError::Sql { code, .. } if code.starts_with(DATA_EXCEPTION))
}

/// A question that the server does not understand has no answer here.
fn or_unknown(rows: Result<u64, TargetError>) -> Result<u64, TargetError> {
    match rows {
        Err(TargetError::Sql { .. }) => Ok(0),
        rows => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::recast;

    #[test]
    fn reads_changes_of_type_and_nothing_else() {
        let read = |text: &str| recast(text).map(|one| (one.table, one.column, one.to, one.value));
        let of = |[table, column, to, value]: [&str; 4]| {
            Some((table.into(), column.into(), to.into(), value.into()))
        };
        assert_eq!(
            read("ALTER TABLE s.orders ALTER COLUMN code TYPE varchar(20)"),
            of(["s.orders", "\"code\"", "varchar(20)", "\"code\""])
        );
        assert_eq!(
            read("ALTER TABLE orders ALTER code SET DATA TYPE text USING left(code, 20)"),
            of(["orders", "\"code\"", "text", "left(code, 20)"])
        );
        assert_eq!(read("ALTER TABLE orders DROP COLUMN code"), None);
    }
}
