//! All watches as one stream of changes.

use cluster::{Cluster, ClusterError, Event};
use futures::{
    StreamExt,
    stream::{BoxStream, select_all},
};
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core};

use super::read;
use crate::domain::{Deployment, Node, Pod, ReplicaSet};

/// One change of the cluster.
#[derive(Debug)]
pub enum Change {
    /// All Deployments of a namespace; what is not in it is gone.
    Deployments(String, Vec<Deployment>),
    /// A Deployment.
    Deployment(Deployment),
    /// A Deployment (by uid) that is gone.
    DeploymentGone(String),
    /// All revisions of a namespace.
    Sets(String, Vec<ReplicaSet>),
    /// A revision.
    Set(ReplicaSet),
    /// A revision (by uid) that is gone.
    SetGone(String),
    /// All pods of a namespace.
    Pods(String, Vec<Pod>),
    /// A pod.
    Pod(Pod),
    /// A pod (by uid) that is gone.
    PodGone(String),
    /// Pods (by uid) whose readiness or liveness probe failed.
    ProbesFailed(Vec<String>),
    /// Nodes that are new or changed.
    Nodes(Vec<Node>),
    /// A node that is gone.
    NodeGone(String),
}

/// Watches Deployments, revisions, pods and events of these namespaces, and all nodes. Failures that a watch
/// survives come as errors; the stream never ends.
pub fn feed(
    cluster: &Cluster,
    namespaces: &[String],
) -> BoxStream<'static, Result<Change, ClusterError>> {
    let nodes = cluster
        .watch::<core::Node>(None, None)
        .map(|event| event.map(node_change));
    let mut streams = vec![nodes.boxed()];
    for namespace in namespaces {
        let place = || namespace.clone();
        let own = place();
        let deployments = cluster.watch::<apps::Deployment>(Some(namespace), None);
        streams.push(
            deployments
                .map(move |e| e.map(|e| deployment_change(&own, e)))
                .boxed(),
        );
        let own = place();
        let sets = cluster.watch::<apps::ReplicaSet>(Some(namespace), None);
        streams.push(some(
            sets.map(move |e| e.map(|e| set_change(&own, e))).boxed(),
        ));
        let own = place();
        let pods = cluster.watch::<core::Pod>(Some(namespace), None);
        streams.push(some(
            pods.map(move |e| e.map(|e| pod_change(&own, e))).boxed(),
        ));
        let events = cluster.watch::<core::Event>(Some(namespace), None);
        streams.push(some(events.map(|e| e.map(event_change)).boxed()));
    }
    select_all(streams).boxed()
}

/// Drops what concerns nobody.
fn some(
    stream: BoxStream<'static, Result<Option<Change>, ClusterError>>,
) -> BoxStream<'static, Result<Change, ClusterError>> {
    stream
        .filter_map(|change| async { change.transpose() })
        .boxed()
}

fn node_change(event: Event<core::Node>) -> Change {
    match event {
        Event::Listed(nodes) => Change::Nodes(nodes.iter().filter_map(read::node).collect()),
        Event::Applied(node) => Change::Nodes(read::node(&node).into_iter().collect()),
        Event::Deleted(node) => Change::NodeGone(node.metadata.name.unwrap_or_default()),
    }
}

fn deployment_change(namespace: &str, event: Event<apps::Deployment>) -> Change {
    match event {
        Event::Listed(all) => Change::Deployments(
            namespace.to_owned(),
            all.iter().map(read::deployment).collect(),
        ),
        Event::Applied(one) => Change::Deployment(read::deployment(&one)),
        Event::Deleted(one) => Change::DeploymentGone(one.metadata.uid.unwrap_or_default()),
    }
}

fn set_change(namespace: &str, event: Event<apps::ReplicaSet>) -> Option<Change> {
    Some(match event {
        Event::Listed(all) => Change::Sets(
            namespace.to_owned(),
            all.iter().filter_map(read::replica_set).collect(),
        ),
        Event::Applied(one) => Change::Set(read::replica_set(&one)?),
        Event::Deleted(one) => Change::SetGone(one.metadata.uid?),
    })
}

fn pod_change(namespace: &str, event: Event<core::Pod>) -> Option<Change> {
    Some(match event {
        Event::Listed(all) => Change::Pods(
            namespace.to_owned(),
            all.iter().filter_map(read::pod).collect(),
        ),
        Event::Applied(one) => Change::Pod(read::pod(&one)?),
        Event::Deleted(one) => Change::PodGone(one.metadata.uid?),
    })
}

fn event_change(event: Event<core::Event>) -> Option<Change> {
    let failed: Vec<String> = match event {
        Event::Listed(all) => all.iter().filter_map(read::failed_probe).collect(),
        Event::Applied(one) => read::failed_probe(&one).into_iter().collect(),
        Event::Deleted(_) => Vec::new(),
    };
    (!failed.is_empty()).then_some(Change::ProbesFailed(failed))
}
