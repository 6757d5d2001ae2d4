//! Carries out a plan step by step. Every step is read-compare-write, so doing it again after a crash is harmless.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::json;
use shared::{Context, SkillError, ToolCall};
use tokio::time::{Instant, sleep};

use crate::{
    clients::{RolloutControl, Waited},
    domain::{Change, Journal, Member, Outcome, Step, StepState, Workload, hold::Purpose},
    escort::Escort,
    guard::Guard,
    history::{History, lock_key},
};

mod database;
mod deliver;
mod guarded;
#[cfg(test)]
mod tests;

/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;
/// Pause between questions to monitoring-agent.
const VERIFY_PAUSE: Duration = Duration::from_millis(100);
/// Pause before a pod that could not be taken away is looked at again.
const REMOVE_PAUSE: Duration = Duration::from_millis(500);
/// Pause before it is looked again whether a controller made a revision.
const REVISION_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for monitoring-agent to find the workload healthy.
const VERIFY_LIMIT: Duration = Duration::from_mins(1);

/// Runs rollbacks.
#[derive(Debug, Clone)]
pub struct Saga {
    /// The cluster.
    pub control: Arc<dyn RolloutControl>,
    /// The agent's memory.
    pub history: History,
    /// What surrounds a rollback.
    pub guard: Guard,
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
    pub async fn run(&self, context: &Context, journal: Journal) -> Result<Journal, SkillError> {
        let run = Self {
            guard: self.guard.for_one_run(),
            ..self.clone()
        };
        let ended = Box::pin(run.carry_out(context, journal)).await;
        run.guard.release(context).await;
        ended
    }

