//! The world: Kubernetes behind a port.

mod kubernetes;
mod read;

pub use kubernetes::Kubernetes;

use serde_json::Value;
use shared::SkillError;

use crate::domain::Deployment;

/// What a rollback reads from and does to a cluster.
#[async_trait::async_trait]
pub trait RolloutControl: std::fmt::Debug + Send + Sync + 'static {
    /// A Deployment with its revisions; their health is what can be seen now.
    async fn deployment(&self, namespace: &str, name: &str) -> Result<Option<Deployment>, SkillError>;
    /// Pauses or resumes a rollout, if nobody changed the object since it was read.
    async fn set_paused(&self, deployment: &Deployment, paused: bool) -> Result<(), SkillError>;
    /// Scales one ReplicaSet.
    async fn scale_replica_set(&self, namespace: &str, name: &str, replicas: u32) -> Result<(), SkillError>;
    /// Resolves when a ReplicaSet has no pod left.
    async fn await_gone(&self, namespace: &str, replica_set: &str) -> Result<(), SkillError>;
    /// Replaces the pod template and resumes the rollout, if nobody changed the object since it was read.
    async fn restore(&self, deployment: &Deployment, template: &Value) -> Result<(), SkillError>;
    /// Resolves when the Deployment's rollout is complete: all pods updated and ready, no old one left.
    async fn await_ready(&self, namespace: &str, name: &str) -> Result<(), SkillError>;
}
