//! Kubernetes objects as domain types.

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::{Value, json};

use crate::domain::{
    Health, Kind, Member, Revision, Rollout, Workload, WorkloadId, member, revision::HASH_LABEL,
};

const REVISION: &str = "deployment.kubernetes.io/revision";
/// Label of the pods of `StatefulSets` and `DaemonSets`.
const REVISION_HASH: &str = "controller-revision-hash";

/// A workload that keeps its revisions in `ControllerRevisions`.
pub(super) trait Controlled {
    const KIND: Kind;

    fn meta(&self) -> &ObjectMeta;
    fn template(&self) -> Value;
    fn replicas(&self) -> u32;
    fn rollout(&self) -> Rollout;
    /// Whether all pods are of this revision and ready, by the rule of `kubectl rollout status`.
    fn is_complete(&self, revision: &str, members: &[Member]) -> bool;
}

impl Controlled for StatefulSet {
    const KIND: Kind = Kind::StatefulSet;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn template(&self) -> Value {
        json!(self.spec.template)
    }

    fn replicas(&self) -> u32 {
        count(self.spec.replicas.or(Some(1)))
    }

    fn rollout(&self) -> Rollout {
        let spec = &self.spec;
        let strategy = spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let claims = spec.persistent_volume_claim_retention_policy.as_ref();
        Rollout {
            on_delete: strategy.and_then(|one| one.type_.as_deref()) == Some("OnDelete"),
            ordered: spec.pod_management_policy.as_deref() != Some("Parallel"),
            partition: count(rolling.and_then(|rolling| rolling.partition)),
            deletes_claims: claims.and_then(|one| one.when_scaled.as_deref()) == Some("Delete"),
        }
    }

    fn is_complete(&self, revision: &str, members: &[Member]) -> bool {
        let wanted = self.replicas();
        let Some(status) = self.status.as_ref() else {
            return false;
        };
        let partition = self.rollout().partition;
        status.observed_generation >= self.metadata.generation
            && status.update_revision.as_deref() == Some(revision)
            && count(status.ready_replicas) >= wanted
            && members.len() == usize::try_from(wanted).unwrap_or(usize::MAX)
            && members.iter().all(|pod| {
                pod.ready && !pod.leaving && (pod.revision == revision || pod.ordinal() < partition)
            })
    }
}

impl Controlled for DaemonSet {
    const KIND: Kind = Kind::DaemonSet;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn template(&self) -> Value {
        json!(self.spec.template)
    }

    fn replicas(&self) -> u32 {
        let status = self.status.as_ref();
        count(status.map(|status| status.desired_number_scheduled))
    }

    fn rollout(&self) -> Rollout {
        let strategy = self.spec.update_strategy.as_ref();
        Rollout {
            on_delete: strategy.and_then(|one| one.type_.as_deref()) == Some("OnDelete"),
            ..Rollout::default()
        }
    }

    fn is_complete(&self, revision: &str, members: &[Member]) -> bool {
        let Some(status) = self.status.as_ref() else {
            return false;
        };
        let wanted = self.replicas();
        status.observed_generation >= self.metadata.generation
            && count(Some(status.number_ready)) >= wanted
            && members.len() == usize::try_from(wanted).unwrap_or(usize::MAX)
            && members
                .iter()
                .all(|pod| pod.ready && !pod.leaving && pod.revision == revision)
    }
}

/// A Deployment and those of the `ReplicaSets` that it owns.
pub(super) fn deployment(object: &Deployment, sets: &[ReplicaSet]) -> Workload {
    let spec = &object.spec;
    let workload = Workload {
        replicas: count(spec.replicas.or(Some(1))),
        paused: spec.paused.unwrap_or(false),
        template: json!(spec.template),
        ..workload(Kind::Deployment, &object.metadata)
    };
    let own = sets
        .iter()
        .filter(|set| owned_by(&set.metadata, &workload.uid));
    let revisions = own.filter_map(replica_set).collect();
    with_revisions(workload, revisions)
}

/// A workload, those of the `ControllerRevisions` that it owns, and its pods.
pub(super) fn controlled<K: Controlled>(
    object: &K,
    revisions: &[ControllerRevision],
    members: &[Member],
) -> Workload {
    let workload = Workload {
        replicas: object.replicas(),
        template: object.template(),
        rollout: object.rollout(),
        ..workload(K::KIND, object.meta())
    };
    let own = revisions
        .iter()
        .filter(|one| owned_by(&one.metadata, &workload.uid));
    let revisions = own.filter_map(|one| controller_revision(one, members));
    let revisions = revisions.collect();
    with_revisions(workload, revisions)
}

