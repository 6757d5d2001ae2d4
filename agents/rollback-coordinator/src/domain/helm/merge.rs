//! Helm's three-way merge for releases that are not applied by the server.

use serde_json::{Map, Value};

use super::matching::KEYS;

/// Lists whose items Kubernetes merges by a key, which no other list has.
const MORE_KEYS: [(&str, &str); 4] = [
    ("ports", "port"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("ownerReferences", "uid"),
];
/// Lists of objects with names that Kubernetes replaces as a whole.
const ATOMIC: [&str; 5] = ["tolerations", "rules", "subjects", "ingress", "egress"];

/// What is in force with the changes from one manifest to the other: what neither manifest names stays.
/// Objects of other API groups than Kubernetes' own have no keyed lists: theirs are replaced.
pub fn three_way(original: &Value, target: &Value, live: &Value, keyed: bool) -> Value {
    merge("", original, target, live, keyed)
}

fn merge(member: &str, original: &Value, target: &Value, live: &Value, keyed: bool) -> Value {
    match (target, live) {
        (Value::Object(target), Value::Object(live)) => {
            let none = Map::new();
            let original = original.as_object().unwrap_or(&none);
            merge_objects(original, target, live, keyed).into()
        }
        (Value::Array(target), Value::Array(live)) if keyed => {
            let original = original.as_array().map(Vec::as_slice).unwrap_or_default();
            match merge_key(member, target, live) {
                Some(key) => merge_lists(key, original, target, live),
                None => target.clone().into(),
            }
        }
        _ => target.clone(),
    }
}

fn merge_objects(
    original: &Map<String, Value>,
    target: &Map<String, Value>,
    live: &Map<String, Value>,
    keyed: bool,
) -> Map<String, Value> {
    let mut merged = live.clone();
    merged.retain(|key, _| target.contains_key(key) || !original.contains_key(key));
    for (key, value) in target {
        let null = Value::Null;
        let before = original.get(key).unwrap_or(&null);
        let found = live.get(key).unwrap_or(&null);
        match merge(key, before, value, found, keyed) {
            Value::Null => drop(merged.remove(key)),
            value => drop(merged.insert(key.clone(), value)),
        }
    }
    merged
}

fn merge_lists(key: &str, original: &[Value], target: &[Value], live: &[Value]) -> Value {
    let find = |items: &[Value], item: &Value| -> Option<Value> {
        let same = |other: &&Value| other.get(key) == item.get(key);
        items.iter().find(same).cloned()
    };
    let wanted = target.iter().map(|item| {
        let before = find(original, item).unwrap_or_default();
        let found = find(live, item).unwrap_or_default();
        merge("", &before, item, &found, true)
    });
    let others = live
        .iter()
        .filter(|item| find(target, item).is_none() && find(original, item).is_none());
    wanted.chain(others.cloned()).collect()
}

/// The member by which the items of both lists are told apart.
fn merge_key(member: &str, target: &[Value], live: &[Value]) -> Option<&'static str> {
    if ATOMIC.contains(&member) {
        return None;
    }
    let more = MORE_KEYS.into_iter().filter(|(list, _)| *list == member);
    let keys = KEYS.into_iter().chain(more.map(|(_, key)| key));
    // A port has a key that is always there; its name is not.
    let keys = keys.filter(|key| member != "ports" || *key != "name");
    let mut keys = keys.filter(|key| {
        let mut items = target.iter().chain(live);
        items.all(|item| item.get(key).is_some())
    });
    keys.next()
        .filter(|_| !target.is_empty() || !live.is_empty())
}

/// The JSON merge patch (RFC 7396) that makes one value of another; `None` when they are the same.
pub fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return Some(to.clone());
    };
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    let mut patch: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in to {
        let change = match from.get(key) {
            Some(before) => merge_patch(before, value),
            None => Some(value.clone()),
        };
        patch.extend(change.map(|change| (key.clone(), change)));
    }
    Some(patch.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_neither_manifest_names_stays_and_what_only_the_old_one_names_goes() {
        let original = json!({"a": 1, "b": {"x": 1, "y": 2}, "gone": true});
        let target = json!({"a": 2, "b": {"x": 1}});
        let live = json!({"a": 5, "b": {"x": 9, "y": 2, "hand": 1}, "gone": true, "status": {}});
        assert_eq!(
            three_way(&original, &target, &live, true),
            json!({"a": 2, "b": {"x": 1, "hand": 1}, "status": {}})
        );
    }

    #[test]
    fn lists_merge_by_the_key_of_their_items() {
        let env = |items: Value| json!({"env": items});
        let original = env(json!([{"name": "A", "value": "2"}, {"name": "BAD", "value": "1"}]));
        let target = env(json!([{"name": "A", "value": "1"}]));
        let live = env(
            json!([{"name": "A", "value": "2"}, {"name": "BAD", "value": "1"}, {"name": "HAND", "value": "h"}]),
        );
        assert_eq!(
            three_way(&original, &target, &live, true),
            env(json!([{"name": "A", "value": "1"}, {"name": "HAND", "value": "h"}]))
        );
        assert_eq!(three_way(&original, &target, &live, false), target);
    }

    #[test]
    fn a_list_without_key_is_replaced() {
        let list = |items: Value| json!({"args": items});
        let (one, two) = (list(json!(["a", "b"])), list(json!(["c"])));
        assert_eq!(three_way(&one, &two, &one, true), two);
    }

    /// RFC 7396, section 2.
    fn patched(target: &Value, patch: &Value) -> Value {
        let Some(patch) = patch.as_object() else {
            return patch.clone();
        };
        let mut result = target.as_object().cloned().unwrap_or_default();
        for (key, value) in patch {
            if value.is_null() {
                result.remove(key);
            } else {
                let before = result.remove(key).unwrap_or_default();
                result.insert(key.clone(), patched(&before, value));
            }
        }
        result.into()
    }

    #[test]
    fn a_merge_patch_makes_one_object_of_the_other() {
        let values = [
            json!({}),
            json!({"a": 1, "b": {"c": [1, 2], "d": {"e": "f"}}}),
            json!({"b": {"c": [1], "d": {}}, "g": {"h": 1}}),
            json!({"a": {"x": 1}, "b": 2}),
        ];
        for from in &values {
            for to in &values {
                let made = merge_patch(from, to)
                    .map_or_else(|| from.clone(), |patch| patched(from, &patch));
                assert_eq!(&made, to, "from {from}");
            }
        }
    }
}
