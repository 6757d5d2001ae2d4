//! The model as the real Kubernetes client sees it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cluster::{Cluster, ClusterArgs, ClusterError, Event, Options, Patch};
use cluster_model::{Model, Settings};
use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event as CoreEvent, Namespace, Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

const BEHAVIOR: &str = "cluster-model.ossa.dev/behavior";
/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    cluster: Cluster,
    _folder: tempfile::TempDir,
}

async fn start() -> Running {
    start_with(Settings {
        ready_after: Duration::from_millis(40),
        stop_after: Duration::from_millis(10),
        ..Settings::default()
    })
    .await
}

async fn start_with(settings: Settings) -> Running {
    let model = Model::bind("127.0.0.1:0".parse().unwrap(), settings)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    model.write_kubeconfig(&file).unwrap();
    tokio::spawn(model.serve(std::future::pending()));
    let source = format!("kubeconfig:{}#cluster-model", file.display());
    let cluster = Cluster::connect(&ClusterArgs {
        cluster: source.parse().unwrap(),
    })
    .unwrap();
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    cluster
        .create::<Namespace>(None, &shop, &Options::default())
        .await
        .unwrap();
    Running {
        cluster,
        _folder: folder,
    }
}

fn web(replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image}]}}}})
}

impl Running {
    async fn create_web(&self, replicas: u32) {
        let options = Options::default();
        let object = web(replicas, "web:1");
        let created = self
            .cluster
            .create::<Deployment>(Some("shop"), &object, &options)
            .await;
        assert_eq!(created.unwrap().name_any(), "web");
    }

    async fn web(&self) -> Deployment {
        self.cluster
            .get(Some("shop"), "web")
            .await
            .unwrap()
            .unwrap()
    }

    async fn patch(&self, patch: &Patch, options: &Options) -> Result<Deployment, ClusterError> {
        self.cluster
            .patch(Some("shop"), "web", patch, options)
            .await
    }

    /// Watches until the deployment is as it should be.
    async fn wait(&self, what: &str, is: impl Fn(&Deployment) -> bool) -> Deployment {
        let mut events = self.cluster.watch::<Deployment>(Some("shop"), None);
        let found = async {
            loop {
                let seen = match events.next().await.unwrap().unwrap() {
                    Event::Listed(all) => all,
                    Event::Applied(one) => vec![one],
                    Event::Deleted(_) => Vec::new(),
                };
                if let Some(found) = seen.into_iter().find(|object| is(object)) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect(what)
    }

    async fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client().await.unwrap(), "shop")
    }
}

fn complete(deployment: &Deployment, replicas: i32) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let done = conditions.iter().any(|condition| {
        condition.type_.as_deref() == Some("Progressing")
            && condition.reason.as_deref() == Some("NewReplicaSetAvailable")
    });
    status.observed_generation == deployment.metadata.generation
        && status.replicas == Some(replicas)
        && status.updated_replicas == Some(replicas)
        && status.available_replicas == Some(replicas)
        && done
}

fn revision(object: &impl ResourceExt) -> &str {
    &object.annotations()["deployment.kubernetes.io/revision"]
}

