//! Tables, which `kubectl get` asks for.

use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::domain::Kind;
use crate::domain::object::{int, is_deleting, list, name, parse_stamp, text};

/// Says whether the caller prefers a table.
pub(super) fn wanted(accept: &str) -> bool {
    accept.contains("as=Table")
}

/// A table of objects.
pub(super) fn of(kind: &Kind, objects: &[Arc<Value>], metadata: &Value) -> Value {
    let columns = columns(kind).iter().map(|(name, kind)| {
        json!({"name": name, "type": kind, "format": if *name == "Name" { "name" } else { "" },
               "description": "", "priority": 0})
    });
    let now = OffsetDateTime::now_utc();
    let rows = objects.iter().map(|object| {
        json!({"cells": cells(kind, object, now), "object": {
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object.get("metadata")}})
    });
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": if metadata.is_null() { json!({}) } else { metadata.clone() },
        "columnDefinitions": columns.collect::<Vec<_>>(), "rows": rows.collect::<Vec<_>>(),
    })
}

fn columns(kind: &Kind) -> &'static [(&'static str, &'static str)] {
    const NAME: (&str, &str) = ("Name", "string");
    const AGE: (&str, &str) = ("Age", "string");
    match kind.kind {
        "Pod" => &[
            NAME,
            ("Ready", "string"),
            ("Status", "string"),
            ("Restarts", "integer"),
            AGE,
        ],
        "Deployment" => &[
            NAME,
            ("Ready", "string"),
            ("Up-to-date", "integer"),
            ("Available", "integer"),
            AGE,
        ],
        "ReplicaSet" => &[
            NAME,
            ("Desired", "integer"),
            ("Current", "integer"),
            ("Ready", "integer"),
            AGE,
        ],
        "Event" => &[
            ("Last Seen", "string"),
            ("Type", "string"),
            ("Reason", "string"),
            ("Object", "string"),
            ("Message", "string"),
        ],
        "Namespace" | "Node" => &[NAME, ("Status", "string"), AGE],
        "Service" => &[NAME, ("Type", "string"), ("Cluster-IP", "string"), AGE],
        _ => &[NAME, AGE],
    }
}

fn cells(kind: &Kind, object: &Value, now: OffsetDateTime) -> Value {
    let count = |field: &str| int(object, field).unwrap_or(0);
    let (name, age) = (
        name(object),
        age(object, "/metadata/creationTimestamp", now),
    );
    match kind.kind {
        "Pod" => {
            let containers = list(object, "/status/containerStatuses");
            let ready = containers.iter().filter(|c| c["ready"] == true).count();
            let restarts = containers.iter().filter_map(|c| int(c, "/restartCount"));
            let all = list(object, "/spec/containers").len();
            json!([
                name,
                format!("{ready}/{all}"),
                pod_status(object),
                restarts.sum::<i64>(),
                age
            ])
        }
        "Deployment" => json!([
            name,
            format!(
                "{}/{}",
                count("/status/readyReplicas"),
                count("/spec/replicas")
            ),
            count("/status/updatedReplicas"),
            count("/status/availableReplicas"),
            age
        ]),
        "ReplicaSet" => json!([
            name,
            count("/spec/replicas"),
            count("/status/replicas"),
            count("/status/readyReplicas"),
            age
        ]),
        "Event" => json!([
            self::age(object, "/lastTimestamp", now),
            text(object, "/type"),
            text(object, "/reason"),
            format!(
                "{}/{}",
                text(object, "/involvedObject/kind").to_lowercase(),
                text(object, "/involvedObject/name")
            ),
            text(object, "/message")
        ]),
        "Namespace" => json!([name, text(object, "/status/phase"), age]),
        "Node" => json!([name, "Ready", age]),
        "Service" => json!([
            name,
            text(object, "/spec/type"),
            text(object, "/spec/clusterIP"),
            age
        ]),
        _ => json!([name, age]),
    }
}

fn pod_status(pod: &Value) -> &str {
    if is_deleting(pod) {
        return "Terminating";
    }
    let containers = list(pod, "/status/containerStatuses").iter();
    let mut reasons = containers.map(|container| text(container, "/state/waiting/reason"));
    let waiting = reasons.find(|reason| !reason.is_empty());
    waiting.unwrap_or_else(|| text(pod, "/status/phase"))
}

/// The time since, as `kubectl` writes it: the largest unit alone.
fn age(object: &Value, pointer: &str, now: OffsetDateTime) -> String {
    let Some(since) = parse_stamp(text(object, pointer)) else {
        return "<unknown>".to_owned();
    };
    match (now - since).whole_seconds().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
