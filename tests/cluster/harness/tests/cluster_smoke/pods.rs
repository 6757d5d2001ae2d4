//! The life of one pod.

use control_plane::simulation::{Behaviour, Fault};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, Node, Pod},
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::{PATIENCE, app, condition, is_ready, plane, pod, state, until};

/// One look at the container `app`: its state, its restarts, and whether it is ready.
type Look<'a> = (&'a str, i32, bool);

/// A pod with a readiness probe, in a namespace of its own, shows these looks and no other.
async fn goes_through(name: &str, behaviour: &Behaviour, expected: &[Look<'_>]) -> Pod {
    shows(name, &pod(name, "web", behaviour), expected).await
}

/// Makes a pod in a namespace of its own and watches it until it has shown as many different looks as are expected,
/// which have to be these.
async fn shows(name: &str, manifest: &str, expected: &[Look<'_>]) -> Pod {
    let (plane, client) = plane().await;
    plane.namespace(name).await.unwrap();
    let api: Api<Pod> = Api::namespaced(client, name);
    let mut changes = watcher(api, watcher::Config::default())
        .applied_objects()
        .boxed();
    plane.apply(manifest).await.unwrap();
    let mut looks: Vec<(String, i32, bool)> = Vec::new();
    let last = timeout(PATIENCE, async {
        loop {
            let pod = changes.try_next().await.unwrap().unwrap();
            if let Some(app) = app(&pod) {
                looks.push((state(&pod), app.restart_count, app.ready));
                looks.dedup();
            }
            if looks.len() == expected.len() {
                return pod;
            }
        }
    })
    .await;
    let looks: Vec<Look<'_>> = looks
        .iter()
        .map(|(state, restarts, ready)| (state.as_str(), *restarts, *ready))
        .collect();
    assert_eq!(looks, expected);
    last.unwrap()
}

/// Exit code and reason of the end before the current state.
fn last_end(pod: &Pod) -> (i32, String) {
    let ended = app(pod).unwrap().last_state.clone().unwrap().terminated;
    let ended = ended.unwrap();
    (ended.exit_code, ended.reason.unwrap())
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().unwrap().phase.as_deref().unwrap()
}

async fn warns(namespace: &str, reason: &str) {
    let (_, client) = plane().await;
    let api: Api<Event> = Api::namespaced(client, namespace);
    let list = ListParams::default().fields(&format!("type=Warning,reason={reason}"));
    let found = timeout(PATIENCE, async {
        while api.list(&list).await.unwrap().items.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    assert!(found.await.is_ok(), "no event {reason} in {namespace}");
}

#[tokio::test]
async fn a_healthy_pod_is_ready_once_it_runs() {
    let since = Instant::now();
    let pod = goes_through(
        "healthy",
        &Behaviour::healthy(),
        &[("ContainerCreating", 0, false), ("running", 0, true)],
    )
    .await;
    println!("a pod was ready {:?} after its test began", since.elapsed());
    assert_eq!(phase(&pod), "Running");
    let status = pod.status.as_ref().unwrap();
    assert!(status.pod_ip.is_some());
    assert!(status.host_ip.as_ref().unwrap().starts_with("172.18.0."));
    for kind in [
        "PodScheduled",
        "PodReadyToStartContainers",
        "Initialized",
        "ContainersReady",
        "Ready",
    ] {
        assert_eq!(condition(&pod, kind), Some("True"), "{kind}");
    }
}

#[tokio::test]
async fn a_crashing_container_backs_off_and_counts_its_restarts() {
    let mut expected = vec![
        ("ContainerCreating", 0, false),
        ("running", 0, false),
        ("Error", 0, false),
    ];
    for restarts in 1..=3 {
        expected.extend([
            ("running", restarts, false),
            ("Error", restarts, false),
            ("CrashLoopBackOff", restarts, false),
        ]);
    }
    let behaviour = Behaviour::failing(Fault::CrashLoop).backs_off(0.3);
    let pod = goes_through("crash-loop", &behaviour, &expected).await;
    assert_eq!(last_end(&pod), (1, "Error".to_owned()));
    assert_eq!(phase(&pod), "Running");
    assert_eq!(condition(&pod, "Ready"), Some("False"));
    let statuses = pod.status.unwrap().container_statuses.unwrap();
    let sidecar = statuses.iter().find(|one| one.name == "sidecar").unwrap();
    assert!(sidecar.ready && sidecar.restart_count == 0);
    warns("crash-loop", "BackOff").await;
}

#[tokio::test]
async fn a_crashing_container_without_a_probe_is_ready_while_it_runs() {
    let behaviour = Behaviour::failing(Fault::CrashLoop);
    let mut manifest: Value = serde_json::from_str(&pod("no-probe", "web", &behaviour)).unwrap();
    let app = manifest["spec"]["containers"][0].as_object_mut().unwrap();
    app.remove("readinessProbe").unwrap();
    let expected = [
        ("ContainerCreating", 0, false),
        ("running", 0, true),
        ("Error", 0, false),
        ("running", 1, true),
        ("Error", 1, false),
        ("CrashLoopBackOff", 1, false),
    ];
    shows("no-probe", &manifest.to_string(), &expected).await;
}

#[tokio::test]
async fn the_kernel_kills_a_container_out_of_memory() {
    let expected = [
        ("ContainerCreating", 0, false),
        ("running", 0, false),
        ("OOMKilled", 0, false),
        ("running", 1, false),
        ("OOMKilled", 1, false),
        ("CrashLoopBackOff", 1, false),
    ];
    let behaviour = Behaviour::failing(Fault::OutOfMemory);
    let pod = goes_through("out-of-memory", &behaviour, &expected).await;
    assert_eq!(last_end(&pod), (137, "OOMKilled".to_owned()));
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_tried_again() {
    let expected = [
        ("ContainerCreating", 0, false),
        ("ErrImagePull", 0, false),
        ("ImagePullBackOff", 0, false),
        ("ErrImagePull", 0, false),
    ];
    let behaviour = Behaviour::failing(Fault::ImagePull).backs_off(0.3);
    let pod = goes_through("image-pull", &behaviour, &expected).await;
    assert_eq!(phase(&pod), "Pending");
    warns("image-pull", "Failed").await;
}

#[tokio::test]
async fn a_missing_config_map_keeps_a_container_from_starting() {
    let expected = [
        ("ContainerCreating", 0, false),
        ("CreateContainerConfigError", 0, false),
    ];
    let behaviour = Behaviour::failing(Fault::ConfigError);
    let pod = goes_through("config-error", &behaviour, &expected).await;
    assert_eq!(phase(&pod), "Pending");
}

#[tokio::test]
async fn a_slow_container_runs_before_it_is_ready() {
    let expected = [
        ("ContainerCreating", 0, false),
        ("running", 0, false),
        ("running", 0, true),
    ];
    let behaviour = Behaviour::failing(Fault::SlowStart).after(0.5);
    let pod = goes_through("slow-start", &behaviour, &expected).await;
    assert!(is_ready(&pod));
    warns("slow-start", "Unhealthy").await;
}

#[tokio::test]
async fn a_container_can_stop_being_ready_without_a_restart() {
    let expected = [
        ("ContainerCreating", 0, false),
        ("running", 0, true),
        ("running", 0, false),
    ];
    let behaviour = Behaviour::failing(Fault::Unready).after(0.5);
    let pod = goes_through("unready", &behaviour, &expected).await;
    assert_eq!(condition(&pod, "Ready"), Some("False"));
}

#[tokio::test]
async fn a_container_that_fails_its_liveness_probe_is_restarted() {
    let expected = [
        ("ContainerCreating", 0, false),
        ("running", 0, true),
        ("Error", 0, false),
        ("running", 1, true),
        ("Error", 1, false),
        ("CrashLoopBackOff", 1, false),
        ("running", 2, true),
    ];
    let behaviour = Behaviour::failing(Fault::Liveness)
        .after(0.3)
        .backs_off(0.3);
    let pod = goes_through("liveness", &behaviour, &expected).await;
    assert_eq!(last_end(&pod), (137, "Error".to_owned()));
}

/// Runs a job of one try and waits until it has the condition.
async fn runs_a_job(namespace: &str, behaviour: &Behaviour, condition: &str) {
    let (plane, client) = plane().await;
    plane.namespace(namespace).await.unwrap();
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {
            "metadata": {"annotations": behaviour.annotations()},
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "app", "image": "example/app:1"}],
            },
        }},
    });
    plane.apply(&job.to_string()).await.unwrap();
    let jobs: Api<Job> = Api::namespaced(client, namespace);
    until(&jobs, "migrate", |job| {
        let conditions = job.status.iter().flat_map(|status| &status.conditions);
        let mut found = conditions.flatten().filter(|one| one.type_ == condition);
        found.any(|one| one.status == "True")
    })
    .await;
}

