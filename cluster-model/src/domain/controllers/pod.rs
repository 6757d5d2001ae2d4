//! The kubelet: pods become ready, or fail in one of the known ways.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Timer;
use super::events::{Told, tell};
use crate::domain::kind::NODES;
use crate::domain::object::{annotation, is_deleting, name, namespace, set, stamp, text, uid};
use crate::domain::state::{Key, State};
use crate::domain::validation::BEHAVIOR;

mod behavior;
mod status;

pub use behavior::{Behavior, duration};
use behavior::{Stage, next};

const WHO: &str = "kubelet";
/// First pause between restarts of a crashing container, which doubles: 10 s, as the kubelet's.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// Longest pause between restarts: 5 min, as the kubelet's.
const LONGEST_BACKOFF: Duration = Duration::from_mins(5);

/// Where a pod stands.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    stage: Stage,
    restarts: u32,
    started_at: String,
    last_end: Option<Value>,
    address: String,
}

/// Takes in a pod that is new: gives it a node and starts its clock.
pub(super) fn sync(state: &mut State, key: &Key, now: OffsetDateTime) {
    let Some(pod) = state.get(key).cloned() else {
        return;
    };
    if is_deleting(&pod) || state.runs.contains_key(uid(&pod)) {
        return;
    }
    let Some(node) = pick_node(state, &pod) else {
        let message = "0/0 nodes are available: no nodes available to schedule pods.".to_owned();
        let told = Told::warning("default-scheduler", "FailedScheduling", message);
        tell(state, &pod, told, now);
        return;
    };
    let [.., high, low] = state.next_number().to_be_bytes();
    let run = Run {
        stage: Stage::Creating,
        restarts: 0,
        started_at: String::new(),
        last_end: None,
        address: format!("10.244.{high}.{low}"),
    };
    state.runs.insert(uid(&pod).to_owned(), run.clone());
    let mut next = (*pod).clone();
    set(&mut next, "/spec/nodeName", node.as_str());
    let status = status::of(&next, &run, now);
    set(&mut next, "/status", status);
    let place = namespace(&pod);
    let message = format!("Successfully assigned {place}/{} to {node}", name(&pod));
    tell(
        state,
        &pod,
        Told::normal("default-scheduler", "Scheduled", message),
        now,
    );
    let _full = state.put(key, next);
    schedule(state, key, &pod, &run, now);
}

/// Takes a pod to its next stage.
pub(super) fn advance(state: &mut State, key: &Key, now: OffsetDateTime) {
    let Some(pod) = state.get(key).cloned() else {
        return;
    };
    let Some(mut run) = state.runs.get(uid(&pod)).cloned() else {
        return;
    };
    if is_deleting(&pod) {
        return;
    }
    let behavior = behavior_of(&pod);
    run.stage = next(run.stage, behavior, run.restarts);
    match run.stage {
        Stage::Running => run.started_at = stamp(now),
        Stage::Restarted | Stage::Crashed => {
            run.last_end = Some(status::ended(&run, behavior, now));
            if run.stage == Stage::Restarted {
                run.restarts += 1;
                run.started_at = stamp(now);
            }
        }
        Stage::RunningAgain => {
            run.restarts += 1;
            run.started_at = stamp(now);
        }
        Stage::Creating
        | Stage::Ready
        | Stage::Unready
        | Stage::PullFailed
        | Stage::PullBackOff => {}
    }
    let mut next = (*pod).clone();
    set(&mut next, "/status", status::of(&pod, &run, now));
    let _full = state.put(key, next);
    for told in news(&pod, &run) {
        tell(state, &pod, told, now);
    }
    state.runs.insert(uid(&pod).to_owned(), run.clone());
    schedule(state, key, &pod, &run, now);
}

/// Removes a pod whose containers have stopped.
pub(super) fn stopped(state: &mut State, key: &Key) {
    let free = state.get(key).is_some_and(|pod| {
        is_deleting(pod) && crate::domain::object::list(pod, "/metadata/finalizers").is_empty()
    });
    if free {
        state.remove(key);
    }
}

