//! The replica set controller: as many pods as the spec says.

use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::events::{Told, tell};
use crate::domain::kind::{DEPLOYMENTS, PODS};
use crate::domain::object::{
    condition, controller, int, is_deleting, members, name, parse_stamp, set, text, uid,
};
use crate::domain::state::{Key, State, Work};
use crate::domain::verbs::{DeleteOptions, create, delete};

const WHO: &str = "replicaset-controller";
/// Most pods that one look adds, as in Kubernetes; the new pods cause the next look.
const BURST: usize = 500;

pub(super) fn sync(state: &mut State, key: &Key, now: OffsetDateTime) {
    let Some(set) = state.get(key).cloned() else {
        return;
    };
    if is_deleting(&set) {
        return;
    }
    let mut pods = active_pods(state, &set);
    let wanted = int(&set, "/spec/replicas").unwrap_or(1).max(0);
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let mut failure = None;
    if pods.len() < wanted {
        failure = add_pods(state, (key, &set), wanted - pods.len(), now);
    } else if pods.len() > wanted {
        pods.sort_by_cached_key(|(_, pod)| rank(pod));
        for (pod, object) in pods.iter().take(pods.len() - wanted) {
            let message = format!("Deleted pod: {}", name(object));
            tell(
                state,
                &set,
                Told::normal(WHO, "SuccessfulDelete", message),
                now,
            );
            let _going = delete(state, pod, &DeleteOptions::default(), now);
        }
    }
    write_status(state, key, failure, now);
    if wanted == 0 && state.owned(uid(&set), &PODS).is_empty() {
        wake_owner(state, key, &set);
    }
}

/// A deployment that recreates waits for the last pod, which leaves the counts as they are.
fn wake_owner(state: &mut State, key: &Key, set: &Value) {
    if let Some(owner) = controller(set) {
        let owner = Key::new(&DEPLOYMENTS, &key.namespace, text(owner, "/name"));
        state.queue.insert(Work::Sync(owner));
    }
}

fn active_pods(state: &State, set: &Value) -> Vec<(Key, Arc<Value>)> {
    let mut pods = state.owned(uid(set), &PODS);
    pods.retain(|(_, pod)| {
        !is_deleting(pod) && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
    });
    pods
}

/// Who goes first: not running, then not ready, then more restarts, then the youngest.
fn rank(pod: &Value) -> (bool, bool, i64, std::cmp::Reverse<String>) {
    (
        text(pod, "/status/phase") == "Running",
        is_ready(pod),
        -int(pod, "/status/containerStatuses/0/restartCount").unwrap_or(0),
        std::cmp::Reverse(text(pod, "/metadata/creationTimestamp").to_owned()),
    )
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| text(ready, "/status") == "True")
}

fn add_pods(
    state: &mut State,
    (key, set): (&Key, &Value),
    count: usize,
    now: OffsetDateTime,
) -> Option<String> {
    for _ in 0..count.min(BURST) {
        let pod = pod_of(set);
        match create(state, &PODS, &key.namespace, (pod, false), now) {
            Ok(pod) => {
                let message = format!("Created pod: {}", name(&pod));
                tell(
                    state,
                    set,
                    Told::normal(WHO, "SuccessfulCreate", message),
                    now,
                );
            }
            Err(refusal) => {
                let message = format!("Error creating: {refusal}");
                tell(
                    state,
                    set,
                    Told::warning(WHO, "FailedCreate", message.clone()),
                    now,
                );
                return Some(message);
            }
        }
    }
    None
}

fn pod_of(set: &Value) -> Value {
    let template = set.pointer("/spec/template").cloned().unwrap_or_default();
    let mut pod = json!({
        "metadata": template.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "spec": template.get("spec"),
    });
    set_owner(&mut pod, set);
    self::set(
        &mut pod,
        "/metadata/generateName",
        format!("{}-", name(set)),
    );
    pod
}

/// Makes `owner` the controller of `object`.
pub(super) fn set_owner(object: &mut Value, owner: &Value) {
    let reference = json!([{
        "apiVersion": text(owner, "/apiVersion"), "kind": text(owner, "/kind"),
        "name": name(owner), "uid": uid(owner), "controller": true, "blockOwnerDeletion": true,
    }]);
    set(object, "/metadata/ownerReferences", reference);
}

fn write_status(state: &mut State, key: &Key, failure: Option<String>, now: OffsetDateTime) {
    let Some(set) = state.get(key).cloned() else {
        return;
    };
    let pods = active_pods(state, &set);
    let min_ready = int(&set, "/spec/minReadySeconds").unwrap_or(0).max(0);
    let ready: Vec<_> = pods.iter().filter(|(_, pod)| is_ready(pod)).collect();
    let mut next_look: Option<OffsetDateTime> = None;
    let available = ready.iter().filter(|(_, pod)| {
        let since = condition(pod, "Ready").map(|ready| text(ready, "/lastTransitionTime"));
        let since = since.and_then(parse_stamp).unwrap_or(now);
        let at = since + time::Duration::seconds(min_ready);
        if min_ready > 0 && at > now {
            next_look = Some(next_look.map_or(at, |earlier| earlier.min(at)));
        }
        min_ready == 0 || at <= now
    });
    let labels = || members(&set, "/spec/template/metadata/labels");
    let labeled = pods.iter().filter(|(_, pod)| {
        labels().all(|(label, value)| {
            let labels = pod.pointer("/metadata/labels");
            labels.and_then(|labels| labels.get(label)) == Some(value)
        })
    });
    let mut status = json!({
        "replicas": pods.len(), "fullyLabeledReplicas": labeled.count(),
        "readyReplicas": ready.len(), "availableReplicas": available.count(),
        "observedGeneration": int(&set, "/metadata/generation").unwrap_or(1),
    });
    if let Some(message) = failure {
        let known = condition(&set, "ReplicaFailure").map(|c| text(c, "/lastTransitionTime"));
        let since = known.map_or_else(|| crate::domain::object::stamp(now), str::to_owned);
        let condition = json!({
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": message, "lastTransitionTime": since,
        });
        self::set(&mut status, "/conditions", json!([condition]));
    }
    let mut next = (*set).clone();
    self::set(&mut next, "/status", status);
    let _full = state.put(key, next);
    if let Some(at) = next_look {
        state.wake(key, at);
    }
}