#[tokio::test]
async fn a_job_completes() {
    runs_a_job("job", &Behaviour::healthy(), "Complete").await;
}

#[tokio::test]
async fn a_job_whose_only_pod_crashes_fails() {
    runs_a_job("bad-job", &Behaviour::failing(Fault::CrashLoop), "Failed").await;
}

#[tokio::test]
async fn a_node_can_fail_and_recover() {
    let (plane, client) = plane().await;
    // A node of its own, which takes no pods of other tests down with it.
    let spare =
        "{apiVersion: v1, kind: Node, metadata: {name: spare}, spec: {unschedulable: true}}";
    plane.apply(spare).await.unwrap();
    let nodes: Api<Node> = Api::all(client);
    let is_ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| &status.conditions);
        let mut ready = conditions.flatten().filter(|one| one.type_ == "Ready");
        ready.any(|one| one.status == "True")
    };
    let is_tainted = |node: &Node| {
        let taints = node.spec.iter().flat_map(|spec| &spec.taints).flatten();
        taints
            .into_iter()
            .any(|taint| taint.key == "node.kubernetes.io/not-ready")
    };
    until(&nodes, "spare", is_ready).await;
    for (fault, fails) in [(Some("not-ready"), true), (None, false)] {
        let patch = json!({"metadata": {"annotations": {"kubelet.mesh/fault": fault}}});
        let params = PatchParams::default();
        nodes
            .patch("spare", &params, &Patch::Merge(patch))
            .await
            .unwrap();
        until(&nodes, "spare", |node| {
            is_ready(node) != fails && is_tainted(node) == fails
        })
        .await;
    }
}
