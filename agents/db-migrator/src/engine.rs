//! Proves, applies and reverts migrations through a [`Session`], with a ledger in the target.

mod apply;
mod assess;
mod execute;
mod invert;
mod ledger;
mod measure;
mod prove;
mod recover;
mod rollback;
mod shadow;
mod status;

pub use apply::{Applied, ApplyRequest, apply};
pub use assess::{Goal, assess_rollback};
pub use prove::plan;
pub use rollback::{RollbackRequest, RolledBack, rollback};
pub use status::{Status, status};

use std::{future::Future, time::Duration};

use shared::{Context, SkillError, ToolCall};
use tokio::time::Instant;

use crate::{
    Metrics,
    clients::{Database, Session, TargetError},
};

/// One run on one database: the task is the run's id, so a task that runs again after a crash finds its own work.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Caller, cancellation, audit, progress.
    pub context: &'a Context,
    /// The target.
    pub database: &'a Database,
    /// Counters.
    pub metrics: &'a Metrics,
}

impl Job<'_> {
    fn run(&self) -> &str {
        self.context.task_id()
    }

    fn until(&self) -> Instant {
        self.context.deadline()
    }

    fn resource(&self) -> String {
        format!("databases/{}", self.database.name)
    }

    /// A failure of the target as the skill's error.
    fn skill(&self, error: TargetError) -> SkillError {
        error.into_skill(self.database.target.dialect())
    }

    async fn connect(&self) -> Result<Box<dyn Session>, SkillError> {
        self.database
            .target
            .connect(self.run())
            .await
            .map_err(|error| self.skill(error))
    }

    /// Ends a session, so that its lock is free before the answer is given.
    async fn close(&self, session: Box<dyn Session>) {
        if let Err(error) = session.close().await {
            tracing::debug!(database = self.database.name, %error, "a session did not end cleanly");
        }
    }

    /// Runs an effect on the target as an audited tool call and keeps the target's own error.
    async fn audited<T: Send>(
        &self,
        call: ToolCall,
        effect: impl Future<Output = Result<T, TargetError>> + Send,
    ) -> Result<T, EngineError> {
        let mut failure = None;
        let noted = async {
            effect.await.map_err(|error| {
                let outcome = SkillError::failed(error.to_string());
                failure = Some(error);
                outcome
            })
        };
        let result = self.context.tool(call, noted).await;
        match failure {
            Some(error) => Err(EngineError::Target(error)),
            None => result.map_err(EngineError::Skill),
        }
    }

    /// Runs reads of catalog and ledger as one audited tool call.
    async fn reading<T: Send>(
        &self,
        effect: impl Future<Output = Result<T, TargetError>> + Send,
    ) -> Result<T, SkillError> {
        let call = ToolCall::read(
            self.database.target.dialect().read_action(),
            [self.resource()],
        );
        self.audited(call, effect)
            .await
            .map_err(|error| error.into_skill(self))
    }
}

/// A failure of the target or of the agent around it.
#[derive(Debug)]
enum EngineError {
    Target(TargetError),
    Skill(SkillError),
}

impl EngineError {
    fn into_skill(self, job: &Job<'_>) -> SkillError {
        match self {
            Self::Target(error) => job.skill(error),
            Self::Skill(error) => error,
        }
    }
}

impl From<TargetError> for EngineError {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<SkillError> for EngineError {
    fn from(error: SkillError) -> Self {
        Self::Skill(error)
    }
}

/// Pauses between attempts to get a table lock: 100 ms doubled up to 2 s, ten attempts in all.
const LOCK_ATTEMPTS: u32 = 10;
/// How long one attempt waits in the lock queue, where it blocks every later reader.
const LOCK_TIMEOUT_MS: u64 = 100;

fn lock_pause(attempt: u32) -> Duration {
    Duration::from_millis(100 << attempt.min(4)).min(Duration::from_secs(2))
}
