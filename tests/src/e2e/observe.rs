//! When what happened, as anybody sees it who watches the API server.

use std::{collections::HashSet, pin::pin};

use futures::{StreamExt as _, stream::select};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher},
};
use time::OffsetDateTime;

use super::{App, Fault};

/// Times of a failed release.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The new template was in force.
    pub released: OffsetDateTime,
    /// The first object that shows the fault.
    pub sign: OffsetDateTime,
    /// The old template was in force again.
    pub patched: OffsetDateTime,
    /// All pods are of the old revision, and ready.
    pub recovered: OffsetDateTime,
}

enum Seen {
    Pod(Box<Pod>),
    Deployment(Box<Deployment>),
}

/// Watches a release until it is taken back.
///
/// # Errors
/// When the watch ends.
pub async fn observe(client: Client, app: &App, fault: Fault) -> anyhow::Result<Timeline> {
    let config = watcher::Config::default().labels(&format!("app={}", app.name));
    let pods = watcher(
        Api::<Pod>::namespaced(client.clone(), &app.namespace),
        config.clone(),
    );
    let deployments = watcher(
        Api::<Deployment>::namespaced(client, &app.namespace),
        config,
    );
    let pods = pods
        .default_backoff()
        .applied_objects()
        .map(|pod| pod.map(|pod| Seen::Pod(Box::new(pod))));
    let deployments = deployments.default_backoff().applied_objects();
    let deployments = deployments.map(|one| one.map(|one| Seen::Deployment(Box::new(one))));
    let mut changes = pin!(select(pods, deployments));
    let (mut released, mut sign, mut patched) = (None, None, None);
    let mut ready = HashSet::new();
    while let Some(change) = changes.next().await {
        let now = OffsetDateTime::now_utc();
        match change {
            // A watch that broke is resumed.
            Err(_) => {}
            Ok(Seen::Pod(pod)) => {
                if sign.is_some() || version(pod.metadata.annotations.as_ref()) != Some("2") {
                    continue;
                }
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                if fault.shows(&pod, ready.contains(&uid)) {
                    sign = Some(now);
                }
                if is_ready(&pod) {
                    ready.insert(uid);
                }
            }
            Ok(Seen::Deployment(one)) => {
                let template = one.spec.template.metadata.as_ref();
                let bad = version(template.and_then(|meta| meta.annotations.as_ref())) == Some("2");
                if bad {
                    released.get_or_insert(now);
                    if sign.is_none() && is_refused(&one) {
                        sign = Some(now);
                    }
                } else if let Some(released) = released {
                    let patched = *patched.get_or_insert(now);
                    if is_complete(&one) {
                        return Ok(Timeline {
                            released,
                            sign: sign.unwrap_or(patched),
                            patched,
                            recovered: now,
                        });
                    }
                }
            }
        }
    }
    anyhow::bail!("the watch of {} ended", app.name)
}

fn version(annotations: Option<&std::collections::BTreeMap<String, String>>) -> Option<&str> {
    annotations?.get("version").map(String::as_str)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Whether pods could not be created.
fn is_refused(deployment: &Deployment) -> bool {
    let conditions = deployment
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| {
        one.type_.as_deref() == Some("ReplicaFailure") && one.status.as_deref() == Some("True")
    })
}

/// The rule of `kubectl rollout status`, with all pods ready.
pub(super) fn is_complete(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let Some(status) = &deployment.status else {
        return false;
    };
    status.observed_generation == deployment.metadata.generation
        && [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
        ]
        .iter()
        .all(|count| count.unwrap_or(0) == wanted)
}
