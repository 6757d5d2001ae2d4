//! What a fresh cluster holds.

use serde_json::json;
use time::OffsetDateTime;

use crate::domain::kind::{NAMESPACES, NODES};
use crate::domain::object::stamp;
use crate::domain::{Kind, State, verbs};

/// Adds the namespaces `default` and `kube-system` and one node of 8 cores and 32 GiB.
pub(crate) fn fill(state: &mut State, now: OffsetDateTime) {
    let resources =
        json!({"cpu": "8", "memory": "32Gi", "pods": "1000", "ephemeral-storage": "100Gi"});
    let node = json!({
        "metadata": {"name": "model-node", "labels": {
            "kubernetes.io/hostname": "model-node", "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "model"}},
        "spec": {},
        "status": {
            "capacity": resources, "allocatable": resources,
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"},
                          {"type": "Hostname", "address": "model-node"}],
            "nodeInfo": {
                "kubeletVersion": crate::api::VERSION, "operatingSystem": "linux",
                "architecture": "amd64", "osImage": "cluster-model", "kernelVersion": "",
                "containerRuntimeVersion": "model://1", "machineID": "", "systemUUID": "",
                "bootID": "", "kubeProxyVersion": ""},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": stamp(now), "lastTransitionTime": stamp(now)}]},
    });
    let namespace = |name: &str| {
        json!({"metadata": {"name": name, "labels": {
        "kubernetes.io/metadata.name": name}}})
    };
    let first: [(&'static Kind, _); 3] = [
        (&NAMESPACES, namespace("default")),
        (&NAMESPACES, namespace("kube-system")),
        (&NODES, node),
    ];
    for (kind, object) in first {
        if let Err(refusal) = verbs::create(state, kind, "", (object, false), now) {
            tracing::error!(%refusal, "cannot fill the cluster");
        }
    }
}
