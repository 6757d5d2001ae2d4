//! What happens to a task: its run within deadline and limits, and its end.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use a2a::types::{Role, TaskState};
use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use store::StoreError;
use time::OffsetDateTime;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use super::{
    Engine, Following, Started,
    detach::Detaching,
    record::{conclude, redact},
    taken,
};
use crate::{
    Context, SkillError,
    a2a::fault::{Fault, Kind},
    context::Work,
    converse::{Reply, Turn},
    digest, files, registry,
    tasks::{Created, Live, Record, parse_time},
    telemetry::{Chain, traces},
    trail::Fact,
};

/// A skill that says nothing gets this long.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);
/// How long a cancelled or late run may take to stop by itself before it is dropped.
const GRACE: Duration = Duration::from_secs(2);

impl Engine {
    /// Runs a task that an approval, or a restart, set going again.
    pub(crate) fn resume(self: &Arc<Self>, record: Record) {
        let span = traces::resumed(
            record.skill.as_deref().unwrap_or("message"),
            record.traceparent.as_deref(),
        );
        let Some(prepared) = self.prepare_again(&record) else {
            return;
        };
        let engine = self.clone();
        tokio::spawn(async move {
            let Ok(permit) = engine.slots.clone().acquire_owned().await else {
                return;
            };
            // It may have been cancelled, or taken over, while it waited for its turn.
            let id = &record.task.id;
            match engine.tasks.stored(id).await {
                Ok(Some(now)) if now.version == record.version => {}
                _ => return,
            }
            let run = Run {
                prepared,
                permit,
                span,
            };
            drop(engine.launch(record, None, run));
        });
    }

    /// The run of a stored task: of its skill, or of what its last message asked for.
    fn prepare_again(&self, record: &Record) -> Option<registry::Run> {
        let Some(skill) = &record.skill else {
            let task = &record.task;
            let said = task.history.iter().rfind(|said| said.role == Role::User)?;
            let reply = self.converse.reply(&Turn {
                message: said,
                task: Some(task),
            });
            return match reply {
                Reply::Message(_) => None,
                Reply::Task(work) => Some(Box::new(|context| {
                    Box::pin(async move { work(context).await.map(|()| None) })
                })),
            };
        };
        match self.registry.get(skill)?.prepare(record.input.clone()) {
            Ok(prepared) => Some(prepared),
            Err(error) => {
                tracing::error!(task_id = record.task.id, error = %Chain(&error), "cannot resume a task");
                None
            }
        }
    }

    /// Makes a run of a stored task; `stored` is what may be shown of it until the run adds something.
    pub(super) fn launch(
        self: &Arc<Self>,
        record: Record,
        stored: Option<Arc<Record>>,
        run: Run,
    ) -> Started {
        let first = Arc::new(record.clone());
        let live = self
            .tasks
            .track(record, Some(stored.unwrap_or_else(|| first.clone())));
        live.show(first);
        self.accompany(live, run)
    }

    /// Makes a run of a task; it goes on by itself when what comes back is dropped.
    pub(super) fn accompany(self: &Arc<Self>, live: Arc<Live>, run: Run) -> Started {
        let named = live.look(|record| (record.skill.clone(), record.task.id.clone()));
        let (skill, task_id) = named.unwrap_or_default();
        let span = tracing::info_span!(
            parent: &run.span, "execute_tool", "otel.name" = skill.as_deref().unwrap_or("message"), "gen_ai.operation.name" = "execute_tool",
            "a2a.task.id" = task_id, "a2a.task.state" = field::Empty, "error.type" = field::Empty, trace_id = field::Empty,
        );
        if let Some((trace_id, _)) = traces::ids(&span) {
            span.record("trace_id", trace_id);
        }
        let following = Following {
            first: live.shown().unwrap_or_default(),
            now: live.follow(),
        };
        let engine = self.clone();
        let work = async move { engine.run(live, run).await };
        Started {
            following,
            run: Some(Detaching::new(work.instrument(span))),
        }
    }

    async fn run(self: Arc<Self>, live: Arc<Live>, run: Run) {
        let Run {
            prepared, permit, ..
        } = run;
        let started = Instant::now();
        let begun = live.look(|record| {
            let skill = record.skill.clone().unwrap_or_default();
            let deadline = started + self.allowance(record, &skill);
            let work = Work::new(record, &self.access, deadline);
            let intent = record
                .mutates
                .then(|| Fact::of_run(record, &work, "intent", "started", None));
            let approval = record.approval.clone().map(Into::into);
            let context = (work, approval, files::of_task(record));
            (skill, deadline, intent, context)
        });
        let Some((skill, deadline, intent, (work, approval, files))) = begun else {
            return;
        };
        let result = match self.intend(intent).await {
            Ok(()) => {
                let cancel = live.cancel.clone();
                let context = Context::new(work, approval, cancel.clone(), self.plane.clone());
                let context = context.with_files(files);
                let work = supervise(prepared(context), deadline, cancel);
                live.accompany(&*self.plane.store, work).await
            }
            Err(error) => Err(error),
        };
        let trace_id = traces::ids(&Span::current()).map(|(trace, _)| trace);
        let outcome = result.as_ref().map_or_else(SkillError::kind, |_| "ok");
        if let Some(registered) = self.registry.get(&skill) {
            self.metrics.observe_run(
                registered.id,
                outcome,
                started.elapsed(),
                trace_id.as_deref(),
            );
        }
        self.settle(&live, result, trace_id.as_deref()).await;
        drop(permit);
    }

