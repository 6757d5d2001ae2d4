//! The ledger inside the target, in SQL that both dialects speak.

pub(super) mod hooks;
mod record;
pub(super) mod undo;

pub(super) use record::record_plan;

use std::collections::BTreeMap;

use crate::{
    clients::{Own, Row, Session, TargetError, Value},
    domain::{
        Dialect, Direction, Inverse, MigrationRecord, MigrationState, RunRecord, StepRecord,
        StepState, Verdict, Version, ledger::MeasuredAddition,
    },
};

/// Names, clock and key type of the ledger in one dialect.
#[derive(Debug, Clone, Copy)]
struct Names {
    prefix: &'static str,
    now: &'static str,
    key: &'static str,
    setup: &'static str,
    exists: &'static str,
}

const fn names(dialect: Dialect) -> Names {
    match dialect {
        Dialect::Sqlite => Names {
            prefix: "db_migrator_",
            now: "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
            key: "INTEGER PRIMARY KEY",
            setup: "",
            exists: "SELECT count(*) FROM sqlite_schema WHERE name = 'db_migrator_step'",
        },
        Dialect::Postgres => Names {
            prefix: "db_migrator.",
            now: "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
            key: "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            setup: "CREATE SCHEMA IF NOT EXISTS db_migrator;",
            exists: "SELECT (to_regclass('db_migrator.step') IS NOT NULL)::int::bigint",
        },
    }
}

const MIGRATION: &str = "sequence, version, name, release, checksum, verdict, evidence, state, run_id, fingerprint_before, fingerprint_after, \
    fingerprint_reverted, up_atomic, down_atomic, up_keys_off, down_keys_off, additions, touches, inverse";
const RUN: &str =
    "id, kind, plan_digest, release, outcome, head, fingerprint, started_at, finished_at";

/// Whether the ledger was installed.
pub(super) async fn exists(session: &mut dyn Session) -> Result<bool, TargetError> {
    let rows = session.query(names(session.dialect()).exists, &[]).await?;
    Ok(rows
        .first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)?
        > 0)
}

/// Creates the ledger's tables. Called under the run lock: `CREATE ... IF NOT EXISTS` alone races.
pub(super) async fn install(session: &mut dyn Session) -> Result<(), TargetError> {
    let Names {
        prefix, key, setup, ..
    } = names(session.dialect());
    let index = if session.dialect() == Dialect::Sqlite {
        "db_migrator_in_force"
    } else {
        "in_force"
    };
    let sql = format!(
        "{setup}
        CREATE TABLE IF NOT EXISTS {prefix}run (sequence {key}, id text NOT NULL UNIQUE, kind text NOT NULL, plan_digest text NOT NULL, release text,
            caller text NOT NULL, outcome text, head text, fingerprint text, backend bigint NOT NULL, started_at text NOT NULL, finished_at text);
        CREATE TABLE IF NOT EXISTS {prefix}migration (sequence {key}, version text NOT NULL, name text NOT NULL, release text, checksum text NOT NULL,
            verdict text NOT NULL, evidence text NOT NULL, state text NOT NULL, run_id text NOT NULL, reverted_by text, fingerprint_before text NOT NULL,
            fingerprint_after text NOT NULL, fingerprint_reverted text, up_atomic bigint NOT NULL, down_atomic bigint NOT NULL, up_keys_off bigint NOT NULL,
            down_keys_off bigint NOT NULL, additions text NOT NULL, touches text NOT NULL, inverse text NOT NULL, changed_at text NOT NULL);
        CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {prefix}migration (version) WHERE state IN ('applying', 'applied', 'reverting', 'undoing');
        CREATE TABLE IF NOT EXISTS {prefix}step (migration bigint NOT NULL, direction text NOT NULL, ordinal bigint NOT NULL, hash text NOT NULL,
            statement text NOT NULL, transactional bigint NOT NULL, state text NOT NULL, fingerprint_before text, fingerprint_after text,
            run_id text, backend bigint, changed_at text, PRIMARY KEY (migration, direction, ordinal));"
    );
    session.execute(&sql).await
}

