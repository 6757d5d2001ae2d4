//! Rollouts of Argo, whose definition the cluster may or may not have.

use std::time::Duration;

use cluster::{
    Cluster, ClusterError, Options, Patch,
    kube::core::{ApiResource, GroupVersionKind},
};
use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::{Value, json};
use shared::SkillError;
use tokio::time::sleep;

use super::{Waited, kubernetes_error as error, objects_of};
use crate::domain::{Change, Kind, Rollout, Workload, WorkloadId, argo};

/// Pause between two looks at a Rollout: 200 ms, little beside the start of a pod.
const LOOK: Duration = Duration::from_millis(200);

fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
    ApiResource::from_gvk_with_plural(&kind, "rollouts")
}

async fn get(cluster: &Cluster, id: &WorkloadId) -> Result<Option<Value>, ClusterError> {
    let found = cluster
        .get_dynamic(&resource(), Some(&id.namespace), &id.name)
        .await?;
    Ok(found.map(|object| json!(object)))
}

/// A Rollout with those of the `ReplicaSets` that it owns.
pub(super) async fn workload(
    cluster: &Cluster,
    id: &WorkloadId,
) -> Result<Option<Workload>, SkillError> {
    let Some(object) = get(cluster, id).await.map_err(error)? else {
        return Ok(None);
    };
    if argo::is_by_reference(&object) {
        return Err(SkillError::failed(format!(
            "no rollback: {}",
            argo::BY_REFERENCE
        )));
    }
    let sets = cluster
        .list::<ReplicaSet>(Some(&id.namespace))
        .await
        .map_err(error)?;
    let text = |pointer: &str| {
        let found = object.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let uid = text("/metadata/uid");
    let own = sets.iter().filter(|set| objects_of(&set.metadata, &uid));
    let mut revisions: Vec<_> = own.filter_map(|set| argo::revision(&json!(set))).collect();
    revisions.sort_by_key(|revision| revision.number);
    let replicas = object
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    Ok(Some(Workload {
        id: WorkloadId {
            kind: Kind::Rollout,
            ..id.clone()
        },
        resource_version: text("/metadata/resourceVersion"),
        uid,
        replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
        paused: object.pointer("/spec/paused") == Some(&Value::Bool(true)),
        rollout: Rollout::default(),
        template: object
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default(),
        annotations: object
            .pointer("/metadata/annotations")
            .cloned()
            .unwrap_or_default(),
        revisions,
    }))
}

/// Changes a Rollout. Before a template comes back what the controller is about is stopped, so that the bad version
/// loses its traffic at once; afterwards the steps are skipped.
pub(super) async fn change(
    cluster: &Cluster,
    workload: &Workload,
    change: &Change,
    options: &Options,
) -> Result<(), SkillError> {
    let id = &workload.id;
    let at = (Some(id.namespace.as_str()), id.name.as_str());
    let operations = Patch::Json(change.operations(workload));
    let Change::Restore { template, .. } = change else {
        let done = cluster
            .patch_dynamic(&resource(), at, &operations, options)
            .await;
        return done.map(drop).map_err(error);
    };
    let object = get(cluster, id).await.map_err(error)?.unwrap_or_default();
    let mut options = options.clone();
    if let Some(abort) = argo::abort(&object) {
        let after = status(cluster, id, abort, &options).await?;
        options.resource_version = after;
    }
    let done = cluster
        .patch_dynamic(&resource(), at, &operations, &options)
        .await;
    let object = json!(done.map_err(error)?);
    if let Some(promote) = argo::promote(&object, argo::hash(workload, template)) {
        options.resource_version = None;
        status(cluster, id, promote, &options).await?;
    }
    Ok(())
}

/// Changes the status; answers the version of the object afterwards.
async fn status(
    cluster: &Cluster,
    id: &WorkloadId,
    body: Value,
    options: &Options,
) -> Result<Option<String>, SkillError> {
    let at = (Some(id.namespace.as_str()), id.name.as_str());
    let patch = Patch::Merge(body);
    let after = cluster.patch_status(&resource(), at, &patch, options).await;
    Ok(after.map_err(error)?.metadata.resource_version)
}

/// Resolves when the controller says that the version in the template is in force.
pub(super) async fn await_ready(cluster: &Cluster, id: &WorkloadId) -> Result<Waited, SkillError> {
    loop {
        match get(cluster, id).await.map_err(error)? {
            Some(object) if argo::is_complete(&object) => return Ok(Waited::Done),
            Some(_) => sleep(LOOK).await,
            None => return Err(SkillError::failed("the workload was deleted")),
        }
    }
}
