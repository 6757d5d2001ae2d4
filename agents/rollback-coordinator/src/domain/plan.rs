//! The decision: what a rollback does, or why there is none.
//!
//! The database decides the order. A schema that still serves the old release is left alone; one that does
//! not is reverted after the last new writer is gone and before the old release is the only one; one that
//! cannot be reverted without loss waits for a person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::revision::{Deployment, Health, Revision};

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

/// One step of the saga. The order of the variants is the order of execution.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// One rollback at a time for a Deployment.
    Lock,
    /// Pauses the rollout, so that nobody starts new pods of the bad revision.
    PauseRollout,
    /// Scales the Deployment to zero and waits until the bad revision's last pod is gone.
    StopWriters,
    /// Reverts the schema: from here on there is only forward.
    RollBackDatabase,
    /// Puts the old template back and resumes the rollout.
    RestoreTemplate,
    /// Waits until all pods of the old revision are ready.
    AwaitReady,
    /// Asks monitoring-agent whether the workload is healthy.
    Verify,
    /// Lets the next rollback in.
    Release,
}

/// What a rollback will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Namespace of the Deployment.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
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
}

/// Everything the decision depends on.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
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
pub fn choose(deployment: &Deployment, target: Target) -> Result<(&Revision, &Revision), Refusal> {
    let current = deployment.current().ok_or(Refusal::NoEarlierRevision)?;
    if deployment.paused {
        return Err(Refusal::Paused);
    }
    let earlier = || {
        deployment
            .revisions
            .iter()
            .filter(|revision| revision.number < current.number)
    };
    let chosen = match target {
        Target::Revision(wanted) if wanted == current.number => {
            return Err(Refusal::AlreadyThere(wanted));
        }
        Target::Revision(wanted) => {
            deployment
                .revision(wanted)
                .ok_or_else(|| Refusal::UnknownRevision {
                    wanted,
                    known: deployment
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
pub fn decide(facts: Facts<'_>) -> Plan {
    let (from, to) = facts.pair;
    let database = database_step(from, to, facts.assessment);
    let mut reasons = vec![match to.health {
        Health::Healthy => format!("revision {} was healthy", to.number),
        Health::NeverHealthy | Health::Quarantined => format!(
            "revision {} was never seen healthy; the caller vouches for it",
            to.number
        ),
    }];
    reasons.extend(database_reason(database.as_ref(), facts.assessment));
    let lossy = database
        .as_ref()
        .is_some_and(|step| step.answer == DatabaseAnswer::PointOfNoReturn);
    Plan {
        namespace: facts.deployment.namespace.clone(),
        deployment: facts.deployment.name.clone(),
        from_revision: from.number,
        to_revision: to.number,
        images: Images {
            from: from.images(),
            to: to.images(),
        },
        steps: steps(database.is_some()),
        needs_approval: lossy || to.health != Health::Healthy,
        database,
        reasons,
        diff: facts.diff,
    }
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

fn steps(database: bool) -> Vec<Step> {
    let writers = [
        Step::PauseRollout,
        Step::StopWriters,
        Step::RollBackDatabase,
    ];
    let stateful = writers.into_iter().filter(|_| database);
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

impl Step {
    /// Whether the saga can still be undone before this step takes effect.
    pub fn is_pivot(self, plan: &Plan) -> bool {
        match plan.database {
            Some(_) => self == Self::RollBackDatabase,
            None => self == Self::RestoreTemplate,
        }
    }

    /// One line for people.
    pub fn say(self) -> &'static str {
        match self {
            Self::Lock => "locking the deployment",
            Self::PauseRollout => "pausing the rollout",
            Self::StopWriters => "stopping the bad revision's writers",
            Self::RollBackDatabase => "rolling back the database",
            Self::RestoreTemplate => "restoring the old template",
            Self::AwaitReady => "waiting for the old revision",
            Self::Verify => "verifying health",
            Self::Release => "releasing the lock",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revision(number: u64, health: Health, schema: &str) -> Revision {
        Revision {
            number,
            replica_set: format!("web-{number}"),
            replicas: 0,
            ready: 0,
            health,
            template: json!({"metadata": {"annotations": {"ossa.io/database": "shop", "ossa.io/schema-version": schema}}, "spec": {"containers": [{"image": format!("shop:{number}")}]}}),
            created: None,
        }
    }

    fn deployment(revisions: Vec<Revision>) -> Deployment {
        Deployment {
            namespace: "shop".into(),
            name: "web".into(),
            resource_version: "7".into(),
            uid: "u".into(),
            replicas: 3,
            paused: false,
            template: json!({}),
            annotations: json!({}),
            revisions,
        }
    }

    fn assessment(answer: DatabaseAnswer, additive_only: bool) -> Assessment {
        Assessment {
            answer,
            rows_at_risk: 4,
            additive_only,
            plan_digest: String::new(),
            reverts: Vec::new(),
        }
    }

    #[test]
    fn goes_back_to_the_newest_healthy_revision_and_skips_others() {
        let all = deployment(vec![
            revision(1, Health::Healthy, "1"),
            revision(2, Health::Healthy, "1"),
            revision(3, Health::NeverHealthy, "1"),
            revision(4, Health::Quarantined, "1"),
            revision(5, Health::NeverHealthy, "2"),
        ]);
        let (from, to) = choose(&all, Target::LastHealthy).unwrap();
        assert_eq!((from.number, to.number), (5, 2));
    }

    #[test]
    fn refuses_what_must_not_be_rolled_back() {
        let one = deployment(vec![revision(1, Health::Healthy, "1")]);
        assert_eq!(
            choose(&one, Target::LastHealthy).unwrap_err(),
            Refusal::NoEarlierRevision
        );
        assert_eq!(
            choose(&one, Target::Revision(1)).unwrap_err(),
            Refusal::AlreadyThere(1)
        );
        assert!(matches!(
            choose(&one, Target::Revision(9)).unwrap_err(),
            Refusal::UnknownRevision { wanted: 9, .. }
        ));
        let never = deployment(vec![
            revision(1, Health::NeverHealthy, "1"),
            revision(2, Health::NeverHealthy, "1"),
        ]);
        assert_eq!(
            choose(&never, Target::LastHealthy).unwrap_err(),
            Refusal::NeverHealthy
        );
        assert!(
            choose(&never, Target::Revision(1)).is_ok(),
            "a caller may vouch for a revision"
        );
        let left = deployment(vec![
            revision(1, Health::Quarantined, "1"),
            revision(2, Health::NeverHealthy, "1"),
        ]);
        assert_eq!(
            choose(&left, Target::Revision(1)).unwrap_err(),
            Refusal::Quarantined(1)
        );
        let paused = Deployment {
            paused: true,
            ..deployment(vec![
                revision(1, Health::Healthy, "1"),
                revision(2, Health::NeverHealthy, "1"),
            ])
        };
        assert_eq!(
            choose(&paused, Target::LastHealthy).unwrap_err(),
            Refusal::Paused
        );
    }

    /// The decision table of stateful rollbacks.
    #[test]
    fn the_database_decides_the_steps_and_the_approval() {
        use DatabaseAnswer::{PointOfNoReturn, Reversible, SafeWithoutDatabase};
        for (answer, additive, moves, approval) in [
            (SafeWithoutDatabase, false, false, false),
            (Reversible, true, false, false),
            (Reversible, false, true, false),
            (PointOfNoReturn, true, false, false),
            (PointOfNoReturn, false, true, true),
        ] {
            let web = deployment(vec![
                revision(1, Health::Healthy, "1"),
                revision(2, Health::NeverHealthy, "2"),
            ]);
            let assessment = assessment(answer, additive);
            let pair = choose(&web, Target::LastHealthy).unwrap();
            let plan = decide(Facts {
                deployment: &web,
                pair,
                assessment: Some(&assessment),
                diff: String::new(),
            });
            assert_eq!(
                (plan.database.is_some(), plan.needs_approval),
                (moves, approval),
                "{answer:?} additive {additive}"
            );
            assert_eq!(plan.steps.contains(&Step::RollBackDatabase), moves);
            assert!(
                plan.steps.is_sorted(),
                "steps are executed in the order of the saga"
            );
        }
    }

    #[test]
    fn the_schema_moves_after_the_last_new_writer_and_before_the_old_template() {
        let steps = steps(true);
        let at = |step| steps.iter().position(|s| *s == step).unwrap();
        assert!(
            at(Step::StopWriters) < at(Step::RollBackDatabase)
                && at(Step::RollBackDatabase) < at(Step::RestoreTemplate)
        );
    }

    #[test]
    fn vouching_for_an_unproven_revision_needs_a_person() {
        let web = deployment(vec![
            revision(1, Health::NeverHealthy, "1"),
            revision(2, Health::NeverHealthy, "1"),
        ]);
        let pair = choose(&web, Target::Revision(1)).unwrap();
        assert!(
            decide(Facts {
                deployment: &web,
                pair,
                assessment: None,
                diff: String::new()
            })
            .needs_approval
        );
    }
}
