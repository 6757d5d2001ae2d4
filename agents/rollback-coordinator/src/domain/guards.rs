//! When a rollback would do harm or go in circles: what is found against a plan, and whether a person may overrule it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{
    journal::Outcome,
    plan::{Assessment, DatabaseStep},
};

/// Rollbacks of one workload within the window; the next one waits for a person.
pub const MAX_ROLLBACKS: u32 = 3;
/// The window in which they are counted, in seconds: one hour.
pub const WINDOW_SECONDS: u32 = 3600;

/// What db-migrator adds to a migration's version to name its contract.
const CONTRACT: &str = ".contract";

/// What the caller found to be the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The release itself.
    Release,
    /// Nodes that fail.
    Node,
    /// Something that the workload needs.
    Dependency,
    /// More load than it can serve.
    Load,
    /// A quota, or no room in the cluster.
    Capacity,
    /// Nobody knows.
    Unknown,
}

/// Limits against going in circles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rollbacks of one workload within the window.
    pub most: u32,
    /// The window.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            most: MAX_ROLLBACKS,
            window: Duration::seconds(WINDOW_SECONDS.into()),
        }
    }
}

/// An earlier rollback of the same workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its id.
    pub rollback_id: String,
    /// Number and name of the revision that it left.
    pub from: (u64, String),
    /// When it began.
    pub began: OffsetDateTime,
    /// How it ended.
    pub outcome: Outcome,
}

/// A workload that declares a schema version of the same database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its names, `deployments/shop/worker`.
    pub workload: String,
    /// The database.
    pub database: String,
    /// The schema version that it needs.
    pub version: String,
}

/// What the guards look at.
#[derive(Debug, Clone)]
pub struct Circumstances<'a> {
    /// The cause, when the caller names one.
    pub cause: Option<Cause>,
    /// The revision that the caller found to be bad, when it names one.
    pub suspect: Option<u64>,
    /// Number and name of the revision in force.
    pub current: (u64, &'a str),
    /// Earlier rollbacks of the workload.
    pub past: &'a [Past],
    /// Other workloads in force, with the schemas that they need.
    pub consumers: &'a [Consumer],
    /// The database part of the plan, with what db-migrator said.
    pub database: Option<(&'a DatabaseStep, &'a Assessment)>,
    /// The time.
    pub now: OffsetDateTime,
}

/// What speaks against a rollback.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// The cause is not the release.
    #[error("the cause is {0}, which no other revision cures")]
    NotTheRelease(&'static str),
    /// The bad revision is not the one in force.
    #[error("revision {current} was released on top of revision {suspect}; look at that one first")]
    AnotherOnTop {
        /// What the caller found to be bad.
        suspect: u64,
        /// What is in force.
        current: u64,
    },
    /// This very deployment was rolled back before.
    #[error(
        "rollback {0} has dealt with this deployment already; a person has to look at why it is still in force"
    )]
    OncePerDeployment(String),
    /// Too many rollbacks in the window.
    #[error("{count} rollbacks within {minutes} minutes; another one would go in circles")]
    Flapping {
        /// How many there were.
        count: usize,
        /// The window.
        minutes: i64,
    },
    /// Git would bring the bad revision back, and nobody can keep it from that.
    #[error(
        "the workload is brought from Git by {manager}, which is in none of this agent's target namespaces: it cannot be paused, and would undo the rollback"
    )]
    Unreachable {
        /// Its kind and name.
        manager: String,
    },
    /// Another workload needs the schema as it is.
    #[error(
        "{workload} needs schema {version} of {database}, which going back to {to_version} would take away"
    )]
    SharedSchema {
        /// Which one.
        workload: String,
        /// The database.
        database: String,
        /// What it needs.
        version: String,
        /// Where the database would go.
        to_version: String,
    },
    /// A later migration would go too.
    #[error(
        "schema {newest} of {database} is on top of {from_version}, the bad release's own; its release goes back first"
    )]
    LaterMigration {
        /// The database.
        database: String,
        /// What is in force.
        newest: String,
        /// What the bad release declares.
        from_version: String,
    },
}

impl Objection {
    /// Whether a person who approves may overrule it. Nobody's word makes a schema serve two releases.
    pub fn may_be_overruled(&self) -> bool {
        match self {
            Self::OncePerDeployment(_) | Self::Flapping { .. } | Self::Unreachable { .. } => true,
            Self::NotTheRelease(_)
            | Self::AnotherOnTop { .. }
            | Self::SharedSchema { .. }
            | Self::LaterMigration { .. } => false,
        }
    }
}

