use serde_json::{Value, json};

use super::{Part, current, replace};
use crate::domain::object::{int, members, name, namespace, set, text};
use crate::domain::refusal::Refusal;
use crate::domain::state::{Key, State};

/// The `Scale` of an object.
///
/// # Errors
/// 404.
pub fn read_scale(state: &State, key: &Key) -> Result<Value, Refusal> {
    Ok(scale_of(&*current(state, key)?))
}

/// Sets the replicas of an object from a `Scale`.
///
/// # Errors
/// 400, 404, 409 or 422.
pub fn write_scale(
    state: &mut State,
    key: &Key,
    (scale, dry_run): (&Value, bool),
) -> Result<Value, Refusal> {
    let mut next = (*current(state, key)?).clone();
    let replicas = int(scale, "/spec/replicas").unwrap_or(0);
    let version = text(scale, "/metadata/resourceVersion");
    set(&mut next, "/metadata/resourceVersion", version);
    set(&mut next, "/spec/replicas", replicas);
    let stored = replace(state, key, Part::Main, (next, dry_run))?;
    Ok(scale_of(&stored))
}

fn scale_of(object: &Value) -> Value {
    let labels = members(object, "/spec/selector/matchLabels");
    let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let field = |member: &str| {
        let value = object.pointer(&format!("/metadata/{member}"));
        value.cloned().unwrap_or_default()
    };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": name(object), "namespace": namespace(object), "uid": field("uid"),
            "resourceVersion": field("resourceVersion"),
            "creationTimestamp": field("creationTimestamp"),
        },
        "spec": {"replicas": int(object, "/spec/replicas").unwrap_or(0)},
        "status": {
            "replicas": int(object, "/status/replicas").unwrap_or(0),
            "selector": labels.collect::<Vec<_>>().join(","),
        },
    })
}
