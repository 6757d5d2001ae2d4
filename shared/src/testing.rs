//! Fakes for testing skills without a network: a recording agent with scripted peers.

mod envelope;
mod open;
pub mod readme;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use a2a::types::Artifact;
use identity::Principal;
use serde_json::Value;
use store::Store;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[doc(hidden)]
pub use envelope::parse_envelope;
pub use open::OpenAgent;

use crate::{
    Context, SkillError, ToolCall,
    context::{Approval, Backplane, Work},
};

type Answer = Box<dyn Fn(&Value) -> Result<Value, SkillError> + Send + Sync>;

/// An agent whose peers are closures and whose audit trail is a list.
#[derive(Default)]
pub struct FakeAgent {
    peers: HashMap<(String, String), Answer>,
    store: Option<Arc<dyn Store>>,
    /// Namespaces it may touch; all when empty.
    namespaces: Vec<String>,
    trail: Mutex<Vec<String>>,
}

impl std::fmt::Debug for FakeAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeAgent")
            .field("trail", &self.trail)
            .finish_non_exhaustive()
    }
}

impl FakeAgent {
    /// Answers calls of `agent`'s `skill` with `answer`.
    #[must_use]
    pub fn peer(
        mut self,
        agent: &str,
        skill: &str,
        answer: impl Fn(&Value) -> Result<Value, SkillError> + Send + Sync + 'static,
    ) -> Self {
        self.peers
            .insert((agent.into(), skill.into()), Box::new(answer));
        self
    }

    /// Gives the agent a store (the memory store of the `store` crate).
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Limits the agent to one more namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespaces.push(namespace.into());
        self
    }

    /// A context of a run by the operator, task `task-1`, 30 s deadline.
    pub fn context(self) -> (Context, Arc<Self>) {
        self.context_with(None)
    }

    /// The same with an approval of the plan with this digest.
    pub fn approved(self, plan_digest: &str) -> (Context, Arc<Self>) {
        self.context_with(Some(Approval {
            plan_digest: plan_digest.into(),
            approver: "alice".into(),
        }))
    }

    fn context_with(self, approval: Option<Approval>) -> (Context, Arc<Self>) {
        let agent = Arc::new(self);
        let work = Work {
            task_id: "task-1".into(),
            skill: "test".into(),
            caller: Principal::external("operator", "mesh.local"),
            on_behalf_of: None,
            deadline: Instant::now() + Duration::from_secs(30),
            tool_calls: Arc::default(),
            input_digest: String::new(),
        };
        (
            Context::new(work, approval, CancellationToken::new(), agent.clone()),
            agent,
        )
    }

    /// What was called and recorded so far: `call agent/skill`, `intent action resource`, `outcome action resource word`.
    pub fn trail(&self) -> Vec<String> {
        self.trail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, line: String) {
        self.trail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

#[async_trait::async_trait]
impl Backplane for FakeAgent {
    async fn call(
        &self,
        _: &Work,
        agent: &'static str,
        skill: &str,
        input: Value,
    ) -> Result<Value, SkillError> {
        self.note(format!("call {agent}/{skill}"));
        match self.peers.get(&(agent.to_owned(), skill.to_owned())) {
            Some(answer) => answer(&input),
            None => Err(SkillError::Denied(format!("no edge to {agent}/{skill}"))),
        }
    }

    async fn begin(&self, _: &Work, call: &ToolCall) -> Result<String, SkillError> {
        if call.mutates {
            self.note(format!(
                "intent {} {}",
                call.action,
                call.resources.join(",")
            ));
        }
        Ok(String::from("call-1"))
    }

    async fn end(
        &self,
        _: &Work,
        call: &ToolCall,
        _: String,
        outcome: &'static str,
    ) -> Result<(), SkillError> {
        self.note(format!(
            "outcome {} {} {outcome}",
            call.action,
            call.resources.join(",")
        ));
        Ok(())
    }

    fn progress(&self, _: &Work, _: &str, _: u64, _: u64) {}

    fn artifact(&self, _: &Work, artifact: Artifact, _: bool, _: bool) {
        self.note(format!("artifact {}", artifact.artifact_id));
    }

    fn may_touch(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|n| n == namespace)
    }

    #[expect(clippy::expect_used, reason = "a test that needs a store says so")]
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("give the FakeAgent a store")
    }
}
