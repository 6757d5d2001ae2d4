//! One invocation of a hook. SQL hooks commit together with their ledger row; HTTP and A2A hooks have an intent before
//! and an outcome after, and are repeated under the same key when a crash came between.

use std::time::Duration;

use serde_json::Value;
use shared::{SkillError, ToolCall};
use tokio::time::{Instant, timeout};

use super::super::{EngineError, Job, ledger};
use crate::{
    clients::{Session, TargetError, Transaction, hooks::Letter},
    domain::{
        Dialect,
        hooks::{Action, CallSpec, CallState, Event, Hook, HttpSpec, Moment, OnFailure, Point},
    },
};

/// How long a statement of a hook waits for a lock: hooks write rows, and their own timeout bounds all of it.
const LOCK_TIMEOUT_MS: u64 = 1_000;
/// Longest result of a hook that is kept, in characters.
const MAX_RESULT: usize = 200;

/// One invocation.
pub(super) struct Invocation<'a> {
    pub(super) hook: &'a Hook,
    pub(super) moment: Moment<'a>,
    pub(super) event: &'a Event<'a>,
}

impl Invocation<'_> {
    fn key(&self) -> String {
        self.moment.key(&self.hook.name)
    }

    fn patience(&self, until: Instant) -> Duration {
        let own = Duration::from_secs(self.hook.timeout_seconds.into());
        own.min(until.saturating_duration_since(Instant::now()))
    }
}

