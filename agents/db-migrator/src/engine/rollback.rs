//! Reverts migrations by the downs that the ledger holds.

use identity::PrincipalKind;
use shared::SkillError;

use super::{
    Goal, Job,
    assess::current,
    ledger::{self, NewRun},
    own::Returns,
};
use crate::{
    clients::Session,
    domain::{Answer, Assessment, Direction, MigrationRecord, MigrationState, Verdict, Version},
};

/// The agent that may roll back proven plans by itself.
const COORDINATOR: &str = "rollback-coordinator";

/// What a caller wants reverted.
#[derive(Debug)]
pub struct RollbackRequest {
    /// Where to go back to.
    pub goal: Goal,
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
}

/// Rolls a database back. What is proven to lose nothing needs no approval from rollback-coordinator or on a `dev`
/// database; everything else always does.
///
/// # Errors
/// `ApprovalRequired`; `Failed` when there is no down to run or it fails; `Canceled` between two statements; as
/// [`super::assess_rollback`].
pub async fn rollback(job: Job<'_>, request: RollbackRequest) -> Result<RolledBack, SkillError> {
    let mut returns = Returns::default();
    loop {
        let mut session = job.own(&mut returns).await?;
        let rolled_back = job.rollback_locked(session.as_mut(), &request).await;
        let mut again = false;
        if let Err(error) = &rolled_back {
            let may_return = session.may_return();
            again = job.comes_back(may_return, error, &mut returns).await;
            if !again {
                job.note_failure(session.as_mut(), error).await;
            }
        }
        job.close(session).await;
        if !again {
            return rolled_back;
        }
    }
}

impl Job<'_> {
    async fn rollback_locked(
        &self,
        session: &mut dyn Session,
        request: &RollbackRequest,
    ) -> Result<RolledBack, SkillError> {
        let own = self.own_run(session).await?;
        if own
            .as_ref()
            .is_some_and(|own| own.outcome.as_deref() == Some("completed"))
        {
            return self.rolled_back(session, None).await;
        }
        if self.has_ledger(session).await? {
            self.finish_interrupted(session).await?;
        }
        let assessment = self.assess_with(session, &request.goal).await?;
        if own.is_none_or(|own| own.outcome.is_some()) {
            if assessment.reverts.is_empty() {
                return self.rolled_back(session, Some(assessment)).await;
            }
            self.permit(&assessment)?;
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
            self.metrics.rollback();
        }
        self.revert_above(session, &Version::recorded(assessment.to_version.clone()))
            .await?;
        self.finish_run(session, "completed", None).await?;
        self.rolled_back(session, Some(assessment)).await
    }

    /// Who may do this without a person, and what nobody can do.
    fn permit(&self, assessment: &Assessment) -> Result<(), SkillError> {
        if let Some(impossible) = assessment
            .reverts
            .iter()
            .find(|revert| revert.verdict == Verdict::Irreversible)
        {
            return Err(SkillError::failed(format!(
                "{} {} has no down script: restore a backup or migrate forward",
                impossible.version, impossible.name
            )));
        }
        let caller = self.context.caller();
        let coordinator = caller.kind == PrincipalKind::Agent && caller.name == COORDINATOR;
        if assessment.answer == Answer::Reversible && (coordinator || self.database.dev) {
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
            self.run_recorded(session, migration, Direction::Down, true)
                .await?;
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
        Ok(RolledBack {
            assessment,
            reverted,
            head,
            fingerprint,
        })
    }
}
