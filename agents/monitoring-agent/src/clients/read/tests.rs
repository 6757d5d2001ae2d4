use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{self as core, ConfigMap},
    policy::v1::PodDisruptionBudget,
};
use serde_json::{Value, json};

use super::*;
use crate::domain::{
    ContainerState, NodeTrouble, Probes, Refusal, Warning, messages::WaitFault, objects::Current,
};

fn read<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn web_pod() -> Value {
    json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "p1", "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"controller-revision-hash": "web-7c9f"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "s1", "controller": true}]},
        "spec": {"nodeName": "n1",
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}}],
            "initContainers": [{"name": "migrate"}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "web",
                "startupProbe": {"periodSeconds": 2, "failureThreshold": 15},
                "readinessProbe": {"initialDelaySeconds": 3, "periodSeconds": 5, "failureThreshold": 2}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
            "initContainerStatuses": [
                {"name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 4,
                    "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "configmap \"settings\" not found"}}},
                {"name": "proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}}],
            "containerStatuses": [{"name": "web", "image": "", "imageID": "", "ready": false, "started": true, "restartCount": 2,
                "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}
    })
}

#[test]
fn reads_probes_states_claims_and_containers_that_run_first() {
    let pod = pod(&read(web_pod())).unwrap();
    let [web, migrate, proxy] = &pod.containers[..] else {
        panic!("three containers")
    };
    assert_eq!(
        (pod.owner.as_str(), pod.revision.as_deref(), pod.restarts()),
        ("s1", None, 6)
    );
    let expected = Probes {
        startup_ms: Some(30_000),
        readiness_ms: Some(13_000),
    };
    assert_eq!(web.probes, expected);
    assert_eq!(web.last_end.as_deref(), Some("OOMKilled"));
    assert_eq!(web.state, ContainerState::Running(pod.created.plus(1_000)));
    assert_eq!((migrate.init, proxy.init, web.init), (true, false, false));
    assert!(matches!(migrate.fault, Some(WaitFault::Missing(_))));
    assert_eq!(pod.claims, ["data-web-1"]);
}

#[test]
fn pods_of_other_kinds_name_their_revision() {
    let owned = |kind: &str, hash: &str| {
        let mut object = web_pod();
        object["metadata"]["ownerReferences"][0]["kind"] = json!(kind);
        object["metadata"]["labels"]["controller-revision-hash"] = json!(hash);
        pod(&read(object)).and_then(|pod| pod.revision)
    };
    assert_eq!(
        owned("StatefulSet", "web-7c9f").as_deref(),
        Some("web-7c9f")
    );
    assert_eq!(owned("DaemonSet", "7c9f").as_deref(), Some("web-7c9f"));
    let mut job = web_pod();
    job["metadata"]["ownerReferences"][0]["kind"] = json!("Job");
    assert_eq!(pod(&read(job)), None);
}

#[test]
fn partition_and_on_delete_hold_pods_back() {
    let set = |strategy: Value| -> (u32, bool) {
        let object: StatefulSet = read(
            json!({"metadata": {"name": "db", "namespace": "shop", "uid": "d"},
            "spec": {"replicas": 3, "selector": {}, "template": {}, "serviceName": "db", "updateStrategy": strategy},
            "status": {"replicas": 3, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 3,
                "currentRevision": "db-1", "updateRevision": "db-2"}}),
        );
        let set = stateful_set(&object);
        assert_eq!(set.current, Current::Name("db-2".into()));
        (set.held, set.rolling())
    };
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    assert_eq!(set(rolling), (2, false), "one updated, two held");
    assert_eq!(set(json!({"type": "OnDelete"})), (3, false));
    assert_eq!(set(json!({"type": "RollingUpdate"})), (0, true));
}

