//! What of Kubernetes' objects matters to a judgement.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Refusal, Template, messages::Homeless, messages::WaitFault};

/// Kinds of workloads that are watched.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum WorkloadKind {
    /// A Deployment.
    #[default]
    Deployment,
    /// A `StatefulSet`.
    StatefulSet,
    /// A `DaemonSet`.
    DaemonSet,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// Kubernetes' name of the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The resource of the API.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }
}

/// Names one workload.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl Key {
    /// Names a Deployment.
    pub fn deployment(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            kind: WorkloadKind::Deployment,
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            namespace,
            kind,
            name,
        } = self;
        match kind {
            WorkloadKind::Deployment => write!(f, "{namespace}/{name}"),
            WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => {
                write!(f, "{namespace}/{}/{name}", kind.as_str())
            }
        }
    }
}

/// How a workload names its current revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Current {
    /// By its number (the Deployment's revision annotation).
    Number(u64),
    /// By its name (`status.updateRevision` of a `StatefulSet`).
    Name(String),
    /// Not at all: the newest one is current (a `DaemonSet`, or a controller that did not look yet).
    #[default]
    Newest,
}

/// A Deployment, `StatefulSet` or `DaemonSet`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its names.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// Generation of the spec.
    pub generation: i64,
    /// Generation that its controller has seen.
    pub observed_generation: i64,
    /// Pods wanted.
    pub desired: u32,
    /// Of these, how many its strategy keeps on the old revision (a partition; all of them with `OnDelete`).
    pub held: u32,
    /// Pods of all revisions.
    pub total: u32,
    /// Pods of the current revision.
    pub updated: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that are available.
    pub available: u32,
    /// How it names its current revision.
    pub current: Current,
    /// Whether its rollout is paused.
    pub paused: bool,
    /// Whether its controller gave the rollout up (`ProgressDeadlineExceeded`).
    pub deadline_exceeded: bool,
    /// Why its controller cannot make pods (condition `ReplicaFailure`).
    pub refusal: Option<Refusal>,
    /// W3C trace context of the release that wrote it (annotation `ossa.io/traceparent`).
    pub traceparent: Option<String>,
    /// What its labels and annotations tell about where it comes from: Helm, GitLab, a change cause.
    pub origin: BTreeMap<String, String>,
}

impl Workload {
    /// Pods that the current revision should have once the rollout is over.
    pub fn wanted_updated(&self) -> u32 {
        self.desired.saturating_sub(self.held)
    }

    /// Whether its controller has not seen the newest spec.
    pub fn lags(&self) -> bool {
        self.observed_generation < self.generation
    }

    /// Whether a rollout is under way.
    pub fn rolling(&self) -> bool {
        let surplus = self.key.kind == WorkloadKind::Deployment && self.total > self.updated;
        self.lags() || self.updated < self.wanted_updated() || surplus
    }

    /// The Helm release that it belongs to, as `namespace/name`.
    pub fn helm_release(&self) -> Option<String> {
        let name = self.origin.get(HELM_RELEASE)?;
        let namespace = self.origin.get(HELM_NAMESPACE);
        let namespace = namespace.unwrap_or(&self.key.namespace);
        Some(format!("{namespace}/{name}"))
    }
}

/// Annotation with the name of the Helm release.
pub const HELM_RELEASE: &str = "meta.helm.sh/release-name";
/// Annotation with the namespace of the Helm release.
pub const HELM_NAMESPACE: &str = "meta.helm.sh/release-namespace";

/// One revision of a workload: a `ReplicaSet`, or a `ControllerRevision`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Uid of its workload.
    pub owner: String,
    /// Its number.
    pub number: u64,
    /// When it was created.
    pub created: At,
    /// Whether it is a `ReplicaSet`.
    pub replica_set: bool,
    /// What its pods are made from.
    pub template: Template,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Uid of its owner: a `ReplicaSet`, `StatefulSet` or `DaemonSet`.
    pub owner: String,
    /// Name of its `ControllerRevision`, when its owner is no `ReplicaSet`.
    pub revision: Option<String>,
    /// The node it is bound to.
    pub node: Option<String>,
    /// When it was created.
    pub created: At,
    /// Whether it is being deleted, or has ended (succeeded, failed, evicted).
    pub leaving: bool,
    /// Whether its node evicted it.
    pub evicted: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Why the scheduler finds no node for it.
    pub homeless: Option<Homeless>,
    /// Claims that it mounts.
    pub claims: Vec<String>,
    /// Its containers, with those that run before the others.
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Whether it runs to its end before the others start.
    pub init: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it has passed its startup probe (true at once when it has none).
    pub started: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// What it does.
    pub state: ContainerState,
    /// What the message of its state says about the fault.
    pub fault: Option<WaitFault>,
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

impl Default for ContainerState {
    fn default() -> Self {
        Self::Waiting(String::new())
    }
}

/// Time that a container's own probes give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probes {
    /// Startup probe: `initialDelaySeconds + periodSeconds * failureThreshold`, in milliseconds.
    pub startup_ms: Option<i64>,
    /// Readiness probe: the same sum.
    pub readiness_ms: Option<i64>,
}
