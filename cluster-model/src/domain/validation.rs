//! What the API server refuses to store.

use serde_json::Value;

use super::controllers::Behavior;
use super::kind::Kind;
use super::object::{annotation, int, list, name, text};
use super::refusal::Refusal;
use super::selector::Labels;

/// The annotation of a pod template that says how its pods behave.
pub const BEHAVIOR: &str = "cluster-model.ossa.dev/behavior";

type Causes = Vec<(String, String)>;

/// Checks that an object is of its kind at all.
///
/// # Errors
/// 400 when it does not decode.
pub fn decode(kind: &Kind, object: &Value) -> Result<(), Refusal> {
    (kind.check)(object).map_err(|error| {
        Refusal::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {error}",
            kind.kind, kind.version, kind.kind
        ))
    })
}

/// Checks the fields of an object that is about to be stored, with its defaults filled in.
///
/// # Errors
/// 422 when a field is wrong.
pub fn validate(kind: &Kind, object: &Value) -> Result<(), Refusal> {
    let mut causes = Causes::new();
    check_name(kind, name(object), &mut causes);
    match kind.kind {
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => workload(object, &mut causes),
        "Pod" => pod(object, "", &mut causes),
        _ => {}
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(kind, name(object), &causes))
}

/// Checks what may not change once it is stored.
///
/// # Errors
/// 422.
pub fn validate_change(kind: &Kind, before: &Value, after: &Value) -> Result<(), Refusal> {
    let mut causes = Causes::new();
    let changed = |pointer: &str| before.pointer(pointer) != after.pointer(pointer);
    if matches!(
        kind.kind,
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet"
    ) && changed("/spec/selector")
    {
        causes.push(cause("spec.selector", "Invalid value: field is immutable"));
    }
    if kind.kind == "Pod" && frozen(before) != frozen(after) {
        let message = "Forbidden: pod updates may not change fields other than \
                       `spec.containers[*].image`, `spec.activeDeadlineSeconds` and `spec.tolerations`";
        causes.push(cause("spec", message));
    }
    if matches!(kind.kind, "RoleBinding" | "ClusterRoleBinding") && changed("/roleRef") {
        causes.push(cause("roleRef", "Invalid value: cannot change roleRef"));
    }
    if matches!(kind.kind, "ConfigMap" | "Secret")
        && before.get("immutable") == Some(&Value::Bool(true))
        && (changed("/data") || changed("/binaryData") || changed("/immutable"))
    {
        causes.push(cause(
            "data",
            "Forbidden: field is immutable when `immutable` is set",
        ));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Refusal::invalid(kind, name(after), &causes))
}

fn cause(field: &str, message: &str) -> (String, String) {
    (field.to_owned(), message.to_owned())
}

/// The part of a pod's spec that is fixed.
fn frozen(pod: &Value) -> Value {
    let mut spec = pod.get("spec").cloned().unwrap_or_default();
    if let Some(members) = spec.as_object_mut() {
        members.remove("activeDeadlineSeconds");
        members.remove("tolerations");
        members.remove("nodeName");
        for list in ["containers", "initContainers"] {
            let containers = members.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                if let Some(container) = container.as_object_mut() {
                    container.remove("image");
                    container.remove("imagePullPolicy");
                }
            }
        }
    }
    spec
}

