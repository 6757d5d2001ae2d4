//! What of Kubernetes' objects matters to a judgement.

use serde::{Deserialize, Serialize};

use super::At;

/// Names one workload (a Deployment).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its names.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Generation that its controller has seen.
    pub observed_generation: i64,
    /// Replicas wanted.
    pub desired: u32,
    /// Pods of all revisions.
    pub total: u32,
    /// Pods of the current revision.
    pub updated: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that are available.
    pub available: u32,
    /// The current revision.
    pub revision: Option<u64>,
    /// Whether its rollout is paused.
    pub paused: bool,
    /// Whether its controller gave the rollout up (`ProgressDeadlineExceeded`).
    pub deadline_exceeded: bool,
    /// W3C trace context of the release that wrote it (annotation `ossa.io/traceparent`).
    pub traceparent: Option<String>,
}

/// One revision of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Uid of its Deployment.
    pub owner: String,
    /// Its revision.
    pub revision: u64,
    /// When it was created.
    pub created: At,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Uid of its `ReplicaSet`.
    pub owner: String,
    /// The node it is bound to.
    pub node: Option<String>,
    /// When it was created.
    pub created: At,
    /// Whether it is being deleted, or has ended (succeeded, failed, evicted).
    pub leaving: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether the scheduler finds no node for it.
    pub unschedulable: bool,
    /// Its containers.
    pub containers: Vec<Container>,
}

impl Pod {
    /// Restarts of all its containers.
    pub fn restarts(&self) -> u32 {
        self.containers
            .iter()
            .map(|container| container.restarts)
            .sum()
    }
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it has passed its startup probe (true at once when it has none).
    pub started: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// What it does.
    pub state: ContainerState,
    /// Why its last run ended, for example `OOMKilled`.
    pub last_end: Option<String>,
    /// What its probes allow.
    pub probes: Probes,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// It waits, for this reason.
    Waiting(String),
    /// It runs since then (the API tells whole seconds).
    Running(At),
    /// It ended, for this reason.
    Ended(String),
}

/// Time that a container's own probes give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probes {
    /// Startup probe: `initialDelaySeconds + periodSeconds * failureThreshold`, in milliseconds.
    pub startup_ms: Option<i64>,
    /// Readiness probe: the same sum.
    pub readiness_ms: Option<i64>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether its `Ready` condition is true.
    pub ready: bool,
}
