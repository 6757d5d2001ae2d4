//! The cluster through its API.

use std::{collections::HashMap, fmt::Debug};

use cluster::{Cluster, ClusterError, Event, Options, Patch};
use futures::{StreamExt, stream::select};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
    core::v1::Pod,
};
use kube::Resource;
use serde::de::DeserializeOwned;
use shared::SkillError;

use super::{
    RolloutControl, Waited,
    read::{self, Controlled, Owners},
};
use crate::domain::{Change, Kind, Member, Workload, WorkloadId, member};

/// [`RolloutControl`] of a real or embedded cluster.
#[derive(Debug, Clone)]
pub struct Kubernetes(pub Cluster);

fn error(error: ClusterError) -> SkillError {
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

fn guarded(resource_version: &str) -> Options {
    Options {
        resource_version: Some(resource_version.to_owned()),
        field_manager: Some("rollback-coordinator".into()),
        ..Options::default()
    }
}

#[async_trait::async_trait]
impl RolloutControl for Kubernetes {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, SkillError> {
        match id.kind {
            Kind::Deployment => self.deployment(id).await,
            Kind::StatefulSet => self.controlled::<StatefulSet>(id).await,
            Kind::DaemonSet => self.controlled::<DaemonSet>(id).await,
        }
        .map_err(error)
    }

    async fn change(&self, workload: &Workload, change: &Change) -> Result<(), SkillError> {
        let patch = Patch::Json(change.operations(workload));
        let options = guarded(&workload.resource_version);
        match workload.id.kind {
            Kind::Deployment => {
                self.patch::<Deployment>(&workload.id, &patch, &options)
                    .await
            }
            Kind::StatefulSet => {
                self.patch::<StatefulSet>(&workload.id, &patch, &options)
                    .await
            }
            Kind::DaemonSet => {
                self.patch::<DaemonSet>(&workload.id, &patch, &options)
                    .await
            }
        }
        .map_err(error)
    }

    async fn await_gone(&self, workload: &Workload) -> Result<Waited, SkillError> {
        let mut pods = self.0.watch::<Pod>(Some(&workload.id.namespace), None);
        // Nothing is known before the first list: a watch that breaks at once has seen no pod, which proves nothing.
        let mut members = Members::of(workload);
        while let Some(event) = pods.next().await {
            let Some(known) = members.take_in(event) else {
                continue;
            };
            if known.is_empty() {
                return Ok(Waited::Done);
            }
            if let Some(pod) = member::keeps_from_stopping(&workload.rollout, &known) {
                return Ok(Waited::Blocked(pod.clone()));
            }
        }
        Err(SkillError::failed("the watch of pods ended"))
    }

    async fn await_ready(&self, workload: &Workload, revision: &str) -> Result<Waited, SkillError> {
        match workload.id.kind {
            Kind::Deployment => self.await_deployment(&workload.id).await,
            Kind::StatefulSet => self.await_pods::<StatefulSet>(workload, revision).await,
            Kind::DaemonSet => self.await_pods::<DaemonSet>(workload, revision).await,
        }
    }

    async fn remove(&self, namespace: &str, pod: &Member) -> Result<(), SkillError> {
        let options = guarded(&pod.resource_version);
        let removed = if pod.ready {
            self.0.evict(namespace, &pod.name, &options).await
        } else {
            self.0
                .delete::<Pod>(Some(namespace), &pod.name, &options)
                .await
        };
        match removed {
            // Somebody else took it away.
            Err(ClusterError::NotFound { .. }) => Ok(()),
            removed => removed.map_err(error),
        }
    }
}

impl Kubernetes {
    async fn deployment(&self, id: &WorkloadId) -> Result<Option<Workload>, ClusterError> {
        let namespace = Some(id.namespace.as_str());
        let Some(object) = self.0.get::<Deployment>(namespace, &id.name).await? else {
            return Ok(None);
        };
        let sets = self.0.list::<ReplicaSet>(namespace).await?;
        Ok(Some(read::deployment(&object, &sets)))
    }

    async fn controlled<K>(&self, id: &WorkloadId) -> Result<Option<Workload>, ClusterError>
    where
        K: Controlled + Resource<DynamicType = ()> + DeserializeOwned,
    {
        let namespace = Some(id.namespace.as_str());
        let Some(object) = self.0.get::<K>(namespace, &id.name).await? else {
            return Ok(None);
        };
        let owners = Owners::Workload {
            id: id.clone(),
            uid: Controlled::meta(&object).uid.clone().unwrap_or_default(),
        };
        let revisions = self.0.list::<ControllerRevision>(namespace).await?;
        let pods = self.0.list::<Pod>(namespace).await?;
        let members = pods.iter().filter_map(|pod| owners.member(pod));
        let members: Vec<Member> = members.collect();
        Ok(Some(read::controlled(&object, &revisions, &members)))
    }

    async fn patch<K>(
        &self,
        id: &WorkloadId,
        patch: &Patch,
        options: &Options,
    ) -> Result<(), ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let patched = self
            .0
            .patch::<K>(Some(&id.namespace), &id.name, patch, options);
        patched.await.map(drop)
    }

    async fn await_deployment(&self, id: &WorkloadId) -> Result<Waited, SkillError> {
        let mut deployments = self.0.watch::<Deployment>(Some(&id.namespace), None);
        while let Some(event) = deployments.next().await {
            if let Some(object) = latest(event, &id.name)?
                && read::is_complete(&object)
            {
                return Ok(Waited::Done);
            }
        }
        Err(SkillError::failed("the watch of deployments ended"))
    }

    /// Waits for a workload and all its pods.
    async fn await_pods<K>(&self, workload: &Workload, revision: &str) -> Result<Waited, SkillError>
    where
        K: Controlled
            + Resource<DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        enum Seen<K> {
            Workload(Result<Event<K>, ClusterError>),
            Pod(Box<Result<Event<Pod>, ClusterError>>),
        }
        let namespace = Some(workload.id.namespace.as_str());
        let objects = self.0.watch::<K>(namespace, None).map(Seen::Workload);
        let pods = self.0.watch::<Pod>(namespace, None);
        let pods = pods.map(|event| Seen::Pod(Box::new(event)));
        let mut changes = select(objects, pods);
        let (mut object, mut members, mut known) = (None, Members::of(workload), None);
        while let Some(change) = changes.next().await {
            match change {
                Seen::Workload(event) => {
                    object = latest(event, &workload.id.name)?.or(object);
                }
                Seen::Pod(event) => known = members.take_in(*event).or(known),
            }
            let (Some(object), Some(known)) = (&object, &known) else {
                continue;
            };
            if object.is_complete(revision, known) {
                return Ok(Waited::Done);
            }
            let rollout = object.rollout();
            if let Some(pod) = member::in_the_way(K::KIND, &rollout, known, revision) {
                return Ok(Waited::Blocked(pod.clone()));
            }
        }
        Err(SkillError::failed("the watch of the workload ended"))
    }
}

