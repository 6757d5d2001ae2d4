//! What surrounds a plan: who has to be kept still meanwhile, and what speaks against it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    change::Change,
    guards::Objection,
    hold::{Hold, ObjectRef, Purpose},
    plan::{Plan, Step},
    workload::Workload,
};

/// An environment that pipelines deploy to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Number of the project.
    pub project: String,
    /// Name of the environment.
    pub name: String,
}

/// A write of a plan to another field than the template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedWrite {
    /// The step that does it.
    pub step: Step,
    /// The object, `applications/argocd/shop`.
    pub object: String,
    /// The fields before, by JSON Pointer; null when they are not there.
    pub before: Value,
    /// The fields afterwards.
    pub after: Value,
}

/// What surrounds a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    /// The workload's Lease.
    pub lease: ObjectRef,
    /// Who has to be kept still, in order.
    pub holds: Vec<Hold>,
    /// What speaks against the rollback.
    pub objections: Vec<Objection>,
    /// The environment whose pipelines have to be kept still, or why it is not known.
    pub environment: Result<Environment, Option<String>>,
}

impl Surroundings {
    /// Adds to a plan what they ask for. A caller who names the revision may have a person overrule what can be overruled.
    ///
    /// # Errors
    /// What speaks against the rollback and cannot be overruled.
    pub fn enter(
        self,
        plan: &mut Plan,
        workload: &Workload,
        vouched: bool,
    ) -> Result<(), Objection> {
        for objection in self.objections {
            if !vouched || !objection.may_be_overruled() {
                return Err(objection);
            }
            plan.needs_approval = true;
            let overruled = format!("{objection}; the caller vouches for it all the same");
            plan.reasons.push(overruled);
        }
        let held = |purpose| self.holds.iter().any(|hold: &Hold| hold.purpose == purpose);
        if held(Purpose::Gitops) {
            plan.steps.extend([Step::PauseGitops, Step::ResumeGitops]);
            plan.reasons.push("Git goes on bringing the bad revision, so it is paused until it holds the good one".into());
        }
        let freezes = held(Purpose::Freeze) || plan.is_delivered(self.environment);
        if freezes {
            plan.steps.extend([Step::Freeze, Step::Thaw]);
        }
        // The order of the steps is the order of their variants.
        plan.steps.sort();
        plan.writes = vec![PlannedWrite {
            step: Step::Lock,
            object: self.lease.to_string(),
            before: json!({}),
            after: json!({"/spec/holderIdentity": "the rollback's id"}),
        }];
        plan.writes.extend(self.holds.iter().map(planned));
        plan.writes.extend(changes(plan, workload));
        plan.writes.extend(deliveries(plan));
        Ok(())
    }
}

fn planned(hold: &Hold) -> PlannedWrite {
    let side = |value: &dyn Fn(&super::hold::Field) -> Value| {
        let fields = hold.fields.iter();
        let fields: Map<String, Value> = fields
            .map(|field| (field.path.clone(), value(field)))
            .collect();
        Value::Object(fields)
    };
    PlannedWrite {
        step: match hold.purpose {
            Purpose::Gitops => Step::PauseGitops,
            Purpose::Freeze => Step::Freeze,
        },
        object: hold.object.to_string(),
        before: side(&|field| field.before.clone().unwrap_or_default()),
        after: side(&|field| field.during.clone()),
    }
}

impl Plan {
    /// Takes in which environment the workload belongs to; says whether its pipelines have to be kept still. A job of them
    /// that brings the old revision back must not meet a freeze, and records its deployment itself.
    fn is_delivered(&mut self, environment: Result<Environment, Option<String>>) -> bool {
        match environment {
            Ok(environment) => self.environment = Some(environment),
            Err(why) => self.reasons.extend(why),
        }
        let delivered = self.environment.is_some() && self.redeploy.is_none();
        if delivered {
            self.steps.push(Step::RecordDeployment);
        }
        delivered
    }
}

/// The writes to GitLab.
fn deliveries(plan: &Plan) -> Vec<PlannedWrite> {
    let write = |step, object, after| PlannedWrite {
        step,
        object,
        before: json!({}),
        after,
    };
    if let Some(redeploy) = &plan.redeploy {
        let object = format!(
            "projects/{}/jobs/{}",
            redeploy.environment.project, redeploy.job
        );
        return vec![write(Step::Redeploy, object, json!({"/retried": true}))];
    }
    let Some(Environment { project, name }) = &plan.environment else {
        return Vec::new();
    };
    let freeze = format!("projects/{project}/freeze_periods");
    let deployment = format!("projects/{project}/deployments");
    let recorded = json!({"/environment": name, "/status": "success"});
    vec![
        write(Step::Freeze, freeze, json!({"/cron_timezone": "UTC"})),
        write(Step::RecordDeployment, deployment, recorded),
    ]
}

/// The writes to the workload itself before its template.
fn changes(plan: &Plan, workload: &Workload) -> Vec<PlannedWrite> {
    let changes = [
        (
            Step::PauseRollout,
            Change::Pause,
            "/spec/paused",
            json!(workload.paused),
        ),
        (
            Step::StopWriters,
            Change::Stop,
            "/spec/replicas",
            json!(workload.replicas),
        ),
    ];
    let wanted = changes
        .into_iter()
        .filter(|(step, ..)| plan.steps.contains(step));
    wanted
        .map(|(step, change, path, before)| {
            let operations = change.operations(workload);
            let after = operations
                .iter()
                .find(|one| one.get("path") == Some(&json!(path)));
            let after = after.and_then(|one| one.get("value")).cloned();
            PlannedWrite {
                step,
                object: workload.id.to_string(),
                before: json!({path: before}),
                after: json!({path: after}),
            }
        })
        .collect()
}
