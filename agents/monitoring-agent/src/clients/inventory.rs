//! Fresh reads of workloads, straight from the API.

use cluster::Cluster;
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core};
use kube::core::Selector;
use shared::SkillError;

use super::{read, skill_error};
use crate::domain::{Deployment, Pod, ReplicaSet};

/// What was read of a namespace or of one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The Deployments.
    pub deployments: Vec<Deployment>,
    /// Their revisions.
    pub sets: Vec<ReplicaSet>,
    /// Their pods.
    pub pods: Vec<Pod>,
    /// Pods (by uid) whose readiness or liveness probe failed; read only when some pod runs and is not ready.
    pub failed_probes: Vec<String>,
}

/// Reads workloads as they are now.
#[async_trait::async_trait]
pub trait Inventory: std::fmt::Debug + Send + Sync + 'static {
    /// All Deployments of a namespace, or the one of this name; none when it does not exist.
    async fn observe(&self, namespace: &str, name: Option<&str>) -> Result<Observed, SkillError>;
}

/// Reads from the API server (or a snapshot).
#[derive(Debug, Clone)]
pub struct KubernetesInventory(pub Cluster);

#[async_trait::async_trait]
impl Inventory for KubernetesInventory {
    async fn observe(&self, namespace: &str, name: Option<&str>) -> Result<Observed, SkillError> {
        let place = Some(namespace);
        let (deployments, selector) = match name {
            None => (
                self.0
                    .list::<apps::Deployment>(place)
                    .await
                    .map_err(skill_error)?,
                None,
            ),
            Some(name) => {
                let found = self.0.get::<apps::Deployment>(place, name).await;
                let Some(found) = found.map_err(skill_error)? else {
                    return Ok(Observed::default());
                };
                let selector = Selector::try_from(found.spec.selector.clone()).ok();
                (vec![found], selector)
            }
        };
        let labels = selector.unwrap_or_default();
        let sets = self.0.list_matching::<apps::ReplicaSet>(place, &labels);
        let pods = self.0.list_matching::<core::Pod>(place, &labels);
        let (sets, pods) = futures::try_join!(sets, pods).map_err(skill_error)?;
        let pods: Vec<Pod> = pods.iter().filter_map(read::pod).collect();
        let mut failed_probes = Vec::new();
        if pods.iter().any(|pod| !pod.ready && !pod.leaving) {
            let events = self
                .0
                .list::<core::Event>(place)
                .await
                .map_err(skill_error)?;
            failed_probes.extend(events.iter().filter_map(read::failed_probe));
        }
        Ok(Observed {
            deployments: deployments.iter().map(read::deployment).collect(),
            sets: sets.iter().filter_map(read::replica_set).collect(),
            pods,
            failed_probes,
        })
    }
}
