//! The decision: what a rollback does, or why there is none.
//!
//! The database decides the order. A schema that still serves the old release is left alone; one that does
//! not is reverted after the last new writer is gone and before the old release is the only one; one that
//! cannot be reverted without loss waits for a person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    companions::Companions,
    delivery::Redeploy,
    revision::{Health, Revision},
    surroundings::{Environment, PlannedWrite},
    workload::{Kind, Named, Workload, WorkloadId},
};

mod step;

pub use step::Step;

/// Where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The newest earlier revision that was healthy.
    LastHealthy,
    /// This one, which the caller vouches for.
    Revision(u64),
}

/// db-migrator's answer to "may the database go back?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseAnswer {
    /// Nothing has to be reverted.
    SafeWithoutDatabase,
    /// The proven downs restore the schema without losing a row.
    Reversible,
    /// Rows would be lost, or nothing is proven.
    PointOfNoReturn,
}

/// What db-migrator says about going back to a schema version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// The answer.
    pub answer: DatabaseAnswer,
    /// Rows that would be lost.
    #[serde(default)]
    pub rows_at_risk: u64,
    /// Whether the old release also runs on the schema as it is.
    #[serde(default)]
    pub additive_only: bool,
    /// Digest that an approval at db-migrator is bound to.
    #[serde(default)]
    pub plan_digest: String,
    /// What would be reverted, newest first.
    #[serde(default)]
    pub reverts: Vec<Revert>,
    /// Why nobody can do it, whoever approves.
    #[serde(default)]
    pub impossible: Option<String>,
    /// Why the answer is as it is.
    #[serde(default)]
    pub evidence: Vec<String>,
}

/// A migration that would be reverted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revert {
    /// Its version.
    pub version: String,
}

/// The database part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseStep {
    /// Name of the database at db-migrator.
    pub database: String,
    /// Schema version of the bad revision.
    pub from_version: String,
    /// Schema version of the target.
    pub to_version: String,
    /// db-migrator's answer.
    pub answer: DatabaseAnswer,
    /// Rows that would be lost.
    pub rows_at_risk: u64,
}

/// What a rollback will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Namespace of the workload.
    pub namespace: String,
    /// The workload.
    pub workload: Named,
    /// The bad revision.
    pub from_revision: u64,
    /// The revision to go back to.
    pub to_revision: u64,
    /// Images before and after.
    pub images: Images,
    /// The database part, when the schema has to move.
    pub database: Option<DatabaseStep>,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// Whether a person has to approve first.
    pub needs_approval: bool,
    /// Why the plan is as it is, in sentences.
    pub reasons: Vec<String>,
    /// What changes in the pod template, as a unified diff.
    pub diff: String,
    /// What is written besides the template, in order.
    #[serde(default)]
    pub writes: Vec<PlannedWrite>,
    /// What goes back beside the workload.
    #[serde(default, skip_serializing_if = "Companions::is_empty")]
    pub companions: Companions,
    /// The environment in GitLab that the workload belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The job of GitLab that brings the old revision back, in the place of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redeploy: Option<Redeploy>,
}

impl Plan {
    /// The plan with GitLab's job in the place of the template.
    ///
    /// # Errors
    /// When the schema has to move: a job brings pods up by itself, whatever state the schema is in.
    pub fn redeployed(mut self, redeploy: Redeploy) -> Result<Self, Refusal> {
        if self.database.is_some() {
            return Err(Refusal::RedeployWithDatabase);
        }
        self.reasons.push(format!(
            "GitLab runs job {} again, which deployed commit {}",
            redeploy.job, redeploy.sha
        ));
        for step in &mut self.steps {
            if *step == Step::RestoreTemplate {
                *step = Step::Redeploy;
            }
        }
        self.environment = Some(redeploy.environment.clone());
        self.redeploy = Some(redeploy);
        Ok(self)
    }