#[test]
fn a_daemon_set_counts_nodes_and_its_revisions_are_numbered() {
    let object: DaemonSet = read(
        json!({"metadata": {"name": "log", "namespace": "shop", "uid": "d"},
        "spec": {"selector": {}, "template": {}},
        "status": {"desiredNumberScheduled": 4, "currentNumberScheduled": 4, "numberReady": 3, "numberAvailable": 3,
            "updatedNumberScheduled": 1, "numberMisscheduled": 0}}),
    );
    let set = daemon_set(&object);
    assert_eq!(
        (set.desired, set.updated, set.ready, set.current.clone()),
        (4, 1, 3, Current::Newest)
    );
    assert!(set.rolling());
    let object: ControllerRevision = read(
        json!({"metadata": {"name": "log-7c9f", "namespace": "shop", "uid": "r",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "log", "uid": "d", "controller": true}]},
        "revision": 3, "data": {"spec": {"template": {"$patch": "replace",
            "spec": {"containers": [{"name": "log", "image": "log:3"}]}}}}}),
    );
    let revision = controller_revision(&object).unwrap();
    assert_eq!((revision.number, revision.owner.as_str()), (3, "d"));
    assert_eq!(
        revision.template.images.get("log").map(String::as_str),
        Some("log:3")
    );
}

#[test]
fn a_deployment_tells_its_refusal_and_where_it_comes_from() {
    let object: Deployment = read(
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "d",
            "annotations": {"app.gitlab.com/env": "production", "meta.helm.sh/release-name": "shop", "secret.example.com/token": "x"},
            "labels": {"helm.sh/chart": "shop-1.2.3"}},
        "spec": {"selector": {}, "template": {}},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"web-1\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=4, limited: pods=4"}]}}),
    );
    let web = deployment(&object);
    assert_eq!(web.refusal, Some(Refusal::Quota("compute".into())));
    assert_eq!(web.helm_release().as_deref(), Some("shop/shop"));
    let names: Vec<&str> = web.origin.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "app.gitlab.com/env",
            "helm.sh/chart",
            "meta.helm.sh/release-name"
        ]
    );
}

#[test]
fn surroundings_are_read_by_their_conditions() {
    let object: core::Node = read(
        json!({"metadata": {"name": "n1"}, "spec": {"unschedulable": true},
        "status": {"allocatable": {"cpu": "3500m"}, "conditions": [
            {"type": "Ready", "status": "Unknown"}, {"type": "MemoryPressure", "status": "True"},
            {"type": "DiskPressure", "status": "False"}]}}),
    );
    let n1 = node(&object).unwrap();
    let troubles: Vec<NodeTrouble> = n1.troubles.into_iter().collect();
    assert_eq!(
        troubles,
        [NodeTrouble::NotReady, NodeTrouble::MemoryPressure]
    );
    assert!(n1.cordoned);
    assert_eq!(n1.allocatable.get("cpu"), Some(&3_500));
    let object: HorizontalPodAutoscaler = read(
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "h"},
        "spec": {"maxReplicas": 4, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
        "status": {"desiredReplicas": 4, "conditions": [{"type": "ScalingLimited", "status": "True", "reason": "TooManyReplicas"}]}}),
    );
    assert!(autoscaler(&object).unwrap().limited);
    let object: PodDisruptionBudget = read(
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "b"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"currentHealthy": 1, "desiredHealthy": 2, "disruptionsAllowed": 0, "expectedPods": 3}}),
    );
    assert!(budget(&object).unwrap().exhausted);
    let object = |value: &str, lock: &str| -> ConfigMap {
        read(
            json!({"metadata": {"name": "s", "namespace": "shop", "uid": "c", "annotations": {"lock": lock}}, "data": {"a": value}}),
        )
    };
    let digest = |value, lock| config(&object(value, lock)).unwrap().digest;
    assert_eq!(digest("1", "x"), digest("1", "y"));
    assert_ne!(digest("1", "x"), digest("2", "x"));
}

#[test]
fn only_warnings_count() {
    let event = |kind: &str| -> core::Event {
        read(
            json!({"metadata": {"name": "e"}, "type": kind, "reason": "Unhealthy", "message": "Readiness probe failed: 503",
            "lastTimestamp": "2026-01-01T00:00:00Z", "involvedObject": {"kind": "Pod", "uid": "p1"}}),
        )
    };
    let (uid, said, seen) = warning(&event("Warning")).unwrap();
    assert_eq!((uid.as_str(), said), ("p1", Warning::ProbeFailed));
    assert!(seen.is_some());
    assert_eq!(warning(&event("Normal")), None);
}
