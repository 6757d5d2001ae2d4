//! The database's part of a rollback: asked again once nobody writes any more, and undone with the rest when nothing moved.

use std::time::Duration;

use serde_json::{Value, json};
use shared::{Context, SkillError, digest};
use tokio::time::{sleep, timeout_at};

use super::Saga;
use crate::domain::{Assessment, DatabaseAnswer, Journal};

/// Pause between questions to db-migrator while a person has to approve there.
const APPROVAL_PAUSE: Duration = Duration::from_millis(500);
/// Pause before a db-migrator that does not answer is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Part of the time that is kept for undoing the rest after the last look at a database.
const RESERVE: Duration = Duration::from_secs(3);
/// The agent that knows databases.
const DB_MIGRATOR: &str = "db-migrator";

impl Saga {
    /// Asks again now that the writers are gone: rows that they wrote after the plan was made may not be lost.
    pub(super) async fn ask_again(
        &self,
        context: &Context,
        journal: &mut Journal,
    ) -> Result<(), SkillError> {
        let Some(step) = journal.plan.database.clone() else {
            return Ok(());
        };
        let now = loop {
            match assess(context, journal).await {
                Err(SkillError::Unavailable { .. }) => sleep(RETRY_PAUSE).await,
                answer => break answer?,
            }
        };
        let worse = step.answer == DatabaseAnswer::Reversible
            && now.answer == DatabaseAnswer::PointOfNoReturn;
        if worse || now.impossible.is_some() {
            let evidence = || now.evidence.join("; ");
            let why = now.impossible.clone().unwrap_or_else(evidence);
            return Err(SkillError::failed(format!(
                "going back to schema {} is not what it was when the plan was made: {why}",
                step.to_version
            )));
        }
        journal.assessed = Some(said(&now));
        Ok(())
    }

    /// Reverts the schema. The same key never reverts twice, so a db-migrator that went away is asked again.
    pub(super) async fn roll_back_database(
        &self,
        context: &Context,
        journal: &Journal,
    ) -> Result<(), SkillError> {
        let Some(step) = &journal.plan.database else {
            return Ok(());
        };
        loop {
            match revert(context, journal).await {
                // db-migrator wants its own approval of what loses rows; under the same key it answers once it has it.
                Err(error)
                    if error.awaits_approval().is_some()
                        && step.answer == DatabaseAnswer::PointOfNoReturn =>
                {
                    sleep(APPROVAL_PAUSE).await;
                }
                Err(SkillError::Unavailable { .. }) => sleep(RETRY_PAUSE).await,
                result => return result,
            }
        }
    }

    /// Whether the schema is as it was before its step and stays so: what waits for an approval is withdrawn first.
    pub(super) async fn is_untouched(&self, context: &Context, journal: &Journal) -> bool {
        let Some(then) = &journal.assessed else {
            return false;
        };
        let look = async {
            if let Err(error) = revert(context, journal).await
                && let Some(waits) = error.awaits_approval()
            {
                context.withdraw(DB_MIGRATOR, &waits.task_id).await?;
            }
            assess(context, journal).await
        };
        let until = context.deadline().checked_sub(RESERVE);
        let looked = timeout_at(until.unwrap_or_else(|| context.deadline()), look).await;
        matches!(looked, Ok(Ok(now)) if said(&now) == *then)
    }
}

async fn assess(context: &Context, journal: &Journal) -> Result<Assessment, SkillError> {
    let step = journal.plan.database.as_ref();
    let input = json!({
        "database": step.map(|step| &step.database), "to_version": step.map(|step| &step.to_version),
    });
    context.call(DB_MIGRATOR, "assess_rollback", &input).await
}

async fn revert(context: &Context, journal: &Journal) -> Result<(), SkillError> {
    let step = journal.plan.database.as_ref();
    let input = json!({
        "database": step.map(|step| &step.database), "to_version": step.map(|step| &step.to_version),
        "dry_run": false, "idempotency_key": format!("rollback-{}", journal.rollback_id),
    });
    let reverted = context.call::<Value>(DB_MIGRATOR, "rollback_migration", &input);
    reverted.await.map(drop)
}

/// Digest of an answer: the catalog, the ways back and what speaks against them, but not how many rows there are.
fn said(assessment: &Assessment) -> String {
    digest::of_json(&json!([
        assessment.answer,
        assessment.plan_digest,
        assessment.evidence
    ]))
}