    /// Names the workload within the cluster.
    pub fn id(&self) -> WorkloadId {
        let Named { kind, name } = self.workload.clone();
        WorkloadId {
            namespace: self.namespace.clone(),
            kind,
            name,
        }
    }
}

/// Images before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Images {
    /// Of the bad revision.
    pub from: Vec<String>,
    /// Of the target.
    pub to: Vec<String>,
}

/// Why there is no rollback.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is only one revision.
    #[error("there is no earlier revision to go back to")]
    NoEarlierRevision,
    /// The wanted revision is not there any more.
    #[error("revision {wanted} does not exist; there are {known}")]
    UnknownRevision {
        /// What was asked for.
        wanted: u64,
        /// What there is.
        known: String,
    },
    /// The target is in force.
    #[error("revision {0} is in force already")]
    AlreadyThere(u64),
    /// Somebody paused the rollout.
    #[error("the rollout is paused; resume it first, so that nobody works on it")]
    Paused,
    /// No earlier revision was ever seen healthy.
    #[error("no earlier revision was ever seen healthy; name to_revision if you know better")]
    NeverHealthy,
    /// The target was left by a rollback before.
    #[error("revision {0} is quarantined: a rollback left it because it was bad")]
    Quarantined(u64),
    /// The schema has to move, and nothing stops the workload's pods meanwhile.
    #[error("the schema has to move, and a {} cannot be scaled to zero meanwhile", .0.as_str())]
    CannotStop(Kind),
    /// The schema has to move, and stopping the pods would delete their volumes.
    #[error(
        "the schema has to move, and scaling to zero deletes the volume claims of the pods (whenScaled: Delete)"
    )]
    DeletesClaims,
    /// The schema has to move, and a deploy job would start pods meanwhile.
    #[error("the schema has to move, which no job of GitLab waits for; leave out via")]
    RedeployWithDatabase,
    /// The schema has to move, and nothing leads back.
    #[error("the schema has to move, and nothing leads back: {0}")]
    NoWayBack(String),
}

/// Everything the decision depends on.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The workload.
    pub workload: &'a Workload,
    /// The bad revision and the one to go back to.
    pub pair: (&'a Revision, &'a Revision),
    /// db-migrator's assessment, when the schema versions differ.
    pub assessment: Option<&'a Assessment>,
    /// Unified diff of the templates.
    pub diff: String,
}

/// The bad revision and the one to go back to.
///
/// # Errors
/// Why there is no such pair.
pub fn choose(workload: &Workload, target: Target) -> Result<(&Revision, &Revision), Refusal> {
    let current = workload.current().ok_or(Refusal::NoEarlierRevision)?;
    if workload.paused {
        return Err(Refusal::Paused);
    }
    let earlier = || {
        workload
            .revisions
            .iter()
            .filter(|revision| revision.number < current.number)
    };
    let chosen = match target {
        Target::Revision(wanted) if wanted == current.number => {
            return Err(Refusal::AlreadyThere(wanted));
        }
        Target::Revision(wanted) => {
            workload
                .revision(wanted)
                .ok_or_else(|| Refusal::UnknownRevision {
                    wanted,
                    known: workload
                        .revisions
                        .iter()
                        .map(|revision| revision.number.to_string())
                        .collect::<Vec<_>>()
                        .join(", "),
                })?
        }
        Target::LastHealthy => {
            earlier().next().ok_or(Refusal::NoEarlierRevision)?;
            let healthy = earlier().filter(|revision| revision.health == Health::Healthy);
            healthy
                .max_by_key(|revision| revision.number)
                .ok_or(Refusal::NeverHealthy)?
        }
    };
    match chosen.health {
        Health::Quarantined => Err(Refusal::Quarantined(chosen.number)),
        Health::Healthy | Health::NeverHealthy => Ok((current, chosen)),
    }
}

