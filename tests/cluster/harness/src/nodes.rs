//! The nodes, whose kubelets kwok plays.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;

/// Makes `node-1` to `node-N`, each of 16 cores, 64 GiB and 110 pods, in two zones by turns.
pub(crate) async fn create(client: &Client, count: usize) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for number in 1..=count {
        let name = format!("node-{number}");
        let zone = if number % 2 == 0 { "b" } else { "a" };
        let room = json!({"cpu": "16", "memory": "64Gi", "pods": "110"});
        let node = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": zone,
            }},
            "status": {"capacity": room, "allocatable": room, "addresses": [
                {"type": "InternalIP", "address": format!("172.18.0.{number}")},
                {"type": "Hostname", "address": name},
            ]},
        }))?;
        nodes.create(&PostParams::default(), &node).await?;
    }
    Ok(())
}

/// Whether so many nodes take pods: ready, and without the taint that keeps pods from a node that was not.
pub(crate) async fn ready(client: &Client, count: usize) -> anyhow::Result<bool> {
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let takes_pods = |node: &&Node| {
        let conditions = node.status.iter().flat_map(|status| &status.conditions);
        let ready = conditions
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let taints = node.spec.iter().flat_map(|spec| &spec.taints).flatten();
        ready && taints.count() == 0
    };
    Ok(nodes.iter().filter(takes_pods).count() == count)
}