fn behavior_of(pod: &Value) -> Behavior {
    annotation(pod, BEHAVIOR).parse().unwrap_or_default()
}

/// A node for a pod: its own choice, else each in turn.
fn pick_node(state: &mut State, pod: &Value) -> Option<String> {
    let chosen = text(pod, "/spec/nodeName");
    if !chosen.is_empty() {
        return Some(chosen.to_owned());
    }
    let nodes = state.list(&NODES, None);
    let open =
        nodes.filter(|(_, node)| node.pointer("/spec/unschedulable") != Some(&Value::Bool(true)));
    let names: Vec<_> = open.map(|(key, _)| key.name.clone()).collect();
    let turn = usize::try_from(state.next_number() % 1_000_003).unwrap_or(0);
    names.get(turn.checked_rem(names.len())?).cloned()
}

/// Sets the clock for the next stage, if there is one.
fn schedule(state: &mut State, key: &Key, pod: &Value, run: &Run, now: OffsetDateTime) {
    let behavior = behavior_of(pod);
    let ready_after = match behavior {
        Behavior::Slow(time) => time,
        _ => state.settings.ready_after,
    };
    let start = ready_after.min(state.settings.ready_after) / 2;
    let wait = match (run.stage, behavior) {
        (Stage::Creating, _) => start,
        (Stage::Running, _) => ready_after.saturating_sub(start),
        (Stage::Restarted | Stage::RunningAgain | Stage::PullFailed, _) => ready_after,
        (Stage::Ready, Behavior::UnreadyAfter(time)) => time,
        (Stage::Ready, _) => return,
        (Stage::Unready, _) => probe_period(pod),
        (Stage::Crashed | Stage::PullBackOff, _) => backoff(run.restarts),
    };
    let timer = Timer::Pod(key.clone(), uid(pod).to_owned());
    state.set_timer(now + wait, timer);
}

fn backoff(restarts: u32) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1 << restarts.saturating_sub(1).min(10));
    doubled.min(LONGEST_BACKOFF)
}

fn probe_period(pod: &Value) -> Duration {
    let seconds = pod.pointer("/spec/containers/0/readinessProbe/periodSeconds");
    Duration::from_secs(
        seconds
            .and_then(Value::as_u64)
            .unwrap_or(10)
            .clamp(1, 3_600),
    )
}

/// What the kubelet tells when a pod has reached a stage.
fn news(pod: &Value, run: &Run) -> Vec<Told> {
    let image = text(pod, "/spec/containers/0/image");
    let container = text(pod, "/spec/containers/0/name");
    match run.stage {
        Stage::Creating | Stage::Ready => Vec::new(),
        Stage::Running | Stage::Restarted | Stage::RunningAgain => vec![
            Told::normal(
                WHO,
                "Pulled",
                format!("Container image {image:?} already present on machine"),
            ),
            Told::normal(WHO, "Created", format!("Created container: {container}")),
            Told::normal(WHO, "Started", format!("Started container {container}")),
        ],
        Stage::Unready => {
            let message = "Readiness probe failed: HTTP probe failed with statuscode: 503";
            vec![Told::warning(WHO, "Unhealthy", message.to_owned())]
        }
        Stage::Crashed => vec![Told::warning(
            WHO,
            "BackOff",
            format!(
                "Back-off restarting failed container {container} in pod {}_{}({})",
                name(pod),
                namespace(pod),
                uid(pod)
            ),
        )],
        Stage::PullFailed => vec![
            Told::warning(
                WHO,
                "Failed",
                format!("Failed to pull image {image:?}: not found"),
            ),
            Told::warning(WHO, "Failed", "Error: ErrImagePull".to_owned()),
        ],
        Stage::PullBackOff => vec![
            Told::normal(WHO, "BackOff", format!("Back-off pulling image {image:?}")),
            Told::warning(WHO, "Failed", "Error: ImagePullBackOff".to_owned()),
        ],
    }
}

/// The `waiting` state of a container.
fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}
