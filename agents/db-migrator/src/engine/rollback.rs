//! Reverts migrations by the downs that the ledger holds.

use async_trait::async_trait;
use identity::PrincipalKind;
use shared::SkillError;

use super::{
    Goal, Job,
    assess::current,
    ledger::{self, NewRun},
    own::Errand,
};
use crate::{
    clients::Session,
    domain::{
        Answer, Assessment, Direction, MigrationRecord, MigrationState, Version,
        hooks::{self, Hook, HookCall, Point, RunKind},
    },
};

/// The agent that may roll back proven plans by itself.
const COORDINATOR: &str = "rollback-coordinator";

/// What a caller wants reverted.
#[derive(Debug)]
pub struct RollbackRequest<'a> {
    /// Where to go back to.
    pub goal: Goal,
    /// Hooks beside those that came with the migrations.
    pub hooks: &'a [Hook],
    /// Digest of the rollback that an approval of a fleet covers.
    pub covered: Option<&'a str>,
}

/// What was reverted.
#[derive(Debug)]
pub struct RolledBack {
    /// What the ledger said before; absent when the run continued after a crash.
    pub assessment: Option<Assessment>,
    /// What this run reverted, newest first.
    pub reverted: Vec<MigrationRecord>,
    /// The newest version in force.
    pub head: Option<String>,
    /// Fingerprint of the catalog.
    pub fingerprint: String,
    /// The hooks that ran.
    pub hooks: Vec<HookCall>,
}

/// Rolls a database back. What is proven to lose nothing needs no approval from rollback-coordinator or on a `dev`
/// database; everything else always does.
///
/// # Errors
/// `ApprovalRequired`; `Failed` when there is no down to run or it fails; `Canceled` between two statements; as
/// [`super::assess_rollback`].
pub async fn rollback(
    job: Job<'_>,
    request: RollbackRequest<'_>,
) -> Result<RolledBack, SkillError> {
    job.as_owner(request).await
}

#[async_trait]
impl Errand for RollbackRequest<'_> {
    type Done = RolledBack;

    async fn run(
        &self,
        job: &Job<'_>,
        session: &mut dyn Session,
    ) -> Result<RolledBack, SkillError> {
        job.rollback_locked(session, self).await
    }
}

impl Job<'_> {
    async fn rollback_locked(
        &self,
        session: &mut dyn Session,
        request: &RollbackRequest<'_>,
    ) -> Result<RolledBack, SkillError> {
        let own = self.own_run(session).await?;
        if own
            .as_ref()
            .is_some_and(|own| own.outcome.as_deref() == Some("completed"))
        {
            return self.rolled_back(session, None).await;
        }
        if self.has_ledger(session).await? {
            self.settle(session, &request.goal).await?;
        }
        let mut assessment = self.assess_with(session, &request.goal).await?;
        assessment.plan_digest = hooks::digest(assessment.plan_digest, request.hooks);
        if own.is_none_or(|own| own.outcome.is_some()) {
            if assessment.reverts.is_empty() {
                return self.rolled_back(session, Some(assessment)).await;
            }
            self.permit(&assessment, request)?;
            let new = NewRun {
                id: self.run(),
                kind: "rollback",
                plan_digest: &assessment.plan_digest,
                release: None,
                caller: &self.context.caller().name,
            };
            ledger::begin_run(session, new)
                .await
                .map_err(|error| self.skill(error))?;
            self.declare_rollback_hooks(session, &assessment, request.hooks)
                .await?;
            self.metrics.rollback();
        }
        self.begin_hooks(session, RunKind::Rollback).await?;
        let target = Version::recorded(assessment.to_version.clone());
        self.undo_above(session, &target).await?;
        self.revert_above(session, &target).await?;
        self.hook(session, Point::AfterRun, None).await?;
        self.finish_run(session, "completed", None).await?;
        self.rolled_back(session, Some(assessment)).await
    }

    /// Whether no person has to look at it. Hooks of the request are SQL and calls that nobody has looked at yet.
    pub(super) fn is_free(&self, assessment: &Assessment, hooks: &[Hook]) -> bool {
        let caller = self.context.caller();
        let coordinator = caller.kind == PrincipalKind::Agent && caller.name == COORDINATOR;
        assessment.answer == Answer::Reversible
            && (self.database.dev || (coordinator && hooks.is_empty()))
    }

    /// Who may do this without a person, and what nobody can do.
    fn permit(
        &self,
        assessment: &Assessment,
        request: &RollbackRequest<'_>,
    ) -> Result<(), SkillError> {
        if let Some(why) = &assessment.impossible {
            return Err(SkillError::failed(why.clone()));
        }
        let covered = request.covered == Some(assessment.plan_digest.as_str());
        if covered || self.is_free(assessment, request.hooks) {
            return Ok(());
        }
        let versions = assessment
            .reverts
            .iter()
            .map(|revert| revert.version.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        let warning = if assessment.answer == Answer::Reversible {
            String::from("proven, no row is lost")
        } else {
            assessment.evidence.join("; ")
        };
        let summary = format!(
            "reverting {versions} of database {} ({warning})",
            self.database.name
        );
        self.context
            .require_approval(&assessment.plan_digest, summary)
    }

    async fn revert_above(
        &self,
        session: &mut dyn Session,
        target: &Version,
    ) -> Result<(), SkillError> {
        let migrations = self.migrations(session).await?;
        let above = migrations
            .into_iter()
            .filter(|migration| {
                migration.state == MigrationState::Applied && migration.version > *target
            })
            .collect::<Vec<_>>();
        for (done, migration) in above.iter().rev().enumerate() {
            self.context.check_canceled()?;
            self.context.progress(
                &format!("reverting {} {}", migration.version, migration.name),
                done as u64,
                above.len() as u64,
            );
            let script = self
                .recorded(session, migration, Direction::Down, true)
                .await?;
            self.run_hooked(session, &script).await?;
        }
        Ok(())
    }

    async fn rolled_back(
        &self,
        session: &mut dyn Session,
        assessment: Option<Assessment>,
    ) -> Result<RolledBack, SkillError> {
        if !self.has_ledger(session).await? {
            let fingerprint = session
                .catalog()
                .await
                .map_err(|error| self.skill(error))?
                .fingerprint();
            return Ok(RolledBack {
                assessment,
                reverted: Vec::new(),
                head: None,
                fingerprint,
                hooks: Vec::new(),
            });
        }
        let read = async {
            let reverted = ledger::reverted_by(session, self.run()).await?;
            Ok((
                reverted,
                current(session).await?,
                session.catalog().await?.fingerprint(),
            ))
        };
        let (reverted, head, fingerprint) = self.reading(read).await?;
        let hooks = self.hook_calls(session).await?;
        Ok(RolledBack {
            assessment,
            reverted,
            head,
            fingerprint,
            hooks,
        })
    }
}
