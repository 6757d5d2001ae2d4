//! The world: Kubernetes behind a port, and GitLab.

pub mod dynamic;
mod kubernetes;
mod objects;
mod pipelines;
mod read;
mod rollouts;

pub use dynamic::{DynamicObjects, KubeDynamicObjects, Place};
pub use kubernetes::Kubernetes;
pub use objects::{KubernetesObjects, Objects};
pub use pipelines::{PipelineArgs, Pipelines, Slugs};

use kubernetes::error as kubernetes_error;
use read::owned_by as objects_of;

use std::sync::Arc;

use shared::SkillError;

use crate::domain::{Change, Member, Workload, WorkloadId};

/// What a wait came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// What was waited for is there.
    Done,
    /// It never comes while this pod stands.
    Blocked(Member),
}

/// What a rollback reads from and does to a cluster.
#[async_trait::async_trait]
pub trait RolloutControl: std::fmt::Debug + Send + Sync + 'static {
    /// A workload with its revisions; their health is what can be seen now.
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, SkillError>;
    /// Changes a workload, if nobody changed the object since it was read; else `Failed`.
    async fn change(&self, workload: &Workload, change: &Change) -> Result<(), SkillError>;
    /// Resolves when a workload has no pod left, or when a pod keeps it from that.
    async fn await_gone(&self, workload: &Workload) -> Result<Waited, SkillError>;
    /// Resolves when the rollout of a revision is complete: all pods updated and ready, no old one left; or when a pod
    /// keeps it from that.
    async fn await_ready(&self, workload: &Workload, revision: &str) -> Result<Waited, SkillError>;
    /// Takes a pod away, if it is still as it was seen. One that is ready goes by eviction, which keeps disruption
    /// budgets; one that is not ready serves nobody.
    async fn remove(&self, namespace: &str, pod: &Member) -> Result<(), SkillError>;
    /// Objects beside the workloads; none where there are only workloads.
    fn objects(&self) -> Option<Arc<dyn DynamicObjects>> {
        None
    }
}
