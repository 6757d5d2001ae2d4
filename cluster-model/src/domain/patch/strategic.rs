use serde_json::{Map, Value};

/// The member by which a list's items are told apart; `None` for a list that is replaced.
///
/// From the `patchMergeKey` of the published types. `ports` is keyed by `containerPort` in pods
/// and by `port` in services.
pub(super) fn merge_key(field: &str, items: &[Value]) -> Option<&'static str> {
    let has = |member: &str| items.iter().any(|item| item.get(member).is_some());
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets" => Some("name"),
        "ports" if has("containerPort") => Some("containerPort"),
        "ports" if has("port") => Some("port"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "ownerReferences" => Some("uid"),
        "conditions" | "addresses" => Some("type"),
        _ => None,
    }
}

/// Applies a strategic merge patch with its directives `$patch`, `$retainKeys`,
/// `$deleteFromPrimitiveList` and `$setElementOrder`.
pub fn strategic_merge(object: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if patch.get("$patch").and_then(Value::as_str) == Some("replace") {
        *object = Value::Object(without_directives(patch));
        return;
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(members) = object.as_object_mut() else {
        return;
    };
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        members.retain(|name, _| kept.iter().any(|kept| kept == name.as_str()));
    }
    for (name, value) in patch {
        merge_member(members, name, value);
    }
    for (name, order) in patch {
        let field = name.strip_prefix("$setElementOrder/");
        let list = field.and_then(|field| Some((field, members.get_mut(field)?.as_array_mut()?)));
        if let (Some((field, items)), Some(order)) = (list, order.as_array()) {
            sort(field, items, order);
        }
    }
}

fn merge_member(members: &mut Map<String, Value>, name: &str, value: &Value) {
    if let Some(field) = name.strip_prefix("$deleteFromPrimitiveList/") {
        let list = members.get_mut(field).and_then(Value::as_array_mut);
        if let (Some(list), Some(gone)) = (list, value.as_array()) {
            list.retain(|item| !gone.contains(item));
        }
        return;
    }
    if name.starts_with('$') {
        return;
    }
    match value {
        Value::Null => {
            members.remove(name);
        }
        Value::Object(patch) if patch.get("$patch").is_some_and(|p| p == "delete") => {
            members.remove(name);
        }
        Value::Object(_) => {
            let place = members.entry(name).or_insert(Value::Null);
            strategic_merge(place, value);
        }
        Value::Array(patch) => {
            let place = members.entry(name).or_insert(Value::Null);
            let items = place.as_array().cloned().unwrap_or_default();
            *place = Value::Array(merge_list(name, items, patch));
        }
        other => {
            members.insert(name.to_owned(), other.clone());
        }
    }
}

fn merge_list(field: &str, mut items: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    let is = |item: &Value, directive: &str| item.get("$patch").is_some_and(|p| p == directive);
    let plain = || patch.iter().filter(|item| item.get("$patch").is_none());
    if patch.iter().any(|item| is(item, "replace")) {
        return plain().cloned().collect();
    }
    if field == "finalizers" {
        let new = patch.iter().filter(|item| !items.contains(item));
        let new: Vec<_> = new.cloned().collect();
        items.extend(new);
        return items;
    }
    let all: Vec<_> = patch.iter().chain(&items).cloned().collect();
    let Some(key) = merge_key(field, &all) else {
        return plain().cloned().collect();
    };
    for change in patch {
        let same = |item: &Value| item.get(key).is_some() && item.get(key) == change.get(key);
        if is(change, "delete") {
            items.retain(|item| !same(item));
        } else if let Some(item) = items.iter_mut().find(|item| same(item)) {
            strategic_merge(item, change);
        } else {
            let mut item = Value::Null;
            strategic_merge(&mut item, change);
            items.push(item);
        }
    }
    items
}

/// Puts items into the order of the directive; items that it does not name come last.
fn sort(field: &str, items: &mut [Value], order: &[Value]) {
    let key = merge_key(field, items);
    let place = |item: &Value| {
        let found = order.iter().position(|wanted| match key {
            Some(key) => wanted.get(key) == item.get(key),
            None => wanted == item,
        });
        found.unwrap_or(order.len())
    };
    items.sort_by_key(place);
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let plain = patch.iter().filter(|(name, _)| !name.starts_with('$'));
    plain
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(object: Value, patch: &Value, expected: &Value) {
        let mut merged = object;
        strategic_merge(&mut merged, patch);
        assert_eq!(&merged, expected);
    }

    /// The example of "Update API Objects in Place Using kubectl patch" in the Kubernetes docs.
    #[test]
    fn adds_a_container_and_replaces_tolerations() {
        check(
            json!({"containers": [{"name": "ctr", "image": "nginx"}],
                   "tolerations": [{"key": "dedicated"}]}),
            &json!({"containers": [{"name": "ctr-2", "image": "redis"}],
                    "tolerations": [{"key": "disktype"}]}),
            &json!({"containers": [{"name": "ctr", "image": "nginx"}, {"name": "ctr-2", "image": "redis"}],
                    "tolerations": [{"key": "disktype"}]}),
        );
    }

    #[test]
    fn merges_environment_and_ports_of_one_container() {
        check(
            json!({"containers": [{"name": "a", "image": "x", "env": [{"name": "K", "value": "1"}],
                   "ports": [{"containerPort": 80}]}]}),
            &json!({"containers": [{"name": "a", "image": "y", "env": [{"name": "L", "value": "2"}],
                    "ports": [{"containerPort": 80, "name": "http"}]}]}),
            &json!({"containers": [{"name": "a", "image": "y",
                    "env": [{"name": "K", "value": "1"}, {"name": "L", "value": "2"}],
                    "ports": [{"containerPort": 80, "name": "http"}]}]}),
        );
    }

    #[test]
    fn deletes_and_orders_items_by_directive() {
        check(
            json!({"env": [{"name": "A"}, {"name": "B"}, {"name": "C"}]}),
            &json!({"env": [{"name": "B", "$patch": "delete"}, {"name": "D", "value": "4"}],
                    "$setElementOrder/env": [{"name": "D"}, {"name": "C"}, {"name": "A"}]}),
            &json!({"env": [{"name": "D", "value": "4"}, {"name": "C"}, {"name": "A"}]}),
        );
    }

    #[test]
    fn keeps_only_the_named_members() {
        check(
            json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
            &json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            &json!({"strategy": {"type": "Recreate"}}),
        );
    }

    #[test]
    fn replaces_an_object_or_list_on_request() {
        check(
            json!({"labels": {"a": "1"}, "env": [{"name": "A"}]}),
            &json!({"labels": {"$patch": "replace", "b": "2"},
                    "env": [{"$patch": "replace"}, {"name": "B"}]}),
            &json!({"labels": {"b": "2"}, "env": [{"name": "B"}]}),
        );
    }
}
