//! Writes plans into the ledger.

use super::{Names, json, names};
use crate::{
    clients::{Session, TargetError, Value},
    domain::{
        Direction, Plan, PlannedMigration, PlannedStep, ledger::MeasuredAddition,
        plan::PlannedScript, sha256_hex,
    },
};

/// Eight parameters each stay far below the limits of both databases.
const STEPS_A_MESSAGE: usize = 1_000;
/// Of 17 parameters each.
const MIGRATIONS_A_MESSAGE: usize = 500;

/// Writes every migration of a plan with all its statements, up and down: from here on nothing else is needed.
pub(in crate::engine) async fn record_plan(
    session: &mut dyn Session,
    run: &str,
    plan: &Plan,
    release: Option<&str>,
) -> Result<(), TargetError> {
    let mut sequences = Vec::new();
    for some in plan.migrations.chunks(MIGRATIONS_A_MESSAGE) {
        sequences.extend(record_migrations(session, run, some, release).await?);
    }
    let mut steps = Vec::new();
    for (migration, sequence) in plan.migrations.iter().zip(sequences) {
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
    for chunk in steps.chunks(STEPS_A_MESSAGE) {
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

/// Rows of migrations, many in one message; their sequences in the order of the migrations.
async fn record_migrations(
    session: &mut dyn Session,
    run: &str,
    migrations: &[PlannedMigration],
    release: Option<&str>,
) -> Result<Vec<i64>, TargetError> {
    let Names { prefix, now, .. } = names(session.dialect());
    let (mut parameters, mut tuples) = (Vec::new(), Vec::new());
    for migration in migrations {
        let first = parameters.len();
        parameters.extend(values(run, migration, release));
        let mut places = (first + 1..=parameters.len())
            .map(|at| format!("${at}"))
            .collect::<Vec<_>>();
        places.insert(6, "'planned'".into());
        tuples.push(format!("({}, {now})", places.join(", ")));
    }
    let sql = format!(
        "INSERT INTO {prefix}migration (version, name, release, checksum, verdict, evidence, state, run_id, fingerprint_before, fingerprint_after, \
         fingerprint_reverted, up_atomic, down_atomic, up_keys_off, down_keys_off, additions, touches, inverse, changed_at) \
         VALUES {} RETURNING sequence",
        tuples.join(", ")
    );
    // Sequences are drawn in the order of the tuples; that of the answers is not promised.
    let rows = session.query(&sql, &parameters).await?;
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

fn values(run: &str, migration: &PlannedMigration, release: Option<&str>) -> [Value; 17] {
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
    ]
}

/// Statements of any scripts, many in one message.
async fn record_steps(session: &mut dyn Session, steps: &[NewStep<'_>]) -> Result<(), TargetError> {
    let prefix = names(session.dialect()).prefix;
    let mut parameters: Vec<Value> = Vec::new();
    let mut tuples = Vec::new();
    for NewStep {
        sequence,
        direction,
        ordinal,
        step,
    } in steps
    {
        let first = parameters.len();
        let (before, after) = step.around.clone().unzip();
        let hash = sha256_hex(&step.statement.text);
        parameters.extend([
            (*sequence).into(),
            direction.name().into(),
            (*ordinal).into(),
            hash.into(),
        ]);
        let transactional = i64::from(step.statement.transactional);
        parameters.extend([
            step.statement.text.as_str().into(),
            transactional.into(),
            before.into(),
            after.into(),
        ]);
        let places = (first + 1..=parameters.len())
            .map(|at| format!("${at}"))
            .collect::<Vec<_>>();
        tuples.push(format!("({}, 'pending')", places.join(", ")));
    }
    let sql = format!(
        "INSERT INTO {prefix}step (migration, direction, ordinal, hash, statement, transactional, fingerprint_before, fingerprint_after, state) VALUES {}",
        tuples.join(", ")
    );
    session.query(&sql, &parameters).await.map(drop)
}