/// Everything that speaks against a rollback.
pub fn objections(found: &Circumstances<'_>, limits: Limits) -> Vec<Objection> {
    let mut all: Vec<Objection> = found.cause.and_then(not_the_release).into_iter().collect();
    let (number, name) = found.current;
    all.extend(
        found
            .suspect
            .filter(|suspect| *suspect != number)
            .map(|suspect| Objection::AnotherOnTop {
                suspect,
                current: number,
            }),
    );
    all.extend(circles(found.past, (number, name), limits, found.now));
    if let Some((step, assessment)) = found.database {
        all.extend(later_migration(step, assessment));
        all.extend(
            found
                .consumers
                .iter()
                .filter(|consumer| needs(consumer, step, assessment))
                .map(|consumer| Objection::SharedSchema {
                    workload: consumer.workload.clone(),
                    database: step.database.clone(),
                    version: consumer.version.clone(),
                    to_version: step.to_version.clone(),
                }),
        );
    }
    all
}

fn not_the_release(cause: Cause) -> Option<Objection> {
    match cause {
        Cause::Release | Cause::Unknown => None,
        Cause::Node => Some("failing nodes"),
        Cause::Dependency => Some("a dependency"),
        Cause::Load => Some("load"),
        Cause::Capacity => Some("a quota or a lack of room"),
    }
    .map(Objection::NotTheRelease)
}

fn circles(
    past: &[Past],
    (number, name): (u64, &str),
    limits: Limits,
    now: OffsetDateTime,
) -> Option<Objection> {
    // One that was undone has dealt with nothing.
    let mut done = past
        .iter()
        .filter(|one| one.outcome != Outcome::Compensated);
    if let Some(same) = done.find(|one| one.from.0 == number && one.from.1 == name) {
        return Some(Objection::OncePerDeployment(same.rollback_id.clone()));
    }
    let recent = past
        .iter()
        .filter(|one| one.began + limits.window > now)
        .count();
    (recent >= limits.most as usize).then(|| Objection::Flapping {
        count: recent,
        minutes: limits.window.whole_minutes(),
    })
}

/// A migration of somebody else lies on top of the bad release's own.
fn later_migration(step: &DatabaseStep, assessment: &Assessment) -> Option<Objection> {
    let newest = &assessment.reverts.first()?.version;
    // db-migrator calls the contract of a migration after it; it came with the same release.
    let own = newest.strip_suffix(CONTRACT).unwrap_or(newest) == step.from_version;
    (!own && *newest != step.from_version).then(|| Objection::LaterMigration {
        database: step.database.clone(),
        newest: newest.clone(),
        from_version: step.from_version.clone(),
    })
}

