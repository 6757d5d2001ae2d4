//! Carries out a plan step by step. Every step is read-compare-write, so doing it again after a crash is harmless.

use std::{future::Future, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use shared::{Context, SkillError, ToolCall};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    clients::{RolloutControl, Waited},
    domain::{Change, DatabaseAnswer, Journal, Member, Outcome, Step, StepState, Workload},
    history::{History, lock_key},
};

#[cfg(test)]
mod tests;

/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;
/// Pause between questions to monitoring-agent.
const VERIFY_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a pod that could not be taken away is looked at again.
const REMOVE_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for monitoring-agent to find the workload healthy.
const VERIFY_LIMIT: Duration = Duration::from_mins(1);
/// Pause between questions to db-migrator while a person has to approve there.
const APPROVAL_PAUSE: Duration = Duration::from_millis(500);
/// Part of the time that is kept for writing down how it ended.
const RESERVE: Duration = Duration::from_secs(5);

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
    pub async fn run(
        &self,
        context: &Context,
        mut journal: Journal,
    ) -> Result<Journal, SkillError> {
        if journal.outcome == Outcome::Compensating {
            let reason = format!(
                "the rollback was undone: {}",
                journal.failure().unwrap_or("it was interrupted")
            );
            return self
                .compensate(context, journal, SkillError::failed(reason))
                .await;
        }
        while let Some(step) = journal.next() {
            let (done, total) = journal.progress();
            context.progress(step.say(), done, total);
            let first = journal.is_pending(step);
            if !journal.past_pivot()
                && let Err(canceled) = context.check_canceled()
            {
                return self
                    .give_up(context, journal, (step, first), canceled)
                    .await;
            }
            journal.set(step, StepState::Started);
            self.history.keep(&journal).await?;
            let began = Instant::now();
            if let Err(error) = self.perform(context, &journal, step).await {
                return self.give_up(context, journal, (step, first), error).await;
            }
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            journal.set(step, StepState::Done { took_ms });
        }
        journal.outcome = Outcome::RolledBack;
        self.history.end(&journal).await?;
        Ok(journal)
    }

    async fn perform(
        &self,
        context: &Context,
        journal: &Journal,
        step: Step,
    ) -> Result<(), SkillError> {
        let (plan, origin) = (&journal.plan, &journal.origin);
        match step {
            Step::Lock => self.lock(journal).await,
            Step::PauseRollout => self.write(context, journal, &Change::Pause).await,
            Step::StopWriters => {
                self.write(context, journal, &Change::Stop).await?;
                within(context, self.await_gone(context, journal)).await
            }
            Step::RollBackDatabase => within(context, roll_back_database(context, journal)).await,
            Step::RestoreTemplate => {
                let replicas = plan.database.is_some().then_some(origin.replicas);
                let restore = Change::Restore {
                    template: origin.template.clone(),
                    replicas,
                };
                self.write(context, journal, &restore).await
            }
            Step::AwaitReady => within(context, self.await_ready(context, journal)).await,
            Step::Verify => within(context, self.verify(context, journal)).await,
            // The lock goes in the same write as the journal's end.
            Step::Release => Ok(()),
        }
    }

    /// Takes the lock; under it, the plan still has to fit.
    async fn lock(&self, journal: &Journal) -> Result<(), SkillError> {
        self.history
            .lock(&lock_key(journal), &journal.rollback_id)
            .await?;
        let workload = self.read(journal).await?;
        expect_current(&workload, &journal.origin.from_name)
    }

    async fn read(&self, journal: &Journal) -> Result<Workload, SkillError> {
        let plan = &journal.plan;
        let found = self.control.workload(&plan.id()).await?;
        let same = found.filter(|workload| workload.uid == journal.origin.uid);
        same.ok_or_else(|| SkillError::failed(format!("{} is gone", plan.id())))
    }

    /// Reads, compares and writes, again when somebody else wrote in between.
    async fn write(
        &self,
        context: &Context,
        journal: &Journal,
        change: &Change,
    ) -> Result<(), SkillError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let workload = self.read(journal).await?;
            if change.is_in_force(&workload) {
                return Ok(());
            }
            let call = ToolCall::write("kubernetes.patch", [journal.plan.id().to_string()]);
            match context
                .tool(call, self.control.change(&workload, change))
                .await
            {
                Err(error @ SkillError::Failed { .. }) => last = Some(error),
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| SkillError::failed("the workload kept changing")))
    }

    async fn await_gone(&self, context: &Context, journal: &Journal) -> Result<(), SkillError> {
        loop {
            let workload = self.read(journal).await?;
            match self.control.await_gone(&workload).await? {
                Waited::Done => return Ok(()),
                Waited::Blocked(pod) => self.remove(context, journal, &pod).await?,
            }
        }
    }

    async fn await_ready(&self, context: &Context, journal: &Journal) -> Result<(), SkillError> {
        let revision = &journal.origin.to_name;
        loop {
            let workload = self.read(journal).await?;
            match self.control.await_ready(&workload, revision).await? {
                Waited::Done => return Ok(()),
                Waited::Blocked(pod) => self.remove(context, journal, &pod).await?,
            }
        }
    }

    /// Takes a pod away that keeps a wait from ending. One that changed meanwhile, or that a disruption budget keeps,
    /// is looked at again.
    async fn remove(
        &self,
        context: &Context,
        journal: &Journal,
        pod: &Member,
    ) -> Result<(), SkillError> {
        let namespace = &journal.plan.namespace;
        let verb = if pod.ready {
            "kubernetes.evict"
        } else {
            "kubernetes.delete"
        };
        let call = ToolCall::write(verb, [format!("pods/{namespace}/{}", pod.name)]);
        match context
            .tool(call, self.control.remove(namespace, pod))
            .await
        {
            Err(SkillError::Failed { .. } | SkillError::Unavailable { .. }) => {
                sleep(REMOVE_PAUSE).await;
                Ok(())
            }
            removed => removed,
        }
    }

    async fn verify(&self, context: &Context, journal: &Journal) -> Result<(), SkillError> {
        expect_current(&self.read(journal).await?, &journal.origin.to_name)?;
        let input = json!({"namespace": journal.plan.namespace, "workload": journal.plan.workload});
        let until = Instant::now() + VERIFY_LIMIT;
        loop {
            let Health { verdict } = context
                .call("monitoring-agent", "check_health", &input)
                .await?;
            if verdict == "healthy" {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(SkillError::failed(format!(
                    "the old revision is {verdict}, not healthy"
                )));
            }
            sleep(VERIFY_PAUSE).await;
        }
    }

    /// Before the pivot what was done is undone; after it a person has to look.
    async fn give_up(
        &self,
        context: &Context,
        mut journal: Journal,
        (step, first): (Step, bool),
        error: SkillError,
    ) -> Result<Journal, SkillError> {
        // A refusal of the first try says that the pivot did not take effect.
        let refused = first
            && matches!(
                error,
                SkillError::Rejected { .. }
                    | SkillError::Denied(_)
                    | SkillError::ApprovalRequired { .. }
            );
        let pivoted = journal.past_pivot() && !(refused && step.is_pivot(&journal.plan));
        journal.set(
            step,
            StepState::Failed {
                reason: shared::telemetry::Chain(&error).to_string(),
            },
        );
        if pivoted {
            journal.outcome = Outcome::Stuck;
            self.history.end(&journal).await?;
            return Err(error);
        }
        // Written down first: after a crash in the middle of the undoing nothing goes forward again.
        journal.outcome = Outcome::Compensating;
        self.history.keep(&journal).await?;
        self.compensate(context, journal, error).await
    }

    async fn compensate(
        &self,
        context: &Context,
        mut journal: Journal,
        error: SkillError,
    ) -> Result<Journal, SkillError> {
        let resume = Change::Resume {
            replicas: journal.origin.replicas,
        };
        let begun = |step| journal.has(step) && !journal.is_pending(step);
        let stopped = begun(Step::PauseRollout) || begun(Step::StopWriters);
        let undone = if stopped {
            self.write(context, &journal, &resume).await
        } else {
            Ok(())
        };
        journal.outcome = if undone.is_ok() {
            Outcome::Compensated
        } else {
            Outcome::Stuck
        };
        self.history.end(&journal).await?;
        Err(error)
    }
}

