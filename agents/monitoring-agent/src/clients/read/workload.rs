//! Workloads and their revisions.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::apps::v1::{self as apps, StatefulSetSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;

use super::{at, controller, count, kind};
use crate::domain::{
    Key, Revision, Template, Workload, WorkloadKind,
    messages::refusal,
    objects::{Current, HELM_NAMESPACE, HELM_RELEASE},
};

/// Annotation in which the Deployment's controller numbers revisions.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation in which a release leaves its W3C trace context.
const TRACEPARENT: &str = "ossa.io/traceparent";
/// Longest `traceparent` of version 00.
const MAX_TRACEPARENT: usize = 55;
/// Annotations that tell where a change comes from; GitLab's are all those under its prefix.
/// `kubernetes.io/change-cause` is left out: it may hold a whole command line, and with it secrets.
const ORIGINS: [&str; 4] = [
    TRACEPARENT,
    HELM_RELEASE,
    HELM_NAMESPACE,
    "argocd.argoproj.io/tracking-id",
];
/// Labels that do.
const ORIGIN_LABELS: [&str; 4] = [
    "helm.sh/chart",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "app.kubernetes.io/part-of",
];
/// Prefix of GitLab's annotations.
const GITLAB: &str = "app.gitlab.com/";
/// Most annotations that are kept, and their longest text.
const MOST_ORIGINS: usize = 16;
const MAX_ORIGIN: usize = 256;

pub(in crate::clients) fn deployment(object: &apps::Deployment) -> Workload {
    let status = object.status.clone().unwrap_or_default();
    let condition = |kind: &str| {
        let mut all = status.conditions.iter().flatten();
        all.find(|condition| condition.type_.as_deref() == Some(kind))
    };
    let exceeded = condition("Progressing").is_some_and(|condition| {
        condition.status.as_deref() == Some("False")
            && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    let failure = condition("ReplicaFailure").filter(|c| c.status.as_deref() == Some("True"));
    let number = object.metadata.annotations.as_ref();
    let number = number.and_then(|all| all.get(REVISION)?.parse().ok());
    Workload {
        observed_generation: status.observed_generation.unwrap_or(0),
        desired: count(object.spec.replicas.or(Some(1))),
        total: count(status.replicas),
        updated: count(status.updated_replicas),
        ready: count(status.ready_replicas),
        available: count(status.available_replicas),
        current: number.map_or(Current::Newest, Current::Number),
        paused: object.spec.paused.unwrap_or(false),
        deadline_exceeded: exceeded,
        refusal: failure.map(|f| refusal(f.message.as_deref().unwrap_or_default())),
        ..workload(&object.metadata, WorkloadKind::Deployment)
    }
}

pub(in crate::clients) fn stateful_set(object: &apps::StatefulSet) -> Workload {
    let status = object.status.clone().unwrap_or_default();
    let desired = count(object.spec.replicas.or(Some(1)));
    let name = status
        .update_revision
        .clone()
        .filter(|name| !name.is_empty());
    Workload {
        observed_generation: status.observed_generation.unwrap_or(0),
        desired,
        held: held(&object.spec, desired),
        total: count(Some(status.replicas)),
        updated: count(status.updated_replicas),
        ready: count(status.ready_replicas),
        available: count(status.available_replicas),
        current: name.map_or(Current::Newest, Current::Name),
        ..workload(&object.metadata, WorkloadKind::StatefulSet)
    }
}

/// Pods that the update strategy keeps on the old revision.
fn held(spec: &StatefulSetSpec, desired: u32) -> u32 {
    let strategy = spec.update_strategy.as_ref();
    let by_hand = strategy.is_some_and(|s| s.type_.as_deref() == Some("OnDelete"));
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let partition = count(rolling.and_then(|rolling| rolling.partition));
    if by_hand {
        desired
    } else {
        partition.min(desired)
    }
}

pub(in crate::clients) fn daemon_set(object: &apps::DaemonSet) -> Workload {
    let status = object.status.clone().unwrap_or_default();
    let desired = count(Some(status.desired_number_scheduled));
    let strategy = object.spec.update_strategy.as_ref();
    let by_hand = strategy.is_some_and(|s| s.type_.as_deref() == Some("OnDelete"));
    Workload {
        observed_generation: status.observed_generation.unwrap_or(0),
        desired,
        held: if by_hand { desired } else { 0 },
        total: count(Some(status.current_number_scheduled)),
        updated: count(status.updated_number_scheduled),
        ready: count(Some(status.number_ready)),
        available: count(status.number_available),
        current: Current::Newest,
        ..workload(&object.metadata, WorkloadKind::DaemonSet)
    }
}

fn workload(meta: &ObjectMeta, kind: WorkloadKind) -> Workload {
    let traceparent = meta.annotations.as_ref().and_then(|a| a.get(TRACEPARENT));
    Workload {
        key: Key {
            namespace: meta.namespace.clone().unwrap_or_default(),
            kind,
            name: meta.name.clone().unwrap_or_default(),
        },
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(0),
        traceparent: traceparent
            .filter(|text| text.len() <= MAX_TRACEPARENT)
            .cloned(),
        origin: origin(meta),
        ..Workload::default()
    }
}

/// What labels and annotations tell about where a change comes from.
fn origin(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let annotations = meta.annotations.iter().flatten();
    let annotations = annotations
        .filter(|(name, _)| ORIGINS.contains(&name.as_str()) || name.starts_with(GITLAB));
    let labels = meta.labels.iter().flatten();
    let labels = labels.filter(|(name, _)| ORIGIN_LABELS.contains(&name.as_str()));
    annotations
        .chain(labels)
        .take(MOST_ORIGINS)
        .map(|(name, text)| (name.clone(), text.chars().take(MAX_ORIGIN).collect()))
        .collect()
}

pub(in crate::clients) fn replica_set(object: &apps::ReplicaSet) -> Option<Revision> {
    let meta = &object.metadata;
    let owner = controller(meta).filter(|owner| owner.kind == "Deployment")?;
    let template = serde_json::to_value(&object.spec.template).ok()?;
    Some(Revision {
        uid: meta.uid.clone()?,
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
        owner: owner.uid.clone(),
        number: meta.annotations.as_ref()?.get(REVISION)?.parse().ok()?,
        created: meta.creation_timestamp.as_ref().map(at)?,
        replica_set: true,
        template: Template::of(&without_hash(template)),
    })
}

/// The hash label differs between all revisions and says nothing.
fn without_hash(mut template: Value) -> Value {
    let labels = template.pointer_mut("/metadata/labels");
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    template
}

pub(in crate::clients) fn controller_revision(
    object: &apps::ControllerRevision,
) -> Option<Revision> {
    let meta = &object.metadata;
    let owner = controller(meta).filter(|owner| kind(&owner.kind).is_some())?;
    let template = object.data.0.pointer("/spec/template");
    Some(Revision {
        uid: meta.uid.clone()?,
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
        owner: owner.uid.clone(),
        number: u64::try_from(object.revision?).ok()?,
        created: meta.creation_timestamp.as_ref().map(at)?,
        replica_set: false,
        template: template.map(Template::of).unwrap_or_default(),
    })
}
