//! Revisions of workloads.

use control_plane::simulation::{Behaviour, Fault};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::support::{PATIENCE, is_ready, plane, pods, state, template, until, workload};

/// How long a stuck `StatefulSet` is watched to see that it stays stuck: 4 seconds, four times a pod's start.
const STUCK: Duration = Duration::from_secs(4);

fn rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.replicas;
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.replicas == wanted
            && status.updated_replicas == wanted
            && status.available_replicas == wanted
    })
}

/// Replaces the pod template, annotations included.
fn with_template(template: &Value) -> Patch<Value> {
    Patch::Json(
        serde_json::from_value(json!([
            {"op": "replace", "path": "/spec/template", "value": template},
        ]))
        .unwrap(),
    )
}

#[tokio::test]
async fn a_bad_revision_stops_half_way_and_is_healed_by_the_old_template() {
    let (plane, client) = plane().await;
    plane.namespace("rollout").await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "rollout");
    let good = template("web", &Behaviour::healthy());
    let yaml = workload("Deployment", ("rollout", "web"), 4, &good);
    let since = Instant::now();
    plane.apply(&yaml).await.unwrap();
    until(&deployments, "web", rolled_out).await;
    println!(
        "4 replicas were available {:?} after they were applied",
        since.elapsed()
    );

    let bad = template("web", &Behaviour::failing(Fault::CrashLoop));
    let params = PatchParams::default();
    deployments
        .patch("web", &params, &with_template(&bad))
        .await
        .unwrap();
    let is_broken = |deployment: &Deployment| {
        let status = deployment.status.clone().unwrap_or_default();
        status.updated_replicas == Some(2) && status.available_replicas == Some(3)
    };
    until(&deployments, "web", is_broken).await;
    let pods_api: Api<Pod> = Api::namespaced(client.clone(), "rollout");
    let is_bad = |pod: &Pod| pod.annotations().contains_key("kubelet.mesh/fault");
    let broken = pods(&client, "rollout", "web").await;
    let broken: Vec<&Pod> = broken.iter().filter(|pod| is_bad(pod)).collect();
    assert_eq!(broken.len(), 2);
    for pod in broken {
        until(&pods_api, &pod.name_any(), |pod| {
            state(pod) == "CrashLoopBackOff"
        })
        .await;
    }

    let since = Instant::now();
    deployments
        .patch("web", &params, &with_template(&good))
        .await
        .unwrap();
    until(&deployments, "web", rolled_out).await;
    println!(
        "the old template had healed the Deployment after {:?}",
        since.elapsed()
    );
    let healed = pods(&client, "rollout", "web").await;
    let alive: Vec<&Pod> = healed
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    assert_eq!(alive.len(), 4);
    assert!(alive.iter().all(|pod| is_ready(pod) && !is_bad(pod)));
}

#[tokio::test]
async fn the_claim_of_a_stateful_set_outlives_its_pod() {
    let (plane, client) = plane().await;
    plane.namespace("claims").await.unwrap();
    let good = template("db", &Behaviour::healthy());
    let yaml = workload("StatefulSet", ("claims", "db"), 1, &good);
    let mut set: Value = serde_json::from_str(&yaml).unwrap();
    set["spec"]["volumeClaimTemplates"] = json!([{
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }]);
    plane.apply(&set.to_string()).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "claims");
    let first = until(&pods, "db-0", is_ready).await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "claims");
    let is_bound = |claim: &PersistentVolumeClaim| {
        claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            == Some("Bound")
    };
    let bound = until(&claims, "data-db-0", is_bound).await;

    pods.delete("db-0", &DeleteParams::default()).await.unwrap();
    until(&pods, "db-0", |pod| {
        pod.metadata.uid != first.metadata.uid && is_ready(pod)
    })
    .await;
    let kept = claims.get("data-db-0").await.unwrap();
    assert_eq!(kept.metadata.uid, bound.metadata.uid);

    let volume = bound.spec.unwrap().volume_name.unwrap();
    released(&client, &volume).await;
}

/// Deletes the workload and the claim of a volume, which then goes too.
async fn released(client: &Client, volume: &str) {
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), "claims");
    sets.delete("db", &DeleteParams::default()).await.unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "claims");
    claims
        .delete("data-db-0", &DeleteParams::default())
        .await
        .unwrap();
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let gone = await_condition(volumes, volume, |volume: Option<&PersistentVolume>| {
        volume.is_none()
    });
    timeout(PATIENCE, gone).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stateful_set_waits_for_a_pod_that_never_gets_ready_until_it_is_deleted() {
    let (plane, client) = plane().await;
    plane.namespace("stateful").await.unwrap();
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), "stateful");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "stateful");
    let ready = |count| {
        move |set: &StatefulSet| {
            let status = set.status.clone().unwrap_or_default();
            status.observed_generation == set.metadata.generation
                && status.ready_replicas == Some(count)
        }
    };
    let good = template("db", &Behaviour::healthy());
    let yaml = workload("StatefulSet", ("stateful", "db"), 3, &good);
    plane.apply(&yaml).await.unwrap();
    let first = until(&sets, "db", ready(3)).await;
    let revision = first.status.unwrap().current_revision;

    let bad = template("db", &Behaviour::failing(Fault::NeverReady));
    let params = PatchParams::default();
    sets.patch("db", &params, &with_template(&bad))
        .await
        .unwrap();
    let is_bad = |pod: &Pod| pod.annotations().contains_key("kubelet.mesh/fault");
    let stuck = until(&pods, "db-2", |pod| is_bad(pod) && state(pod) == "running").await;
    assert!(!is_ready(&stuck));

    sets.patch("db", &params, &with_template(&good))
        .await
        .unwrap();
    let reverted = |set: &StatefulSet| {
        let status = set.status.clone().unwrap_or_default();
        ready(2)(set) && status.update_revision == revision
    };
    until(&sets, "db", reverted).await;
    sleep(STUCK).await;
    let still = pods.get("db-2").await.unwrap();
    assert_eq!(
        still.metadata.uid, stuck.metadata.uid,
        "the controller replaced it by itself"
    );
    assert!(still.metadata.deletion_timestamp.is_none() && !is_ready(&still));

    pods.delete("db-2", &DeleteParams::default()).await.unwrap();
    until(&sets, "db", ready(3)).await;
    let healed = pods.get("db-2").await.unwrap();
    assert!(is_ready(&healed) && !is_bad(&healed));
}
