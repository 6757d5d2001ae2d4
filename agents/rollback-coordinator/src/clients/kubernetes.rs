//! The cluster through its API.

use std::collections::BTreeSet;

use cluster::{Cluster, ClusterError, Event, Options, Patch};
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::{Deployment as KubeDeployment, ReplicaSet},
    core::v1::Pod,
};
use shared::SkillError;

use super::{RolloutControl, read};
use crate::domain::{Change, Deployment};

/// [`RolloutControl`] of a real or embedded cluster.
#[derive(Debug, Clone)]
pub struct Kubernetes(pub Cluster);

pub(super) fn error(error: ClusterError) -> SkillError {
    match error {
        ClusterError::Denied { .. } | ClusterError::ReadOnly { .. } => {
            SkillError::Denied(error.to_string())
        }
        ClusterError::Unavailable { .. } | ClusterError::TimedOut { .. } => {
            SkillError::unavailable("kubernetes", error)
        }
        other => SkillError::failed_with("the cluster refused", other),
    }
}

fn guarded(deployment: &Deployment) -> Options {
    Options {
        resource_version: Some(deployment.resource_version.clone()),
        field_manager: Some("rollback-coordinator".into()),
        ..Options::default()
    }
}

#[async_trait::async_trait]
impl RolloutControl for Kubernetes {
    async fn deployment(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Deployment>, SkillError> {
        let Some(object) = self
            .0
            .get::<KubeDeployment>(Some(namespace), name)
            .await
            .map_err(error)?
        else {
            return Ok(None);
        };
        let sets = self
            .0
            .list::<ReplicaSet>(Some(namespace))
            .await
            .map_err(error)?;
        Ok(Some(read::deployment(&object, &sets)))
    }

    async fn change(&self, deployment: &Deployment, change: &Change) -> Result<(), SkillError> {
        let patch = Patch::Json(change.operations(deployment));
        let patched = self
            .0
            .patch::<KubeDeployment>(
                Some(&deployment.namespace),
                &deployment.name,
                &patch,
                &guarded(deployment),
            )
            .await;
        patched.map(drop).map_err(error)
    }

    async fn await_gone(&self, namespace: &str, replica_set: &str) -> Result<(), SkillError> {
        let mut pods = self.0.watch::<Pod>(Some(namespace), None);
        // Nothing is known before the first list: a watch that breaks at once has seen no pod, which proves nothing.
        let mut left: Option<BTreeSet<String>> = None;
        while let Some(event) = pods.next().await {
            match event {
                Ok(Event::Listed(all)) => {
                    left = Some(
                        all.iter()
                            .filter(|pod| is_of(pod, replica_set))
                            .filter_map(|pod| pod.metadata.name.clone())
                            .collect(),
                    );
                }
                Ok(Event::Applied(pod)) if is_of(&pod, replica_set) => {
                    left.get_or_insert_default().extend(pod.metadata.name);
                }
                Ok(Event::Deleted(pod)) => {
                    if let (Some(left), Some(name)) = (&mut left, &pod.metadata.name) {
                        left.remove(name);
                    }
                }
                Ok(Event::Applied(_)) => {}
                Err(problem) => tracing::warn!(%problem, "the watch of pods broke and is resumed"),
            }
            if left.as_ref().is_some_and(BTreeSet::is_empty) {
                return Ok(());
            }
        }
        Err(SkillError::failed("the watch of pods ended"))
    }

    async fn await_ready(&self, namespace: &str, name: &str) -> Result<(), SkillError> {
        let mut deployments = self.0.watch::<KubeDeployment>(Some(namespace), None);
        while let Some(event) = deployments.next().await {
            let seen = match event {
                Ok(Event::Listed(all)) => all,
                Ok(Event::Applied(one)) => vec![one],
                Ok(Event::Deleted(one)) if one.metadata.name.as_deref() == Some(name) => {
                    return Err(SkillError::failed("the deployment was deleted"));
                }
                Ok(Event::Deleted(_)) => continue,
                Err(problem) => {
                    tracing::warn!(%problem, "the watch of deployments broke and is resumed");
                    continue;
                }
            };
            if seen.iter().any(|object| {
                object.metadata.name.as_deref() == Some(name) && read::is_complete(object)
            }) {
                return Ok(());
            }
        }
        Err(SkillError::failed("the watch of deployments ended"))
    }
}

fn is_of(pod: &Pod, replica_set: &str) -> bool {
    pod.metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == "ReplicaSet" && owner.name == replica_set)
}
