//! Kubernetes objects as domain types.

use k8s_openapi::{
    api::{
        apps::v1 as apps,
        core::v1::{self as core, ContainerStatus, Probe},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use crate::domain::{
    At, Container, ContainerState, Deployment, Key, Node, Pod, Probes, ReplicaSet,
};

/// Annotation in which the Deployment's controller numbers revisions.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation in which a release leaves its W3C trace context.
const TRACEPARENT: &str = "ossa.io/traceparent";
/// Longest `traceparent` of version 00.
const MAX_TRACEPARENT: usize = 55;

pub(super) fn deployment(object: &apps::Deployment) -> Deployment {
    let meta = &object.metadata;
    let status = object.status.clone().unwrap_or_default();
    let exceeded = status.conditions.iter().flatten().any(|condition| {
        condition.type_.as_deref() == Some("Progressing")
            && condition.status.as_deref() == Some("False")
            && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    Deployment {
        key: Key {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        },
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(0),
        observed_generation: status.observed_generation.unwrap_or(0),
        desired: count(object.spec.replicas.or(Some(1))),
        total: count(status.replicas),
        updated: count(status.updated_replicas),
        ready: count(status.ready_replicas),
        available: count(status.available_replicas),
        revision: revision(meta),
        paused: object.spec.paused.unwrap_or(false),
        deadline_exceeded: exceeded,
        traceparent: meta
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(TRACEPARENT))
            .filter(|text| text.len() <= MAX_TRACEPARENT)
            .cloned(),
    }
}

pub(super) fn replica_set(object: &apps::ReplicaSet) -> Option<ReplicaSet> {
    let meta = &object.metadata;
    Some(ReplicaSet {
        uid: meta.uid.clone()?,
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
        owner: owner(meta, "Deployment")?,
        revision: revision(meta)?,
        created: meta.creation_timestamp.as_ref().map(at)?,
    })
}

pub(super) fn pod(object: &core::Pod) -> Option<Pod> {
    let meta = &object.metadata;
    let (spec, status) = (
        object.spec.as_ref()?,
        object.status.clone().unwrap_or_default(),
    );
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
    let statuses = status.container_statuses.iter().flatten();
    let probes = |name: &str| {
        let container = spec
            .containers
            .iter()
            .find(|container| container.name == name);
        container.map_or_else(Probes::default, |container| Probes {
            startup_ms: container.startup_probe.as_ref().map(budget),
            readiness_ms: container.readiness_probe.as_ref().map(budget),
        })
    };
    Some(Pod {
        uid: meta.uid.clone()?,
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
        owner: owner(meta, "ReplicaSet")?,
        node: spec.node_name.clone(),
        created: meta.creation_timestamp.as_ref().map(at)?,
        leaving: meta.deletion_timestamp.is_some() || ended,
        ready: condition("Ready").is_some_and(|ready| ready.status == "True"),
        unschedulable: condition("PodScheduled").is_some_and(|scheduled| {
            scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable")
        }),
        containers: statuses
            .map(|status| container(status, probes(&status.name)))
            .collect(),
    })
}

fn container(status: &ContainerStatus, probes: Probes) -> Container {
    let last_end = status
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref());
    Container {
        name: status.name.clone(),
        ready: status.ready,
        started: status.started.unwrap_or(false),
        restarts: count(Some(status.restart_count)),
        state: state(status),
        last_end: last_end.and_then(|end| end.reason.clone()),
        probes,
    }
}

fn state(status: &ContainerStatus) -> ContainerState {
    let state = status.state.as_ref();
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        return ContainerState::Ended(ended.reason.clone().unwrap_or_default());
    }
    let running = state.and_then(|state| state.running.as_ref());
    if let Some(since) = running.and_then(|running| running.started_at.as_ref()) {
        return ContainerState::Running(at(since));
    }
    let waiting = state.and_then(|state| state.waiting.as_ref());
    ContainerState::Waiting(
        waiting
            .and_then(|waiting| waiting.reason.clone())
            .unwrap_or_default(),
    )
}

/// A warning that a readiness or liveness probe of a pod failed: the pod's uid. Failing startup probes are part
/// of starting, and the container that exhausts them is restarted.
pub(super) fn failed_probe(event: &core::Event) -> Option<String> {
    let message = event.message.as_deref().unwrap_or_default();
    let relevant = event.type_.as_deref() == Some("Warning")
        && event.reason.as_deref() == Some("Unhealthy")
        && event.involved_object.kind.as_deref() == Some("Pod")
        && (message.starts_with("Readiness") || message.starts_with("Liveness"));
    event.involved_object.uid.clone().filter(|_| relevant)
}

pub(super) fn node(object: &core::Node) -> Option<Node> {
    let status = object.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    Some(Node {
        name: object.metadata.name.clone()?,
        ready: ready.is_none_or(|condition| condition.status == "True"),
    })
}

fn owner(meta: &ObjectMeta, kind: &str) -> Option<String> {
    let owners = meta.owner_references.iter().flatten();
    owners
        .into_iter()
        .find(|owner| owner.kind == kind)
        .map(|owner| owner.uid.clone())
}

fn revision(meta: &ObjectMeta) -> Option<u64> {
    meta.annotations.as_ref()?.get(REVISION)?.parse().ok()
}

fn at(time: &Time) -> At {
    At::from_millis(time.0.as_millisecond())
}

fn count(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

/// `initialDelaySeconds + periodSeconds * failureThreshold`, with Kubernetes' defaults of 0, 10 and 3.
fn budget(probe: &Probe) -> i64 {
    let (delay, period) = (
        probe.initial_delay_seconds.unwrap_or(0),
        probe.period_seconds.unwrap_or(10),
    );
    let failures = probe.failure_threshold.unwrap_or(3);
    (i64::from(delay) + i64::from(period) * i64::from(failures)) * 1_000
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<K: serde::de::DeserializeOwned>(value: Value) -> K {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn reads_the_probe_budget_and_the_state_of_a_pod() {
        let object = read(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "p1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "s1"}]},
            "spec": {"nodeName": "n1", "containers": [{"name": "web",
                "startupProbe": {"periodSeconds": 2, "failureThreshold": 15},
                "readinessProbe": {"initialDelaySeconds": 3, "periodSeconds": 5, "failureThreshold": 2}}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": "web", "image": "", "imageID": "", "ready": false, "started": true, "restartCount": 2,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}
        }));
        let pod = pod(&object).unwrap();
        let web = &pod.containers[0];
        assert_eq!(
            (pod.owner.as_str(), pod.ready, pod.restarts()),
            ("s1", false, 2)
        );
        assert_eq!(
            web.probes,
            Probes {
                startup_ms: Some(30_000),
                readiness_ms: Some(13_000)
            }
        );
        assert_eq!(web.last_end.as_deref(), Some("OOMKilled"));
        assert_eq!(web.state, ContainerState::Running(pod.created.plus(1_000)));
    }

    #[test]
    fn a_failing_startup_probe_is_no_sign_and_a_failing_readiness_probe_is() {
        let event = |message: &str, kind: &str| -> core::Event {
            read(
                json!({"metadata": {"name": "e"}, "type": kind, "reason": "Unhealthy", "message": message,
                "involvedObject": {"kind": "Pod", "uid": "p1"}}),
            )
        };
        let failed = |message, kind| failed_probe(&event(message, kind));
        assert_eq!(
            failed("Readiness probe failed: 503", "Warning").as_deref(),
            Some("p1")
        );
        assert_eq!(failed("Startup probe failed: 503", "Warning"), None);
        assert_eq!(failed("Readiness probe failed: 503", "Normal"), None);
    }
}
