//! What surrounds the steps of a rollback: the lock, the gate, and who is kept still.

use std::{future::Future, time::Duration};

use shared::{Context, SkillError};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{sleep, sleep_until};

use super::Saga;
use crate::{
    domain::{
        Journal, Outcome, Pause, PauseState, Step, StepState, Workload,
        hold::Purpose,
        lease::{FENCE_ANNOTATION, is_fenced},
        quarantine::{self, QUARANTINE_ANNOTATION},
    },
    guard::{self, settle},
    history::{Gate, marks},
};

/// Part of the time that is kept for writing down how it ended.
const RESERVE: Duration = Duration::from_secs(5);
/// Pause between looks at the gate while a step waits.
const GATE_PAUSE: Duration = Duration::from_millis(250);
/// Pause before a cluster that does not answer is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

impl Saga {
    /// Takes the workload's Lease, and stamps the workload with its token: whoever holds a lower one stops there.
    pub(super) async fn grip(
        &self,
        context: &Context,
        journal: &Journal,
    ) -> Result<(), SkillError> {
        let id = journal.plan.id();
        self.guard.grip(context, &id, &journal.rollback_id).await?;
        self.guard.stamp(context, &id).await
    }

    /// After a crash: takes up the lock again before anything else is written. A cluster that does not answer is asked
    /// again for as long as there is time.
    pub(super) async fn take_up(
        &self,
        context: &Context,
        journal: &Journal,
    ) -> Result<(), SkillError> {
        if journal.is_pending(Step::Lock) {
            return Ok(());
        }
        let again = async {
            loop {
                match self.grip(context, journal).await {
                    Err(SkillError::Unavailable { .. }) => sleep(RETRY_PAUSE).await,
                    taken => return taken,
                }
            }
        };
        tokio::select! {
            taken = again => taken,
            () = sleep_until(until(context)) => Err(SkillError::DeadlineExceeded),
        }
    }

    /// The lock could not be taken up again. What nobody may write any more is left to a person.
    pub(super) async fn step_aside(
        &self,
        mut journal: Journal,
        error: SkillError,
    ) -> Result<Journal, SkillError> {
        let step = journal.next().unwrap_or(Step::Release);
        let reason = shared::telemetry::Chain(&error).to_string();
        journal.set(step, StepState::Failed { reason });
        journal.outcome = if step == Step::Lock {
            Outcome::Compensated
        } else {
            Outcome::Stuck
        };
        self.history.end(&journal).await?;
        Err(error)
    }

    /// Whether nobody canceled or aborted the rollback.
    pub(super) async fn may_go_on(
        &self,
        context: &Context,
        journal: &Journal,
    ) -> Result<(), SkillError> {
        context.check_canceled()?;
        match self.history.gate(&journal.rollback_id).await? {
            Some(Gate::Aborted { by }) => Err(aborted(&by)),
            Some(Gate::Pivoted) | None => Ok(()),
        }
    }

    /// Writes down that a step begins. The pivot passes the gate in the same write; the inner error says that an abort
    /// came first.
    pub(super) async fn begin(
        &self,
        journal: &mut Journal,
        step: Step,
    ) -> Result<Result<(), SkillError>, SkillError> {
        let pivots = step.is_pivot(&journal.plan) && journal.is_pending(step);
        journal.set(step, StepState::Started);
        if !pivots {
            self.history.keep(journal).await?;
            return Ok(Ok(()));
        }
        match self.history.pivot(journal).await? {
            Gate::Pivoted => Ok(Ok(())),
            Gate::Aborted { by } => {
                journal.set(step, StepState::Pending);
                Ok(Err(aborted(&by)))
            }
        }
    }

    /// Makes sure that this run still is the one that may write the workload.
    pub(super) async fn still_ours(
        &self,
        context: &Context,
        workload: &Workload,
    ) -> Result<(), SkillError> {
        let Some(grip) = self.guard.current() else {
            return Ok(());
        };
        grip.check(context).await?;
        let stamp = workload.annotations.get(FENCE_ANNOTATION);
        if is_fenced(stamp.and_then(serde_json::Value::as_str), grip.token()) {
            return Err(SkillError::failed(format!(
                "another rollback writes {} meanwhile, so nothing more is written",
                workload.id
            )));
        }
        Ok(())
    }

