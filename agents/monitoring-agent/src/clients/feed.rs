//! All watches as one stream of changes.

use cluster::{Cluster, ClusterError, Event};
use futures::{
    StreamExt,
    stream::{BoxStream, select_all},
};
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core};
use kube::Resource;
use serde::de::DeserializeOwned;

use super::read;
use crate::domain::{
    At, Pod, Revision, Surrounding, Warning, Workload, WorkloadKind,
    surroundings::{Listed, SurroundingKind},
};

/// One change of the cluster.
#[derive(Debug)]
pub enum Change {
    /// All workloads of a kind in a namespace; what is not in it is gone.
    Workloads(Place, Vec<Workload>),
    /// A workload.
    Workload(Box<Workload>),
    /// A workload (by uid) that is gone.
    WorkloadGone(String),
    /// All revisions of a namespace: `ReplicaSets` (with Deployment as their kind) or `ControllerRevisions`, which
    /// both other kinds share.
    Revisions(Place, Vec<Revision>),
    /// A revision.
    Revision(Box<Revision>),
    /// A revision (by uid) that is gone.
    RevisionGone(String),
    /// All pods of a namespace.
    Pods(String, Vec<Pod>),
    /// A pod.
    Pod(Box<Pod>),
    /// A pod (by uid) that is gone.
    PodGone(String),
    /// Warnings: about what (by uid), what, and when it was seen when that is some time ago.
    Warnings(Vec<(String, Warning, Option<At>)>),
    /// Nodes, autoscalers, budgets, claims and configuration that are new, changed or gone.
    Surroundings(Vec<Surrounding>),
}

/// A namespace, and a kind of workload in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The namespace.
    pub namespace: String,
    /// The kind.
    pub kind: WorkloadKind,
}

type Changes = BoxStream<'static, Result<Change, ClusterError>>;

/// What a watch of one kind saw.
enum Seen<T> {
    All(Vec<T>),
    One(T),
    /// By uid, or by name where nothing has a namespace.
    Gone(String),
    Nothing,
}

/// Watches workloads, revisions, pods, events and their surroundings in these namespaces, and all nodes. Failures
/// that a watch survives come as errors; the stream never ends.
pub fn feed(cluster: &Cluster, namespaces: &[String]) -> Changes {
    let nodes = watched(cluster, None, read::node, |seen| {
        surroundings(seen, (SurroundingKind::Node, None), Surrounding::Node)
    });
    let mut streams = vec![nodes];
    for namespace in namespaces {
        streams.extend(workloads(cluster, namespace));
        let place = Some(namespace.as_str());
        let own = namespace.clone();
        streams.push(watched(cluster, place, read::pod, move |seen| {
            Some(match seen {
                Seen::All(pods) => Change::Pods(own.clone(), pods),
                Seen::One(pod) => Change::Pod(Box::new(pod)),
                Seen::Gone(uid) => Change::PodGone(uid),
                Seen::Nothing => return None,
            })
        }));
        let events = cluster.watch::<core::Event>(place, None);
        streams.push(events.map(|e| e.map(warnings)).filter_map(some).boxed());
        let own = namespace.clone();
        streams.push(watched(cluster, place, read::autoscaler, move |seen| {
            let of = (SurroundingKind::Autoscaler, Some(own.as_str()));
            surroundings(seen, of, Surrounding::Autoscaler)
        }));
        let own = namespace.clone();
        streams.push(watched(cluster, place, read::budget, move |seen| {
            let of = (SurroundingKind::Budget, Some(own.as_str()));
            surroundings(seen, of, Surrounding::Budget)
        }));
        let own = namespace.clone();
        streams.push(watched(cluster, place, read::claim, move |seen| {
            let of = (SurroundingKind::Claim, Some(own.as_str()));
            surroundings(seen, of, Surrounding::Claim)
        }));
        let own = namespace.clone();
        streams.push(watched(cluster, place, read::config, move |seen| {
            let of = (SurroundingKind::Config, Some(own.as_str()));
            surroundings(seen, of, Surrounding::Config)
        }));
    }
    select_all(streams).boxed()
}

