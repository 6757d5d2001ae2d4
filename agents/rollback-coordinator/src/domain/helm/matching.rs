//! Whether a pod template in force is the one of a manifest, which lacks what the API server adds.

use serde_json::{Map, Value};

use super::quantity;

/// Members by which the items of a list are told apart, in the order in which they are tried.
pub(super) const KEYS: [&str; 4] = ["name", "containerPort", "mountPath", "devicePath"];
/// Members whose values are amounts.
const AMOUNTS: [&str; 5] = ["limits", "requests", "sizeLimit", "divisor", "storage"];
/// What the API server fills in, by member.
const DEFAULTS: [(&str, &str); 25] = [
    ("terminationGracePeriodSeconds", "30"),
    ("dnsPolicy", "\"ClusterFirst\""),
    ("restartPolicy", "\"Always\""),
    ("schedulerName", "\"default-scheduler\""),
    ("securityContext", "{}"),
    ("terminationMessagePath", "\"/dev/termination-log\""),
    ("terminationMessagePolicy", "\"File\""),
    ("imagePullPolicy", "\"Always\""),
    ("imagePullPolicy", "\"IfNotPresent\""),
    ("resources", "{}"),
    ("protocol", "\"TCP\""),
    ("timeoutSeconds", "1"),
    ("periodSeconds", "10"),
    ("successThreshold", "1"),
    ("failureThreshold", "3"),
    ("scheme", "\"HTTP\""),
    ("defaultMode", "420"),
    ("apiVersion", "\"v1\""),
    ("divisor", "\"0\""),
    ("type", "\"\""),
    ("service", "\"\""),
    ("expirationSeconds", "3600"),
    ("enableServiceLinks", "true"),
    ("volumeMode", "\"Filesystem\""),
    ("creationTimestamp", "null"),
];

/// How a template fits a manifest's: `None` when the manifest wants something else, otherwise how many labels and
/// annotations it has that neither the manifest nor the API server asked for.
pub fn fit(manifest: &Value, template: &Value) -> Option<u32> {
    let metadata = |value: &Value| value.get("metadata").cloned().unwrap_or_default();
    let spec = |value: &Value| value.get("spec").cloned().unwrap_or_default();
    let mut strangers = 0;
    for group in ["labels", "annotations"] {
        let (wanted, found) = (metadata(manifest), metadata(template));
        let (wanted, found) = (wanted.get(group), found.get(group));
        strangers += extra_metadata(wanted, found)?;
    }
    fits("spec", &spec(manifest), &spec(template)).then_some(strangers)
}

/// How many members are there that were not wanted; `None` when a wanted one is not.
fn extra_metadata(wanted: Option<&Value>, found: Option<&Value>) -> Option<u32> {
    let none = Map::new();
    let wanted = wanted.and_then(Value::as_object).unwrap_or(&none);
    let found = found.and_then(Value::as_object).unwrap_or(&none);
    let all = wanted
        .iter()
        .all(|(key, value)| found.get(key) == Some(value));
    let strangers = found.keys().filter(|key| !wanted.contains_key(*key));
    all.then(|| u32::try_from(strangers.count()).unwrap_or(u32::MAX))
}

fn fits(member: &str, wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            let amounts = AMOUNTS.contains(&member);
            let all = wanted.iter().all(|(key, value)| match found.get(key) {
                Some(there) => fits(if amounts { member } else { key }, value, there),
                None => is_empty(value),
            });
            let mut strangers = found.iter().filter(|(key, _)| !wanted.contains_key(*key));
            all && strangers.all(|(key, value)| is_default(key, value, found))
        }
        (Value::Array(wanted), Value::Array(found)) => lists_fit(member, wanted, found),
        _ if AMOUNTS.contains(&member) => quantity::same(&text(wanted), &text(found)),
        _ => wanted == found,
    }
}

fn lists_fit(member: &str, wanted: &[Value], found: &[Value]) -> bool {
    if wanted.len() != found.len() {
        return false;
    }
    let Some(key) = key_of(wanted) else {
        return wanted
            .iter()
            .zip(found)
            .all(|(wanted, found)| fits(member, wanted, found));
    };
    wanted.iter().all(|item| {
        let same = |other: &&Value| other.get(key) == item.get(key);
        found
            .iter()
            .find(same)
            .is_some_and(|other| fits(member, item, other))
    })
}

/// The member that tells the items of a list apart, if all have it and no two the same.
pub(super) fn key_of(items: &[Value]) -> Option<&'static str> {
    KEYS.into_iter().find(|key| {
        let values: Option<Vec<String>> = items
            .iter()
            .map(|item| item.get(key).map(Value::to_string))
            .collect();
        values.is_some_and(|mut values| {
            values.sort();
            values.dedup();
            !values.is_empty() && values.len() == items.len()
        })
    })
}

/// Whether the API server drops a value that a manifest may write.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(true) => false,
    }
}

/// Whether the API server adds a value that a manifest may leave out.
fn is_default(member: &str, value: &Value, siblings: &Map<String, Value>) -> bool {
    // The old name of a field that has two.
    if member == "serviceAccount" {
        return siblings.get("serviceAccountName") == Some(value);
    }
    let text = value.to_string();
    DEFAULTS
        .iter()
        .any(|(known, default)| *known == member && *default == text)
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest() -> Value {
        json!({
            "metadata": {"labels": {"app": "web"}, "annotations": null},
            "spec": {"hostNetwork": false, "volumes": [], "containers": [
                {"name": "app", "image": "web:1", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
                 "ports": [{"containerPort": 8080}], "env": [{"name": "A", "value": "1"}]},
                {"name": "side", "image": "side:1"},
            ]},
        })
    }

    fn in_force() -> Value {
        json!({
            "metadata": {"labels": {"app": "web"}, "creationTimestamp": null},
            "spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "securityContext": {}, "containers": [
                {"name": "app", "image": "web:1", "imagePullPolicy": "IfNotPresent",
                 "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                 "ports": [{"containerPort": 8080, "protocol": "TCP"}], "env": [{"name": "A", "value": "1"}]},
                {"name": "side", "image": "side:1", "resources": {}},
            ]},
        })
    }

    #[test]
    fn what_the_api_server_adds_is_no_difference() {
        assert_eq!(fit(&manifest(), &in_force()), Some(0));
    }

    #[test]
    fn labels_and_annotations_of_others_are_counted() {
        let mut template = in_force();
        template["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/restartedAt": "now"});
        assert_eq!(fit(&manifest(), &template), Some(1));
    }

    #[test]
    fn every_other_difference_is_one() {
        for (pointer, value) in [
            ("/spec/containers/0/image", json!("web:2")),
            ("/spec/containers/0/env/0/value", json!("2")),
            ("/spec/containers/0/resources/limits/cpu", json!("501m")),
            ("/spec/containers/0/ports/0/protocol", json!("UDP")),
            ("/spec/containers/1/name", json!("other")),
            ("/metadata/labels/app", json!("api")),
            ("/spec/dnsPolicy", json!("Default")),
        ] {
            let mut template = in_force();
            *template.pointer_mut(pointer).unwrap() = value;
            assert_eq!(fit(&manifest(), &template), None, "{pointer}");
        }
        let mut more = in_force();
        more["spec"]["containers"][0]["env"] =
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
        assert_eq!(fit(&manifest(), &more), None, "one more variable");
        assert_eq!(fit(&more, &in_force()), None, "one less");
    }
}
