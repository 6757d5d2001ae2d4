use serde_json::{Value, json};
use time::OffsetDateTime;

use super::behavior::{Behavior, Stage};
use super::{Run, waiting};
use crate::domain::object::{condition, list, name, namespace, stamp, text, uid};

/// The whole status of a pod.
pub(super) fn of(pod: &Value, run: &Run, now: OffsetDateTime) -> Value {
    let started = !matches!(
        run.stage,
        Stage::Creating | Stage::PullFailed | Stage::PullBackOff
    );
    let containers = list(pod, "/spec/containers").iter().enumerate();
    let containers: Vec<_> = containers
        .map(|(at, container)| {
            if at == 0 {
                first_container(pod, container, run)
            } else {
                let state = if started { running(run) } else { creating() };
                container_status(container, &state, (started, 0))
            }
        })
        .collect();
    let ready = containers
        .iter()
        .all(|c| c.get("ready") == Some(&Value::Bool(true)));
    let names = containers
        .iter()
        .filter(|c| c.get("ready") != Some(&Value::Bool(true)));
    let names: Vec<_> = names.map(|container| text(container, "/name")).collect();
    let why = (!ready).then(|| {
        let message = format!("containers with unready status: [{}]", names.join(" "));
        ("ContainersNotReady", message)
    });
    let known = |kind: &str, truth: bool, why: Option<&(&str, String)>| {
        condition_of(pod, kind, truth, why, now)
    };
    let mut status = json!({
        "phase": if started { "Running" } else { "Pending" },
        "qosClass": text(pod, "/status/qosClass"),
        "hostIP": "10.0.0.1",
        "startTime": match text(pod, "/status/startTime") {
            "" => stamp(now),
            since => since.to_owned(),
        },
        "conditions": [
            known("PodReadyToStartContainers", started, None),
            known("Initialized", true, None),
            known("Ready", ready, why.as_ref()),
            known("ContainersReady", ready, why.as_ref()),
            known("PodScheduled", true, None),
        ],
        "containerStatuses": containers,
    });
    if started && let Some(members) = status.as_object_mut() {
        members.insert("podIP".to_owned(), run.address.as_str().into());
        members.insert("podIPs".to_owned(), json!([{"ip": run.address}]));
    }
    status
}

/// How a container ended: the `lastState` of its successor.
pub(super) fn ended(run: &Run, behavior: Behavior, now: OffsetDateTime) -> Value {
    let (reason, code) = match behavior {
        Behavior::Oom => ("OOMKilled", 137),
        _ => ("Error", 1),
    };
    json!({"terminated": {
        "exitCode": code, "reason": reason, "startedAt": run.started_at, "finishedAt": stamp(now),
    }})
}

fn first_container(pod: &Value, container: &Value, run: &Run) -> Value {
    let image = text(container, "/image");
    let state = match run.stage {
        Stage::Creating => creating(),
        Stage::PullFailed => waiting(
            "ErrImagePull",
            &format!("failed to pull image {image:?}: not found"),
        ),
        Stage::PullBackOff => waiting(
            "ImagePullBackOff",
            &format!("Back-off pulling image {image:?}"),
        ),
        Stage::Crashed => {
            let pause = super::backoff(run.restarts).as_secs();
            let message = format!(
                "back-off {pause}s restarting failed container={} pod={}_{}({})",
                text(container, "/name"),
                name(pod),
                namespace(pod),
                uid(pod)
            );
            waiting("CrashLoopBackOff", &message)
        }
        Stage::Running | Stage::Ready | Stage::Unready | Stage::Restarted | Stage::RunningAgain => {
            running(run)
        }
    };
    let ready = run.stage == Stage::Ready;
    let mut status = container_status(container, &state, (ready, run.restarts));
    if let (Some(end), Some(members)) = (&run.last_end, status.as_object_mut()) {
        members.insert("lastState".to_owned(), end.clone());
    }
    status
}

fn container_status(container: &Value, state: &Value, (ready, restarts): (bool, u32)) -> Value {
    let runs = state.get("running").is_some();
    let image = text(container, "/image");
    json!({
        "name": text(container, "/name"), "image": image, "ready": ready, "started": runs,
        "imageID": if runs { image } else { "" },
        "restartCount": restarts, "state": state, "lastState": {},
    })
}

fn creating() -> Value {
    json!({"waiting": {"reason": "ContainerCreating"}})
}

fn running(run: &Run) -> Value {
    json!({"running": {"startedAt": run.started_at}})
}

fn condition_of(
    pod: &Value,
    kind: &str,
    truth: bool,
    why: Option<&(&str, String)>,
    now: OffsetDateTime,
) -> Value {
    let word = if truth { "True" } else { "False" };
    let before = condition(pod, kind).filter(|before| text(before, "/status") == word);
    let since = before.map(|before| text(before, "/lastTransitionTime").to_owned());
    let mut condition = json!({
        "type": kind, "status": word, "lastProbeTime": null,
        "lastTransitionTime": since.unwrap_or_else(|| stamp(now)),
    });
    if let (Some((reason, message)), Some(members)) = (why, condition.as_object_mut()) {
        members.insert("reason".to_owned(), (*reason).into());
        members.insert("message".to_owned(), message.as_str().into());
    }
    condition
}
