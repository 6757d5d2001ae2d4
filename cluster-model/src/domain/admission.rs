//! What the API server does to an object on its way into the store.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::defaults::fill_in;
use super::kind::{Kind, NAMESPACES};
use super::object::{is_deleting, name, namespace, remove, set, stamp, text, uid};
use super::refusal::Refusal;
use super::state::{Key, State};
use super::validation::{decode, validate, validate_change};

/// Kinds whose `metadata.generation` counts changes of their spec.
const WITH_GENERATION: &[&str] = &[
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "Pod",
    "NetworkPolicy",
    "Ingress",
    "PodDisruptionBudget",
];

/// Metadata that only the server writes.
const SERVER_OWNED: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "namespace",
    "selfLink",
    "resourceVersion",
];

/// Makes a new object complete: names, uid, time, defaults, first status.
///
/// # Errors
/// 400, 403, 404, 422, as Kubernetes answers them.
pub fn prepare_new(
    state: &mut State,
    kind: &'static Kind,
    place: &str,
    mut object: Value,
    now: OffsetDateTime,
) -> Result<Value, Refusal> {
    check_type(kind, &mut object)?;
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Refusal::bad_request(message));
    }
    check_namespace(state, kind, place, &mut object)?;
    let prefix = text(&object, "/metadata/generateName").to_owned();
    if name(&object).is_empty() && !prefix.is_empty() {
        let name = format!("{prefix}{}", state.next_suffix());
        set(&mut object, "/metadata/name", name);
    }
    for member in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
    ] {
        remove(&mut object, &format!("/metadata/{member}"));
    }
    set(&mut object, "/metadata/uid", state.next_uid());
    set(&mut object, "/metadata/creationTimestamp", stamp(now));
    if WITH_GENERATION.contains(&kind.kind) {
        set(&mut object, "/metadata/generation", 1);
    }
    decode(kind, &object)?;
    fill_in(kind, &mut object);
    first_status(state, kind, &mut object);
    validate(kind, &object)?;
    Ok(object)
}

/// Makes the next state of an object from a whole body.
///
/// # Errors
/// 400, 409 or 422, as Kubernetes answers them.
pub fn prepare_next(
    kind: &'static Kind,
    current: &Value,
    mut body: Value,
    status_only: bool,
) -> Result<Value, Refusal> {
    check_type(kind, &mut body)?;
    if name(&body).is_empty() {
        set(&mut body, "/metadata/name", name(current));
    }
    if name(&body) != name(current) {
        let message = "the name of the object does not match the name on the URL";
        return Err(Refusal::bad_request(message));
    }
    if !namespace(&body).is_empty() && namespace(&body) != namespace(current) {
        return Err(wrong_namespace());
    }
    let version = text(&body, "/metadata/resourceVersion");
    if !version.is_empty() && version != text(current, "/metadata/resourceVersion") {
        return Err(Refusal::modified(kind, name(current)));
    }
    if !uid(&body).is_empty() && uid(&body) != uid(current) {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            uid(&body),
            uid(current)
        );
        return Err(Refusal::conflict(kind, name(current), &why));
    }
    let mut next = if status_only {
        with_status(current, &body)
    } else {
        with_body(kind, current, body)
    };
    decode(kind, &next)?;
    fill_in(kind, &mut next);
    validate(kind, &next)?;
    validate_change(kind, current, &next)?;
    if WITH_GENERATION.contains(&kind.kind) && current.get("spec") != next.get("spec") {
        let generation = super::object::int(current, "/metadata/generation").unwrap_or(0);
        set(&mut next, "/metadata/generation", generation + 1);
    }
    Ok(next)
}

fn with_status(current: &Value, body: &Value) -> Value {
    let mut next = current.clone();
    match body.get("status") {
        Some(status) => set(&mut next, "/status", status.clone()),
        None => drop(remove(&mut next, "/status")),
    }
    next
}

