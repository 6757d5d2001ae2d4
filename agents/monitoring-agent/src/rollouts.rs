//! Rollouts in the cluster as facts: what was complete or given up, when, and which GitLab project it belongs to.

use std::collections::{BTreeMap, HashMap};

use cluster::{Cluster, Event};
use futures::{StreamExt, stream::select_all};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use shared::SkillError;
use tokio_util::sync::CancellationToken;

use crate::{
    archive::Archive,
    domain::dora::{
        Facts, Sha,
        fact::{First, Rollout, RolloutWord},
    },
    watch::now,
};

const REVISION: &str = "deployment.kubernetes.io/revision";
/// `kubectl rollout restart` sets it; a pod template that differs in nothing else is the same release.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// Deployments whose last fact is remembered, so that a status change without news is not stored.
const REMEMBERED: usize = 100_000;

/// Watches Deployments and stores their rollouts, until shutdown.
///
/// # Errors
/// When the store does not answer; the runtime starts the loop again.
pub async fn run(
    cluster: Cluster,
    namespaces: Vec<String>,
    archive: Archive,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let watches = namespaces
        .iter()
        .map(|n| cluster.watch::<Deployment>(Some(n), None));
    let mut changes = select_all(watches.collect::<Vec<_>>());
    let mut known: HashMap<String, Facts> = HashMap::new();
    while let Some(Some(change)) = shutdown.run_until_cancelled(changes.next()).await {
        let Ok(event) = change else { continue };
        let deployments = match event {
            Event::Listed(all) => all,
            Event::Applied(one) => vec![one],
            Event::Deleted(one) => {
                known.remove(one.metadata.uid.as_deref().unwrap_or_default());
                continue;
            }
        };
        store(&archive, &deployments, &mut known).await?;
    }
    Ok(())
}

async fn store(
    archive: &Archive,
    deployments: &[Deployment],
    known: &mut HashMap<String, Facts>,
) -> Result<(), SkillError> {
    let mut new = Facts::default();
    for deployment in deployments {
        let (Some(uid), Some(facts)) = (&deployment.metadata.uid, rollout(deployment)) else {
            continue;
        };
        if known.get(uid) == Some(&facts) {
            continue;
        }
        new.absorb(facts.clone());
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(uid.clone(), facts);
    }
    if new.is_empty() {
        return Ok(());
    }
    let segment = Archive::of_cluster(new, now().millis());
    let kept = archive.0.submit(vec![segment]).await;
    kept.map_err(|error| SkillError::unavailable("store", error))
}

/// The current rollout of a Deployment. Its times are those of the condition `Progressing`, so that a restart of the
/// agent tells the same.
pub fn rollout(deployment: &Deployment) -> Option<Facts> {
    let meta = &deployment.metadata;
    let (uid, spec, status) = (
        meta.uid.as_ref()?,
        &deployment.spec,
        deployment.status.as_ref()?,
    );
    let annotation = |name: &str| {
        meta.annotations
            .as_ref()
            .and_then(|all| all.get(name))
            .cloned()
    };
    let revision: u64 = annotation(REVISION)?.parse().ok()?;
    // Until the controller has seen the last change, revision and status are those of the one before, and the template is
    // not.
    if status.observed_generation.unwrap_or_default() < meta.generation.unwrap_or_default() {
        return None;
    }
    let mut conditions = status.conditions.iter().flatten();
    let progressing =
        conditions.find(|condition| condition.type_.as_deref() == Some("Progressing"));
    let at = |condition: &k8s_openapi::api::apps::v1::DeploymentCondition| {
        condition
            .last_update_time
            .as_ref()
            .map(|time| time.0.as_millisecond())
    };
    let because = |reason: &str| {
        progressing
            .filter(|condition| condition.reason.as_deref() == Some(reason))
            .and_then(at)
    };
    let completed = because("NewReplicaSetAvailable");
    let failed = because("ProgressDeadlineExceeded");
    let word = RolloutWord {
        at: completed.or(failed).unwrap_or_default(),
        namespace: meta.namespace.clone()?,
        deployment: meta.name.clone()?,
        app: annotation(gitlab::APP_ANNOTATION),
        env: annotation(gitlab::ENV_ANNOTATION),
        sha: commit(deployment),
        template: template(spec),
    };
    let rollout = Rollout {
        revision,
        completed: First(completed),
        failed: First(failed),
        word: Some(word),
    };
    Some(Facts {
        rollouts: BTreeMap::from([(format!("{uid}/{revision}"), rollout)]),
        ..Facts::default()
    })
}

/// The commit that an image is tagged with.
fn commit(deployment: &Deployment) -> Option<Sha> {
    let pods = deployment.spec.template.spec.as_ref()?;
    let images = pods
        .containers
        .iter()
        .filter_map(|container| container.image.as_deref());
    let mut tags = images.filter_map(|image| image.split('@').next()?.rsplit_once(':'));
    tags.find_map(|(_, tag)| tag.parse().ok())
}

/// Digest of what a rollout puts into force.
fn template(spec: &k8s_openapi::api::apps::v1::DeploymentSpec) -> String {
    let mut template = json!(spec.template);
    if let Some(annotations) = template
        .pointer_mut("/metadata/annotations")
        .and_then(|all| all.as_object_mut())
    {
        annotations.remove(RESTARTED);
        if annotations.is_empty()
            && let Some(meta) = template
                .pointer_mut("/metadata")
                .and_then(|meta| meta.as_object_mut())
        {
            meta.remove("annotations");
        }
    }
    let digest = shared::digest::of_json(&template);
    digest.get(..16).unwrap_or(&digest).to_owned()
}

#[cfg(test)]
mod tests;
