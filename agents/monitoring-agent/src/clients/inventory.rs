//! Fresh reads of workloads, straight from the API.

use cluster::{Cluster, ClusterError};
use futures::try_join;
use k8s_openapi::{
    api::{apps::v1 as apps, core::v1 as core},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{Resource, core::Selector};
use serde::de::DeserializeOwned;
use shared::SkillError;

use super::{read, skill_error};
use crate::domain::{Pod, Revision, Warning, Workload, WorkloadKind};

/// What was read of a namespace or of one workload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// Their revisions.
    pub revisions: Vec<Revision>,
    /// Their pods.
    pub pods: Vec<Pod>,
    /// Warnings about them (by uid); read only when some pod is missing, or runs and is not ready.
    pub warnings: Vec<(String, Warning)>,
}

/// Which workloads to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only of this kind.
    pub kind: Option<WorkloadKind>,
    /// Only the one of this name.
    pub name: Option<String>,
}

impl Wanted {
    /// One workload.
    pub fn one(kind: WorkloadKind, name: &str) -> Self {
        Self {
            kind: Some(kind),
            name: Some(name.to_owned()),
        }
    }

    /// Whether a workload of this kind and name is wanted.
    pub fn is(&self, kind: WorkloadKind, name: &str) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
    }
}

/// Reads workloads as they are now.
#[async_trait::async_trait]
pub trait Inventory: std::fmt::Debug + Send + Sync + 'static {
    /// The wanted workloads of a namespace; none when there is none.
    async fn observe(&self, namespace: &str, wanted: &Wanted) -> Result<Observed, SkillError>;
}

/// Reads from the API server (or a snapshot).
#[derive(Debug, Clone)]
pub struct KubernetesInventory(pub Cluster);

/// Workloads that were found, with the selector of the only one.
type Found = (Vec<Workload>, Option<Selector>);

impl KubernetesInventory {
    /// Workloads of one kind, when it is wanted.
    async fn of_kind<K>(
        &self,
        namespace: &str,
        (kind, wanted): (WorkloadKind, &Wanted),
        read: fn(&K) -> Workload,
        selector: fn(&K) -> &LabelSelector,
    ) -> Result<Found, ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Sync,
    {
        let place = Some(namespace);
        if wanted.kind.is_some_and(|other| other != kind) {
            return Ok(Found::default());
        }
        let Some(name) = &wanted.name else {
            let all = self.0.list::<K>(place).await?;
            return Ok((all.iter().map(read).collect(), None));
        };
        let one = self.0.get::<K>(place, name).await?;
        let labels = one.as_ref().map(selector);
        let labels = labels.and_then(|labels| Selector::try_from(labels.clone()).ok());
        Ok((one.iter().map(read).collect(), labels))
    }

    /// Workloads of all wanted kinds.
    async fn workloads(&self, namespace: &str, wanted: &Wanted) -> Result<Found, ClusterError> {
        let (deployments, stateful, daemons) = try_join!(
            self.of_kind::<apps::Deployment>(
                namespace,
                (WorkloadKind::Deployment, wanted),
                read::deployment,
                |object| &object.spec.selector,
            ),
            self.of_kind::<apps::StatefulSet>(
                namespace,
                (WorkloadKind::StatefulSet, wanted),
                read::stateful_set,
                |object| &object.spec.selector,
            ),
            self.of_kind::<apps::DaemonSet>(
                namespace,
                (WorkloadKind::DaemonSet, wanted),
                read::daemon_set,
                |object| &object.spec.selector,
            ),
        )?;
        let (mut all, mut labels) = Found::default();
        for (workloads, selector) in [deployments, stateful, daemons] {
            all.extend(workloads);
            labels = selector.or(labels);
        }
        Ok((all, labels))
    }

    /// Revisions with these labels, which are those of their pods.
    async fn revisions(
        &self,
        namespace: &str,
        workloads: &[Workload],
        labels: &Selector,
    ) -> Result<Vec<Revision>, ClusterError> {
        let place = Some(namespace);
        let mut revisions = Vec::new();
        let of_sets = |workload: &Workload| workload.key.kind == WorkloadKind::Deployment;
        if workloads.iter().any(of_sets) {
            let sets = self.0.list_matching::<apps::ReplicaSet>(place, labels);
            revisions.extend(sets.await?.iter().filter_map(read::replica_set));
        }
        if !workloads.iter().all(of_sets) {
            let all = self
                .0
                .list_matching::<apps::ControllerRevision>(place, labels);
            revisions.extend(all.await?.iter().filter_map(read::controller_revision));
        }
        Ok(revisions)
    }

    async fn read(&self, namespace: &str, wanted: &Wanted) -> Result<Observed, ClusterError> {
        let place = Some(namespace);
        let (workloads, labels) = self.workloads(namespace, wanted).await?;
        if workloads.is_empty() {
            return Ok(Observed::default());
        }
        let labels = labels.unwrap_or_default();
        let revisions = self.revisions(namespace, &workloads, &labels);
        let pods = self.0.list_matching::<core::Pod>(place, &labels);
        let (revisions, pods) = try_join!(revisions, pods)?;
        let pods: Vec<Pod> = pods.iter().filter_map(read::pod).collect();
        let missing = |workload: &Workload| workload.ready < workload.desired;
        let unready = |pod: &Pod| !pod.ready && !pod.leaving;
        let mut warnings = Vec::new();
        if workloads.iter().any(missing) || pods.iter().any(unready) {
            let events = self.0.list::<core::Event>(place).await?;
            let said = events.iter().filter_map(read::warning);
            warnings.extend(said.map(|(uid, warning, _)| (uid, warning)));
        }
        Ok(Observed {
            workloads,
            revisions,
            pods,
            warnings,
        })
    }
}

#[async_trait::async_trait]
impl Inventory for KubernetesInventory {
    async fn observe(&self, namespace: &str, wanted: &Wanted) -> Result<Observed, SkillError> {
        self.read(namespace, wanted).await.map_err(skill_error)
    }
}
