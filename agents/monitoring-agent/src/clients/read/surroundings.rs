//! Nodes, autoscalers, budgets, claims and configuration.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{self as core, ConfigMap, PersistentVolumeClaim},
    policy::v1::PodDisruptionBudget,
};

use super::{at, count, kind};
use crate::domain::{
    Key, Node, NodeTrouble,
    surroundings::{Autoscaler, Budget, Claim, Config},
    template::thousandths,
};

/// Labels that nodes of pools carry which an autoscaler can make larger: Karpenter, GKE, EKS, AKS, Cluster API.
const POOL_LABELS: [&str; 6] = [
    "karpenter.sh/nodepool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "cluster.x-k8s.io/deployment-name",
    "node.cluster.x-k8s.io/autoscaled",
];

pub(in crate::clients) fn node(object: &core::Node) -> Option<Node> {
    let status = object.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
    let holds = |kind| condition(kind).is_some_and(|condition| condition.status == "True");
    let ready = condition("Ready").is_none_or(|condition| condition.status == "True");
    let troubles = [
        (NodeTrouble::NotReady, !ready),
        (NodeTrouble::NoNetwork, holds("NetworkUnavailable")),
        (NodeTrouble::MemoryPressure, holds("MemoryPressure")),
        (NodeTrouble::DiskPressure, holds("DiskPressure")),
        (NodeTrouble::PidPressure, holds("PIDPressure")),
    ];
    let allocatable = status.allocatable.iter().flatten();
    let mut labels = object.metadata.labels.iter().flatten();
    Some(Node {
        name: object.metadata.name.clone()?,
        troubles: troubles
            .into_iter()
            .filter_map(|(trouble, holds)| holds.then_some(trouble))
            .collect(),
        cordoned: object
            .spec
            .as_ref()
            .is_some_and(|spec| spec.unschedulable == Some(true)),
        on_demand: labels.any(|(name, _)| POOL_LABELS.contains(&name.as_str())),
        allocatable: allocatable
            .filter_map(|(name, amount)| Some((name.clone(), thousandths(&amount.0)?)))
            .collect(),
    })
}

pub(in crate::clients) fn autoscaler(object: &HorizontalPodAutoscaler) -> Option<Autoscaler> {
    let meta = &object.metadata;
    let spec = &object.spec;
    let conditions = object.status.as_ref().and_then(|s| s.conditions.as_ref());
    let limited = conditions.into_iter().flatten().any(|condition| {
        condition.type_ == "ScalingLimited"
            && condition.status == "True"
            && condition.reason.as_deref() == Some("TooManyReplicas")
    });
    Some(Autoscaler {
        uid: meta.uid.clone()?,
        name: meta.name.clone()?,
        target: Key {
            namespace: meta.namespace.clone()?,
            kind: kind(&spec.scale_target_ref.kind)?,
            name: spec.scale_target_ref.name.clone(),
        },
        limited,
    })
}

pub(in crate::clients) fn budget(object: &PodDisruptionBudget) -> Option<Budget> {
    let meta = &object.metadata;
    let selector = object.spec.as_ref()?.selector.as_ref();
    let simple = selector.filter(|s| s.match_expressions.as_ref().is_none_or(Vec::is_empty));
    let exhausted = object.status.as_ref().is_some_and(|status| {
        count(status.expected_pods) > 0
            && count(status.disruptions_allowed) == 0
            && count(status.current_healthy) < count(status.desired_healthy)
    });
    Some(Budget {
        uid: meta.uid.clone()?,
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
        labels: simple
            .and_then(|selector| selector.match_labels.clone())
            .unwrap_or_default(),
        exhausted,
    })
}

pub(in crate::clients) fn claim(object: &PersistentVolumeClaim) -> Option<Claim> {
    let meta = &object.metadata;
    let phase = object
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let pending = phase == Some("Pending");
    Some(Claim {
        uid: meta.uid.clone()?,
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
        pending_since: meta.creation_timestamp.as_ref().map(at).filter(|_| pending),
    })
}

/// The digest of what a `ConfigMap` holds: its annotations, which locks are kept in, do not count.
pub(in crate::clients) fn config(object: &ConfigMap) -> Option<Config> {
    let meta = &object.metadata;
    let mut hasher = DefaultHasher::new();
    object.data.hash(&mut hasher);
    let binary = object.binary_data.iter().flatten();
    binary.for_each(|(name, bytes)| (name, &bytes.0).hash(&mut hasher));
    Some(Config {
        uid: meta.uid.clone()?,
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
        digest: hasher.finish(),
    })
}
