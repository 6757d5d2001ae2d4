//! Pods, and warnings about them.

use k8s_openapi::api::core::v1::{self as core, ContainerStatus, PodSpec, Probe};

use super::{at, controller, count, kind};
use crate::domain::{
    At, Container, ContainerState, Pod, Probes, Warning, WorkloadKind,
    messages::{self, homeless, wait_fault},
};

/// Label with the revision of a pod of a `StatefulSet` (its whole name) or `DaemonSet` (its hash).
const REVISION: &str = "controller-revision-hash";

pub(in crate::clients) fn pod(object: &core::Pod) -> Option<Pod> {
    let meta = &object.metadata;
    let (spec, status) = (
        object.spec.as_ref()?,
        object.status.clone().unwrap_or_default(),
    );
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
    let owner = controller(meta)?;
    let hash = || meta.labels.as_ref()?.get(REVISION).cloned();
    let revision = match (owner.kind.as_str(), kind(&owner.kind)) {
        ("ReplicaSet", _) => None,
        (_, Some(WorkloadKind::StatefulSet)) => Some(hash().unwrap_or_default()),
        (_, Some(WorkloadKind::DaemonSet)) => {
            Some(format!("{}-{}", owner.name, hash().unwrap_or_default()))
        }
        _ => return None,
    };
    let unschedulable = condition("PodScheduled").filter(|scheduled| {
        scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable")
    });
    let own = status.container_statuses.iter().flatten();
    let first = status.init_container_statuses.iter().flatten();
    Some(Pod {
        uid: meta.uid.clone()?,
        namespace: meta.namespace.clone()?,
        name: meta.name.clone()?,
        owner: owner.uid.clone(),
        revision,
        node: spec.node_name.clone(),
        created: meta.creation_timestamp.as_ref().map(at)?,
        leaving: meta.deletion_timestamp.is_some() || ended,
        evicted: ended && status.reason.as_deref() == Some("Evicted"),
        ready: condition("Ready").is_some_and(|ready| ready.status == "True"),
        homeless: unschedulable.map(|c| homeless(c.message.as_deref().unwrap_or_default())),
        claims: claims(spec),
        containers: own.chain(first).map(|c| container(c, spec)).collect(),
    })
}

fn claims(spec: &PodSpec) -> Vec<String> {
    let volumes = spec.volumes.iter().flatten();
    let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.map(|claim| claim.claim_name.clone()).collect()
}

fn container(status: &ContainerStatus, spec: &PodSpec) -> Container {
    let last = status.last_state.as_ref();
    let last_end = last.and_then(|last| last.terminated.as_ref());
    let first = spec.init_containers.iter().flatten();
    let first = first.filter(|container| container.name == status.name);
    // One that is always restarted is a sidecar: it runs beside the others.
    let init = first
        .clone()
        .any(|container| container.restart_policy.as_deref() != Some("Always"));
    let all = spec.containers.iter().filter(|c| c.name == status.name);
    let probes = all.chain(first).next().map(|container| Probes {
        startup_ms: container.startup_probe.as_ref().map(budget),
        readiness_ms: container.readiness_probe.as_ref().map(budget),
    });
    let waiting = status.state.as_ref().and_then(|s| s.waiting.as_ref());
    let fault = waiting.and_then(|waiting| {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        wait_fault(&text(&waiting.reason), &text(&waiting.message))
    });
    Container {
        name: status.name.clone(),
        init,
        ready: status.ready,
        started: status.started.unwrap_or(false),
        restarts: count(Some(status.restart_count)),
        state: state(status),
        fault,
        last_end: last_end.and_then(|end| end.reason.clone()),
        probes: probes.unwrap_or_default(),
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

/// A warning event: the uid of what it is about, what it says, and when it was last seen.
pub(in crate::clients) fn warning(event: &core::Event) -> Option<(String, Warning, Option<At>)> {
    if event.type_.as_deref() != Some("Warning") {
        return None;
    }
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let warning = messages::warning(&text(&event.reason), &text(&event.message))?;
    let series = event
        .series
        .as_ref()
        .and_then(|s| s.last_observed_time.as_ref());
    let micro = series.or(event.event_time.as_ref());
    let micro = micro.map(|time| At::from_millis(time.0.as_millisecond()));
    let seen = event.last_timestamp.as_ref().map(at).or(micro);
    Some((event.involved_object.uid.clone()?, warning, seen))
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