fn check_name(kind: &Kind, name: &str, causes: &mut Causes) {
    if name.is_empty() {
        causes.push(cause(
            "metadata.name",
            "Required value: name or generateName is required",
        ));
        return;
    }
    let shown = format!("Invalid value: {name:?}");
    let allowed = if kind.group == "rbac.authorization.k8s.io" {
        name != "." && name != ".." && !name.contains(['/', '%'])
    } else if matches!(kind.kind, "Namespace" | "Service") {
        is_label(name)
    } else {
        name.len() <= 253 && name.split('.').all(is_label)
    };
    if !allowed {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                    characters, '-' or '.', and must start and end with an alphanumeric character";
        causes.push(("metadata.name".to_owned(), format!("{shown}: {rule}")));
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn workload(object: &Value, causes: &mut Causes) {
    if let Some(replicas) = int(object, "/spec/replicas").filter(|replicas| *replicas < 0) {
        let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        causes.push(("spec.replicas".to_owned(), message));
    }
    let nothing = Value::Null;
    let selector = object.pointer("/spec/selector").unwrap_or(&nothing);
    let template = object.pointer("/spec/template").unwrap_or(&nothing);
    match Labels::of(selector) {
        Some(labels) if labels.is_empty() => {
            causes.push(cause("spec.selector", "Required value"));
        }
        Some(labels) if !labels.match_object(template) => causes.push(cause(
            "spec.template.metadata.labels",
            "Invalid value: `selector` does not match template `labels`",
        )),
        Some(_) => {}
        None => causes.push(cause(
            "spec.selector.matchExpressions",
            "Invalid value: not a valid selector operator",
        )),
    }
    if text(template, "/spec/restartPolicy") != "Always" {
        let policy = text(template, "/spec/restartPolicy");
        causes.push((
            "spec.template.spec.restartPolicy".to_owned(),
            format!("Unsupported value: {policy:?}: supported values: \"Always\""),
        ));
    }
    pod(template, "spec.template.", causes);
}

fn pod(object: &Value, prefix: &str, causes: &mut Causes) {
    let containers = list(object, "/spec/containers");
    if containers.is_empty() {
        causes.push((
            format!("{prefix}spec.containers"),
            "Required value".to_owned(),
        ));
    }
    for (at, container) in containers.iter().enumerate() {
        let field = |member| format!("{prefix}spec.containers[{at}].{member}");
        if !is_label(text(container, "/name")) {
            let message = format!("Invalid value: {:?}", text(container, "/name"));
            causes.push((field("name"), message));
        }
        if text(container, "/image").is_empty() {
            causes.push((field("image"), "Required value".to_owned()));
        }
        let same = |other: &&Value| other.get("name") == container.get("name");
        if containers.iter().take(at).any(|other| same(&other)) {
            let message = format!("Duplicate value: {:?}", text(container, "/name"));
            causes.push((field("name"), message));
        }
    }
    if let Err(message) = annotation(object, BEHAVIOR).parse::<Behavior>() {
        causes.push((format!("{prefix}metadata.annotations[{BEHAVIOR}]"), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::defaults::fill_in;
    use crate::domain::kind::{DEPLOYMENTS, PODS};
    use serde_json::json;

    fn deployment() -> Value {
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}});
        fill_in(&DEPLOYMENTS, &mut object);
        object
    }

    #[test]
    fn takes_a_whole_deployment() {
        assert_eq!(validate(&DEPLOYMENTS, &deployment()), Ok(()));
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        for (pointer, value, field) in [
            ("/metadata/name", json!("Web"), "metadata.name"),
            ("/spec/replicas", json!(-1), "spec.replicas"),
            (
                "/spec/selector/matchLabels/app",
                json!("api"),
                "spec.template.metadata.labels",
            ),
            ("/spec/selector/matchLabels", json!({}), "spec.selector"),
            (
                "/spec/template/spec/restartPolicy",
                json!("Never"),
                "spec.template.spec.restartPolicy",
            ),
            (
                "/spec/template/spec/containers",
                json!([]),
                "spec.template.spec.containers",
            ),
            (
                "/spec/template/spec/containers/0/name",
                json!("a b"),
                "spec.template.spec.containers[0].name",
            ),
        ] {
            let mut object = deployment();
            *object.pointer_mut(pointer).unwrap() = value;
            let refused = validate(&DEPLOYMENTS, &object).unwrap_err();
            assert_eq!(refused.code, 422, "{pointer}");
            assert_eq!(refused.details["causes"][0]["field"], field, "{pointer}");
        }
    }

    #[test]
    fn refuses_what_is_no_deployment_at_all() {
        let mut object = deployment();
        object["spec"]["replicas"] = "three".into();
        let refused = decode(&DEPLOYMENTS, &object).unwrap_err();
        assert_eq!((refused.code, refused.reason), (400, "BadRequest"));
    }

    #[test]
    fn refuses_an_unknown_behavior() {
        let mut object = deployment();
        object["spec"]["template"]["metadata"]["annotations"] = json!({BEHAVIOR: "explode"});
        assert_eq!(validate(&DEPLOYMENTS, &object).unwrap_err().code, 422);
    }

    #[test]
    fn lets_a_pod_change_its_image_only() {
        let pod = json!({"metadata": {"name": "a"},
            "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
        let mut image = pod.clone();
        image["spec"]["containers"][0]["image"] = "web:2".into();
        assert_eq!(validate_change(&PODS, &pod, &image), Ok(()));
        let mut command = pod.clone();
        command["spec"]["containers"][0]["command"] = json!(["sh"]);
        assert_eq!(
            validate_change(&PODS, &pod, &command).unwrap_err().code,
            422
        );
    }
}