impl Job<'_> {
    /// Runs a hook unless an earlier incarnation of the run settled it, and keeps how it ended.
    pub(super) async fn invoke(
        &self,
        session: &mut dyn Session,
        invocation: &Invocation<'_>,
    ) -> Result<(), SkillError> {
        let Invocation { hook, moment, .. } = invocation;
        let key = invocation.key();
        let kept = moment.point.is_kept();
        if kept {
            let begun = async {
                let state = ledger::hooks::state(session, &key).await?;
                let settled = state.is_some_and(CallState::is_settled);
                if !settled {
                    ledger::hooks::intend(session, moment, &hook.name).await?;
                }
                Ok::<_, TargetError>(settled)
            };
            if begun.await.map_err(|error| self.skill(error))? {
                return Ok(());
            }
        }
        self.context
            .progress(&format!("hook {} at {moment}", hook.name), 0, 0);
        let ran = match &hook.action {
            Action::Sql(statements) => self.run_sql(session, invocation, statements).await,
            Action::Http(http) => self.post(invocation, http).await,
            Action::Call(call) => self.call(invocation, call).await,
        };
        let (state, result) = match (&ran, hook.on_failure) {
            (Ok(result), _) => (CallState::Done, result.clone()),
            (Err(why), OnFailure::Abort) => (CallState::Failed, Some(bounded(why))),
            (Err(why), OnFailure::Continue) => (CallState::Ignored, Some(bounded(why))),
        };
        // The row of an SQL hook that succeeded is in its own transaction.
        let in_transaction = matches!(hook.action, Action::Sql(_)) && ran.is_ok();
        if kept && !in_transaction {
            ledger::hooks::settle(session, &key, state, result)
                .await
                .map_err(|error| self.skill(error))?;
        }
        match ran {
            Ok(_) => Ok(()),
            Err(why) if hook.on_failure == OnFailure::Continue => {
                tracing::warn!(hook = hook.name, why, "a hook failed, the run goes on");
                Ok(())
            }
            Err(why) => Err(SkillError::failed(format!(
                "hook {} at {moment} failed: {why}",
                hook.name
            ))),
        }
    }

    /// The statements and the ledger's row in one transaction. An error is the database's sentence.
    async fn run_sql(
        &self,
        session: &mut dyn Session,
        invocation: &Invocation<'_>,
        statements: &[String],
    ) -> Result<Option<String>, String> {
        let ran = self.try_sql(session, invocation, statements).await;
        if ran.is_err()
            && let Err(error) = session.rollback().await
        {
            tracing::debug!(%error, "the transaction of a hook ended with its connection");
        }
        ran.map_err(|error| match error {
            EngineError::Target(error) => error.to_string(),
            EngineError::Skill(error) => error.to_string(),
        })
    }

    async fn try_sql(
        &self,
        session: &mut dyn Session,
        invocation: &Invocation<'_>,
        statements: &[String],
    ) -> Result<Option<String>, EngineError> {
        let dialect = session.dialect();
        session
            .begin(Transaction {
                lock_timeout_ms: LOCK_TIMEOUT_MS,
                ..Transaction::default()
            })
            .await?;
        if dialect == Dialect::Postgres {
            let patience = invocation.patience(self.until()).as_millis().max(1);
            session
                .execute(&format!("SET LOCAL statement_timeout = {patience}"))
                .await?;
        }
        let mut result = None;
        for (ordinal, statement) in (1..).zip(statements) {
            let names = [
                self.resource(),
                format!("hooks/{}", invocation.hook.name),
                format!("statements/{ordinal}"),
            ];
            let call = ToolCall::write(dialect.execute_action(), names);
            let wanted = invocation.moment.point == Point::Backup
                && ordinal == statements.len()
                && is_query(statement);
            if wanted {
                result = self.audited(call, first_value(session, statement)).await?;
            } else {
                self.audited(call, session.execute(statement)).await?;
            }
        }
        if invocation.moment.point.is_kept() {
            let key = invocation.key();
            ledger::hooks::settle(session, &key, CallState::Done, result.clone()).await?;
        }
        let names = [self.resource(), format!("hooks/{}", invocation.hook.name)];
        let call = ToolCall::write(dialect.commit_action(), names);
        self.audited(call, session.commit()).await?;
        Ok(result)
    }

    async fn post(
        &self,
        invocation: &Invocation<'_>,
        http: &HttpSpec,
    ) -> Result<Option<String>, String> {
        let key = sent_key(invocation);
        let mut body = invocation
            .event
            .body(&invocation.moment, &invocation.hook.name);
        if let Some(told) = body.get_mut("idempotency_key") {
            *told = Value::String(key.clone());
        }
        let letter = Letter {
            url: &http.url,
            authorization: http.authorization.as_deref(),
            key: &key,
            body: &body,
            patience: invocation.patience(self.until()),
        };
        let names = [
            self.resource(),
            format!("hooks/{}", invocation.hook.name),
            crate::domain::hooks::host(&http.url).to_owned(),
        ];
        let outlets = self.database.desk.outlets();
        let sent = async {
            let posted = outlets.post(letter).await;
            posted.map_err(|error| SkillError::failed(error.to_string()))
        };
        let posted = self
            .context
            .tool(ToolCall::write("http.post", names), sent)
            .await;
        let keeps = invocation.moment.point == Point::Backup;
        posted
            .map(|result| result.filter(|_| keeps).map(|text| bounded(&text)))
            .map_err(|error| error.to_string())
    }

    async fn call(
        &self,
        invocation: &Invocation<'_>,
        call: &CallSpec,
    ) -> Result<Option<String>, String> {
        let Some(agent) = self.database.desk.outlets().edge(&call.agent, &call.skill) else {
            return Err("the manifest declares no such edge".into());
        };
        let told = || {
            invocation
                .event
                .body(&invocation.moment, &invocation.hook.name)
        };
        let input = call.input.clone().map_or_else(told, Value::Object);
        let patience = invocation.patience(self.until());
        let answer = timeout(
            patience,
            self.context.call::<Value>(agent, &call.skill, &input),
        );
        match answer.await {
            Ok(Ok(answer)) => {
                let keeps = invocation.moment.point == Point::Backup;
                let result = answer.get("result").and_then(Value::as_str);
                Ok(result.filter(|_| keeps).map(bounded))
            }
            // Another agent's sentence may hold what it was told.
            Ok(Err(error)) => Err(format!("{agent} answered: {}", error.kind())),
            Err(_) => Err(format!("{agent} did not answer in time")),
        }
    }
}

/// A note about a lock is about one moment: its key is its own.
fn sent_key(invocation: &Invocation<'_>) -> String {
    if invocation.moment.point.is_kept() {
        invocation.key()
    } else {
        format!("{}/{}", invocation.key(), uuid::Uuid::now_v7())
    }
}

fn bounded(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(MAX_RESULT).collect()
}

fn is_query(statement: &str) -> bool {
    let first = statement.split_whitespace().next().unwrap_or_default();
    ["select", "values"].contains(&first.to_ascii_lowercase().as_str())
}

/// The first column of the first row as text, whatever its type.
async fn first_value(
    session: &mut dyn Session,
    statement: &str,
) -> Result<Option<String>, TargetError> {
    let sql = match session.dialect() {
        Dialect::Sqlite => statement.to_owned(),
        Dialect::Postgres => format!(
            "SELECT (SELECT value FROM json_each_text(row_to_json(db_migrator_row)) LIMIT 1) FROM ({statement}) AS db_migrator_row"
        ),
    };
    let rows = session.query(&sql, &[]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let text = match row.integer(0) {
        Ok(number) => Some(number.to_string()),
        Err(_) => row.optional_text(0)?,
    };
    Ok(text.map(|text| bounded(&text)))
}
