//! Asks rollback-coordinator for a rollback, along the declared edge. Every request can be made again after a
//! crash: its key follows from the incident, and rollback-coordinator does the same thing once.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::{Context, SkillError, telemetry::Chain};
use tokio::time::{Instant, sleep};

use crate::{
    checkup::checkup,
    clients::{Inventory, Wanted},
    domain::{Incident, Severity, Status, Thresholds, Verdict, incident::Rollback},
    ledger::Ledger,
    watch::now,
};

const COORDINATOR: &str = "rollback-coordinator";
/// First pause when rollback-coordinator does not answer; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Tries in all: about four minutes, longer than a restart of rollback-coordinator.
const ATTEMPTS: u32 = 15;

/// Carries out what an incident asks for.
#[derive(Debug, Clone)]
pub struct Response {
    /// Where incidents are kept.
    pub ledger: Ledger,
    /// For a look at the workload after the rollback.
    pub inventory: Arc<dyn Inventory>,
    /// The numbers in use.
    pub thresholds: Thresholds,
}

#[derive(Debug, Deserialize)]
struct Planned {
    plan: Plan,
    plan_digest: String,
}

#[derive(Debug, Deserialize)]
struct Plan {
    from_revision: u64,
    to_revision: u64,
    #[serde(default)]
    needs_approval: bool,
}

#[derive(Debug, Deserialize)]
struct Executed {
    rollback_id: Option<String>,
    outcome: Option<String>,
    #[serde(default)]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    step: String,
    #[serde(flatten)]
    state: Map<String, Value>,
}

impl Response {
    /// Plans, executes and verifies a rollback. The incident that comes back is durable.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn roll_back(
        &self,
        context: &Context,
        mut incident: Incident,
    ) -> Result<Incident, SkillError> {
        if incident.rollback.is_none() {
            self.plan(context, &mut incident).await;
            // Durable before the request: after a crash the same one is made again.
            self.ledger.keep(&incident).await?;
        }
        if incident.status == Status::RollingBack {
            self.execute(context, &mut incident).await;
        }
        if incident.status == Status::Mitigated {
            self.verify(&mut incident).await;
        }
        self.ledger.keep(&incident).await?;
        Ok(incident)
    }

    async fn plan(&self, context: &Context, incident: &mut Incident) {
        let input = target(incident);
        let began = Instant::now();
        match patiently(context, "plan_rollback", &input).await {
            Ok(Planned { plan, .. }) if incident.revision != Some(plan.from_revision) => {
                let why = format!(
                    "revision {} is in force meanwhile, so nothing is rolled back",
                    plan.from_revision
                );
                incident.hand_over(why, now());
            }
            Ok(Planned { plan, plan_digest }) => {
                let what = format!(
                    "rollback from revision {} to {} planned",
                    plan.from_revision, plan.to_revision
                );
                incident.note(now(), what, Some(millis(began)));
                incident.rollback = Some(Rollback {
                    to_revision: plan.to_revision,
                    idempotency_key: incident.id.clone(),
                    plan_digest,
                    needs_approval: plan.needs_approval,
                    rollback_id: None,
                });
            }
            Err(error) => {
                incident.hand_over(format!("no rollback is planned: {}", Chain(&error)), now());
            }
        }
    }

    async fn execute(&self, context: &Context, incident: &mut Incident) {
        let Some(rollback) = incident.rollback.clone() else {
            return;
        };
        let input = order(incident, &rollback);
        incident.note(now(), "rollback requested", None);
        let began = Instant::now();
        match patiently::<Executed>(context, "execute_rollback", &input).await {
            Ok(Executed {
                rollback_id,
                outcome,
                steps,
            }) => {
                for step in &steps {
                    let took = step.state.get("took_ms").and_then(Value::as_u64);
                    incident.note(now(), format!("rollback step {}", step.step), took);
                }
                incident.rollback = Some(Rollback {
                    rollback_id,
                    ..rollback
                });
                let outcome = outcome.unwrap_or_default();
                if outcome == "rolled_back" {
                    incident.status = Status::Mitigated;
                    incident.note(now(), "rollback done", Some(millis(began)));
                } else {
                    incident.hand_over(format!("the rollback ended as {outcome}"), now());
                }
            }
            Err(error) if rollback.needs_approval => {
                incident.status = Status::AwaitingApproval;
                let why = format!("the rollback waits for an approval: {}", Chain(&error));
                incident.note(now(), why, Some(millis(began)));
            }
            Err(error) => {
                incident.hand_over(
                    format!("the rollback did not happen: {}", Chain(&error)),
                    now(),
                );
            }
        }
    }

    /// Ends the incident when the workload is healthy now; otherwise the watch ends it later.
    async fn verify(&self, incident: &mut Incident) {
        let wanted = Wanted::one(incident.workload.kind, &incident.workload.name);
        let observed = self.inventory.observe(&incident.namespace, &wanted).await;
        let Ok(observed) = observed else { return };
        let health = checkup(&observed, now(), &self.thresholds);
        if !health.is_empty()
            && health
                .iter()
                .all(|health| health.verdict == Verdict::Healthy)
        {
            incident.resolve("the workload is healthy", now());
        }
    }
}

/// Names the workload to rollback-coordinator.
fn target(incident: &Incident) -> Map<String, Value> {
    let namespace = json!(incident.namespace);
    let workload = json!(incident.workload);
    Map::from_iter([
        ("namespace".to_owned(), namespace),
        ("workload".to_owned(), workload),
    ])
}

/// What is asked of rollback-coordinator.
fn order(incident: &Incident, rollback: &Rollback) -> Map<String, Value> {
    let mut order = target(incident);
    let mut add = |name: &str, value| order.insert(name.to_owned(), value);
    add("to_revision", json!(rollback.to_revision));
    add("dry_run", json!(false));
    add("idempotency_key", json!(rollback.idempotency_key));
    if incident.severity == Severity::Sev2 {
        // Part of it serves: the way back need not be taken at once.
        add("strategy", json!("gradual"));
    }
    order
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Calls rollback-coordinator, again while it does not answer.
async fn patiently<O: serde::de::DeserializeOwned>(
    context: &Context,
    skill: &str,
    input: &Map<String, Value>,
) -> Result<O, SkillError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match context.call(COORDINATOR, skill, input).await {
            Err(error @ SkillError::Unavailable { .. }) => {
                tracing::debug!(skill, error = %Chain(&error), "asking again");
            }
            answer => return answer,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    context.call(COORDINATOR, skill, input).await
}
