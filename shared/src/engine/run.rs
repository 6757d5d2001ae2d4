//! What happens to a task: its run within deadline and limits, and its end.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use store::Store;
use time::OffsetDateTime;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use super::{
    Engine,
    record::{conclude, entered, redact},
};
use crate::{
    Context, SkillError,
    a2a::{
        fault::{Fault, Kind},
        types::TaskState,
    },
    context::{Backplane as _, Work},
    digest,
    tasks::{Record, parse_time},
    telemetry::{Chain, traces},
    trail::Fact,
};

/// A skill that says nothing gets this long.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);
/// How long a cancelled or late run may take to stop by itself before it is dropped.
const GRACE: Duration = Duration::from_secs(2);
impl Engine {
    /// Runs a task that an approval, or a restart, set going again.
    pub fn resume(self: &Arc<Self>, record: Record) {
        let Some(skill) = record.skill.as_deref().and_then(|id| self.registry.get(id)) else {
            return;
        };
        let span = traces::resumed(skill.id, record.traceparent.as_deref());
        let prepared = match skill.prepare(record.input.clone()) {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!(task_id = record.task.id, error = %Chain(&error), "cannot resume a task");
                return;
            }
        };
        let engine = self.clone();
        tokio::spawn(async move {
            let Ok(permit) = engine.slots.clone().acquire_owned().await else {
                return;
            };
            // It may have been cancelled while it waited for its turn.
            if matches!(engine.tasks.get(&record.task.id).await, Ok(Some(now)) if now.state().is_terminal())
            {
                return;
            }
            engine.launch(Run {
                record,
                prepared,
                permit,
                commit: None,
                span,
            });
        });
    }

    pub(super) fn launch(self: &Arc<Self>, run: Run) -> watch::Receiver<Arc<Record>> {
        let (cancel, receiver) = self.tasks.track(Arc::new(run.record.clone()));
        let engine = self.clone();
        let span = tracing::info_span!(
            parent: &run.span, "execute_tool", "otel.name" = run.record.skill.as_deref(), "gen_ai.operation.name" = "execute_tool",
            "a2a.task.id" = run.record.task.id, "a2a.task.state" = field::Empty, "error.type" = field::Empty, trace_id = field::Empty,
        );
        if let Some((trace_id, _)) = traces::ids(&span) {
            span.record("trace_id", trace_id);
        }
        tokio::spawn(async move { engine.run(run, cancel).await }.instrument(span));
        receiver
    }

    async fn run(self: Arc<Self>, run: Run, cancel: CancellationToken) {
        let Run {
            record,
            prepared,
            permit,
            commit,
            ..
        } = run;
        let started = Instant::now();
        let skill = record.skill.clone().unwrap_or_default();
        let deadline = started + self.allowance(&record, &skill);
        let work = Work::new(&record, &self.access, deadline);
        let result = match self.intend(&record, &work, commit).await {
            Ok(()) => {
                let context = Context::new(
                    work,
                    record.approval.clone().map(Into::into),
                    cancel.clone(),
                    self.plane.clone(),
                );
                supervise(prepared(context), deadline, cancel).await
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
        self.settle(record, result, trace_id.as_deref()).await;
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

    /// What must be durable before an effect: the task, and the intent to change something.
    async fn intend(
        &self,
        record: &Record,
        work: &Work,
        commit: Option<store::Commit>,
    ) -> Result<(), SkillError> {
        if !record.mutates {
            return Ok(());
        }
        if let Some(commit) = commit {
            commit
                .await
                .map_err(|e| SkillError::unavailable("store", e))?;
        }
        let fact = Fact::of_run(record, work, "intent", "started", None);
        self.trail
            .append(fact, Vec::new())?
            .await
            .map_err(|e| SkillError::unavailable("store", e))
    }

    async fn settle(
        &self,
        mut record: Record,
        result: Result<Value, SkillError>,
        trace_id: Option<&str>,
    ) {
        let work = Work::new(&record, &self.access, Instant::now());
        let (outcome, output_digest) = match &result {
            Ok(output) => ("ok", Some(digest::of_json(output))),
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
        let writes = record.writes();
        let written = match self.trail.append(fact, writes.clone()) {
            Ok(commit) => commit.await,
            Err(_full) => self.tasks_store().submit(writes).await,
        };
        if let Err(error) = written {
            tracing::error!(task_id = record.task.id, error = %Chain(&error), "cannot keep the end of a task");
            record.fault = Some(Fault::new(
                Kind::Internal,
                "the outcome could not be stored",
            ));
            record = entered(
                record,
                TaskState::Failed,
                Some("the outcome could not be stored"),
            );
        }
        tracing::info!(
            task_id = record.task.id,
            skill = record.skill.as_deref(),
            outcome,
            caller = record.caller.name,
            "task settled"
        );
        self.tasks.show(Arc::new(record));
    }

    fn tasks_store(&self) -> Arc<dyn Store> {
        self.plane.store()
    }
}

/// A task on its way to its run.
pub(super) struct Run {
    pub(super) record: Record,
    pub(super) prepared:
        Box<dyn FnOnce(Context) -> BoxFuture<'static, Result<Value, SkillError>> + Send>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) commit: Option<store::Commit>,
    pub(super) span: Span,
}

/// Awaits a run within its deadline; panics and dropped runs become errors.
pub(super) async fn supervise(
    run: BoxFuture<'static, Result<Value, SkillError>>,
    deadline: Instant,
    cancel: CancellationToken,
) -> Result<Value, SkillError> {
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