/// Whether this ReplicaSet is the newest one.
fn expect_current(workload: &Workload, name: &str) -> Result<(), SkillError> {
    let current = workload.current().map(|revision| revision.name.as_str());
    if current == Some(name) {
        return Ok(());
    }
    let current = current.unwrap_or("nothing");
    Err(SkillError::failed(format!(
        "somebody released in between: {current} is in force, not {name}"
    )))
}

/// Awaits what may take long, and stops in time to write down that it did not happen.
async fn within<T>(
    context: &Context,
    effect: impl Future<Output = Result<T, SkillError>>,
) -> Result<T, SkillError> {
    let until = context
        .deadline()
        .checked_sub(RESERVE)
        .unwrap_or_else(|| context.deadline());
    tokio::select! {
        biased;
        result = effect => result,
        () = context.canceled() => Err(SkillError::Canceled),
        () = sleep_until(until) => Err(SkillError::DeadlineExceeded),
    }
}

async fn roll_back_database(context: &Context, journal: &Journal) -> Result<(), SkillError> {
    let Some(step) = &journal.plan.database else {
        return Ok(());
    };
    let input = json!({
        "database": step.database, "to_version": step.to_version, "dry_run": false,
        "idempotency_key": format!("rollback-{}", journal.rollback_id),
    });
    loop {
        match context
            .call::<Value>("db-migrator", "rollback_migration", &input)
            .await
        {
            // db-migrator wants its own approval of what loses rows; under the same key it answers once it has it.
            Err(SkillError::Failed { .. }) if step.answer == DatabaseAnswer::PointOfNoReturn => {
                sleep(APPROVAL_PAUSE).await;
            }
            result => return result.map(drop),
        }
    }
}
