//! What is rolled back as one.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::revision::Revision;

/// A kind of workload that keeps revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// Its revisions are `ReplicaSets`.
    Deployment,
    /// Its revisions are `ControllerRevisions`; its pods have ordinals and are replaced one by one.
    StatefulSet,
    /// Its revisions are `ControllerRevisions`; it has one pod a node.
    DaemonSet,
}

impl Kind {
    /// The resource in URLs, rules and audit records.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }

    /// The name in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }
}

/// Names a workload within a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Names a workload within a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkloadId {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl WorkloadId {
    /// Its name within its namespace.
    pub fn named(&self) -> Named {
        Named {
            kind: self.kind,
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.kind.resource(),
            self.namespace,
            self.name
        )
    }
}

/// How a controller brings a new template to its pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// It replaces no pod (`OnDelete`): whoever deletes one gets a new one.
    pub on_delete: bool,
    /// It waits for each pod before it goes to the next (`OrderedReady`).
    pub ordered: bool,
    /// Pods with a lower ordinal keep their revision.
    pub partition: u32,
    /// Scaling down deletes the pods' volume claims.
    pub deletes_claims: bool,
}

/// A workload with its revisions, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Its names.
    pub id: WorkloadId,
    /// Optimistic lock of the object.
    pub resource_version: String,
    /// Unique id of the object.
    pub uid: String,
    /// Pods it should have.
    pub replicas: u32,
    /// Whether its rollout is paused.
    pub paused: bool,
    /// How its pods are replaced.
    pub rollout: Rollout,
    /// The template in force.
    pub template: Value,
    /// Annotations in force.
    pub annotations: Value,
    /// All revisions, by number.
    pub revisions: Vec<Revision>,
}

impl Workload {
    /// The newest revision: what is being rolled out or runs.
    pub fn current(&self) -> Option<&Revision> {
        self.revisions.iter().max_by_key(|revision| revision.number)
    }

    /// A revision by number.
    pub fn revision(&self, number: u64) -> Option<&Revision> {
        self.revisions
            .iter()
            .find(|revision| revision.number == number)
    }
}
