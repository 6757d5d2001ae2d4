//! Kubernetes objects as domain types.

use k8s_openapi::{
    api::apps::v1::{Deployment as KubeDeployment, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};

use crate::domain::{Deployment, Health, Revision, revision::HASH_LABEL};

const REVISION: &str = "deployment.kubernetes.io/revision";

/// A Deployment and those of the ReplicaSets that it owns.
pub(super) fn deployment(object: &KubeDeployment, sets: &[ReplicaSet]) -> Deployment {
    let meta = &object.metadata;
    let spec = &object.spec;
    let uid = meta.uid.clone().unwrap_or_default();
    let mut revisions: Vec<Revision> = sets
        .iter()
        .filter(|set| owned_by(&set.metadata, &uid))
        .filter_map(revision)
        .collect();
    revisions.sort_by_key(|revision| revision.number);
    Deployment {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        uid,
        replicas: count(spec.replicas.or(Some(1))),
        paused: spec.paused.unwrap_or(false),
        template: json!(spec.template),
        annotations: json!(meta.annotations),
        revisions,
    }
}

fn owned_by(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references
        .iter()
        .flatten()
        .any(|owner| owner.uid == uid)
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// A ReplicaSet as a revision; its health is what can be seen now.
fn revision(set: &ReplicaSet) -> Option<Revision> {
    let number = set
        .metadata
        .annotations
        .as_ref()?
        .get(REVISION)?
        .parse()
        .ok()?;
    let spec = &set.spec;
    let replicas = count(spec.replicas);
    let ready = count(set.status.as_ref().and_then(|status| status.ready_replicas));
    let mut template = json!(spec.template);
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(HASH_LABEL);
    }
    Some(Revision {
        number,
        replica_set: set.metadata.name.clone()?,
        replicas,
        ready,
        health: if replicas > 0 && ready >= replicas {
            Health::Healthy
        } else {
            Health::NeverHealthy
        },
        template,
        created: set
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0.to_string()),
    })
}

/// Whether a rollout is complete, by the rule of `kubectl rollout status`.
pub(super) fn is_complete(object: &KubeDeployment) -> bool {
    let wanted = object.spec.replicas.unwrap_or(1);
    let Some(status) = object.status.as_ref() else {
        return false;
    };
    let observed = status.observed_generation >= object.metadata.generation;
    let (updated, all, available) = (
        status.updated_replicas.unwrap_or(0),
        status.replicas.unwrap_or(0),
        status.available_replicas.unwrap_or(0),
    );
    let ready = status.ready_replicas.unwrap_or(0);
    observed && updated >= wanted && all <= updated && available >= wanted && ready >= wanted
}
