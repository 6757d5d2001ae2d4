//! Hooks of runs and their invocations.

use super::{Names, json, names};
use crate::{
    clients::{Row, Session, TargetError},
    domain::{
        Dialect,
        hooks::{CallState, Hook, HookCall, Moment, Point},
    },
};

/// Whether any run of this database had hooks.
pub(in crate::engine) async fn exists(session: &mut dyn Session) -> Result<bool, TargetError> {
    let sql = match session.dialect() {
        Dialect::Sqlite => {
            "SELECT count(*) FROM sqlite_schema WHERE name = 'db_migrator_hook_call'"
        }
        Dialect::Postgres => {
            "SELECT (to_regclass('db_migrator.hook_call') IS NOT NULL)::int::bigint"
        }
    };
    let rows = session.query(sql, &[]).await?;
    Ok(rows
        .first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)?
        > 0)
}

/// Creates the tables of hooks. Called under the run lock, inside a transaction, and only when a run has hooks.
pub(in crate::engine) async fn install(session: &mut dyn Session) -> Result<(), TargetError> {
    let Names { prefix, .. } = names(session.dialect());
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {prefix}hook (run_id text NOT NULL, ordinal bigint NOT NULL, spec text NOT NULL, backup_before text,
            PRIMARY KEY (run_id, ordinal));
        CREATE TABLE IF NOT EXISTS {prefix}hook_call (key text PRIMARY KEY, run_id text NOT NULL, hook text NOT NULL, point text NOT NULL,
            part text, state text NOT NULL, result text, started_at text NOT NULL, finished_at text);"
    );
    session.execute(&sql).await
}

/// Writes the hooks of a run, and before which migration its backup is due.
pub(in crate::engine) async fn declare(
    session: &mut dyn Session,
    run: &str,
    hooks: &[Hook],
    backup_before: Option<&str>,
) -> Result<(), TargetError> {
    let Names { prefix, .. } = names(session.dialect());
    session
        .query(
            &format!("DELETE FROM {prefix}hook WHERE run_id = $1"),
            &[run.into()],
        )
        .await?;
    let sql = format!(
        "INSERT INTO {prefix}hook (run_id, ordinal, spec, backup_before) VALUES ($1, $2, $3, $4)"
    );
    for (ordinal, hook) in (1_i64..).zip(hooks) {
        let parameters = [
            run.into(),
            ordinal.into(),
            json(hook).into(),
            backup_before.map(str::to_owned).into(),
        ];
        session.query(&sql, &parameters).await?;
    }
    Ok(())
}

/// The hooks of a run in their order, and before which migration its backup is due.
pub(in crate::engine) async fn of_run(
    session: &mut dyn Session,
    run: &str,
) -> Result<(Vec<Hook>, Option<String>), TargetError> {
    let Names { prefix, .. } = names(session.dialect());
    let sql =
        format!("SELECT spec, backup_before FROM {prefix}hook WHERE run_id = $1 ORDER BY ordinal");
    let rows = session.query(&sql, &[run.into()]).await?;
    let backup_before = match rows.first() {
        Some(row) => row.optional_text(1)?,
        None => None,
    };
    let hooks = rows.iter().map(|row| {
        serde_json::from_str(&row.text(0)?).map_err(|_| TargetError::Unreadable("a hook"))
    });
    Ok((hooks.collect::<Result<_, _>>()?, backup_before))
}

/// How an invocation stands; absent before its first.
pub(in crate::engine) async fn state(
    session: &mut dyn Session,
    key: &str,
) -> Result<Option<CallState>, TargetError> {
    let Names { prefix, .. } = names(session.dialect());
    let sql = format!("SELECT state FROM {prefix}hook_call WHERE key = $1");
    let rows = session.query(&sql, &[key.into()]).await?;
    rows.first()
        .map(|row| {
            CallState::parse(&row.text(0)?).ok_or(TargetError::Unreadable("a state of a hook"))
        })
        .transpose()
}

/// Writes that an invocation is about to begin.
pub(in crate::engine) async fn intend(
    session: &mut dyn Session,
    moment: &Moment<'_>,
    hook: &str,
) -> Result<(), TargetError> {
    let Names { prefix, now, .. } = names(session.dialect());
    let sql = format!(
        "INSERT INTO {prefix}hook_call (key, run_id, hook, point, part, state, started_at) VALUES ($1, $2, $3, $4, $5, 'intent', {now}) \
         ON CONFLICT (key) DO UPDATE SET state = 'intent', finished_at = NULL"
    );
    let parameters = [
        moment.key(hook).into(),
        moment.run.into(),
        hook.into(),
        moment.point.name().into(),
        moment.part.map(str::to_owned).into(),
    ];
    session.query(&sql, &parameters).await.map(drop)
}

/// Writes how an invocation ended.
pub(in crate::engine) async fn settle(
    session: &mut dyn Session,
    key: &str,
    state: CallState,
    result: Option<String>,
) -> Result<(), TargetError> {
    let Names { prefix, now, .. } = names(session.dialect());
    let sql = format!(
        "UPDATE {prefix}hook_call SET state = $1, result = $2, finished_at = {now} WHERE key = $3"
    );
    session
        .query(&sql, &[state.name().into(), result.into(), key.into()])
        .await
        .map(drop)
}

/// The invocations of a run in the order of their beginning.
pub(in crate::engine) async fn calls(
    session: &mut dyn Session,
    run: &str,
) -> Result<Vec<HookCall>, TargetError> {
    let Names { prefix, .. } = names(session.dialect());
    let sql = format!(
        "SELECT hook, point, part, state, result FROM {prefix}hook_call WHERE run_id = $1 ORDER BY started_at, key"
    );
    let rows = session.query(&sql, &[run.into()]).await?;
    rows.iter().map(call).collect()
}

fn call(row: &Row) -> Result<HookCall, TargetError> {
    let point = serde_json::Value::String(row.text(1)?);
    Ok(HookCall {
        hook: row.text(0)?,
        point: serde_json::from_value::<Point>(point)
            .map_err(|_| TargetError::Unreadable("a point of a hook"))?,
        migration: row.optional_text(2)?,
        state: CallState::parse(&row.text(3)?)
            .ok_or(TargetError::Unreadable("a state of a hook"))?,
        result: row.optional_text(4)?,
    })
}
