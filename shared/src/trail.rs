//! The agent's own audit trail: every decision and tool call becomes a signed record in the outbox.

use std::sync::Arc;

use audit::{Event, Phase, Recorder};
use identity::{Principal, SigningKey, SpiffeId};
use prometheus_client::metrics::gauge::Gauge;
use serde_json::Value;
use store::{Commit, Store, StoreError, Write};
use tokio::sync::Notify;
use tracing::Span;

use crate::{SkillError, ToolCall, context::Work, tasks::Record, telemetry::traces};

/// One record to be.
#[derive(Debug, Clone)]
pub(crate) struct Fact(Event);

fn event(phase: Phase, action: &str, decision: &str) -> Event {
    let ids = traces::ids(&Span::current());
    let (trace_id, span_id) = ids.map_or((None, None), |(trace, span)| (Some(trace), Some(span)));
    Event {
        phase,
        action: action.to_owned(),
        decision: decision.to_owned(),
        trace_id,
        span_id,
        ..Event::default()
    }
}

fn phase_of(phase: &str) -> Phase {
    if phase == "intent" {
        Phase::Intent
    } else {
        Phase::Outcome
    }
}

impl Fact {
    /// The run of a skill.
    pub(crate) fn of_run(
        record: &Record,
        work: &Work,
        phase: &str,
        decision: &str,
        output: Option<String>,
    ) -> Self {
        Self(Event {
            call_id: record.task.id.clone(),
            task_id: Some(record.task.id.clone()),
            caller: work.caller.id.to_string(),
            on_behalf_of: record.on_behalf_of.clone(),
            input_sha256: Some(record.input_digest.clone()),
            output_sha256: output,
            ..event(
                phase_of(phase),
                record.skill.as_deref().unwrap_or_default(),
                decision,
            )
        })
    }

    /// A tool call within a run.
    pub(crate) fn of_tool(
        work: &Work,
        call: &ToolCall,
        phase: &str,
        decision: &str,
        call_id: Option<&str>,
    ) -> Self {
        Self(Event {
            call_id: call_id.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned),
            task_id: Some(work.task_id.clone()),
            caller: work.caller.id.to_string(),
            on_behalf_of: work.on_behalf_of.clone(),
            resources: call.resources.clone(),
            ..event(phase_of(phase), call.action, decision)
        })
    }
}

/// Where records go.
#[derive(Debug, Clone)]
enum Keeper {
    Chain(Recorder),
    /// Nowhere, for agents outside of any mesh; only the writes that come with a record are kept.
    Nowhere(Arc<dyn Store>),
}

/// The chain of this agent's records.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    keeper: Keeper,
    depth: Gauge,
    appended: Arc<Notify>,
}

impl Trail {
    /// Continues the chain that the store holds.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        key: SigningKey,
        own: &SpiffeId,
        max_outbox: u64,
        depth: Gauge,
    ) -> anyhow::Result<Self> {
        let recorder = Recorder::open(store, key, own, max_outbox).await?;
        depth.set(i64::try_from(recorder.depth()).unwrap_or(i64::MAX));
        Ok(Self {
            keeper: Keeper::Chain(recorder),
            depth,
            appended: Arc::new(Notify::new()),
        })
    }

    /// A trail that keeps no records.
    pub(crate) fn nowhere(store: Arc<dyn Store>) -> Self {
        Self {
            keeper: Keeper::Nowhere(store),
            depth: Gauge::default(),
            appended: Arc::new(Notify::new()),
        }
    }

    /// Appends a record, together with other writes in one batch.
    ///
    /// # Errors
    /// `Unavailable` when the outbox is full and the record belongs to mutating work.
    pub(crate) fn append(&self, fact: Fact, writes: Vec<Write>) -> Result<Commit, SkillError> {
        let recorder = match &self.keeper {
            Keeper::Chain(recorder) => recorder,
            Keeper::Nowhere(store) => return Ok(store.submit(writes)),
        };
        let commit = recorder
            .record_with(fact.0, writes)
            .map_err(|e| SkillError::unavailable("audit", e))?;
        self.depth
            .set(i64::try_from(recorder.depth()).unwrap_or(i64::MAX));
        self.appended.notify_one();
        Ok(commit)
    }

    /// Records a refusal; a flood of them does not fill the disk.
    fn note(&self, event: Event) {
        if matches!(&self.keeper, Keeper::Chain(recorder) if recorder.full()) {
            tracing::warn!(
                action = event.action,
                caller = event.caller,
                "refused; the audit outbox is full"
            );
            return;
        }
        if let Err(error) = self.append(
            Fact(Event {
                call_id: uuid::Uuid::now_v7().to_string(),
                ..event
            }),
            Vec::new(),
        ) {
            tracing::warn!(%error, "a refusal could not be recorded");
        }
    }

    /// A declared caller asked for what it may not have.
    pub(crate) fn refused(&self, principal: &Principal, action: &str) {
        self.note(Event {
            caller: principal.id.to_string(),
            ..event(Phase::Outcome, action, "denied")
        });
    }

    /// An identity that the mesh does not declare.
    pub(crate) fn stranger(&self, id: &SpiffeId) {
        self.note(Event {
            caller: id.to_string(),
            ..event(Phase::Outcome, "connect", "denied")
        });
    }

    /// A person decided on a plan.
    pub(crate) fn decided(
        &self,
        principal: &Principal,
        record: &Record,
        approver: &str,
        yes: bool,
    ) {
        let decision = if yes { "approved" } else { "rejected" };
        self.note(Event {
            caller: principal.id.to_string(),
            on_behalf_of: Some(approver.to_owned()),
            task_id: Some(record.task.id.clone()),
            resources: record
                .plan_digest
                .iter()
                .map(|digest| format!("plan/{digest}"))
                .collect(),
            ..event(Phase::Outcome, "decide_approval", decision)
        });
    }

    /// Records that are not delivered yet, those on their way to the disk included.
    pub(crate) fn depth(&self) -> u64 {
        match &self.keeper {
            Keeper::Chain(recorder) => recorder.depth(),
            Keeper::Nowhere(_) => 0,
        }
    }

    /// Resolves when something was appended since the last call.
    pub(crate) async fn appended(&self) {
        self.appended.notified().await;
    }

    /// The oldest undelivered records, with their counters.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn pending(&self, limit: usize) -> Result<Vec<(u64, Value)>, StoreError> {
        match &self.keeper {
            Keeper::Chain(recorder) => recorder.pending(limit).await,
            Keeper::Nowhere(_) => Ok(Vec::new()),
        }
    }

    /// Forgets records up to this counter.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn delivered(&self, counter: u64) -> Result<(), StoreError> {
        if let Keeper::Chain(recorder) = &self.keeper {
            recorder.delivered(counter).await?;
        }
        self.depth
            .set(i64::try_from(self.depth()).unwrap_or(i64::MAX));
        Ok(())
    }
}
