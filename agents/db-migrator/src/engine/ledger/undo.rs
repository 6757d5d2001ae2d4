//! The inverses of single statements, beside the statements of scripts that do not run in one transaction.

use super::{Names, names};
use crate::{
    clients::{Row, Session, TargetError, Value},
    domain::{
        Dialect, StepState,
        expand::classified,
        sha256_hex,
        statement::Lock,
        undo::{HalfStep, Halfway, StepUndo, Undo, Way},
    },
};

/// Whether any inverse of a single statement was recorded. Ledgers of before have no such table.
async fn exists(session: &mut dyn Session) -> Result<bool, TargetError> {
    let sql = match session.dialect() {
        Dialect::Sqlite => "SELECT count(*) FROM sqlite_schema WHERE name = 'db_migrator_undo'",
        Dialect::Postgres => "SELECT (to_regclass('db_migrator.undo') IS NOT NULL)::int::bigint",
    };
    let rows = session.query(sql, &[]).await?;
    Ok(rows
        .first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)?
        > 0)
}

/// Writes the inverses of a migration's statements, in the transaction that writes the plan.
pub(super) async fn record(
    session: &mut dyn Session,
    sequence: i64,
    undo: &[StepUndo],
) -> Result<(), TargetError> {
    if undo.is_empty() {
        return Ok(());
    }
    let Names { prefix, .. } = names(session.dialect());
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {prefix}undo (migration bigint NOT NULL, ordinal bigint NOT NULL, what text NOT NULL, hash text, statement text, transactional bigint NOT NULL,
            keys_off bigint NOT NULL, fingerprint_before text NOT NULL, fingerprint_after text NOT NULL, reason text, PRIMARY KEY (migration, ordinal));"
    );
    session.execute(&sql).await?;
    let sql = format!(
        "INSERT INTO {prefix}undo (migration, ordinal, what, hash, statement, transactional, keys_off, fingerprint_before, fingerprint_after, reason) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    );
    for step in undo {
        let way = match &step.undo {
            Undo::By(way) => Some(way),
            Undo::Nothing | Undo::Unproven(_) => None,
        };
        let reason = match &step.undo {
            Undo::Unproven(reason) => Some(reason.clone()),
            Undo::Nothing | Undo::By(_) => None,
        };
        let flag = |on: bool| Value::from(i64::from(on));
        let parameters = [
            sequence.into(),
            step.ordinal.into(),
            step.what.as_str().into(),
            way.map(|way| sha256_hex(&way.text)).into(),
            way.map(|way| way.text.clone()).into(),
            flag(way.is_none_or(|way| way.transactional)),
            flag(way.is_some_and(|way| way.foreign_keys_off)),
            step.around.0.as_str().into(),
            step.around.1.as_str().into(),
            reason.into(),
        ];
        session.query(&sql, &parameters).await?;
    }
    Ok(())
}

/// A script that stopped half way, with the inverse of each statement. `None` when none was recorded: then forward is the
/// only way.
pub(in crate::engine) async fn halfway(
    session: &mut dyn Session,
    sequence: i64,
) -> Result<Option<Halfway>, TargetError> {
    if !exists(session).await? {
        return Ok(None);
    }
    let Names { prefix, .. } = names(session.dialect());
    let sql = format!(
        "SELECT s.ordinal, s.state, u.what, u.statement, u.transactional, u.keys_off, u.fingerprint_before, u.fingerprint_after, u.reason \
         FROM {prefix}step s JOIN {prefix}undo u ON u.migration = s.migration AND u.ordinal = s.ordinal \
         WHERE s.migration = $1 AND s.direction = 'up' ORDER BY s.ordinal DESC"
    );
    let dialect = session.dialect();
    let rows = session.query(&sql, &[sequence.into()]).await?;
    let steps = rows
        .iter()
        .map(|row| step(row, dialect))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((!steps.is_empty()).then_some(Halfway { steps }))
}

fn step(row: &Row, dialect: Dialect) -> Result<HalfStep, TargetError> {
    let lock = |text: &str| {
        classified(text, dialect).map_or(Lock::AccessExclusive, |statement| statement.lock)
    };
    let undo = match (row.optional_text(3)?, row.optional_text(8)?) {
        (Some(text), _) => Undo::By(Way {
            lock: lock(&text),
            text,
            transactional: row.integer(4)? != 0,
            foreign_keys_off: row.integer(5)? != 0,
        }),
        (None, Some(reason)) => Undo::Unproven(reason),
        (None, None) => Undo::Nothing,
    };
    Ok(HalfStep {
        state: StepState::parse(&row.text(1)?).ok_or(TargetError::Unreadable("a state"))?,
        undo: StepUndo {
            ordinal: row.integer(0)?,
            what: row.text(2)?,
            undo,
            around: (row.text(6)?, row.text(7)?),
        },
    })
}

/// What of this run was reverted while it was away: its newest row of a version says so.
pub(in crate::engine) async fn taken_back(
    session: &mut dyn Session,
    run: &str,
) -> Result<Option<String>, TargetError> {
    let Names { prefix, .. } = names(session.dialect());
    let sql = format!(
        "SELECT m.version FROM {prefix}migration m WHERE m.run_id = $1 AND m.state = 'reverted' AND m.sequence = \
         (SELECT max(o.sequence) FROM {prefix}migration o WHERE o.run_id = m.run_id AND o.version = m.version) ORDER BY m.sequence"
    );
    let rows = session.query(&sql, &[run.into()]).await?;
    rows.first().map(|row| row.text(0)).transpose()
}