/// All migrations but abandoned ones, in the order of application.
pub(super) async fn migrations(
    session: &mut dyn Session,
) -> Result<Vec<MigrationRecord>, TargetError> {
    let prefix = names(session.dialect()).prefix;
    let sql = format!(
        "SELECT {MIGRATION} FROM {prefix}migration WHERE state <> 'abandoned' ORDER BY sequence"
    );
    session
        .query(&sql, &[])
        .await?
        .iter()
        .map(migration)
        .collect()
}

/// A migration in force that added something.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) sequence: i64,
    pub(super) additions: Vec<MeasuredAddition>,
}

/// A question for the additions of migrations in force that may lie in these tables: each name occurs in their text.
pub(super) fn in_force_of(dialect: Dialect, tables: &[String]) -> Own {
    let prefix = names(dialect).prefix;
    let find = match dialect {
        Dialect::Sqlite => "instr",
        Dialect::Postgres => "strpos",
    };
    let any = (1..=tables.len())
        .map(|at| format!("{find}(additions, ${at}) > 0"))
        .collect::<Vec<_>>()
        .join(" OR ");
    // As JSON writes a name inside quotes. An empty text occurs everywhere: a quote inside a bare name is doubled there.
    let parameters = tables.iter().map(|table| {
        if table.trim_matches('"').contains('"') {
            "".into()
        } else {
            json(table).trim_matches('"').into()
        }
    });
    Own {
        sql: format!(
            "SELECT sequence, additions FROM {prefix}migration WHERE state = 'applied' AND additions <> '[]' AND ({any})"
        ),
        parameters: parameters.collect(),
    }
}

/// Reads the answer to [`in_force_of`].
pub(super) fn in_force(rows: &[Row]) -> Result<Vec<InForce>, TargetError> {
    rows.iter()
        .map(|row| {
            Ok(InForce {
                sequence: row.integer(0)?,
                additions: additions(&row.text(1)?)?,
            })
        })
        .collect()
}

fn additions(text: &str) -> Result<Vec<MeasuredAddition>, TargetError> {
    serde_json::from_str(text).map_err(|_| TargetError::Unreadable("a list of additions"))
}

/// What a rollback reverted, newest first.
pub(super) async fn reverted_by(
    session: &mut dyn Session,
    run: &str,
) -> Result<Vec<MigrationRecord>, TargetError> {
    let prefix = names(session.dialect()).prefix;
    let sql = format!(
        "SELECT {MIGRATION} FROM {prefix}migration WHERE state = 'reverted' AND reverted_by = $1 ORDER BY sequence DESC"
    );
    session
        .query(&sql, &[run.into()])
        .await?
        .iter()
        .map(migration)
        .collect()
}

fn migration(row: &Row) -> Result<MigrationRecord, TargetError> {
    let flag = |column| row.integer(column).map(|number| number != 0);
    Ok(MigrationRecord {
        sequence: row.integer(0)?,
        version: Version::recorded(row.text(1)?),
        name: row.text(2)?,
        release: row.optional_text(3)?,
        checksum: row.text(4)?,
        verdict: Verdict::parse(&row.text(5)?).ok_or(TargetError::Unreadable("a verdict"))?,
        evidence: serde_json::from_str(&row.text(6)?)
            .map_err(|_| TargetError::Unreadable("a list of sentences"))?,
        state: MigrationState::parse(&row.text(7)?).ok_or(TargetError::Unreadable("a state"))?,
        run: row.text(8)?,
        fingerprint_before: row.text(9)?,
        fingerprint_after: row.text(10)?,
        fingerprint_reverted: row.optional_text(11)?,
        atomic: (flag(12)?, flag(13)?),
        foreign_keys_off: (flag(14)?, flag(15)?),
        additions: additions(&row.text(16)?)?,
        touches: serde_json::from_str(&row.text(17)?)
            .map_err(|_| TargetError::Unreadable("a list of tables"))?,
        inverse: Inverse::parse(&row.text(18)?).ok_or(TargetError::Unreadable("an inverse"))?,
    })
}

