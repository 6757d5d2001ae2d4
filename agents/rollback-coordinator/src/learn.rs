//! Remembers which revisions were healthy: the only ones a rollback goes back to by itself.

use cluster::{Cluster, ClusterError, Event};
use futures::{StreamExt, future::ready, stream::BoxStream, stream::select_all};
use k8s_openapi::{
    api::apps::v1::{DaemonSet, ReplicaSet, StatefulSet},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use shared::SkillError;
use tokio_util::sync::CancellationToken;

use crate::{
    clients::RolloutControl,
    domain::{Kind, WorkloadId},
    history::History,
};

/// Watches the workloads of these namespaces until shutdown; each revision that has all its pods ready is remembered.
///
/// # Errors
/// When the store does not answer.
pub async fn watch(
    cluster: Cluster,
    namespaces: Vec<String>,
    control: &dyn RolloutControl,
    history: &History,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let streams = namespaces.iter().flat_map(|namespace| {
        let place = Some(namespace.as_str());
        [
            healthy(cluster.watch(place, None), of_replica_set),
            healthy(cluster.watch(place, None), of_stateful_set),
            healthy(cluster.watch(place, None), of_daemon_set),
        ]
    });
    let mut changes = select_all(streams);
    while let Some(Some(found)) = shutdown.run_until_cancelled(changes.next()).await {
        for id in found {
            remember(&id, control, history).await?;
        }
    }
    Ok(())
}

/// The workloads that look healthy by an object of a watch.
fn healthy<K: 'static>(
    events: BoxStream<'static, Result<Event<K>, ClusterError>>,
    of: fn(&K) -> Option<WorkloadId>,
) -> BoxStream<'static, Vec<WorkloadId>> {
    let found = events.map(move |event| match event {
        Ok(Event::Listed(all)) => all.iter().filter_map(of).collect(),
        Ok(Event::Applied(one)) => of(&one).into_iter().collect(),
        Ok(Event::Deleted(_)) => Vec::new(),
        Err(problem) => {
            tracing::debug!(%problem, "a watch of workloads broke and is resumed");
            Vec::new()
        }
    });
    found
        .filter(|found: &Vec<WorkloadId>| ready(!found.is_empty()))
        .boxed()
}

fn of_replica_set(set: &ReplicaSet) -> Option<WorkloadId> {
    let status = set.status.as_ref()?;
    let whole = is_whole(
        set.spec.replicas.unwrap_or(0),
        status.ready_replicas.unwrap_or(0),
    );
    let owners = set.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|owner| owner.kind == "Deployment");
    Some(WorkloadId {
        namespace: set.metadata.namespace.clone()?,
        kind: Kind::Deployment,
        name: owner.filter(|_| whole)?.name.clone(),
    })
}

fn of_stateful_set(set: &StatefulSet) -> Option<WorkloadId> {
    let status = set.status.as_ref()?;
    let (wanted, ready) = (set.spec.replicas.unwrap_or(1), status.ready_replicas);
    is_whole(wanted, ready.unwrap_or(0)).then(|| id(Kind::StatefulSet, &set.metadata))?
}

fn of_daemon_set(set: &DaemonSet) -> Option<WorkloadId> {
    let status = set.status.as_ref()?;
    is_whole(status.desired_number_scheduled, status.number_ready)
        .then(|| id(Kind::DaemonSet, &set.metadata))?
}

fn is_whole(wanted: i32, ready: i32) -> bool {
    wanted > 0 && ready >= wanted
}

fn id(kind: Kind, meta: &ObjectMeta) -> Option<WorkloadId> {
    Some(WorkloadId {
        namespace: meta.namespace.clone()?,
        kind,
        name: meta.name.clone()?,
    })
}

async fn remember(
    id: &WorkloadId,
    control: &dyn RolloutControl,
    history: &History,
) -> Result<(), SkillError> {
    match control.workload(id).await {
        Ok(Some(workload)) => history.learn(&workload).await,
        // Gone, or the cluster did not answer: the next change tells again.
        Ok(None) | Err(_) => Ok(()),
    }
}