fn with_body(kind: &Kind, current: &Value, mut body: Value) -> Value {
    for member in SERVER_OWNED {
        let pointer = format!("/metadata/{member}");
        match current.pointer(&pointer) {
            Some(value) => set(&mut body, &pointer, value.clone()),
            None => drop(remove(&mut body, &pointer)),
        }
    }
    remove(&mut body, "/metadata/managedFields");
    if kind.status {
        match current.get("status") {
            Some(status) => set(&mut body, "/status", status.clone()),
            None => drop(remove(&mut body, "/status")),
        }
    }
    body
}

fn check_type(kind: &Kind, object: &mut Value) -> Result<(), Refusal> {
    if !object.is_object() {
        return Err(Refusal::bad_request(
            "the body of the request is not an object",
        ));
    }
    let api_version = kind.api_version();
    let (given, named) = (text(object, "/apiVersion"), text(object, "/kind"));
    if (!given.is_empty() && given != api_version) || (!named.is_empty() && named != kind.kind) {
        return Err(Refusal::bad_request(format!(
            "the object provided is unrecognized: {named:?} of {given:?} is not a {} of {api_version}",
            kind.kind
        )));
    }
    set(object, "/apiVersion", api_version);
    set(object, "/kind", kind.kind);
    Ok(())
}

fn wrong_namespace() -> Refusal {
    Refusal::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    )
}

fn check_namespace(
    state: &State,
    kind: &Kind,
    place: &str,
    object: &mut Value,
) -> Result<(), Refusal> {
    if !kind.namespaced {
        remove(object, "/metadata/namespace");
        return Ok(());
    }
    if !namespace(object).is_empty() && namespace(object) != place {
        return Err(wrong_namespace());
    }
    set(object, "/metadata/namespace", place);
    let Some(home) = state.get(&Key::new(&NAMESPACES, "", place)) else {
        return Err(Refusal::not_found(&NAMESPACES, place));
    };
    if is_deleting(home) {
        let why = format!(
            "unable to create new content in namespace {place} because it is being terminated"
        );
        return Err(Refusal::forbidden(kind, name(object), &why));
    }
    Ok(())
}

fn first_status(state: &mut State, kind: &Kind, object: &mut Value) {
    if kind.status && kind.kind != "Node" {
        remove(object, "/status");
    }
    match kind.kind {
        "Namespace" => set(object, "/status", json!({"phase": "Active"})),
        "Pod" => set(
            object,
            "/status",
            json!({"phase": "Pending", "qosClass": qos(object)}),
        ),
        "Service" => {
            set(object, "/status", json!({"loadBalancer": {}}));
            if text(object, "/spec/type") != "ExternalName"
                && text(object, "/spec/clusterIP").is_empty()
            {
                let [.., high, low] = state.next_number().to_be_bytes();
                let address = format!("10.96.{high}.{low}");
                set(object, "/spec/clusterIPs", json!([address]));
                set(object, "/spec/clusterIP", address);
            }
        }
        _ => {}
    }
}

/// Quality of service class: "Pod Quality of Service Classes" in the Kubernetes docs.
fn qos(pod: &Value) -> &'static str {
    let containers = super::object::list(pod, "/spec/containers");
    let has = |container: &Value, list: &str, resource: &str| {
        !text(container, &format!("/resources/{list}/{resource}")).is_empty()
    };
    let equal = |container: &Value, resource: &str| {
        let limit = text(container, &format!("/resources/limits/{resource}"));
        let request = text(container, &format!("/resources/requests/{resource}"));
        !limit.is_empty() && (request.is_empty() || request == limit)
    };
    let both = ["cpu", "memory"];
    if containers
        .iter()
        .all(|container| both.iter().all(|r| equal(container, r)))
    {
        return "Guaranteed";
    }
    let any = |container: &Value| {
        both.iter()
            .any(|r| has(container, "limits", r) || has(container, "requests", r))
    };
    if containers.iter().any(any) {
        "Burstable"
    } else {
        "BestEffort"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_pods_into_the_classes_of_the_documentation() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        assert_eq!(qos(&pod(json!({}))), "BestEffort");
        assert_eq!(qos(&pod(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let limits = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(qos(&pod(limits)), "Guaranteed");
        let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        assert_eq!(qos(&pod(less)), "Burstable");
    }
}
