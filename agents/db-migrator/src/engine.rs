//! Proves, applies and reverts migrations through a [`Session`], with a ledger in the target.

mod adopt;
mod apply;
mod assess;
mod at_once;
mod backfill;
mod contract;
mod execute;
mod facts;
mod fleet;
mod hooks;
mod invert;
mod ledger;
mod leftovers;
mod lint;
mod measure;
mod misfits;
mod observe;
mod online;
mod outside;
mod own;
mod parts;
mod prove;
mod recover;
mod retain;
mod rollback;
mod script;
mod shadow;
mod status;
mod tenant;
mod undo;
mod verify;

pub use adopt::{
    AdoptOutcome, AdoptRequest, Adoption, AdoptionEntry, Wanted, adopt, plan_adoption,
};
pub use apply::{Applied, ApplyRequest, apply};
pub use assess::{Goal, assess_rollback};
pub use contract::{CompleteRequest, Completed, complete, plan_contracts};
pub use fleet::{FleetPlan, FleetRequest, Member, Work, plan_fleet, run_fleet};
pub use lint::{lint_facts, lint_in_force, lint_proofs};
pub use parts::Progress;
pub use prove::plan;
pub use rollback::{RollbackRequest, RolledBack, rollback};
pub use status::{ExpansionStatus, Status, status};
pub use tenant::tenants;
pub use undo::FailedScript;
pub use verify::{Verified, verify};

use std::future::Future;

use futures::{channel::oneshot, future::join_all};
use shared::{Context, SkillError, ToolCall};
use tokio::time::Instant;

use crate::{
    Metrics,
    clients::{BatchOutcome, Database, Session, TargetError},
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

    /// Runs one transaction as an audited tool call for each statement and one for the commit: every intent is durable
    /// before anything is sent, and every call has its own outcome.
    async fn audited_batch(
        &self,
        calls: Vec<ToolCall>,
        effect: impl Future<Output = BatchOutcome> + Send,
    ) -> Result<(), EngineError> {
        let (mut tools, mut gates) = (Vec::new(), Vec::new());
        for call in calls {
            let (begun, intent) = oneshot::channel::<()>();
            let (tell, told) = oneshot::channel::<Result<(), SkillError>>();
            gates.push((intent, tell));
            tools.push(self.context.tool(call, async move {
                begun.send(()).ok();
                told.await.unwrap_or(Err(SkillError::Canceled))
            }));
        }
        let run = async {
            let (mut refused, mut tellers) = (None, Vec::new());
            for (at, (intent, tell)) in gates.into_iter().enumerate() {
                if intent.await.is_err() {
                    refused.get_or_insert(at);
                }
                tellers.push(tell);
            }
            // Dropped tellers say that nothing was run.
            if refused.is_some() || self.context.check_canceled().is_err() {
                return (refused, None);
            }
            let BatchOutcome { statements, commit } = effect.await;
            let mut failure = None;
            for (result, tell) in statements.into_iter().chain([commit]).zip(tellers) {
                let outcome = result.map_err(|error| {
                    let outcome = SkillError::failed(error.to_string());
                    if !matches!(error, TargetError::Skipped) {
                        failure.get_or_insert(error);
                    }
                    outcome
                });
                tell.send(outcome).ok();
            }
            (None, failure)
        };
        let (mut results, (refused, failure)) = futures::join!(join_all(tools), run);
        if let Some(error) = failure {
            return Err(error.into());
        }
        if let Some(at) = refused.filter(|at| *at < results.len()) {
            results.swap_remove(at)?;
        }
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(())
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