    /// Keeps still whoever would undo or disturb the rollback. What they had is written down first.
    pub(super) async fn hold(
        &self,
        context: &Context,
        journal: &mut Journal,
        purpose: Purpose,
    ) -> Result<(), SkillError> {
        let id = journal.plan.id();
        let stops = journal.plan.database.is_some();
        let found = self.guard.find(context, &id, stops).await?;
        for hold in found.holds {
            let known = journal.held.iter().any(|one| one.object == hold.object);
            if hold.purpose == purpose && !known {
                journal.held.push(hold);
            }
        }
        match purpose {
            Purpose::Gitops if journal.gitops.is_none() => {
                journal.gitops = Some(self.paused(OffsetDateTime::now_utc()));
            }
            Purpose::Freeze | Purpose::Gitops => {}
        }
        self.history.keep_holds(journal).await?;
        if purpose == Purpose::Freeze {
            self.guard.freeze(context, &self.history, journal).await?;
        }
        let Some(grip) = self.guard.current() else {
            return Err(SkillError::failed("nothing is held without the lock"));
        };
        let holder = (journal.rollback_id.as_str(), grip);
        for hold in journal.held.iter().filter(|hold| hold.purpose == purpose) {
            guard::take(context, &self.guard.objects, hold, holder).await?;
        }
        Ok(())
    }

    fn paused(&self, now: OffsetDateTime) -> Pause {
        let text = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
        Pause {
            state: PauseState::Paused,
            since: text(now),
            deadline: text(now + self.guard.settings.gitops_deadline),
            overdue: false,
            waits_for: None,
        }
    }

    /// Says on the workload itself what was left, for those who deploy it. The store knows it in any case.
    pub(super) async fn mark(&self, context: &Context, journal: &Journal) {
        let marks = marks(journal);
        let id = journal.plan.id();
        let change = |before: Option<&str>| Ok(quarantine::annotated(before, &marks));
        let annotation = (QUARANTINE_ANNOTATION, &change as _);
        let annotated = self.guard.annotate(context, &id, annotation);
        if let Err(error) = annotated.await {
            let error = shared::telemetry::Chain(&error).to_string();
            tracing::warn!(error, "the workload does not say what was left");
        }
    }

    /// Lets go of what may go on. What cannot be let go now is let go by the sweep after the rollback.
    pub(super) async fn settle(&self, context: &Context, journal: &mut Journal) {
        if let Err(error) = settle::settle(context, &self.guard, &*self.control, journal).await {
            let error = shared::telemetry::Chain(&error).to_string();
            tracing::warn!(error, "what is still held is let go later");
        }
    }

    /// Awaits what may take long: it stops in time to write down that it did not happen, when the lock is lost, and
    /// before the pivot when somebody aborts.
    pub(super) async fn within<T>(
        &self,
        context: &Context,
        journal: &Journal,
        effect: impl Future<Output = Result<T, SkillError>>,
    ) -> Result<T, SkillError> {
        tokio::select! {
            biased;
            result = effect => result,
            () = context.canceled() => Err(SkillError::Canceled),
            lost = self.guard.lost(context) => Err(lost),
            aborted = self.aborted(context, journal) => Err(aborted),
            () = sleep_until(until(context)) => Err(SkillError::DeadlineExceeded),
        }
    }

    /// Resolves when somebody aborts; never after the pivot.
    async fn aborted(&self, context: &Context, journal: &Journal) -> SkillError {
        if journal.past_pivot() {
            std::future::pending::<()>().await;
        }
        loop {
            sleep(GATE_PAUSE).await;
            match self.may_go_on(context, journal).await {
                // The store is asked again; the step itself meets it too.
                Ok(()) | Err(SkillError::Unavailable { .. }) => {}
                Err(error) => return error,
            }
        }
    }
}

fn aborted(by: &str) -> SkillError {
    SkillError::failed(format!("{by} aborted the rollback"))
}

fn until(context: &Context) -> tokio::time::Instant {
    context
        .deadline()
        .checked_sub(RESERVE)
        .unwrap_or_else(|| context.deadline())
}
