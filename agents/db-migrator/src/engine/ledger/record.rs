//! Writes plans into the ledger.

use super::{Names, json, names};
use crate::{
    clients::{Own, Session, TargetError, Value},
    domain::{
        Dialect, Direction, Plan, PlannedMigration, PlannedStep, ledger::MeasuredAddition,
        plan::PlannedScript, sha256_hex,
    },
};

/// Rows in one statement: a message of some megabytes at most, where scripts are of a usual length.
const ROWS_A_MESSAGE: usize = 1_000;

/// Writes every migration of a plan with all its statements, up and down: from here on nothing else is needed.
pub(in crate::engine) async fn record_plan(
    session: &mut dyn Session,
    run: &str,
    plan: &Plan,
    release: Option<&str>,
) -> Result<(), TargetError> {
    let mut sequences = Vec::new();
    for some in plan.migrations.chunks(ROWS_A_MESSAGE) {
        sequences.extend(record_migrations(session, run, some, release).await?);
    }
    let mut steps = Vec::new();
    for (migration, sequence) in plan.migrations.iter().zip(sequences) {
        super::undo::record(session, sequence, &migration.parts.undo).await?;
        let halves = [
            (Direction::Up, Some(&migration.up)),
            (Direction::Down, migration.down.as_ref()),
        ];
        for (direction, script) in halves {
            let script = script
                .into_iter()
                .flat_map(|script| (1_i64..).zip(&script.steps));
            steps.extend(script.map(|(ordinal, step)| NewStep {
                sequence,
                direction,
                ordinal,
                step,
            }));
        }
    }
    for chunk in steps.chunks(ROWS_A_MESSAGE) {
        record_steps(session, chunk).await?;
    }
    Ok(())
}

struct NewStep<'a> {
    sequence: i64,
    direction: Direction,
    ordinal: i64,
    step: &'a PlannedStep,
}

const MIGRATION: [&str; 18] = [
    "version",
    "name",
    "release",
    "checksum",
    "verdict",
    "evidence",
    "run_id",
    "fingerprint_before",
    "fingerprint_after",
    "fingerprint_reverted",
    "up_atomic",
    "down_atomic",
    "up_keys_off",
    "down_keys_off",
    "additions",
    "touches",
    "inverse",
    "state",
];

/// Rows of migrations; their sequences in the order of the migrations.
async fn record_migrations(
    session: &mut dyn Session,
    run: &str,
    migrations: &[PlannedMigration],
    release: Option<&str>,
) -> Result<Vec<i64>, TargetError> {
    let rows = migrations.iter().map(|one| values(run, one, release));
    let insert = in_bulk(
        session.dialect(),
        ("migration", &MIGRATION, Some("changed_at")),
        rows,
    );
    let sql = format!("{} RETURNING sequence", insert.sql);
    // Sequences are drawn in the order of the rows; that of the answers is not promised.
    let rows = session.query(&sql, &insert.parameters).await?;
    let mut sequences = rows
        .iter()
        .map(|row| row.integer(0))
        .collect::<Result<Vec<_>, _>>()?;
    sequences.sort_unstable();
    if sequences.len() == migrations.len() {
        Ok(sequences)
    } else {
        Err(TargetError::Unreadable("a row for every migration"))
    }
}

/// Inserts many rows by one parameter, their JSON: thousands of parameters take longer to name than to write. Columns
/// are texts but where every row has a number. The last column, if any, gets the time.
fn in_bulk<const N: usize>(
    dialect: Dialect,
    (table, columns, clock): (&str, &[&str; N], Option<&str>),
    rows: impl Iterator<Item = [Value; N]>,
) -> Own {
    let Names { prefix, now, .. } = names(dialect);
    let mut numbers = [true; N];
    let rows = rows.map(|row| {
        for (number, value) in numbers.iter_mut().zip(&row) {
            *number &= matches!(value, Value::Integer(_));
        }
        row.map(|value| match value {
            Value::Null => serde_json::Value::Null,
            Value::Integer(number) => number.into(),
            Value::Text(text) => text.into(),
        })
    });
    let rows = json(&rows.map(Vec::from).collect::<Vec<_>>());
    let values = numbers
        .iter()
        .enumerate()
        .map(|(at, number)| match dialect {
            Dialect::Sqlite => format!("json_extract(value, '$[{at}]')"),
            Dialect::Postgres if *number => format!("(value ->> {at})::bigint"),
            Dialect::Postgres => format!("value ->> {at}"),
        });
    let mut values = values.collect::<Vec<_>>();
    let mut columns = columns.to_vec();
    if let Some(clock) = clock {
        columns.push(clock);
        values.push(now.into());
    }
    let (columns, values) = (columns.join(", "), values.join(", "));
    let source = match dialect {
        Dialect::Sqlite => "json_each($1) ORDER BY key",
        Dialect::Postgres => {
            "jsonb_array_elements($1::jsonb) WITH ORDINALITY AS rows (value, place) ORDER BY place"
        }
    };
    Own {
        sql: format!("INSERT INTO {prefix}{table} ({columns}) SELECT {values} FROM {source}"),
        parameters: vec![rows.into()],
    }
}

fn values(run: &str, migration: &PlannedMigration, release: Option<&str>) -> [Value; 18] {
    let none: Vec<MeasuredAddition> = migration
        .proof
        .adds
        .iter()
        .map(|addition| MeasuredAddition {
            addition: addition.clone(),
            rows: 0,
            digest: String::new(),
        })
        .collect();
    let down =
        |choose: fn(&PlannedScript) -> bool| i64::from(migration.down.as_ref().is_some_and(choose));
    [
        migration.version.as_str().into(),
        migration.name.as_str().into(),
        release.map(str::to_owned).into(),
        migration.checksum.as_str().into(),
        migration.proof.verdict.name().into(),
        json(&migration.proof.evidence).into(),
        run.into(),
        migration.fingerprint_before.as_str().into(),
        migration.fingerprint_after.as_str().into(),
        migration.fingerprint_reverted.clone().into(),
        i64::from(migration.up.atomic).into(),
        down(|down| down.atomic).into(),
        i64::from(migration.up.foreign_keys_off).into(),
        down(|down| down.foreign_keys_off).into(),
        json(&none).into(),
        json(&migration.proof.touches).into(),
        migration.inverse.name().into(),
        "planned".into(),
    ]
}

const STEP: [&str; 9] = [
    "migration",
    "direction",
    "ordinal",
    "hash",
    "statement",
    "transactional",
    "fingerprint_before",
    "fingerprint_after",
    "state",
];

/// Statements of any scripts.
async fn record_steps(session: &mut dyn Session, steps: &[NewStep<'_>]) -> Result<(), TargetError> {
    let rows = steps.iter().map(|new| {
        let (before, after) = new.step.around.clone().unzip();
        let statement = &new.step.statement;
        [
            new.sequence.into(),
            new.direction.name().into(),
            new.ordinal.into(),
            sha256_hex(&statement.text).into(),
            statement.text.as_str().into(),
            i64::from(statement.transactional).into(),
            before.into(),
            after.into(),
            "pending".into(),
        ]
    });
    let insert = in_bulk(session.dialect(), ("step", &STEP, None), rows);
    super::write(session, insert).await
}