    /// How long this run may take: the manifest's limit, cut by the caller's deadline.
    pub(super) fn allowance(&self, record: &Record, skill: &str) -> Duration {
        let limit = self.timeouts.get(skill).copied().unwrap_or(DEFAULT_TIMEOUT);
        let left = record
            .deadline
            .as_deref()
            .and_then(parse_time)
            .map(|deadline| deadline - OffsetDateTime::now_utc());
        left.map_or(limit, |left| {
            limit.min(left.try_into().unwrap_or(Duration::ZERO))
        })
    }

    /// What must be durable before an effect: the intent to change something. (The task is already.)
    async fn intend(&self, intent: Option<Fact>) -> Result<(), SkillError> {
        let Some(intent) = intent else {
            return Ok(());
        };
        self.trail
            .append(intent, Vec::new())?
            .await
            .map_err(|e| SkillError::unavailable("store", e))
    }

    async fn settle(
        &self,
        live: &Arc<Live>,
        result: Result<Option<Value>, SkillError>,
        trace_id: Option<&str>,
    ) {
        let Some(mut record) = live.close() else {
            return;
        };
        let work = Work::new(&record, &self.access, Instant::now());
        let (outcome, output_digest) = match &result {
            Ok(output) => ("ok", output.as_ref().map(digest::of_json)),
            Err(error) => (error.kind(), None),
        };
        conclude(&mut record, result, trace_id);
        let span = Span::current();
        span.record("a2a.task.state", field::debug(record.state()));
        if outcome != "ok" {
            span.record("error.type", outcome);
        }
        if record.state().is_terminal()
            && record
                .skill
                .as_deref()
                .and_then(|id| self.registry.get(id))
                .is_some_and(|skill| skill.sensitive)
        {
            redact(&mut record);
        }
        let fact = Fact::of_run(&record, &work, "outcome", outcome, output_digest);
        let written = match self.keep(&mut record, &fact).await {
            Err(error @ StoreError::Conflict { .. }) => {
                self.keep_anyway(&mut record, &fact, error).await
            }
            written => written,
        };
        if let Err(error) = written {
            tracing::error!(task_id = record.task.id, error = %Chain(&error), "cannot keep the end of a task");
            // Nobody finds a task that was never stored: a repeated call has to run.
            self.tasks.forget_keys(&record);
            let said = "the outcome could not be stored";
            record.fault = Some(Fault::new(Kind::Internal, said));
            record.enter(TaskState::Failed, Some(said));
        }
        tracing::info!(
            task_id = record.task.id,
            skill = record.skill.as_deref(),
            outcome,
            caller = record.caller.name,
            "task settled"
        );
        self.tasks.release(live, Arc::new(record));
        self.push.wake();
    }

    /// Writes the end of a run with its audit record. What has happened is recorded even into a full outbox.
    async fn keep(&self, record: &mut Record, fact: &Fact) -> Result<(), StoreError> {
        let commit = self.trail.append(fact.clone(), record.writes());
        commit
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
            .await
    }

    /// The stored task is not as it was left here. When an earlier write of this run was lost, the end is written on
    /// top of what is there; when somebody made the same call, or another replica has taken the task over, its word
    /// counts and only the audit record is kept.
    async fn keep_anyway(
        &self,
        record: &mut Record,
        fact: &Fact,
        error: StoreError,
    ) -> Result<(), StoreError> {
        let id = record.task.id.clone();
        if record.version == 1 {
            self.tasks.forget_keys(record);
            match self.tasks.lost(record, error).await? {
                Created::Same(other) => {
                    if let Ok(following) = self.attach(&other).await {
                        *record = Record::clone(&*following.settled().await);
                    }
                }
                Created::Other(kind) => record.refused = Some(taken(kind)),
                Created::New | Created::Raced => {}
            }
        } else {
            match self.tasks.stored(&id).await? {
                Some(stored) if stored.holder == record.holder && !stored.state().is_terminal() => {
                    record.rebase(&stored);
                    return self.keep(record, fact).await;
                }
                Some(stored) => *record = stored,
                None => {}
            }
            tracing::warn!(task_id = id, "another replica has taken the task over");
        }
        let commit = self.trail.append(fact.clone(), Vec::new());
        commit
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
            .await
    }
}

/// A task on its way to its run.
pub(super) struct Run {
    pub(super) prepared: registry::Run,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) span: Span,
}

/// Awaits a run within its deadline; panics and dropped runs become errors.
pub(super) async fn supervise(
    run: BoxFuture<'static, Result<Option<Value>, SkillError>>,
    deadline: Instant,
    cancel: CancellationToken,
) -> Result<Option<Value>, SkillError> {
    let mut run = AssertUnwindSafe(run).catch_unwind();
    let stopped = async {
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => SkillError::DeadlineExceeded,
            () = cancel.cancelled() => SkillError::Canceled,
        }
    };
    let result = tokio::select! {
        result = &mut run => result,
        why = stopped => {
            cancel.cancel();
            match timeout_at(Instant::now() + GRACE, &mut run).await {
                Ok(Ok(Err(SkillError::Canceled))) | Err(_) => return Err(why),
                Ok(result) => result,
            }
        }
    };
    result.unwrap_or_else(|_panic| {
        Err(SkillError::failed(
            "the skill stopped unexpectedly; the log has the reason",
        ))
    })
}
