//! What a running skill may ask of its agent.

use std::{
    fmt::Debug,
    future::Future,
    sync::{Arc, atomic::AtomicU64},
};

use a2a::types::Artifact;
use identity::Principal;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use store::Store;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    InputFile, SkillError,
    access::Access,
    tasks::{Caller, Record},
};

/// A tool call: one effect on, or one read of, the world outside the agent. Each becomes an audit record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// `system.verb`, for example `kubernetes.patch` or `postgres.execute`.
    pub action: &'static str,
    /// What it touches, for example `deployments/shop/web`.
    pub resources: Vec<String>,
    /// Whether it changes anything: then an intent record is durable before the effect.
    pub mutates: bool,
}

impl ToolCall {
    /// A call that only reads.
    pub fn read(
        action: &'static str,
        resources: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            action,
            resources: resources.into_iter().map(Into::into).collect(),
            mutates: false,
        }
    }

    /// A call that changes something.
    pub fn write(
        action: &'static str,
        resources: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            mutates: true,
            ..Self::read(action, resources)
        }
    }
}

/// Identifies the work that a call or record belongs to.
#[derive(Debug, Clone)]
pub struct Work {
    /// A2A task, or `loop:<name>` for background work.
    pub task_id: String,
    /// The skill that runs, or the loop's name.
    pub skill: String,
    /// Who asked.
    pub caller: Principal,
    /// The external caller at the head of the chain, as claimed by the first agent.
    pub on_behalf_of: Option<String>,
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Tool calls so far, counted against the manifest's limit.
    pub tool_calls: Arc<AtomicU64>,
    /// SHA-256 of the input, for the audit trail.
    pub input_digest: String,
}

impl Work {
    /// The work of a stored task.
    pub(crate) fn new(record: &Record, access: &Access, deadline: Instant) -> Self {
        let Caller { agent, name } = &record.caller;
        let caller = access.restored(*agent, name, &record.owner);
        Self {
            task_id: record.task.id.clone(),
            skill: record.skill.clone().unwrap_or_default(),
            caller: caller.unwrap_or_else(|| Principal::external(name, "unknown")),
            on_behalf_of: record.on_behalf_of.clone(),
            deadline,
            tool_calls: Arc::default(),
            input_digest: record.input_digest.clone(),
        }
    }

    /// Whether this is a background loop rather than a task.
    pub fn is_loop(&self) -> bool {
        self.task_id.starts_with("loop:")
    }
}

/// What the runtime offers; faked in tests by [`crate::testing::FakeAgent`].
#[async_trait::async_trait]
pub trait Backplane: Debug + Send + Sync + 'static {
    /// Calls a skill of another agent along a declared edge.
    async fn call(
        &self,
        work: &Work,
        agent: &'static str,
        skill: &str,
        input: Value,
    ) -> Result<Value, SkillError>;
    /// Cancels a task that an own call began at another agent.
    async fn withdraw(
        &self,
        work: &Work,
        agent: &'static str,
        task_id: &str,
    ) -> Result<(), SkillError> {
        let task = serde_json::json!({"id": task_id});
        self.call(work, agent, "CancelTask", task).await.map(drop)
    }
    /// Makes a tool call's intent record durable (no-op for reads). Returns its `call_id`.
    async fn begin(&self, work: &Work, call: &ToolCall) -> Result<String, SkillError>;
    /// Makes a tool call's outcome record durable.
    async fn end(
        &self,
        work: &Work,
        call: &ToolCall,
        call_id: String,
        outcome: &'static str,
    ) -> Result<(), SkillError>;
    /// Shows progress to those who follow the task.
    fn progress(&self, work: &Work, message: &str, done: u64, total: u64);
    /// Adds an artifact to the task, replaces it, or lets it grow.
    fn artifact(&self, work: &Work, artifact: Artifact, append: bool, last: bool);
    /// Whether this agent may touch objects of a Kubernetes namespace (mesh.yaml `targets`).
    fn may_touch(&self, namespace: &str) -> bool;
    /// The agent's own durable state.
    fn store(&self) -> Arc<dyn Store>;
}

/// An approval that a person signed for one plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Digest of the approved plan.
    pub plan_digest: String,
    /// Who approved.
    pub approver: String,
}

/// One run of a skill, or of a background loop.
#[derive(Debug, Clone)]
pub struct Context {
    work: Work,
    approval: Option<Approval>,
    cancel: CancellationToken,
    backplane: Arc<dyn Backplane>,
    files: Arc<[InputFile]>,
}

impl Context {
    /// Puts a context together; the runtime and tests do this.
    pub fn new(
        work: Work,
        approval: Option<Approval>,
        cancel: CancellationToken,
        backplane: Arc<dyn Backplane>,
    ) -> Self {
        Self {
            work,
            approval,
            cancel,
            backplane,
            files: Arc::default(),
        }
    }

    /// Adds the files of the caller's message; the runtime and tests do this.
    #[must_use]
    pub fn with_files(self, files: impl Into<Arc<[InputFile]>>) -> Self {
        Self {
            files: files.into(),
            ..self
        }
    }