#[tokio::test]
async fn rolls_out_a_bad_release_and_back_again() {
    let running = start().await;
    running.create_web(3).await;
    let good = running.wait("the first rollout", |d| complete(d, 3)).await;
    let template = serde_json::to_value(good.spec.template).unwrap();

    let mut pods = running.cluster.watch::<Pod>(Some("shop"), None);
    let bad = json!({"spec": {"template": {
        "metadata": {"annotations": {BEHAVIOR: "crash-loop"}},
        "spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
    running
        .patch(&Patch::Strategic(bad), &Options::default())
        .await
        .unwrap();
    let crashed = async {
        loop {
            let Event::Applied(pod) = pods.next().await.unwrap().unwrap() else {
                continue;
            };
            let status = pod
                .status
                .clone()
                .unwrap()
                .container_statuses
                .unwrap_or_default();
            let waiting = status
                .first()
                .and_then(|c| c.state.clone()?.waiting?.reason);
            if waiting.as_deref() == Some("CrashLoopBackOff") {
                return pod;
            }
        }
    };
    let crashed = tokio::time::timeout(PATIENCE, crashed)
        .await
        .expect("a crash loop");
    assert_eq!(
        crashed.status.unwrap().container_statuses.unwrap()[0].restart_count,
        1
    );
    let events: Vec<CoreEvent> = running.cluster.list(Some("shop")).await.unwrap();
    assert!(
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("BackOff"))
    );

    let current = running.web().await;
    let back = Patch::Json(vec![
        json!({"op": "replace", "path": "/spec/template", "value": template}),
    ]);
    let options = Options {
        resource_version: current.resource_version(),
        ..Options::default()
    };
    running.patch(&back, &options).await.unwrap();
    let healed = running.wait("the rollback", |d| complete(d, 3)).await;
    assert_eq!(revision(&healed), "3");
    let mut sets: Vec<ReplicaSet> = running.cluster.list(Some("shop")).await.unwrap();
    sets.sort_by_key(|set| revision(set).to_owned());
    let replicas: Vec<_> = sets.iter().map(|s| s.spec.replicas.unwrap()).collect();
    assert_eq!(replicas, [0, 3]);
    assert_eq!((revision(&sets[0]), revision(&sets[1])), ("2", "3"));
}

#[tokio::test]
async fn refuses_a_stale_write_and_keeps_nothing_of_a_dry_run() {
    let running = start().await;
    running.create_web(1).await;
    let seen = running.wait("the rollout", |d| complete(d, 1)).await;
    let scale = |replicas: u32| Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let dry_run = Options {
        dry_run: true,
        ..Options::default()
    };
    let answer = running.patch(&scale(5), &dry_run).await.unwrap();
    assert_eq!(answer.spec.replicas, Some(5));
    let conditional = Options {
        resource_version: seen.resource_version(),
        ..Options::default()
    };
    running.patch(&scale(2), &conditional).await.unwrap();
    let replace = json!({"op": "replace", "path": "/spec/replicas", "value": 9});
    for stale in [scale(3), Patch::Json(vec![replace])] {
        let refused = running.patch(&stale, &conditional).await.unwrap_err();
        assert!(
            matches!(refused, ClusterError::Conflict { .. }),
            "{refused}"
        );
    }
    assert_eq!(running.web().await.spec.replicas, Some(2));
}

#[tokio::test]
async fn answers_errors_that_the_client_can_tell_apart() {
    let running = start().await;
    let options = Options::default();
    let missing = running
        .cluster
        .get::<Deployment>(Some("shop"), "none")
        .await
        .unwrap();
    assert!(missing.is_none());
    let patch = Patch::Merge(json!({}));
    let kinds = [
        running.patch(&patch, &options).await.err(),
        running
            .cluster
            .delete::<Pod>(Some("shop"), "none", &options)
            .await
            .err(),
        running
            .cluster
            .create::<Deployment>(Some("nowhere"), &web(1, "a:1"), &options)
            .await
            .err(),
    ];
    for error in kinds {
        assert!(
            matches!(error, Some(ClusterError::NotFound { .. })),
            "{error:?}"
        );
    }
    let wrong = web(1, "");
    let invalid = running
        .cluster
        .create::<Deployment>(Some("shop"), &wrong, &options)
        .await;
    assert_eq!(invalid.unwrap_err().kind(), "invalid");
    running.create_web(1).await;
    let twice = running
        .cluster
        .create::<Deployment>(Some("shop"), &web(1, "a:1"), &options)
        .await;
    assert_eq!(twice.unwrap_err().kind(), "conflict");
}

#[tokio::test]
async fn resumes_a_watch_and_refuses_one_that_is_too_old() {
    let running = start_with(Settings {
        history: 40,
        ..Settings::default()
    })
    .await;
    let api = running.api::<Pod>().await;
    let list = api.list(&ListParams::default()).await.unwrap();
    let from = list.metadata.resource_version.unwrap();
    running.create_web(2).await;
    let mut events = api
        .watch(&WatchParams::default(), &from)
        .await
        .unwrap()
        .boxed();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let event = tokio::time::timeout(PATIENCE, events.next()).await;
        match event.expect("an event").unwrap().unwrap() {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                seen.push(pod.resource_version().unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    let again = api.watch(&WatchParams::default(), &seen[1]).await.unwrap();
    let resumed: Vec<_> = again
        .boxed()
        .take(2)
        .map(|event| event.unwrap())
        .collect()
        .await;
    for (event, version) in resumed.into_iter().zip(&seen[2..]) {
        let WatchEvent::Modified(pod) = event else {
            panic!("{event:?}")
        };
        assert_eq!(pod.resource_version().as_ref(), Some(version));
    }

    for n in 0..60 {
        let label = Patch::Merge(json!({"metadata": {"labels": {"n": n.to_string()}}}));
        running.patch(&label, &Options::default()).await.unwrap();
    }
    let mut old = api
        .watch(&WatchParams::default(), &from)
        .await
        .unwrap()
        .boxed();
    let WatchEvent::Error(status) = old.next().await.unwrap().unwrap() else {
        panic!("not refused");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[tokio::test]
async fn watches_by_selector_and_sees_objects_leave_it() {
    let running = start().await;
    running.create_web(1).await;
    let api = running.api::<Deployment>().await;
    let parameters = WatchParams::default().labels("track=canary");
    let mut events = api.watch(&parameters, "0").await.unwrap().boxed();
    for track in ["canary", "stable"] {
        let label = Patch::Merge(json!({"metadata": {"labels": {"track": track}}}));
        running.patch(&label, &Options::default()).await.unwrap();
    }
    let mut kinds = Vec::new();
    while kinds.last() != Some(&"deleted") {
        let event = tokio::time::timeout(PATIENCE, events.next())
            .await
            .expect("an event");
        kinds.push(match event.unwrap().unwrap() {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(kinds.first(), Some(&"added"));
}

#[tokio::test]
async fn deletes_what_a_deployment_owns() {
    let running = start().await;
    running.create_web(2).await;
    running.wait("the rollout", |d| complete(d, 2)).await;
    let mut pods = running.cluster.watch::<Pod>(Some("shop"), None);
    let Event::Listed(listed) = pods.next().await.unwrap().unwrap() else {
        panic!()
    };
    assert_eq!(listed.len(), 2);
    let options = Options::default();
    running
        .cluster
        .delete::<Deployment>(Some("shop"), "web", &options)
        .await
        .unwrap();
    let mut gone = 0;
    while gone < 2 {
        let event = tokio::time::timeout(PATIENCE, pods.next())
            .await
            .expect("an event");
        gone += usize::from(matches!(event.unwrap().unwrap(), Event::Deleted(_)));
    }
    let sets: Vec<ReplicaSet> = running.cluster.list(Some("shop")).await.unwrap();
    assert!(sets.is_empty());
}

#[tokio::test]
async fn applies_lists_pages_and_discovers() {
    let running = start().await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    for n in 0..5 {
        let name = format!("c{n}");
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"even": (n % 2 == 0).to_string()}},
            "data": {"n": n.to_string()}});
        let place = (Some("shop"), name.as_str());
        let apply = Patch::Apply(object);
        let options = Options::default();
        running
            .cluster
            .patch_dynamic(&kind, place, &apply, &options)
            .await
            .unwrap();
    }
    let all = running
        .cluster
        .list_dynamic(&kind, Some("shop"))
        .await
        .unwrap();
    assert_eq!(all.len(), 5);
    let api = running.api::<k8s_openapi::api::core::v1::ConfigMap>().await;
    let page = api
        .list(&ListParams::default().limit(2).labels("even=true"))
        .await
        .unwrap();
    assert_eq!(
        (page.items.len(), page.metadata.remaining_item_count),
        (2, Some(1))
    );
    let token = page.metadata.continue_.unwrap();
    let rest = ListParams::default()
        .limit(2)
        .labels("even=true")
        .continue_token(&token);
    let rest = api.list(&rest).await.unwrap();
    assert_eq!(rest.items[0].name_any(), "c4");
    let by_name = api
        .list(&ListParams::default().fields("metadata.name=c3"))
        .await
        .unwrap();
    assert_eq!(by_name.items.len(), 1);
    let client = running.cluster.client().await.unwrap();
    let discovery = kube::discovery::Discovery::new(client).run().await.unwrap();
    assert!(discovery.has_group("apps") && discovery.has_group("autoscaling"));
    assert_eq!(
        running.cluster.version().await.unwrap(),
        "v1.36.0+cluster-model"
    );
    let nodes: Vec<Node> = running.cluster.list(None).await.unwrap();
    assert_eq!(nodes[0].name_any(), "model-node");
}

#[tokio::test]
async fn scales_and_evicts_through_subresources() {
    let running = start().await;
    running.create_web(1).await;
    let api = running.api::<Deployment>().await;
    let patch = kube::api::Patch::Merge(json!({"spec": {"replicas": 3}}));
    let scale = api
        .patch_scale("web", &kube::api::PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(3));
    running.wait("three replicas", |d| complete(d, 3)).await;
    let pods = running.api::<Pod>().await;
    let pod = pods
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .remove(0)
        .name_any();
    pods.evict(&pod, &kube::api::EvictParams::default())
        .await
        .unwrap();
    running.wait("a pod less", |d| !complete(d, 3)).await;
    running
        .wait("three replicas again", |d| complete(d, 3))
        .await;
}
