//! Remembers which revisions were healthy: the only ones a rollback goes back to by itself.

use cluster::{Cluster, Event};
use futures::{StreamExt, stream::select_all};
use k8s_openapi::api::apps::v1::ReplicaSet;
use shared::SkillError;
use tokio_util::sync::CancellationToken;

use crate::{clients::RolloutControl, history::History};

/// Watches ReplicaSets of these namespaces until shutdown; each that has all its pods ready is remembered.
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
    let mut changes = select_all(
        namespaces
            .iter()
            .map(|namespace| cluster.watch::<ReplicaSet>(Some(namespace), None)),
    );
    while let Some(Some(event)) = shutdown.run_until_cancelled(changes.next()).await {
        let sets = match event {
            Ok(Event::Listed(sets)) => sets,
            Ok(Event::Applied(set)) => vec![set],
            Ok(Event::Deleted(_)) => continue,
            Err(problem) => {
                tracing::debug!(%problem, "the watch of replica sets broke and is resumed");
                continue;
            }
        };
        for set in sets.iter().filter(|set| is_healthy(set)) {
            remember(set, control, history).await?;
        }
    }
    Ok(())
}

fn is_healthy(set: &ReplicaSet) -> bool {
    let wanted = set.spec.replicas.unwrap_or(0);
    wanted > 0
        && set
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0)
            >= wanted
}

async fn remember(
    set: &ReplicaSet,
    control: &dyn RolloutControl,
    history: &History,
) -> Result<(), SkillError> {
    let owner = set
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.kind == "Deployment");
    let (Some(owner), Some(namespace)) = (owner, set.metadata.namespace.as_deref()) else {
        return Ok(());
    };
    match control.deployment(namespace, &owner.name).await {
        Ok(Some(deployment)) => history.learn(&deployment).await,
        // Gone, or the cluster did not answer: the next change tells again.
        Ok(None) | Err(_) => Ok(()),
    }
}