/// The statements of one half of a migration, in order.
pub(super) async fn steps(
    session: &mut dyn Session,
    sequence: i64,
    direction: Direction,
) -> Result<Vec<StepRecord>, TargetError> {
    let mut all = steps_between(session, sequence, sequence, direction).await?;
    Ok(all.remove(&sequence).unwrap_or_default())
}

/// The same for all migrations of a range, in one query.
pub(super) async fn steps_between(
    session: &mut dyn Session,
    first: i64,
    last: i64,
    direction: Direction,
) -> Result<BTreeMap<i64, Vec<StepRecord>>, TargetError> {
    let prefix = names(session.dialect()).prefix;
    let sql = format!(
        "SELECT ordinal, statement, transactional, state, fingerprint_before, fingerprint_after, migration FROM {prefix}step \
         WHERE migration BETWEEN $1 AND $2 AND direction = $3 ORDER BY migration, ordinal"
    );
    let parameters = [first.into(), last.into(), direction.name().into()];
    let mut found: BTreeMap<i64, Vec<StepRecord>> = BTreeMap::new();
    for row in session.query(&sql, &parameters).await? {
        found.entry(row.integer(6)?).or_default().push(StepRecord {
            ordinal: row.integer(0)?,
            text: row.text(1)?,
            transactional: row.integer(2)? != 0,
            state: StepState::parse(&row.text(3)?).ok_or(TargetError::Unreadable("a state"))?,
            around: row.optional_text(4)?.zip(row.optional_text(5)?),
        });
    }
    Ok(found)
}

/// The run of this task, when there is one.
pub(super) async fn run(
    session: &mut dyn Session,
    id: &str,
) -> Result<Option<RunRecord>, TargetError> {
    let prefix = names(session.dialect()).prefix;
    let rows = session
        .query(
            &format!("SELECT {RUN} FROM {prefix}run WHERE id = $1"),
            &[id.into()],
        )
        .await?;
    rows.first().map(run_record).transpose()
}

/// All runs, oldest first.
pub(super) async fn runs(session: &mut dyn Session) -> Result<Vec<RunRecord>, TargetError> {
    let prefix = names(session.dialect()).prefix;
    let rows = session
        .query(
            &format!("SELECT {RUN} FROM {prefix}run ORDER BY sequence"),
            &[],
        )
        .await?;
    rows.iter().map(run_record).collect()
}

fn run_record(row: &Row) -> Result<RunRecord, TargetError> {
    Ok(RunRecord {
        id: row.text(0)?,
        kind: row.text(1)?,
        plan_digest: row.text(2)?,
        release: row.optional_text(3)?,
        outcome: row.optional_text(4)?,
        head: row.optional_text(5)?,
        fingerprint: row.optional_text(6)?,
        started_at: row.text(7)?,
        finished_at: row.optional_text(8)?,
    })
}

/// What a run's row says when it begins.
#[derive(Debug, Clone)]
pub(super) struct NewRun<'a> {
    pub(super) id: &'a str,
    pub(super) kind: &'a str,
    pub(super) plan_digest: &'a str,
    pub(super) release: Option<String>,
    pub(super) caller: &'a str,
}

/// Writes the row of a run that begins, or begins again after it failed.
pub(super) async fn begin_run(
    session: &mut dyn Session,
    new: NewRun<'_>,
) -> Result<(), TargetError> {
    let Names { prefix, now, .. } = names(session.dialect());
    let backend = session.backend();
    let sql = format!(
        "INSERT INTO {prefix}run (id, kind, plan_digest, release, caller, backend, started_at) VALUES ($1, $2, $3, $4, $5, $6, {now}) \
         ON CONFLICT (id) DO UPDATE SET plan_digest = excluded.plan_digest, backend = excluded.backend, outcome = NULL, finished_at = NULL"
    );
    let parameters = [
        new.id.into(),
        new.kind.into(),
        new.plan_digest.into(),
        new.release.into(),
        new.caller.into(),
        backend.into(),
    ];
    session.query(&sql, &parameters).await.map(drop)
}

