//! The ledger's own tables for expansions, backfills and what is retained.

use crate::{
    clients::{Row, Session, TargetError},
    domain::{
        Dialect, Plan,
        expand::Expansion,
        staging::{Retained, Retention, Standing},
    },
};

const fn prefix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "db_migrator_",
        Dialect::Postgres => "db_migrator.",
    }
}

const fn now(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
        Dialect::Postgres => {
            "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        }
    }
}

/// End of the window of a row `r` of migration `m`.
const fn until(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "strftime('%Y-%m-%dT%H:%M:%fZ', m.changed_at, '+' || r.seconds || ' seconds')"
        }
        Dialect::Postgres => {
            "to_char((m.changed_at::timestamptz + make_interval(secs => r.seconds)) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        }
    }
}

/// Whether there is anything of this kind in the ledger. Ledgers of before have no such tables.
pub(super) async fn exist(session: &mut dyn Session) -> Result<bool, TargetError> {
    let sql = match session.dialect() {
        Dialect::Sqlite => {
            "SELECT count(*) FROM sqlite_schema WHERE name = 'db_migrator_retained_list'"
        }
        Dialect::Postgres => {
            "SELECT (to_regclass('db_migrator.retained') IS NOT NULL)::int::bigint"
        }
    };
    Ok(first(&session.query(sql, &[]).await?)?.integer(0)? > 0)
}

fn first(rows: &[Row]) -> Result<&Row, TargetError> {
    rows.first().ok_or(TargetError::Unreadable("a row"))
}

/// The table of what is retained; on SQLite its name must not look like a retained object.
const fn retained_table(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "db_migrator_retained_list",
        Dialect::Postgres => "db_migrator.retained",
    }
}

async fn install(session: &mut dyn Session) -> Result<(), TargetError> {
    let p = prefix(session.dialect());
    let retained = retained_table(session.dialect());
    session
        .execute(&format!(
            "CREATE TABLE IF NOT EXISTS {p}part (migration bigint NOT NULL PRIMARY KEY, expansion text NOT NULL);
             CREATE TABLE IF NOT EXISTS {p}backfill (migration bigint NOT NULL, ordinal bigint NOT NULL, state text NOT NULL, upper_key text, last_key text,
                 rows_done bigint NOT NULL, rows_total bigint NOT NULL, batch bigint NOT NULL, started_at text, changed_at text, PRIMARY KEY (migration, ordinal));
             CREATE TABLE IF NOT EXISTS {retained} (migration bigint NOT NULL, ordinal bigint NOT NULL, object text NOT NULL, seconds bigint NOT NULL,
                 purged_at text, PRIMARY KEY (migration, ordinal));"
        ))
        .await
}

/// Writes what a plan leaves for later runs, in the transaction that writes the plan.
pub(super) async fn record(
    session: &mut dyn Session,
    run: &str,
    plan: &Plan,
    retention: Retention,
) -> Result<(), TargetError> {
    let leaves = |parts: &crate::domain::plan::Parts| {
        parts.expansion.is_some() || !parts.retained.is_empty()
    };
    if !plan
        .migrations
        .iter()
        .any(|migration| leaves(&migration.parts))
    {
        return Ok(());
    }
    install(session).await?;
    let p = prefix(session.dialect());
    let retained = retained_table(session.dialect());
    for migration in plan
        .migrations
        .iter()
        .filter(|migration| leaves(&migration.parts))
    {
        let sql = format!(
            "SELECT max(sequence) FROM {p}migration WHERE version = $1 AND run_id = $2 AND state = 'planned'"
        );
        let key = [migration.version.as_str().into(), run.into()];
        let sequence = first(&session.query(&sql, &key).await?)?.integer(0)?;
        if let Some(expansion) = &migration.parts.expansion {
            let sql = format!("INSERT INTO {p}part (migration, expansion) VALUES ($1, $2)");
            session
                .query(&sql, &[sequence.into(), json(expansion).into()])
                .await?;
            for (ordinal, backfill) in (1_i64..).zip(&expansion.backfills) {
                let sql = format!(
                    "INSERT INTO {p}backfill (migration, ordinal, state, rows_done, rows_total, batch) VALUES ($1, $2, 'pending', 0, 0, $3)"
                );
                let values = [
                    sequence.into(),
                    ordinal.into(),
                    i64::from(backfill.batch).into(),
                ];
                session.query(&sql, &values).await?;
            }
        }
        let seconds = i64::try_from(retention.seconds().unwrap_or_default()).unwrap_or(i64::MAX);
        for (ordinal, object) in (1_i64..).zip(&migration.parts.retained) {
            let sql = format!(
                "INSERT INTO {retained} (migration, ordinal, object, seconds) VALUES ($1, $2, $3, $4)"
            );
            let values = [
                sequence.into(),
                ordinal.into(),
                json(object).into(),
                seconds.into(),
            ];
            session.query(&sql, &values).await?;
        }
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A migration in force that has more to do than its up.
#[derive(Debug, Clone)]
pub(super) struct Expanded {
    pub(super) sequence: i64,
    pub(super) version: String,
    pub(super) name: String,
    pub(super) expansion: Expansion,
}

/// All migrations in force that have backfills or a contract, in order of application.
pub(super) async fn expanded(session: &mut dyn Session) -> Result<Vec<Expanded>, TargetError> {
    if !exist(session).await? {
        return Ok(Vec::new());
    }
    let p = prefix(session.dialect());
    let sql = format!(
        "SELECT m.sequence, m.version, m.name, x.expansion FROM {p}part x JOIN {p}migration m ON m.sequence = x.migration WHERE m.state = 'applied' ORDER BY m.sequence"
    );
    let rows = session.query(&sql, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Expanded {
                sequence: row.integer(0)?,
                version: row.text(1)?,
                name: row.text(2)?,
                expansion: serde_json::from_str(&row.text(3)?)
                    .map_err(|_| TargetError::Unreadable("an expansion"))?,
            })
        })
        .collect()
}

