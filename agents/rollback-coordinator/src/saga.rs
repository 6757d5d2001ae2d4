//! Carries out a plan step by step. Every step is read-compare-write, so doing it again after a crash is harmless.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use shared::{Context, SkillError, ToolCall};
use tokio::time::{Instant, sleep};

use crate::{
    clients::RolloutControl,
    domain::{Deployment, Journal, Outcome, Step, StepState},
    history::{History, lock_key},
};

/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;
/// Pause between questions to monitoring-agent.
const VERIFY_PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for monitoring-agent to find the workload healthy.
const VERIFY_LIMIT: Duration = Duration::from_secs(60);

/// Runs rollbacks.
#[derive(Debug, Clone)]
pub struct Saga {
    /// The cluster.
    pub control: Arc<dyn RolloutControl>,
    /// The agent's memory.
    pub history: History,
}

#[derive(Debug, Deserialize)]
struct Health {
    verdict: String,
}

impl Saga {
    /// Runs a journal to its end.
    ///
    /// # Errors
    /// What failed; the journal says how far it came and whether it was compensated.
    pub async fn run(&self, context: &Context, mut journal: Journal) -> Result<Journal, SkillError> {
        while let Some(step) = journal.next() {
            let (done, total) = journal.progress();
            context.progress(step.say(), done, total);
            if !journal.past_pivot() && context.check_canceled().is_err() {
                return self.give_up(context, journal, step, SkillError::Canceled).await;
            }
            journal.set(step, StepState::Started);
            self.history.keep(&journal, false, None).await?;
            let began = Instant::now();
            if let Err(error) = self.perform(context, &journal, step).await {
                return self.give_up(context, journal, step, error).await;
            }
            journal.set(step, StepState::Done { took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) });
        }
        journal.outcome = Outcome::RolledBack;
        let deployment = self.read(&journal).await?;
        let quarantine = History::quarantine_key(&deployment, journal.plan.from_revision);
        self.history.keep(&journal, true, quarantine).await?;
        Ok(journal)
    }

    async fn perform(&self, context: &Context, journal: &Journal, step: Step) -> Result<(), SkillError> {
        let plan = &journal.plan;
        match step {
            Step::Lock => self.history.lock(&lock_key(journal), &journal.rollback_id).await,
            Step::PauseRollout => self.pause(context, journal, true).await,
            Step::StopWriters => self.stop_writers(context, journal).await,
            Step::RollBackDatabase => roll_back_database(context, journal).await,
            Step::RestoreTemplate => self.restore(context, journal).await,
            Step::AwaitReady => self.control.await_ready(&plan.namespace, &plan.deployment).await,
            Step::Verify => verify(context, journal).await,
            // The lock goes in the same write as the journal's end.
            Step::Release => Ok(()),
        }
    }

    async fn read(&self, journal: &Journal) -> Result<Deployment, SkillError> {
        let plan = &journal.plan;
        let found = self.control.deployment(&plan.namespace, &plan.deployment).await?;
        found.ok_or_else(|| SkillError::failed(format!("deployment {} is gone", lock_key(journal))))
    }

    async fn pause(&self, context: &Context, journal: &Journal, paused: bool) -> Result<(), SkillError> {
        self.write(context, journal, &Change::Pause(paused)).await
    }

    async fn stop_writers(&self, context: &Context, journal: &Journal) -> Result<(), SkillError> {
        let deployment = self.read(journal).await?;
        let Some(bad) = deployment.revision(journal.plan.from_revision) else { return Ok(()) };
        if bad.replicas > 0 {
            let call = ToolCall::write("kubernetes.patch", [format!("replicasets/{}/{}", deployment.namespace, bad.replica_set)]);
            context.tool(call, self.control.scale_replica_set(&deployment.namespace, &bad.replica_set, 0)).await?;
        }
        self.control.await_gone(&deployment.namespace, &bad.replica_set).await
    }

    async fn restore(&self, context: &Context, journal: &Journal) -> Result<(), SkillError> {
        let wanted = self.read(journal).await?.revision(journal.plan.to_revision).map(|revision| revision.template.clone());
        // After a restore the old ReplicaSet carries a new number, so a repeated step finds it by what is in force.
        let Some(template) = wanted else { return Ok(()) };
        self.write(context, journal, &Change::Template(template)).await
    }

    /// Reads, compares and writes, again when somebody else wrote in between.
    async fn write(&self, context: &Context, journal: &Journal, change: &Change) -> Result<(), SkillError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let deployment = self.read(journal).await?;
            if change.is_in_force(&deployment) {
                return Ok(());
            }
            let call = ToolCall::write("kubernetes.patch", [format!("deployments/{}", lock_key(journal))]);
            match context.tool(call, self.apply(&deployment, change)).await {
                Err(error @ SkillError::Failed { .. }) => last = Some(error),
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| SkillError::failed("the deployment kept changing")))
    }

    async fn apply(&self, deployment: &Deployment, change: &Change) -> Result<(), SkillError> {
        match change {
            Change::Pause(paused) => self.control.set_paused(deployment, *paused).await,
            Change::Template(template) => self.control.restore(deployment, template).await,
        }
    }

    /// Before the pivot what was done is undone; after it a person has to look.
    async fn give_up(&self, context: &Context, mut journal: Journal, step: Step, error: SkillError) -> Result<Journal, SkillError> {
        let pivoted = journal.past_pivot();
        journal.set(step, StepState::Failed { reason: shared::telemetry::Chain(&error).to_string() });
        let paused = !pivoted && journal.plan.database.is_some() && step > Step::Lock;
        // Resuming the rollout hands the scaled-down revision back to its controller.
        let undone = if paused { self.pause(context, &journal, false).await } else { Ok(()) };
        journal.outcome = if pivoted || undone.is_err() { Outcome::Stuck } else { Outcome::Compensated };
        let held = step > Step::Lock;
        self.history.keep(&journal, held, None).await?;
        Err(error)
    }
}

/// A write to the Deployment.
#[derive(Debug)]
enum Change {
    Pause(bool),
    Template(Value),
}

impl Change {
    fn is_in_force(&self, deployment: &Deployment) -> bool {
        match self {
            Self::Pause(paused) => deployment.paused == *paused,
            Self::Template(template) => deployment.template == *template && !deployment.paused,
        }
    }
}

async fn roll_back_database(context: &Context, journal: &Journal) -> Result<(), SkillError> {
    let Some(step) = &journal.plan.database else { return Ok(()) };
    let input = json!({
        "database": step.database, "to_version": step.to_version, "dry_run": false,
        "idempotency_key": format!("rollback-{}", journal.rollback_id),
    });
    context.call::<Value>("db-migrator", "rollback_migration", &input).await.map(drop)
}

async fn verify(context: &Context, journal: &Journal) -> Result<(), SkillError> {
    let input = json!({"namespace": journal.plan.namespace, "workload": {"kind": "Deployment", "name": journal.plan.deployment}});
    let until = Instant::now() + VERIFY_LIMIT;
    loop {
        let Health { verdict } = context.call("monitoring-agent", "check_health", &input).await?;
        if verdict == "healthy" {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(SkillError::failed(format!("the old revision is {verdict}, not healthy")));
        }
        sleep(VERIFY_PAUSE).await;
    }
}
