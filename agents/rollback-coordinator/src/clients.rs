//! The world: Kubernetes behind a port.

mod kubernetes;
pub mod objects;
mod read;

pub use kubernetes::Kubernetes;
pub use objects::{KubeObjects, Objects, Place};

use kubernetes::error as kubernetes_error;

use shared::SkillError;

use crate::domain::{Change, Deployment};

/// What a rollback reads from and does to a cluster.
#[async_trait::async_trait]
pub trait RolloutControl: std::fmt::Debug + Send + Sync + 'static {
    /// A Deployment with its revisions; their health is what can be seen now.
    async fn deployment(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Deployment>, SkillError>;
    /// Changes a Deployment, if nobody changed the object since it was read; else `Failed`.
    async fn change(&self, deployment: &Deployment, change: &Change) -> Result<(), SkillError>;
    /// Resolves when a ReplicaSet has no pod left.
    async fn await_gone(&self, namespace: &str, replica_set: &str) -> Result<(), SkillError>;
    /// Resolves when the Deployment's rollout is complete: all pods updated and ready, no old one left.
    async fn await_ready(&self, namespace: &str, name: &str) -> Result<(), SkillError>;
}