fn workloads(cluster: &Cluster, namespace: &str) -> [Changes; 5] {
    let place = Some(namespace);
    let at = |kind| Place {
        namespace: namespace.to_owned(),
        kind,
    };
    let (deployments, sets) = (at(WorkloadKind::Deployment), at(WorkloadKind::Deployment));
    let (stateful, daemons) = (at(WorkloadKind::StatefulSet), at(WorkloadKind::DaemonSet));
    let revisions = at(WorkloadKind::StatefulSet);
    [
        watched(
            cluster,
            place,
            |object: &apps::Deployment| Some(read::deployment(object)),
            move |seen| workload_change(&deployments, seen),
        ),
        watched(
            cluster,
            place,
            |object: &apps::StatefulSet| Some(read::stateful_set(object)),
            move |seen| workload_change(&stateful, seen),
        ),
        watched(
            cluster,
            place,
            |object: &apps::DaemonSet| Some(read::daemon_set(object)),
            move |seen| workload_change(&daemons, seen),
        ),
        watched(cluster, place, read::replica_set, move |seen| {
            revision_change(&sets, seen)
        }),
        watched(cluster, place, read::controller_revision, move |seen| {
            revision_change(&revisions, seen)
        }),
    ]
}

/// Watches one kind; what `read` drops concerns nobody.
fn watched<K, T>(
    cluster: &Cluster,
    namespace: Option<&str>,
    read: fn(&K) -> Option<T>,
    change: impl Fn(Seen<T>) -> Option<Change> + Send + Sync + 'static,
) -> Changes
where
    K: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
    T: 'static,
{
    let by_name = namespace.is_none();
    let seen = move |event: Event<K>| match event {
        Event::Listed(all) => Seen::All(all.iter().filter_map(read).collect()),
        Event::Applied(one) => read(&one).map_or(Seen::Nothing, Seen::One),
        Event::Deleted(one) => {
            let meta = one.meta();
            let id = if by_name { &meta.name } else { &meta.uid };
            Seen::Gone(id.clone().unwrap_or_default())
        }
    };
    cluster
        .watch::<K>(namespace, None)
        .map(move |event| event.map(|event| change(seen(event))))
        .filter_map(some)
        .boxed()
}

/// Drops what concerns nobody.
async fn some(
    change: Result<Option<Change>, ClusterError>,
) -> Option<Result<Change, ClusterError>> {
    change.transpose()
}

fn workload_change(place: &Place, seen: Seen<Workload>) -> Option<Change> {
    Some(match seen {
        Seen::All(all) => Change::Workloads(place.clone(), all),
        Seen::One(one) => Change::Workload(Box::new(one)),
        Seen::Gone(uid) => Change::WorkloadGone(uid),
        Seen::Nothing => return None,
    })
}

fn revision_change(place: &Place, seen: Seen<Revision>) -> Option<Change> {
    Some(match seen {
        Seen::All(all) => Change::Revisions(place.clone(), all),
        Seen::One(one) => Change::Revision(Box::new(one)),
        Seen::Gone(uid) => Change::RevisionGone(uid),
        Seen::Nothing => return None,
    })
}

fn surroundings<T>(
    seen: Seen<T>,
    (kind, namespace): (SurroundingKind, Option<&str>),
    what: fn(T) -> Surrounding,
) -> Option<Change> {
    let changes = match seen {
        Seen::All(all) => {
            let mut changes: Vec<Surrounding> = all.into_iter().map(what).collect();
            let ids = changes.iter().filter_map(Surrounding::id);
            let listed = Listed {
                kind,
                namespace: namespace.map(str::to_owned),
                ids: ids.map(str::to_owned).collect(),
            };
            changes.push(Surrounding::Listed(listed));
            changes
        }
        Seen::One(one) => vec![what(one)],
        Seen::Gone(id) => vec![Surrounding::Gone(id)],
        Seen::Nothing => return None,
    };
    Some(Change::Surroundings(changes))
}

fn warnings(event: Event<core::Event>) -> Option<Change> {
    let said: Vec<_> = match event {
        // These are as old as they say; what comes later is seen as it happens.
        Event::Listed(all) => all.iter().filter_map(read::warning).collect(),
        Event::Applied(one) => read::warning(&one)
            .map(|(uid, warning, _)| (uid, warning, None))
            .into_iter()
            .collect(),
        Event::Deleted(_) => Vec::new(),
    };
    (!said.is_empty()).then_some(Change::Warnings(said))
}