/// Whether a workload needs something that goes. Without a list of what goes, whatever is not the target's schema does.
fn needs(consumer: &Consumer, step: &DatabaseStep, assessment: &Assessment) -> bool {
    let mut reverts = assessment.reverts.iter();
    consumer.database == step.database
        && consumer.version != step.to_version
        && (assessment.reverts.is_empty()
            || reverts.any(|revert| revert.version == consumer.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::{DatabaseAnswer, Revert};

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    fn past(id: &str, number: u64, began: i64, outcome: Outcome) -> Past {
        Past {
            rollback_id: id.into(),
            from: (number, format!("web-{number}")),
            began: at(began),
            outcome,
        }
    }

    fn database(reverts: &[&str]) -> (DatabaseStep, Assessment) {
        let answer = DatabaseAnswer::Reversible;
        let step = DatabaseStep {
            database: "shop".into(),
            from_version: "4".into(),
            to_version: "3".into(),
            answer,
            rows_at_risk: 0,
        };
        let reverts = reverts.iter().map(|version| Revert {
            version: (*version).into(),
        });
        let assessment = Assessment {
            answer,
            rows_at_risk: 0,
            additive_only: false,
            plan_digest: String::new(),
            reverts: reverts.collect(),
            impossible: None,
            evidence: Vec::new(),
        };
        (step, assessment)
    }

    fn consumer(database: &str, version: &str) -> Consumer {
        Consumer {
            workload: "deployments/shop/worker".into(),
            database: database.into(),
            version: version.into(),
        }
    }

    const NONE: Circumstances<'static> = Circumstances {
        cause: None,
        suspect: None,
        current: (5, "web-5"),
        past: &[],
        consumers: &[],
        database: None,
        now: OffsetDateTime::UNIX_EPOCH,
    };

    fn found(circumstances: &Circumstances<'_>) -> Vec<(String, bool)> {
        objections(circumstances, Limits::default())
            .iter()
            .map(|one| (one.to_string(), one.may_be_overruled()))
            .collect()
    }

    #[test]
    fn only_a_release_is_cured_by_another_revision() {
        for (cause, refused) in [
            (Cause::Release, false),
            (Cause::Unknown, false),
            (Cause::Node, true),
            (Cause::Dependency, true),
            (Cause::Load, true),
            (Cause::Capacity, true),
        ] {
            let cause = Some(cause);
            let found = found(&Circumstances { cause, ..NONE });
            assert_eq!(!found.is_empty(), refused, "{cause:?}");
            assert!(found.iter().all(|(_, overruled)| !overruled));
        }
    }

    #[test]
    fn a_release_on_top_of_the_bad_one_is_not_taken_for_it() {
        let on = |suspect| found(&Circumstances { suspect, ..NONE });
        assert_eq!(on(None), []);
        assert_eq!(on(Some(5)), []);
        assert!(
            on(Some(4))[0]
                .0
                .contains("revision 5 was released on top of revision 4")
        );
    }

    #[test]
    fn one_deployment_is_rolled_back_once() {
        let with = |outcome| {
            let past = [past("r", 5, -100_000, outcome)];
            found(&Circumstances {
                past: &past,
                ..NONE
            })
        };
        assert!(
            with(Outcome::Stuck)[0]
                .0
                .contains("rollback r has dealt with")
        );
        assert!(with(Outcome::RolledBack)[0].1, "a person may overrule it");
        assert_eq!(with(Outcome::Compensated), [], "nothing was done");
        // The same template, deployed again, is another deployment.
        let again = [past("r", 3, -100_000, Outcome::RolledBack)];
        assert_eq!(
            found(&Circumstances {
                past: &again,
                ..NONE
            }),
            []
        );
    }

    #[test]
    fn three_in_an_hour_are_enough() {
        let with = |times: &[i64]| {
            let past: Vec<Past> = times
                .iter()
                .map(|began| past("r", 1, *began, Outcome::Compensated))
                .collect();
            found(&Circumstances {
                past: &past,
                ..NONE
            })
        };
        assert_eq!(with(&[-10, -20]), []);
        assert_eq!(with(&[-10, -20, -3600]), [], "the window is over");
        let three = with(&[-10, -20, -3599]);
        assert_eq!(
            three[0].0,
            "3 rollbacks within 60 minutes; another one would go in circles"
        );
        assert!(three[0].1);
    }

    /// The decision table's last row.
    #[test]
    fn a_schema_that_others_need_stays() {
        for (reverts, database_name, version, shared) in [
            (&["4"][..], "shop", "4", true),
            (&["4"], "shop", "3", false),
            (&["4"], "shop", "2", false),
            (&["4"], "other", "4", false),
            (&[], "shop", "4", true),
            (&[], "shop", "3", false),
        ] {
            let (step, assessment) = database(reverts);
            let consumers = [consumer(database_name, version)];
            let found = found(&Circumstances {
                consumers: &consumers,
                database: Some((&step, &assessment)),
                ..NONE
            });
            assert_eq!(found.len(), usize::from(shared), "{reverts:?} {version}");
            assert!(found.iter().all(|(text, overruled)| {
                text.contains("deployments/shop/worker needs schema 4 of shop") && !overruled
            }));
        }
        let (step, assessment) = database(&["5", "4"]);
        let database = Some((&step, &assessment));
        let on_top = found(&Circumstances { database, ..NONE });
        assert!(on_top[0].0.contains("schema 5 of shop is on top of 4") && !on_top[0].1);
    }

    #[test]
    fn the_contract_of_the_bad_releases_migration_is_its_own() {
        let (step, assessment) = database(&["4.contract", "4"]);
        let database = Some((&step, &assessment));
        assert_eq!(found(&Circumstances { database, ..NONE }), []);
    }
}
