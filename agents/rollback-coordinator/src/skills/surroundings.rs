//! Gathers what surrounds a rollback.

use serde_json::Value;
use shared::{Context, SkillError};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::planner::{Planner, Wanted};
use crate::{
    domain::{
        Assessment, Journal, Kind, Plan, Surroundings, Workload, WorkloadId,
        guards::{Circumstances, Consumer, Past, objections},
        hold::text,
        revision::{DATABASE_ANNOTATION, SCHEMA_ANNOTATION},
    },
    guard,
};

/// Earlier rollbacks that are looked at, of all workloads.
const MOST: usize = 500;

impl Planner {
    /// Who has to be kept still meanwhile, and what speaks against the rollback.
    pub(super) async fn surroundings(
        &self,
        context: &Context,
        wanted: &Wanted,
        (workload, plan, assessment): (&Workload, &Plan, Option<&Assessment>),
    ) -> Result<Surroundings, SkillError> {
        let stops = plan.database.is_some();
        let mut found = self.guard.find(context, &workload.id, stops).await?;
        let consumers = if stops {
            self.consumers(&workload.id).await?
        } else {
            Vec::new()
        };
        let journals = self.history.journals(MOST).await?;
        let past: Vec<Past> = journals
            .iter()
            .filter(|journal| journal.origin.uid == workload.uid && !journal.is_open())
            .filter_map(past)
            .collect();
        let current = workload.current();
        let circumstances = Circumstances {
            cause: wanted.cause,
            suspect: wanted.from_revision,
            current: current.map_or((plan.from_revision, ""), |one| (one.number, &one.name)),
            past: &past,
            consumers: &consumers,
            database: plan.database.as_ref().zip(assessment),
            now: OffsetDateTime::now_utc(),
        };
        let mut all = objections(&circumstances, self.guard.settings.limits);
        all.append(&mut found.objections);
        Ok(Surroundings {
            lease: guard::lease_of(&workload.id),
            holds: found.holds,
            objections: all,
            environment: self.guard.environment(context, workload).await,
        })
    }

    /// The other workloads in force that declare a schema.
    async fn consumers(&self, own: &WorkloadId) -> Result<Vec<Consumer>, SkillError> {
        let mut all = Vec::new();
        for kind in [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet] {
            for namespace in &self.guard.namespaces {
                let like = WorkloadId {
                    namespace: namespace.clone(),
                    kind,
                    name: String::new(),
                };
                let found = self.guard.objects.list(&guard::object(&like)).await?;
                all.extend(found.iter().filter_map(|live| consumer(live, kind)));
            }
        }
        all.retain(|consumer| consumer.workload != own.to_string());
        Ok(all)
    }
}

fn past(journal: &Journal) -> Option<Past> {
    Some(Past {
        rollback_id: journal.rollback_id.clone(),
        from: (journal.plan.from_revision, journal.origin.from_name.clone()),
        began: OffsetDateTime::parse(&journal.started_at, &Rfc3339).ok()?,
        outcome: journal.outcome,
    })
}

fn consumer(live: &Value, kind: Kind) -> Option<Consumer> {
    // Without pods nothing of it is in force.
    if live.pointer("/spec/replicas").and_then(Value::as_u64) == Some(0) {
        return None;
    }
    let annotations = live.pointer("/spec/template/metadata/annotations")?;
    let annotation = |name: &str| annotations.get(name)?.as_str().map(str::to_owned);
    let id = WorkloadId {
        namespace: text(live, "/metadata/namespace")?.to_owned(),
        kind,
        name: text(live, "/metadata/name")?.to_owned(),
    };
    Some(Consumer {
        workload: id.to_string(),
        database: annotation(DATABASE_ANNOTATION)?,
        version: annotation(SCHEMA_ANNOTATION)?,
    })
}