/// Where a backfill stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which migration, by its place in the ledger.
    pub(super) migration: i64,
    /// Which backfill of the migration, from 1.
    pub(super) ordinal: i64,
    /// `pending`, `running` or `done`.
    pub state: String,
    /// The key that it ends at.
    pub(super) upper: Option<Vec<String>>,
    /// The key that it has come to.
    pub(super) last: Option<Vec<String>>,
    /// Rows written.
    pub rows_done: u64,
    /// Rows at its start; an estimate.
    pub rows_total: u64,
    /// Rows of the next batch.
    pub(super) batch: u32,
}

/// The backfills of one migration, or of all.
pub(super) async fn backfills(
    session: &mut dyn Session,
    migration: Option<i64>,
) -> Result<Vec<Progress>, TargetError> {
    if !exist(session).await? {
        return Ok(Vec::new());
    }
    let p = prefix(session.dialect());
    let sql = format!(
        "SELECT migration, ordinal, state, upper_key, last_key, rows_done, rows_total, batch FROM {p}backfill WHERE $1 < 0 OR migration = $1 ORDER BY migration, ordinal"
    );
    let key = |text: Option<String>| {
        text.map(|text| {
            serde_json::from_str::<Vec<String>>(&text).map_err(|_| TargetError::Unreadable("a key"))
        })
        .transpose()
    };
    let rows = session
        .query(&sql, &[migration.unwrap_or(-1).into()])
        .await?;
    rows.iter()
        .map(|row| {
            let number = |column| {
                row.integer(column)
                    .map(|number| u64::try_from(number).unwrap_or_default())
            };
            Ok(Progress {
                migration: row.integer(0)?,
                ordinal: row.integer(1)?,
                state: row.text(2)?,
                upper: key(row.optional_text(3)?)?,
                last: key(row.optional_text(4)?)?,
                rows_done: number(5)?,
                rows_total: number(6)?,
                batch: u32::try_from(row.integer(7)?).unwrap_or(1_000),
            })
        })
        .collect()
}

/// Writes where a backfill stands; within a batch's transaction, so that no row is counted or written twice.
pub(super) async fn note(
    session: &mut dyn Session,
    progress: &Progress,
) -> Result<(), TargetError> {
    let (p, now) = (prefix(session.dialect()), now(session.dialect()));
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sql = format!(
        "UPDATE {p}backfill SET state = $1, upper_key = $2, last_key = $3, rows_done = $4, rows_total = $5, batch = $6, changed_at = {now}, \
         started_at = coalesce(started_at, {now}) WHERE migration = $7 AND ordinal = $8"
    );
    let values = [
        progress.state.as_str().into(),
        progress.upper.as_ref().map(json).into(),
        progress.last.as_ref().map(json).into(),
        number(progress.rows_done).into(),
        number(progress.rows_total).into(),
        i64::from(progress.batch).into(),
        progress.migration.into(),
        progress.ordinal.into(),
    ];
    session.query(&sql, &values).await.map(drop)
}

/// Something retained, as the ledger has it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) migration: i64,
    pub(super) ordinal: i64,
    pub(super) object: Retained,
    pub(super) standing: Standing,
}

/// Everything that migrations in force retain or retained.
pub(super) async fn held(session: &mut dyn Session) -> Result<Vec<Held>, TargetError> {
    if !exist(session).await? {
        return Ok(Vec::new());
    }
    let dialect = session.dialect();
    let (p, now, until, retained) = (
        prefix(dialect),
        now(dialect),
        until(dialect),
        retained_table(dialect),
    );
    let sql = format!(
        "SELECT r.migration, r.ordinal, r.object, m.version, {until}, CASE WHEN {until} < {now} THEN 'over' ELSE '' END, r.purged_at \
         FROM {retained} r JOIN {p}migration m ON m.sequence = r.migration WHERE m.state = 'applied' ORDER BY r.migration DESC, r.ordinal DESC"
    );
    let rows = session.query(&sql, &[]).await?;
    rows.iter()
        .map(|row| {
            let object: Retained = serde_json::from_str(&row.text(2)?)
                .map_err(|_| TargetError::Unreadable("a retained object"))?;
            let standing = Standing {
                version: row.text(3)?,
                what: object.what.clone(),
                until: row.text(4)?,
                over: row.text(5)? == "over",
                purged: row.optional_text(6)?,
                lost: 0,
                since: object.since.clone(),
            };
            Ok(Held {
                migration: row.integer(0)?,
                ordinal: row.integer(1)?,
                object,
                standing,
            })
        })
        .collect()
}

/// Notes that something retained was dropped for good.
pub(super) async fn purged(session: &mut dyn Session, held: &Held) -> Result<(), TargetError> {
    let (now, retained) = (now(session.dialect()), retained_table(session.dialect()));
    let sql =
        format!("UPDATE {retained} SET purged_at = {now} WHERE migration = $1 AND ordinal = $2");
    session
        .query(&sql, &[held.migration.into(), held.ordinal.into()])
        .await
        .map(drop)
}