/// Decides on the plan.
///
/// # Errors
/// Why the workload must not be rolled back so.
pub fn decide(facts: Facts<'_>) -> Result<Plan, Refusal> {
    let (from, to) = facts.pair;
    let database = database_step(from, to, facts.assessment);
    let Workload { id, rollout, .. } = facts.workload;
    if database.is_some() {
        if id.kind == Kind::DaemonSet {
            return Err(Refusal::CannotStop(id.kind));
        }
        if rollout.deletes_claims {
            return Err(Refusal::DeletesClaims);
        }
        // No approval brings back what is not there, and the writers would stand still for nothing.
        if let Some(why) = facts.assessment.and_then(|one| one.impossible.clone()) {
            return Err(Refusal::NoWayBack(why));
        }
    }
    let mut reasons = vec![match to.health {
        Health::Healthy => format!("revision {} was healthy", to.number),
        Health::NeverHealthy | Health::Quarantined => format!(
            "revision {} was never seen healthy; the caller vouches for it",
            to.number
        ),
    }];
    reasons.extend(database_reason(database.as_ref(), facts.assessment));
    if rollout.on_delete {
        reasons.push("nobody replaces its pods by itself (OnDelete), so those of the bad revision are taken away one by one".into());
    }
    if rollout.partition > 0 {
        reasons.push(format!(
            "pods below ordinal {} keep their revision (partition)",
            rollout.partition
        ));
    }
    let lossy = database
        .as_ref()
        .is_some_and(|step| step.answer == DatabaseAnswer::PointOfNoReturn);
    Ok(Plan {
        namespace: id.namespace.clone(),
        workload: id.named(),
        from_revision: from.number,
        to_revision: to.number,
        images: Images {
            from: from.images(),
            to: to.images(),
        },
        steps: steps(id.kind, database.is_some()),
        needs_approval: lossy || to.health != Health::Healthy,
        database,
        reasons,
        diff: facts.diff,
        writes: Vec::new(),
        companions: Companions::default(),
        environment: None,
        redeploy: None,
    })
}

fn database_step(
    from: &Revision,
    to: &Revision,
    assessment: Option<&Assessment>,
) -> Option<DatabaseStep> {
    let ((database, from_version), (_, to_version)) = (from.schema()?, to.schema()?);
    let assessment = assessment?;
    let moves =
        assessment.answer != DatabaseAnswer::SafeWithoutDatabase && !assessment.additive_only;
    moves.then_some(DatabaseStep {
        database,
        from_version,
        to_version,
        answer: assessment.answer,
        rows_at_risk: assessment.rows_at_risk,
    })
}

fn database_reason(step: Option<&DatabaseStep>, assessment: Option<&Assessment>) -> Option<String> {
    match (step, assessment) {
        (None, None) => None,
        (None, Some(_)) => {
            Some("the schema still serves the old release, so it stays as it is".into())
        }
        (Some(step), _) if step.answer == DatabaseAnswer::PointOfNoReturn => Some(format!(
            "going back to schema {} loses {} rows or is not proven, so a person has to approve",
            step.to_version, step.rows_at_risk
        )),
        (Some(step), _) => Some(format!(
            "schema {} is not compatible with the old release; its way back to {} is proven and loses no row",
            step.from_version, step.to_version
        )),
    }
}

fn steps(kind: Kind, database: bool) -> Vec<Step> {
    let writers = [
        Step::PauseRollout,
        Step::StopWriters,
        Step::RollBackDatabase,
    ];
    // Only a Deployment can be paused; without pods nothing rolls out anyway.
    let pauses = |step: &Step| kind == Kind::Deployment || *step != Step::PauseRollout;
    let stateful = writers.into_iter().filter(|_| database).filter(pauses);
    [Step::Lock]
        .into_iter()
        .chain(stateful)
        .chain([
            Step::RestoreTemplate,
            Step::AwaitReady,
            Step::Verify,
            Step::Release,
        ])
        .collect()
}

#[cfg(test)]
mod tests;