    /// The files that came in the message beside the input, of the media types in [`crate::Skill::INPUT_FILES`].
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// Who called.
    pub fn caller(&self) -> &Principal {
        &self.work.caller
    }

    /// The A2A task of this run: stable over a restart, so it serves as idempotency key downstream.
    pub fn task_id(&self) -> &str {
        &self.work.task_id
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Instant {
        self.work.deadline
    }

    /// Fails with [`SkillError::Canceled`] once the task was cancelled: call it between steps.
    ///
    /// # Errors
    /// `Canceled`.
    pub fn check_canceled(&self) -> Result<(), SkillError> {
        if self.cancel.is_cancelled() {
            Err(SkillError::Canceled)
        } else {
            Ok(())
        }
    }

    /// Resolves when the task is cancelled.
    pub async fn canceled(&self) {
        self.cancel.cancelled().await;
    }

    /// Calls a skill of another agent along a declared edge, with this run's deadline and trace.
    ///
    /// # Errors
    /// What the callee answered, or `Unavailable` when it did not answer.
    pub async fn call<O: DeserializeOwned>(
        &self,
        agent: &'static str,
        skill: &str,
        input: &impl Serialize,
    ) -> Result<O, SkillError> {
        let input = serde_json::to_value(input).map_err(|e| {
            SkillError::failed_with(format!("cannot encode the input of {skill}"), e)
        })?;
        let output = self.backplane.call(&self.work, agent, skill, input).await?;
        serde_json::from_value(output).map_err(|e| {
            SkillError::failed_with(format!("cannot read the answer of {agent} to {skill}"), e)
        })
    }

    /// Cancels a task that a call of this run began at another agent, so that nothing comes of it later.
    ///
    /// # Errors
    /// `Failed` when the task has ended or cannot be cancelled, `Unavailable` when the agent does not answer.
    pub async fn withdraw(&self, agent: &'static str, task_id: &str) -> Result<(), SkillError> {
        self.backplane.withdraw(&self.work, agent, task_id).await
    }

    /// Runs `effect` as an audited tool call. A write's intent is durable before it starts, and
    /// nothing is written when the audit outbox is full.
    ///
    /// # Errors
    /// The effect's error, or `Unavailable` when the record cannot be kept.
    pub async fn tool<T: Send>(
        &self,
        call: ToolCall,
        effect: impl Future<Output = Result<T, SkillError>> + Send,
    ) -> Result<T, SkillError> {
        let span = tracing::info_span!(
            "tool_call",
            "otel.name" = call.action,
            "gen_ai.operation.name" = "execute_tool",
            "gen_ai.tool.name" = call.action,
            "error.type" = tracing::field::Empty,
        );
        let id = self.backplane.begin(&self.work, &call).await?;
        let result = effect.instrument(span.clone()).await;
        let outcome = result.as_ref().map_or_else(SkillError::kind, |_| "ok");
        if result.is_err() {
            span.record("error.type", outcome);
        }
        self.backplane.end(&self.work, &call, id, outcome).await?;
        result
    }

    /// Shows progress: `done` of `total` steps (0 of 0 when unknown).
    pub fn progress(&self, message: &str, done: u64, total: u64) {
        self.backplane.progress(&self.work, message, done, total);
    }

    /// Adds an artifact while the task runs, replaces the one with its id, or lets that one grow (`append`).
    /// `last` says that the artifact is complete.
    ///
    /// # Errors
    /// `Failed` when the artifact has no id or no part.
    pub fn artifact(&self, artifact: Artifact, append: bool, last: bool) -> Result<(), SkillError> {
        if artifact.artifact_id.is_empty() || artifact.parts.is_empty() {
            return Err(SkillError::failed("an artifact needs an id and a part"));
        }
        self.backplane.artifact(&self.work, artifact, append, last);
        Ok(())
    }

    /// Passes when a person approved this very plan.
    ///
    /// # Errors
    /// `ApprovalRequired`: the task then waits in `auth-required`, and the skill runs again after the approval.
    pub fn require_approval(
        &self,
        plan_digest: &str,
        summary: impl Into<String>,
    ) -> Result<(), SkillError> {
        match &self.approval {
            Some(approval) if approval.plan_digest == plan_digest => Ok(()),
            _ => Err(SkillError::ApprovalRequired {
                plan_digest: plan_digest.to_owned(),
                summary: summary.into(),
            }),
        }
    }

    /// Refuses a namespace that mesh.yaml does not give this agent.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_target(&self, namespace: &str) -> Result<(), SkillError> {
        if self.backplane.may_touch(namespace) {
            Ok(())
        } else {
            Err(SkillError::Denied(format!(
                "namespace {namespace} is not among this agent's targets in mesh.yaml"
            )))
        }
    }

    /// The agent's own durable state.
    pub fn store(&self) -> Arc<dyn Store> {
        self.backplane.store()
    }
}