/// The pods of a workload as a watch tells them.
struct Members {
    owners: Owners,
    known: Option<HashMap<String, Member>>,
}

impl Members {
    fn of(workload: &Workload) -> Self {
        Self {
            owners: Owners::of(workload),
            known: None,
        }
    }

    /// Takes in an event; all pods, once they were listed.
    fn take_in(&mut self, event: Result<Event<Pod>, ClusterError>) -> Option<Vec<Member>> {
        let read = |pod: &Pod| self.owners.member(pod);
        match event {
            Ok(Event::Listed(all)) => {
                let own = all.iter().filter_map(read);
                self.known = Some(own.map(|pod| (pod.uid.clone(), pod)).collect());
            }
            Ok(Event::Applied(pod)) => {
                let own = read(&pod);
                self.known
                    .as_mut()?
                    .extend(own.map(|pod| (pod.uid.clone(), pod)));
            }
            Ok(Event::Deleted(pod)) => {
                self.known.as_mut()?.remove(&pod.metadata.uid?);
            }
            Err(problem) => broke("pods", &problem),
        }
        let known = self.known.as_ref()?;
        Some(known.values().cloned().collect())
    }
}

/// The newest state of an object that an event tells.
fn latest<K: Resource>(
    event: Result<Event<K>, ClusterError>,
    name: &str,
) -> Result<Option<K>, SkillError> {
    let is_it = |object: &K| object.meta().name.as_deref() == Some(name);
    match event {
        Ok(Event::Listed(all)) => Ok(all.into_iter().find(is_it)),
        Ok(Event::Applied(one)) => Ok(Some(one).filter(is_it)),
        Ok(Event::Deleted(one)) if is_it(&one) => {
            Err(SkillError::failed("the workload was deleted"))
        }
        Ok(Event::Deleted(_)) => Ok(None),
        Err(problem) => {
            broke("the workload", &problem);
            Ok(None)
        }
    }
}

fn broke(what: &str, problem: &ClusterError) {
    tracing::warn!(%problem, "the watch of {what} broke and is resumed");
}
