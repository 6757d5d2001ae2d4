//! What the benchmarks share: an agent that only watches, and databases.

use std::sync::{Arc, Mutex};

use db_migrator::clients::{Database, Databases};
use identity::Principal;
use serde_json::Value;
use shared::{
    Context, SkillError, ToolCall,
    context::{Backplane, Work},
};
use store::{Store, memory::MemoryStore};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// When the proof and the first statement began and ended; the agent does nothing else.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    moments: Mutex<Vec<(String, Instant)>>,
    store: Arc<MemoryStore>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            moments: Mutex::default(),
            store: Arc::new(MemoryStore::default()),
        }
    }
}

impl Stopwatch {
    /// The first moment of this name, for example `begin postgres.prove`.
    pub(crate) fn first(&self, name: &str) -> Option<Instant> {
        let moments = self.moments.lock().expect("nobody panics with it");
        moments
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, at)| *at)
    }

    fn note(&self, moment: &str, call: &ToolCall) {
        let name = format!("{moment} {}", call.action);
        let mut moments = self.moments.lock().expect("nobody panics with it");
        if !moments.iter().any(|(known, _)| *known == name) {
            moments.push((name, Instant::now()));
        }
    }
}

#[async_trait::async_trait]
impl Backplane for Stopwatch {
    async fn call(
        &self,
        _: &Work,
        agent: &'static str,
        _: &str,
        _: Value,
    ) -> Result<Value, SkillError> {
        Err(SkillError::Denied(format!("no edge to {agent}")))
    }

    async fn begin(&self, _: &Work, call: &ToolCall) -> Result<String, SkillError> {
        self.note("begin", call);
        Ok(String::new())
    }

    async fn end(
        &self,
        _: &Work,
        call: &ToolCall,
        _: String,
        _: &'static str,
    ) -> Result<(), SkillError> {
        self.note("end", call);
        Ok(())
    }

    fn progress(&self, _: &Work, _: &str, _: u64, _: u64) {}

    fn artifact(&self, _: &Work, _: a2a::types::Artifact, _: bool, _: bool) {}

    fn may_touch(&self, _: &str) -> bool {
        true
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

/// One task of an operator.
pub(crate) fn context(stopwatch: &Arc<Stopwatch>) -> Context {
    let work = Work {
        task_id: "bench".into(),
        skill: "bench".into(),
        caller: Principal::external("operator", "mesh.local"),
        on_behalf_of: None,
        deadline: Instant::now() + Duration::from_mins(10),
        tool_calls: Arc::default(),
        input_digest: String::new(),
    };
    Context::new(work, None, CancellationToken::new(), stopwatch.clone())
}

/// The `dev` database behind a URL.
pub(crate) fn database(url: &str) -> Database {
    let spec = format!("bench={url},dev").parse().expect("the URL is one");
    Databases::new([spec])
        .find("bench")
        .expect("it was configured")
        .clone()
}
