//! Runs hooks at the points of a run. SQL hooks commit together with their ledger row; HTTP and A2A hooks have an
//! intent before and an outcome after, and are repeated under the same key when a crash came between.

use std::time::Duration;

use serde_json::Value;
use shared::{SkillError, ToolCall};
use tokio::time::{Instant, timeout};

use super::{EngineError, Job, execute::Script, ledger};
use crate::{
    clients::{Session, TargetError, Transaction, hooks::Letter},
    domain::{
        Assessment, Dialect, MigrationRecord, MigrationState, Plan,
        hooks::{
            Action, CallSpec, CallState, Event, Hook, HookCall, HttpSpec, Moment, OnFailure, Point,
            RunKind,
        },
        waiting::Blocker,
    },
};

/// How long a statement of a hook waits for a lock: hooks write rows, and their own timeout bounds all of it.
const LOCK_TIMEOUT_MS: u64 = 1_000;
/// Longest result of a hook that is kept, in characters.
const MAX_RESULT: usize = 200;

/// One invocation.
struct Invocation<'a> {
    hook: &'a Hook,
    moment: Moment<'a>,
    event: &'a Event<'a>,
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
    /// Writes the hooks of a plan into the ledger, in the transaction that writes the plan.
    pub(super) async fn declare_hooks(
        &self,
        session: &mut dyn Session,
        plan: &Plan,
    ) -> Result<(), TargetError> {
        if plan.hooks.is_empty() {
            return Ok(());
        }
        let backup = plan.backup_before().map(ToString::to_string);
        ledger::hooks::install(session).await?;
        ledger::hooks::declare(session, self.run(), &plan.hooks, backup.as_deref()).await
    }

    /// Writes the hooks of a rollback: those that came with the newest of the migrations to be reverted, replaced or
    /// joined by those of the request.
    pub(super) async fn declare_rollback_hooks(
        &self,
        session: &mut dyn Session,
        assessment: &Assessment,
        own: &[Hook],
    ) -> Result<(), SkillError> {
        let written = async {
            let mut hooks = own.to_vec();
            let known = ledger::hooks::exists(session).await?;
            if known {
                let newest = assessment.reverts.first().map(|revert| &revert.version);
                let all = ledger::migrations(session).await?;
                let run = all
                    .iter()
                    .rev()
                    .find(|migration| {
                        migration.state == MigrationState::Applied
                            && Some(migration.version.as_str()) == newest.map(String::as_str)
                    })
                    .map(|migration| migration.run.clone());
                let (inherited, _) = match run {
                    Some(run) => ledger::hooks::of_run(session, &run).await?,
                    None => (Vec::new(), None),
                };
                let replaced = |hook: &Hook| own.iter().any(|other| other.name == hook.name);
                hooks.extend(inherited.into_iter().filter(|hook| !replaced(hook)));
            }
            if hooks.is_empty() {
                return Ok(());
            }
            if !known {
                ledger::hooks::install(session).await?;
            }
            let backup = assessment
                .reverts
                .first()
                .filter(|_| assessment.answer == crate::domain::Answer::PointOfNoReturn)
                .map(|revert| revert.version.clone());
            ledger::hooks::declare(session, self.run(), &hooks, backup.as_deref()).await
        };
        written.await.map_err(|error| self.skill(error))
    }

    /// Lays out the hooks of this run, runs those before it, and those that a crash left undone after a migration.
    pub(super) async fn begin_hooks(
        &self,
        session: &mut dyn Session,
        kind: RunKind,
    ) -> Result<(), SkillError> {
        let read = async {
            if ledger::hooks::exists(session).await? {
                ledger::hooks::of_run(session, self.run()).await
            } else {
                Ok((Vec::new(), None))
            }
        };
        let (hooks, backup) = read.await.map_err(|error| self.skill(error))?;
        let desk = &self.database.desk;
        desk.open(self.run(), kind, hooks, backup);
        if desk.hooks(self.run()).is_none() {
            return Ok(());
        }
        self.hook(session, Point::BeforeRun, None).await?;
        let done = match kind {
            RunKind::Rollback => ledger::reverted_by(session, self.run()).await,
            RunKind::Apply | RunKind::Complete => {
                ledger::migrations(session).await.map(|mut all| {
                    all.retain(|migration| {
                        migration.run == self.run() && migration.state == MigrationState::Applied
                    });
                    all
                })
            }
        };
        for migration in done.map_err(|error| self.skill(error))? {
            self.hook(session, Point::AfterStep, Some(&migration))
                .await?;
        }
        Ok(())
    }

    /// One half of a migration with the hooks around it.
    pub(super) async fn run_hooked(
        &self,
        session: &mut dyn Session,
        script: &Script<'_>,
    ) -> Result<(), SkillError> {
        let migration = script.migration;
        let version = migration.version.as_str();
        if self.database.desk.backs_up_before(self.run(), version) {
            self.hook(session, Point::Backup, Some(migration)).await?;
        }
        self.hook(session, Point::BeforeStep, Some(migration))
            .await?;
        self.execute(session, script).await?;
        self.hook(session, Point::AfterStep, Some(migration)).await
    }

    /// Runs the hooks of one point. Without hooks it costs nothing.
    pub(super) async fn hook(
        &self,
        session: &mut dyn Session,
        point: Point,
        migration: Option<&MigrationRecord>,
    ) -> Result<(), SkillError> {
        let event = Event {
            migration: migration.map(|one| (one.version.as_str(), one.name.as_str())),
            ..Event::default()
        };
        self.hooks_at(session, point, event).await
    }

    /// Tells the hooks of a lock wait who holds the lock, at most once a second.
    pub(super) async fn hook_lock_wait(
        &self,
        session: &mut dyn Session,
        migration: &MigrationRecord,
        blockers: &[Blocker],
    ) -> Result<(), SkillError> {
        let desk = &self.database.desk;
        let wanted = desk.hooks(self.run()).is_some_and(|(kind, hooks)| {
            hooks
                .iter()
                .any(|hook| hook.runs_at(Point::OnLockWait, kind))
        });
        if blockers.is_empty() || !wanted || !desk.may_note(Instant::now()) {
            return Ok(());
        }
        let event = Event {
            migration: Some((migration.version.as_str(), migration.name.as_str())),
            blockers: blockers.to_vec(),
            ..Event::default()
        };
        self.hooks_at(session, Point::OnLockWait, event).await
    }

    /// Tells the hooks of a failure its fixed word. Whatever becomes of them, the failure stays the answer.
    pub(super) async fn hook_failure(&self, session: &mut dyn Session, failure: &SkillError) {
        if matches!(failure, SkillError::ApprovalRequired { .. }) {
            return;
        }
        let event = Event {
            failure: Some(failure.kind()),
            ..Event::default()
        };
        if let Err(error) = self.hooks_at(session, Point::OnFailure, event).await {
            tracing::warn!(database = self.database.name, %error, "a hook on failure failed");
        }
    }

    async fn hooks_at(
        &self,
        session: &mut dyn Session,
        point: Point,
        event: Event<'_>,
    ) -> Result<(), SkillError> {
        let Some((kind, hooks)) = self.database.desk.hooks(self.run()) else {
            return Ok(());
        };
        let event = Event {
            database: &self.database.name,
            kind: kind.name(),
            ..event
        };
        let moment = Moment {
            run: self.run(),
            point,
            part: event.migration.map(|(version, _)| version),
        };
        for hook in hooks.iter().filter(|hook| hook.runs_at(point, kind)) {
            let invocation = Invocation {
                hook,
                moment,
                event: &event,
            };
            self.invoke(session, &invocation).await?;
        }
        Ok(())
    }

    /// Runs the hooks between two waves of a fleet; the first database of the wave keeps their rows.
    pub(super) async fn hook_wave(
        &self,
        hooks: &[Hook],
        kind: RunKind,
        wave: usize,
    ) -> Result<Vec<HookCall>, SkillError> {
        let mut session = self.connect().await?;
        let part = wave.to_string();
        let ran = async {
            let moment = Moment {
                run: self.run(),
                point: Point::AfterWave,
                part: Some(&part),
            };
            let event = Event {
                database: &self.database.name,
                kind: kind.name(),
                ..Event::default()
            };
            for hook in hooks
                .iter()
                .filter(|hook| hook.runs_at(Point::AfterWave, kind))
            {
                let invocation = Invocation {
                    hook,
                    moment,
                    event: &event,
                };
                self.invoke(session.as_mut(), &invocation).await?;
            }
            self.hook_calls(session.as_mut()).await
        };
        let ran = ran.await;
        self.close(session).await;
        ran
    }

    /// The invocations of this run so far.
    pub(super) async fn hook_calls(
        &self,
        session: &mut dyn Session,
    ) -> Result<Vec<HookCall>, SkillError> {
        let read = async {
            if ledger::hooks::exists(session).await? {
                ledger::hooks::calls(session, self.run()).await
            } else {
                Ok(Vec::new())
            }
        };
        read.await.map_err(|error| self.skill(error))
    }

    /// Runs a hook unless an earlier incarnation of the run settled it, and keeps how it ended.
    async fn invoke(
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
                foreign_keys_off: false,
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
        let key = self.sent_key(invocation);
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

    /// A note about a lock is about one moment: its key is its own.
    fn sent_key(&self, invocation: &Invocation<'_>) -> String {
        if invocation.moment.point.is_kept() {
            invocation.key()
        } else {
            format!("{}/{}", invocation.key(), uuid::Uuid::now_v7())
        }
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