    async fn carry_out(
        &self,
        context: &Context,
        mut journal: Journal,
    ) -> Result<Journal, SkillError> {
        if let Err(error) = self.take_up(context, &journal).await {
            return self.step_aside(journal, error).await;
        }
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
                && let Err(canceled) = self.may_go_on(context, &journal).await
            {
                return self
                    .give_up(context, journal, (step, first), canceled)
                    .await;
            }
            if let Err(aborted) = self.begin(&mut journal, step).await? {
                return self.give_up(context, journal, (step, first), aborted).await;
            }
            let began = Instant::now();
            if let Err(error) = self.perform(context, &mut journal, step).await {
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
        journal: &mut Journal,
        step: Step,
    ) -> Result<(), SkillError> {
        match step {
            Step::Lock => self.lock(context, journal).await,
            Step::PauseGitops => self.hold(context, journal, Purpose::Gitops).await,
            Step::Freeze => self.hold(context, journal, Purpose::Freeze).await,
            Step::Thaw | Step::ResumeGitops => {
                self.settle(context, journal).await;
                Ok(())
            }
            Step::PauseRollout => self.write(context, journal, &Change::Pause).await,
            Step::StopWriters => {
                self.write(context, journal, &Change::Stop).await?;
                self.within(context, journal, self.await_gone(context, journal))
                    .await?;
                let before = journal.clone();
                self.within(context, &before, self.ask_again(context, journal))
                    .await
            }
            Step::RollBackDatabase => {
                let ours = async { self.still_ours(context, &self.read(journal).await?).await };
                if let Err(error) = ours.await {
                    // Nobody was asked to revert, and nobody may be by now.
                    journal.assessed = None;
                    return Err(error);
                }
                let effect = self.roll_back_database(context, journal);
                self.within(context, journal, effect).await
            }
            Step::RestoreTemplate => self.restore_template(context, journal).await,
            Step::Redeploy => self.redeploy(context, journal).await,
            Step::RecordDeployment => self.record(context, journal).await,
            Step::AwaitReady => {
                self.within(context, journal, self.await_ready(context, journal))
                    .await
            }
            Step::Verify => {
                self.within(context, journal, self.verify(context, journal))
                    .await
            }
            Step::ShiftTraffic => {
                self.within(context, journal, self.escort(context, journal, step))
                    .await
            }
            Step::ClaimRelease
            | Step::RestoreConfiguration
            | Step::RestoreObjects
            | Step::RecordRelease => self.escort(context, journal, step).await,
            // The lock goes in the same write as the journal's end.
            Step::Release => {
                self.escort(context, journal, step).await?;
                self.mark(context, journal).await;
                Ok(())
            }
        }
    }

    /// Writes the old template, with the pods of before where they were stopped.
    async fn restore_template(
        &self,
        context: &Context,
        journal: &mut Journal,
    ) -> Result<(), SkillError> {
        self.escort(context, journal, Step::RestoreTemplate).await?;
        let stopped = journal.plan.database.is_some();
        let replicas = stopped.then_some(journal.origin.replicas);
        let restore = Change::Restore {
            template: journal.origin.template.clone(),
            replicas,
        };
        self.write(context, journal, &restore).await
    }

    /// Does the part of a step that is not the workload's own.
    async fn escort(
        &self,
        context: &Context,
        journal: &Journal,
        step: Step,
    ) -> Result<(), SkillError> {
        let Some(escort) = self.escorting(journal) else {
            return Ok(());
        };
        let workload = self.read(journal).await?;
        escort.perform(context, journal, &workload, step).await
    }

    /// Who takes back what goes beside the workload, if there is anything.
    fn escorting(&self, journal: &Journal) -> Option<Escort> {
        let objects = self.control.objects()?;
        (!journal.plan.companions.is_empty()).then(|| Escort::new(objects, self.history.clone()))
    }

    /// Takes the lock; under it, the plan still has to fit.
    async fn lock(&self, context: &Context, journal: &Journal) -> Result<(), SkillError> {
        self.history
            .lock(&lock_key(journal), &journal.rollback_id)
            .await?;
        self.grip(context, journal).await?;
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
            self.still_ours(context, &workload).await?;
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
        loop {
            let workload = self.read(journal).await?;
            let Some(revision) = target(&workload, journal) else {
                sleep(REVISION_PAUSE).await;
                continue;
            };
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
        let workload = self.read(journal).await?;
        let revision = target(&workload, journal).unwrap_or(&journal.origin.to_name);
        expect_current(&workload, revision)?;
        let input = json!({"namespace": journal.plan.namespace, "workload": journal.plan.workload});
        let until = Instant::now() + VERIFY_LIMIT;
        loop {
            let asked = context.call("monitoring-agent", "check_health", &input);
            let problem = match asked.await {
                Ok(Health { verdict }) if verdict == "healthy" => return Ok(()),
                Ok(Health { verdict }) => {
                    SkillError::failed(format!("the old revision is {verdict}, not healthy"))
                }
                // It may only be starting again.
                Err(away @ SkillError::Unavailable { .. }) => away,
                Err(error) => return Err(error),
            };
            if Instant::now() > until {
                return Err(problem);
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
        let undone = step.is_pivot(&journal.plan)
            && (refused
                || step == Step::RollBackDatabase && self.is_untouched(context, &journal).await);
        let pivoted = journal.past_pivot() && !undone;
        journal.set(
            step,
            StepState::Failed {
                reason: shared::telemetry::Chain(&error).to_string(),
            },
        );
        if pivoted {
            journal.outcome = Outcome::Stuck;
            let why = journal.failure().unwrap_or_default().to_owned();
            if let Some(escort) = self.escorting(&journal)
                && let Err(problem) = escort.fail(context, &journal, &why).await
            {
                let problem = shared::telemetry::Chain(&problem).to_string();
                tracing::warn!(problem, "Helm could not be told that the rollback failed");
            }
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
        let undone = match self.escorting(&journal) {
            Some(escort) => undone.and(escort.undo(context, &journal).await),
            None => undone,
        };
        if undone.is_ok() {
            self.settle(context, &mut journal).await;
        }
        journal.outcome = if undone.is_ok() {
            Outcome::Compensated
        } else {
            Outcome::Stuck
        };
        self.history.end(&journal).await?;
        Err(error)
    }
}

/// Name of the revision that has the target's template. What a deploy job applied is whatever replaced the bad one. One
/// that was marked to make new pods is a new revision, which its controller makes in its own time.
fn target<'a>(workload: &'a Workload, journal: &'a Journal) -> Option<&'a str> {
    if journal.plan.redeploy.is_some() {
        let current = workload.current().map(|revision| revision.name.as_str());
        return current.filter(|name| *name != journal.origin.from_name);
    }
    if journal.plan.companions.restart.is_none() {
        return Some(&journal.origin.to_name);
    }
    let mut newest = workload.revisions.iter().rev();
    let found = newest.find(|revision| revision.template == journal.origin.template)?;
    Some(&found.name)
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
