//! After rollbacks: what they still hold is let go as soon as it may go on, and a person is told when that takes too long.

use std::{sync::Arc, time::Duration};

use shared::{
    Context, SkillError,
    telemetry::{Chain, traces},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::Instrument;

use super::{Guard, settle};
use crate::{
    clients::RolloutControl,
    delivery::record,
    domain::{Journal, Outcome},
    history::History,
    metrics::Metrics,
};

/// Pause between looks at what is still held.
pub const PERIOD: Duration = Duration::from_secs(5);

/// Looks after what rollbacks hold.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The cluster.
    pub control: Arc<dyn RolloutControl>,
    /// The agent's memory.
    pub history: History,
    /// What surrounds a rollback.
    pub guard: Guard,
    /// Tells how many wait.
    pub metrics: Metrics,
}

impl Sweep {
    /// Looks once at every rollback that holds something.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn run(&self, context: &Context) -> Result<(), SkillError> {
        let now = OffsetDateTime::now_utc();
        let (mut waiting, mut overdue) = (0, 0);
        for journal in self.history.holding().await? {
            let trace = traces::resumed("after a rollback", journal.traceparent.as_deref());
            let looked = self.look_after(context, journal, now).instrument(trace);
            let journal = looked.await?;
            waiting += i64::from(journal.holds_something());
            overdue += i64::from(is_overdue(&journal, now));
        }
        self.metrics.holding(waiting, overdue);
        Ok(())
    }

    async fn look_after(
        &self,
        context: &Context,
        mut journal: Journal,
        now: OffsetDateTime,
    ) -> Result<Journal, SkillError> {
        // A run that is under way lets go by itself, and nobody else writes its journal.
        if journal.is_open() {
            return Ok(journal);
        }
        let before = journal.clone();
        let settled = settle::settle(context, &self.guard, &*self.control, &mut journal).await;
        if let Err(error) = settled {
            let (rollback_id, error) = (&journal.rollback_id, Chain(&error).to_string());
            tracing::warn!(rollback_id, error, "cannot let go of what a rollback holds");
        }
        if journal.owes_record() {
            let owed = record(context, (&self.guard, &self.history), &mut journal).await;
            if let Err(error) = owed {
                let (rollback_id, error) = (&journal.rollback_id, Chain(&error).to_string());
                tracing::warn!(rollback_id, error, "a deployment is recorded later");
            }
        }
        escalate(&mut journal, now);
        if journal != before {
            self.history.keep_holds(&journal).await?;
        }
        Ok(journal)
    }
}

/// Whether a person has to look.
fn is_overdue(journal: &Journal, now: OffsetDateTime) -> bool {
    let half_way = journal.outcome == Outcome::Stuck && !journal.has_left();
    let deadline = journal.gitops.as_ref().map(|pause| {
        OffsetDateTime::parse(&pause.deadline, &Rfc3339).is_ok_and(|deadline| now > deadline)
    });
    journal.holds_something() && (half_way || deadline.unwrap_or_default())
}

/// Tells a person once, when the time has come. A rollback that stopped half way needs one at once.
fn escalate(journal: &mut Journal, now: OffsetDateTime) {
    let overdue = is_overdue(journal, now);
    let (rollback_id, workload) = (journal.rollback_id.clone(), journal.plan.id());
    let Some(pause) = journal
        .gitops
        .as_mut()
        .filter(|pause| !pause.overdue && overdue)
    else {
        return;
    };
    pause.overdue = true;
    let waits_for = pause.waits_for.as_deref().unwrap_or("the rollback itself");
    tracing::error!(
        rollback_id, %workload, waits_for,
        "GitOps is still paused after a rollback: commit the good revision, or let it go with resume_gitops"
    );
}
