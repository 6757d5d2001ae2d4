//! The runtime's side of [`Context`]: calls to peers, audited tool calls, progress, targets.

use std::sync::Arc;

use a2a::types::Artifact;
use serde_json::{Value, json};
use store::Store;

use crate::{
    SkillError, ToolCall,
    a2a::client::Peers,
    access::Access,
    context::{Backplane, Work},
    tasks::{Record, Tasks},
    telemetry::metrics::Metrics,
    trail::{Fact, Trail},
};

/// What the runtime offers to running skills.
#[derive(Debug)]
pub(crate) struct Plane {
    /// Who may be called and touched.
    pub access: Access,
    /// The other agents.
    pub peers: Peers,
    /// The audit trail.
    pub trail: Trail,
    /// The agent's metrics.
    pub metrics: Metrics,
    /// For progress.
    pub tasks: Tasks,
    /// The agent's own state.
    pub store: Arc<dyn Store>,
}

#[async_trait::async_trait]
impl Backplane for Plane {
    async fn call(
        &self,
        work: &Work,
        agent: &'static str,
        skill: &str,
        input: Value,
    ) -> Result<Value, SkillError> {
        if !self.access.may_call(agent, skill) {
            let call = ToolCall::read("a2a.call", [format!("{agent}/{skill}")]);
            let recorded = self.trail.append(
                Fact::of_tool(work, &call, "outcome", "denied", None),
                Vec::new(),
            )?;
            recorded
                .await
                .map_err(|e| SkillError::unavailable("store", e))?;
            return Err(SkillError::Denied(format!(
                "the manifest declares no edge to {skill} of {agent}"
            )));
        }
        self.ask(work, agent, skill, input).await
    }

    async fn withdraw(
        &self,
        work: &Work,
        agent: &'static str,
        task_id: &str,
    ) -> Result<(), SkillError> {
        // Every caller may cancel its own tasks, so no edge has to be declared for it.
        let task = json!({"id": task_id});
        self.ask(work, agent, "CancelTask", task).await.map(drop)
    }

    async fn begin(&self, work: &Work, call: &ToolCall) -> Result<String, SkillError> {
        self.count(work)?;
        let call_id = uuid::Uuid::now_v7().to_string();
        if call.mutates {
            let fact = Fact::of_tool(work, call, "intent", "started", Some(&call_id));
            self.trail
                .append(fact, Vec::new())?
                .await
                .map_err(|e| SkillError::unavailable("store", e))?;
        }
        Ok(call_id)
    }

    async fn end(
        &self,
        work: &Work,
        call: &ToolCall,
        call_id: String,
        outcome: &'static str,
    ) -> Result<(), SkillError> {
        let system = call.action.split('.').next().unwrap_or(call.action);
        self.metrics.observe_dependency(system, outcome);
        let commit = self.trail.append(
            Fact::of_tool(work, call, "outcome", outcome, Some(&call_id)),
            Vec::new(),
        );
        if !call.mutates {
            return Ok(());
        }
        commit?
            .await
            .map_err(|e| SkillError::unavailable("store", e))
    }

    fn progress(&self, work: &Work, message: &str, done: u64, total: u64) {
        tracing::debug!(task_id = work.task_id, message, done, total, "progress");
        let text = match total {
            0 => message.to_owned(),
            _ => format!("{message} ({done} of {total})"),
        };
        self.tasks.amend(&work.task_id, |record| {
            let progress = json!({"message": message, "done": done, "total": total});
            record.advance(&text, progress);
        });
    }

    fn artifact(&self, work: &Work, artifact: Artifact, append: bool, last: bool) {
        let add = |record: &mut Record| record.add(artifact, append, last);
        self.tasks.amend(&work.task_id, add);
    }

    fn may_touch(&self, namespace: &str) -> bool {
        self.access.may_touch(namespace)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

impl Plane {
    /// Calls another agent, on record.
    async fn ask(
        &self,
        work: &Work,
        agent: &'static str,
        method: &str,
        input: Value,
    ) -> Result<Value, SkillError> {
        let call = ToolCall {
            action: "a2a.call",
            resources: vec![format!("{agent}/{method}")],
            mutates: false,
        };
        self.count(work)?;
        let result = self.peers.call(work, agent, method, input).await;
        let outcome = result.as_ref().map_or_else(SkillError::kind, |_| "ok");
        let _durable_before_the_outcome_of_the_run = self.trail.append(
            Fact::of_tool(work, &call, "outcome", outcome, None),
            Vec::new(),
        )?;
        result
    }

    /// Counts a tool call of a task against the manifest's `max_tool_calls`.
    fn count(&self, work: &Work) -> Result<(), SkillError> {
        let so_far = work
            .tool_calls
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match self.access.manifest().guardrails.max_tool_calls {
            Some(limit) if so_far >= u64::from(limit) && !work.is_loop() => {
                Err(SkillError::Denied(format!(
                    "the manifest allows {limit} tool calls a task (safety.guardrails.max_tool_calls)"
                )))
            }
            _ => Ok(()),
        }
    }
}
