//! Rollouts of Argo: like Deployments, with a controller that weighs a new version step by step and may be told to stop.

use serde_json::{Value, json};

use super::{revision::Health, revision::Revision, workload::Workload};

/// Annotation of a `ReplicaSet` with the number of its revision.
pub const REVISION: &str = "rollout.argoproj.io/revision";
/// Label by which the controller tells templates apart; no part of a template itself.
pub const HASH_LABEL: &str = "rollouts-pod-template-hash";

/// Why a Rollout cannot be rolled back.
pub const BY_REFERENCE: &str =
    "the Rollout takes its template from another workload (workloadRef); roll that one back";

/// Whether a Rollout has no template of its own.
pub fn is_by_reference(object: &Value) -> bool {
    object
        .pointer("/spec/workloadRef")
        .is_some_and(|one| !one.is_null())
}

/// A `ReplicaSet` as a revision of a Rollout; `None` when the controller gave it no number.
pub fn revision(set: &Value) -> Option<Revision> {
    let text = |pointer: &str| set.pointer(pointer).and_then(Value::as_str);
    let annotations = set.pointer("/metadata/annotations")?;
    let number = annotations.get(REVISION)?.as_str()?.parse().ok()?;
    let count = |pointer: &str| {
        let found = set.pointer(pointer).and_then(Value::as_u64);
        found
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0)
    };
    let (replicas, ready) = (count("/spec/replicas"), count("/status/readyReplicas"));
    let mut template = set.pointer("/spec/template")?.clone();
    let labels = template.pointer_mut("/metadata/labels");
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !value.is_null());
    }
    let whole = replicas > 0 && ready >= replicas;
    Some(Revision {
        number,
        name: text("/metadata/name")?.to_owned(),
        replicas,
        ready,
        health: if whole {
            Health::Healthy
        } else {
            Health::NeverHealthy
        },
        template,
        created: text("/metadata/creationTimestamp").map(str::to_owned),
    })
}

/// The change of the status that stops what the controller is about, as `kubectl argo rollouts abort` does: all
/// traffic goes to the stable version at once. `None` when it is stopped already, or when nothing is under way.
pub fn abort(object: &Value) -> Option<Value> {
    let status = object.get("status")?;
    let member = |name: &str| status.get(name).and_then(Value::as_str);
    let under_way = member("stableRS").is_some() && member("stableRS") != member("currentPodHash");
    let aborted = status.get("abort") == Some(&Value::Bool(true));
    (under_way && !aborted).then(|| json!({"status": {"abort": true}}))
}

/// The change of the status that brings a version in without its steps, as `kubectl argo rollouts promote --full` does:
/// it was in force before, and every step with less of it is time with more of the bad one. The stable version needs
/// none: the controller goes back to it without steps.
pub fn promote(object: &Value, target_hash: Option<&str>) -> Option<Value> {
    let status = object.get("status")?;
    let stable = status.get("stableRS").and_then(Value::as_str);
    let promoted = status.get("promoteFull") == Some(&Value::Bool(true));
    (stable.is_some() && stable != target_hash && !promoted)
        .then(|| json!({"status": {"promoteFull": true}}))
}

/// Whether a version is in force, as `kubectl argo rollouts status` tells.
pub fn is_complete(object: &Value) -> bool {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let generation = object.pointer("/metadata/generation").map(Value::to_string);
    // The controller writes the generation as text.
    let observed =
        generation.is_some() && text("/status/observedGeneration") == generation.as_deref();
    let settled = text("/status/stableRS").is_some()
        && text("/status/stableRS") == text("/status/currentPodHash");
    observed && settled && text("/status/phase") == Some("Healthy")
}

/// The hash that the controller gave to a revision: the last part of its `ReplicaSet`'s name.
pub fn hash<'a>(workload: &'a Workload, template: &Value) -> Option<&'a str> {
    let mut revisions = workload.revisions.iter();
    let found = revisions.find(|revision| revision.template == *template)?;
    found
        .name
        .strip_prefix(&workload.id.name)?
        .strip_prefix('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(status: &Value) -> Value {
        json!({"metadata": {"generation": 3}, "status": status})
    }

    #[test]
    fn reads_a_replica_set_as_a_revision() {
        let set = json!({
            "metadata": {"name": "web-5d", "annotations": {REVISION: "7"}},
            "spec": {"replicas": 2, "template": {
                "metadata": {"creationTimestamp": null, "labels": {"app": "web", HASH_LABEL: "5d"}}, "spec": {},
            }},
            "status": {"readyReplicas": 2},
        });
        let revision = revision(&set).unwrap();
        assert_eq!((revision.number, revision.health), (7, Health::Healthy));
        assert_eq!(
            revision.template,
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {}})
        );
        assert!(super::revision(&json!({"metadata": {"name": "other"}})).is_none());
    }

    #[test]
    fn stops_only_what_is_under_way() {
        let under_way = json!({"stableRS": "a", "currentPodHash": "b"});
        assert!(abort(&rollout(&under_way)).is_some());
        let mut stopped = under_way;
        stopped["abort"] = true.into();
        assert!(abort(&rollout(&stopped)).is_none());
        assert!(abort(&rollout(&json!({"stableRS": "a", "currentPodHash": "a"}))).is_none());
        assert!(abort(&json!({})).is_none());
    }

    #[test]
    fn skips_the_steps_unless_the_controller_does() {
        let status = rollout(&json!({"stableRS": "b", "currentPodHash": "b"}));
        assert!(promote(&status, Some("a")).is_some());
        assert!(promote(&status, Some("b")).is_none());
        let first = rollout(&json!({"currentPodHash": "b"}));
        assert!(
            promote(&first, Some("a")).is_none(),
            "nothing was stable yet"
        );
    }

    #[test]
    fn is_complete_when_the_controller_says_so_of_this_generation() {
        let done = json!({"observedGeneration": "3", "phase": "Healthy", "stableRS": "a", "currentPodHash": "a"});
        assert!(is_complete(&rollout(&done)));
        for (member, value) in [
            ("observedGeneration", "2"),
            ("phase", "Degraded"),
            ("stableRS", "b"),
        ] {
            let mut other = done.clone();
            other[member] = value.into();
            assert!(!is_complete(&rollout(&other)), "{member}");
        }
        assert!(is_by_reference(
            &json!({"spec": {"workloadRef": {"name": "web"}}})
        ));
        assert!(!is_by_reference(&json!({"spec": {"workloadRef": null}})));
    }
}
