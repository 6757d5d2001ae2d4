//! Who owns which fields of an object. Helm applies on the server and fails when somebody else owns a field that it
//! changes, so what this agent wrote in a rollback is given back.

use serde_json::{Map, Value, json};

/// Field manager of Helm.
pub const HELM: &str = "helm";

/// The entries of `managedFields` without those of `leaving`, if there were any. JSON Patch cannot leave the list empty:
/// that means "as it was", so one empty entry stands for nobody.
pub fn without(managed: &Value, leaving: &str) -> Option<Value> {
    let entries = managed.as_array()?;
    let is_leaving = |entry: &&Value| entry.get("manager").is_some_and(|name| name == leaving);
    entries.iter().find(is_leaving)?;
    let stay: Vec<Value> = entries
        .iter()
        .filter(|entry| !is_leaving(entry))
        .cloned()
        .collect();
    Some(if stay.is_empty() {
        json!([{}])
    } else {
        stay.into()
    })
}

/// The entries of `managedFields` with what Helm wrote before it applied on the server counted as applied: otherwise
/// fields that the target does not have would stay. `None` when there is nothing of that kind.
pub fn upgraded(managed: &Value) -> Option<Value> {
    let entries = managed.as_array()?;
    let has = |entry: &Value, member: &str, value: &str| {
        entry.get(member).is_some_and(|found| found == value)
    };
    let of_helm =
        |entry: &&Value| has(entry, "manager", HELM) && entry.get("subresource").is_none();
    let updates: Vec<&Value> = entries
        .iter()
        .filter(|entry| of_helm(entry) && has(entry, "operation", "Update"))
        .collect();
    let mut merged = (*updates.first()?).clone();
    let own = entries.iter().filter(of_helm);
    for entry in own {
        if let (Some(into), Some(from)) = (merged.get_mut("fieldsV1"), entry.get("fieldsV1")) {
            unite(into, from);
        }
    }
    if let Some(members) = merged.as_object_mut() {
        members.insert("operation".into(), "Apply".into());
    }
    let others = entries.iter().filter(|entry| !of_helm(entry)).cloned();
    Some(others.chain([merged]).collect())
}

/// Adds the fields of one set to another.
fn unite(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else {
        return;
    };
    for (field, inner) in from {
        let place = into.entry(field).or_insert_with(|| Map::new().into());
        unite(place, inner);
    }
}

/// The JSON Patch that puts other entries in.
pub fn operations(managed: &Value) -> Vec<Value> {
    vec![json!({"op": "replace", "path": "/metadata/managedFields", "value": managed})]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": fields})
    }

    #[test]
    fn the_entries_of_one_manager_go() {
        let (helm, ours) = (
            entry("helm", "Apply", &json!({})),
            entry("us", "Update", &json!({})),
        );
        assert_eq!(without(&json!([ours, helm]), "us"), Some(json!([helm])));
        assert_eq!(without(&json!([helm]), "us"), None);
        assert_eq!(without(&json!([ours]), "us"), Some(json!([{}])));
    }

    #[test]
    fn what_helm_wrote_as_a_client_counts_as_applied() {
        let status = json!({"manager": "helm", "operation": "Update", "subresource": "status"});
        let managed = json!([
            entry("helm", "Update", &json!({"f:spec": {"f:a": {}}})),
            entry("kubectl", "Update", &json!({"f:spec": {"f:c": {}}})),
            entry("helm", "Apply", &json!({"f:spec": {"f:b": {}}})),
            status,
        ]);
        let expected = json!([
            entry("kubectl", "Update", &json!({"f:spec": {"f:c": {}}})),
            status,
            entry("helm", "Apply", &json!({"f:spec": {"f:a": {}, "f:b": {}}})),
        ]);
        assert_eq!(upgraded(&managed), Some(expected.clone()));
        assert_eq!(upgraded(&expected), None);
    }
}