fn with_revisions(workload: Workload, mut revisions: Vec<Revision>) -> Workload {
    revisions.sort_by_key(|revision| revision.number);
    Workload {
        revisions,
        ..workload
    }
}

fn workload(kind: Kind, meta: &ObjectMeta) -> Workload {
    Workload {
        id: id(kind, meta),
        resource_version: meta.resource_version.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        replicas: 0,
        paused: false,
        rollout: Rollout::default(),
        template: Value::Null,
        annotations: json!(meta.annotations),
        revisions: Vec::new(),
    }
}

/// The names of an object of a kind.
pub(crate) fn id(kind: Kind, meta: &ObjectMeta) -> WorkloadId {
    WorkloadId {
        namespace: meta.namespace.clone().unwrap_or_default(),
        kind,
        name: meta.name.clone().unwrap_or_default(),
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

/// What can be seen of a revision's health now.
fn seen(replicas: u32, ready: u32) -> Health {
    if replicas > 0 && ready >= replicas {
        Health::Healthy
    } else {
        Health::NeverHealthy
    }
}

fn created(meta: &ObjectMeta) -> Option<String> {
    let time = meta.creation_timestamp.as_ref();
    time.map(|time| time.0.to_string())
}

fn replica_set(set: &ReplicaSet) -> Option<Revision> {
    let meta = &set.metadata;
    let number = meta.annotations.as_ref()?.get(REVISION)?.parse().ok()?;
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
        name: meta.name.clone()?,
        replicas,
        ready,
        health: seen(replicas, ready),
        template,
        created: created(meta),
    })
}

/// Its data is a strategic merge patch of the template, of which `$patch: replace` is no part.
fn controller_revision(revision: &ControllerRevision, members: &[Member]) -> Option<Revision> {
    let meta = &revision.metadata;
    let name = meta.name.clone()?;
    let data = revision.data.0.pointer("/spec/template")?.clone();
    // Through the type, so that it compares equal to what the object itself says.
    let template: PodTemplateSpec = serde_json::from_value(data).ok()?;
    let own = members.iter().filter(|pod| pod.revision == name);
    let (mut replicas, mut ready) = (0, 0);
    for pod in own {
        replicas += 1;
        ready += u32::from(pod.ready && !pod.leaving);
    }
    Some(Revision {
        number: u64::try_from(revision.revision?).ok()?,
        name,
        replicas,
        ready,
        health: seen(replicas, ready),
        template: json!(template),
        created: created(meta),
    })
}

/// Who owns the pods of a workload.
pub(super) enum Owners {
    /// The workload itself; a label names the revision.
    Workload {
        /// Its names.
        id: WorkloadId,
        /// Its unique id.
        uid: String,
    },
    /// These `ReplicaSets`, which are the revisions.
    Revisions(Vec<String>),
}

impl Owners {
    pub(super) fn of(workload: &Workload) -> Self {
        match workload.id.kind {
            Kind::Deployment => {
                let names = workload.revisions.iter().map(|one| one.name.clone());
                Self::Revisions(names.collect())
            }
            Kind::StatefulSet | Kind::DaemonSet => Self::Workload {
                id: workload.id.clone(),
                uid: workload.uid.clone(),
            },
        }
    }

    /// A pod of the workload; `None` for those of others.
    pub(super) fn member(&self, pod: &Pod) -> Option<Member> {
        let meta = &pod.metadata;
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let ready = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Some(Member {
            name: meta.name.clone()?,
            uid: meta.uid.clone()?,
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            revision: self.revision(meta)?,
            ready,
            leaving: meta.deletion_timestamp.is_some(),
        })
    }

    fn revision(&self, meta: &ObjectMeta) -> Option<String> {
        match self {
            Self::Workload { id, uid } => {
                let label = meta.labels.as_ref()?.get(REVISION_HASH)?;
                owned_by(meta, uid).then(|| member::revision_of(id, label))
            }
            Self::Revisions(names) => {
                let mut owners = meta.owner_references.iter().flatten();
                let set = owners.find(|owner| owner.kind == "ReplicaSet")?;
                names.contains(&set.name).then(|| set.name.clone())
            }
        }
    }
}

/// Whether a Deployment's rollout is complete, by the rule of `kubectl rollout status`.
pub(super) fn is_complete(object: &Deployment) -> bool {
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
