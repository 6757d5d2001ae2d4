//! Nothing that is well is rolled back: releases, restarts, bursts, drains and slow starts on a real control plane.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::large_futures,
    reason = "a test stops at what it does not expect, and its figures are for people"
)]

use std::{collections::HashSet, ops::Range, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};
use kube::{
    Api,
    api::{EvictParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tests::e2e::{App, Scene};

/// Deploys, when `E2E_DEPLOYS` does not say.
const DEPLOYS: usize = 20;
/// Most workloads side by side: three times as many pods fit on the nodes.
const TOGETHER: usize = 60;
/// Workloads that change at the same time.
const AT_ONCE: usize = 10;

/// What happens to a workload that is well.
#[derive(Debug, Clone, Copy)]
enum Story {
    Release,
    SlowRelease,
    Restart,
    Burst,
    Drain,
}

const STORIES: [Story; 5] = [
    Story::Release,
    Story::SlowRelease,
    Story::Restart,
    Story::Burst,
    Story::Drain,
];

#[tokio::test(flavor = "multi_thread")]
async fn takes_nothing_back_that_is_well() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    let deploys = std::env::var("E2E_DEPLOYS").map_or(Ok(DEPLOYS), |text| text.parse())?;
    let (mut first, mut incidents) = (0, HashSet::new());
    while first < deploys {
        let next = deploys.min(first + TOGETHER);
        incidents.extend(round(&scene, first..next).await?);
        first = next;
        println!(
            "{first} deploys, {} incidents, no rollback",
            incidents.len()
        );
    }
    scene.mesh.stop().await
}

/// Lets these workloads live side by side, sees that none was blamed, and takes them away. Its incidents are those of
/// another cause.
async fn round(scene: &Scene, numbers: Range<usize>) -> anyhow::Result<HashSet<String>> {
    let (drains, others): (Vec<_>, Vec<_>) =
        numbers.partition(|number| matches!(STORIES[number % STORIES.len()], Story::Drain));
    let mut apps = stream::iter(others)
        .map(|number| live(scene, number))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<App>>()
        .await?;
    // A drain takes pods of every workload along, so it comes when all stand.
    for number in drains {
        apps.push(live(scene, number).await?);
    }
    // Whatever was noticed late has been noticed by now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let rollbacks = scene
        .ask("rollback-coordinator", "rollback_status", &json!({}))
        .await?;
    assert_eq!(rollbacks["rollbacks"], json!([]), "{rollbacks:#}");
    let input = json!({"namespace": "shop", "limit": 500});
    let incidents = scene
        .ask("monitoring-agent", "list_incidents", &input)
        .await?;
    let incidents = incidents["incidents"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let blamed = |incident: &&Value| incident["attribution"] == "release";
    let wrong: Vec<&Value> = incidents.iter().filter(blamed).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for app in apps {
        scene.remove(&app).await?;
    }
    let of = |incident: &Value| incident["id"].as_str().map(str::to_owned);
    Ok(incidents.iter().filter_map(of).collect())
}

/// Deploys an app, and lets something happen to it.
async fn live(scene: &Scene, number: usize) -> anyhow::Result<App> {
    let story = STORIES[number % STORIES.len()];
    let app = scene.deploy(&format!("well-{number}"), 3).await?;
    match story {
        Story::Release => scene.release(&app, None).await?,
        Story::SlowRelease => scene.release_slowly(&app).await?,
        Story::Restart => {
            let at = json!({"kubectl.kubernetes.io/restartedAt": format!("{number}")});
            let template = json!({"spec": {"template": {"metadata": {"annotations": at}}}});
            patch(scene, &app, &template).await?;
        }
        Story::Burst => {
            for replicas in [8, 3] {
                patch(scene, &app, &json!({"spec": {"replicas": replicas}})).await?;
                scene.settled(&app, replicas).await?;
            }
        }
        Story::Drain => drain(scene, &app).await?,
    }
    scene.settled(&app, app.replicas).await?;
    Ok(app)
}

async fn patch(scene: &Scene, app: &App, change: &Value) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::namespaced(scene.client().await?, &app.namespace);
    let change = Patch::Strategic(change);
    api.patch(&app.name, &PatchParams::default(), &change)
        .await?;
    Ok(())
}

/// Empties the node of an app's first pod, as `kubectl drain` does.
async fn drain(scene: &Scene, app: &App) -> anyhow::Result<()> {
    let client = scene.client().await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &app.namespace);
    let own = ListParams::default().labels(&format!("app={}", app.name));
    let first = pods.list(&own).await?.items.into_iter().next();
    let node = first
        .and_then(|pod| pod.spec?.node_name)
        .unwrap_or_default();
    let nodes: Api<Node> = Api::all(client);
    let cordon = |off: bool| json!({"spec": {"unschedulable": off}});
    let parameters = PatchParams::default();
    nodes
        .patch(&node, &parameters, &Patch::Merge(cordon(true)))
        .await?;
    let here = ListParams::default().fields(&format!("spec.nodeName={node}"));
    for pod in pods.list(&here).await?.items {
        let name = pod.metadata.name.unwrap_or_default();
        // Gone is fine: other stories go on meanwhile.
        if let Err(problem) = pods.evict(&name, &EvictParams::default()).await {
            println!("{name} was not evicted: {problem}");
        }
    }
    scene.settled(app, app.replicas).await?;
    nodes
        .patch(&node, &parameters, &Patch::Merge(cordon(false)))
        .await?;
    Ok(())
}