/// Closes a run's row.
pub(super) async fn finish_run(
    session: &mut dyn Session,
    id: &str,
    outcome: &str,
    head: Option<String>,
    fingerprint: &str,
) -> Result<(), TargetError> {
    let Names { prefix, now, .. } = names(session.dialect());
    let sql = format!(
        "UPDATE {prefix}run SET outcome = $1, head = $2, fingerprint = $3, finished_at = {now} WHERE id = $4"
    );
    session
        .query(
            &sql,
            &[outcome.into(), head.into(), fingerprint.into(), id.into()],
        )
        .await
        .map(drop)
}

/// Moves a migration to another state.
pub(super) fn state_row(dialect: Dialect, sequence: i64, state: MigrationState, run: &str) -> Own {
    Own {
        sql: state_sql(dialect, state, [1, 2, 3]),
        parameters: vec![state.name().into(), run.into(), sequence.into()],
    }
}

/// With the places of its parameters.
fn state_sql(dialect: Dialect, state: MigrationState, [name, run, sequence]: [u8; 3]) -> String {
    let Names { prefix, now, .. } = names(dialect);
    let by = if matches!(
        state,
        MigrationState::Reverting | MigrationState::Undoing | MigrationState::Reverted
    ) {
        "reverted_by"
    } else {
        "run_id"
    };
    format!(
        "UPDATE {prefix}migration SET state = ${name}, {by} = ${run}, changed_at = {now} WHERE sequence = ${sequence}"
    )
}

/// Moves all statements of half a migration, and with them the migration: on PostgreSQL by one statement.
pub(super) fn done_rows(session: &dyn Session, steps: Steps, run: &str) -> Vec<Own> {
    let (dialect, state) = (session.dialect(), steps.direction.done());
    let all = steps_row(session, steps, StepState::Applied, run);
    let own = state_row(dialect, steps.migration, state, run);
    match dialect {
        Dialect::Sqlite => vec![all, own],
        Dialect::Postgres => {
            let state = state_sql(dialect, state, [6, 7, 8]);
            vec![Own {
                sql: format!("WITH steps AS ({}) {state}", all.sql),
                parameters: [all.parameters, own.parameters].concat(),
            }]
        }
    }
}

/// Runs a statement of the ledger by itself.
pub(super) async fn write(session: &mut dyn Session, own: Own) -> Result<(), TargetError> {
    session.query(&own.sql, &own.parameters).await.map(drop)
}

/// Notes what a migration's additions held right after it.
pub(super) fn additions_row(
    dialect: Dialect,
    sequence: i64,
    additions: &[MeasuredAddition],
) -> Own {
    let prefix = names(dialect).prefix;
    Own {
        sql: format!("UPDATE {prefix}migration SET additions = $1 WHERE sequence = $2"),
        parameters: vec![json(&additions).into(), sequence.into()],
    }
}

/// Which statements a change of state is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) migration: i64,
    pub(super) direction: Direction,
    /// One statement, or all of them.
    pub(super) ordinal: Option<i64>,
}

/// Moves statements to another state.
pub(super) fn steps_row(session: &dyn Session, steps: Steps, state: StepState, run: &str) -> Own {
    let Names { prefix, now, .. } = names(session.dialect());
    let one = steps.ordinal.map_or("", |_| " AND ordinal = $6");
    let mut parameters = vec![
        steps.direction.noted(state).name().into(),
        run.into(),
        session.backend().into(),
        steps.migration.into(),
        steps.direction.half().into(),
    ];
    parameters.extend(steps.ordinal.map(Value::from));
    Own {
        sql: format!(
            "UPDATE {prefix}step SET state = $1, run_id = $2, backend = $3, changed_at = {now} WHERE migration = $4 AND direction = $5{one}"
        ),
        parameters,
    }
}

/// Gives up what runs of others planned and never began.
pub(super) async fn abandon_planned(
    session: &mut dyn Session,
    except: &str,
) -> Result<(), TargetError> {
    let Names { prefix, now, .. } = names(session.dialect());
    let sql = format!(
        "UPDATE {prefix}migration SET state = 'abandoned', changed_at = {now} WHERE state = 'planned' AND run_id <> $1"
    );
    session.query(&sql, &[except.into()]).await.map(drop)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
