//! What the benchmarks share: an agent that only watches, and databases.
#![allow(dead_code, reason = "each benchmark uses some of it")]

use std::sync::{Arc, Mutex};

use db_migrator::clients::{Database, Databases};
use identity::Principal;
use serde_json::Value;
use shared::{
    Context, SkillError, ToolCall,
    context::{Backplane, Work},
};
use store::{Store, memory::MemoryStore};
use tokio::{
    sync::Notify,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// A moment, by the clock and by what the machine has computed so far, which its host's other guests do not disturb.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) clock: Instant,
    processor: Duration,
}

/// What passed between two moments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) clock: Duration,
    pub(crate) processor: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks = stat.lines().next().unwrap_or_default().split_whitespace();
        let ticks = ticks.skip(1).filter_map(|ticks| ticks.parse::<u64>().ok());
        // Without the fourth and fifth, idle and waiting for the disk.
        let busy = ticks
            .take(7)
            .enumerate()
            .filter(|(at, _)| !matches!(at, 3 | 4));
        Self {
            clock: Instant::now(),
            processor: Duration::from_millis(busy.map(|(_, ticks)| ticks * 10).sum()),
        }
    }

    pub(crate) fn since(self, earlier: Self) -> Spent {
        Spent {
            clock: self.clock - earlier.clock,
            processor: self.processor.saturating_sub(earlier.processor),
        }
    }
}

impl std::ops::Sub for Spent {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            clock: self.clock.saturating_sub(other.clock),
            processor: self.processor.saturating_sub(other.processor),
        }
    }
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            clock: self.clock + other.clock,
            processor: self.processor + other.processor,
        }
    }
}

/// When each kind of tool call began and ended first; the agent does nothing else.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    moments: Mutex<Vec<(String, Moment)>>,
    /// The kind of tool call that never begins, and who waits for it.
    barred: Option<&'static str>,
    reached: Notify,
    store: Arc<MemoryStore>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            moments: Mutex::default(),
            barred: None,
            reached: Notify::new(),
            store: Arc::new(MemoryStore::default()),
        }
    }
}

impl Stopwatch {
    /// Lets no tool call of this kind begin.
    pub(crate) fn barring(action: &'static str) -> Self {
        Self {
            barred: Some(action),
            ..Self::default()
        }
    }

    /// Waits for the first call that is barred.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// The first moment of this name, for example `begin postgres.prove`.
    pub(crate) fn first(&self, name: &str) -> Option<Moment> {
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
            moments.push((name, Moment::now()));
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
        if self.barred == Some(call.action) {
            self.reached.notify_one();
            return std::future::pending().await;
        }
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

/// A task of an operator.
pub(crate) fn context(task: &str, stopwatch: &Arc<Stopwatch>) -> Context {
    let work = Work {
        task_id: task.into(),
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
