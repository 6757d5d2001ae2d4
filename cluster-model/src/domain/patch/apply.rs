//! Server-side apply, without conflicts: the last manager to apply a field has it.

use serde_json::Value;

use super::strategic::{merge_key, strategic_merge};

/// Applies a manager's intent; fields of its previous intent that it no longer names are removed.
pub fn apply(object: &mut Value, previous: Option<&Value>, intent: &Value) {
    if let Some(previous) = previous {
        prune(object, previous, intent);
    }
    strategic_merge(object, intent);
}

/// Removes from `object` what `previous` has and `intent` lacks.
fn prune(object: &mut Value, previous: &Value, intent: &Value) {
    let (Some(members), Some(previous)) = (object.as_object_mut(), previous.as_object()) else {
        return;
    };
    for (name, before) in previous {
        let Some(after) = intent.get(name).filter(|after| !after.is_null()) else {
            members.remove(name);
            continue;
        };
        let Some(place) = members.get_mut(name) else {
            continue;
        };
        match (before, after) {
            (Value::Object(_), Value::Object(_)) => prune(place, before, after),
            (Value::Array(before), Value::Array(after)) => prune_list(name, place, before, after),
            _ => {}
        }
    }
}

fn prune_list(field: &str, place: &mut Value, previous: &[Value], intent: &[Value]) {
    let Some(items) = place.as_array_mut() else {
        return;
    };
    let Some(key) = merge_key(field, items) else {
        return;
    };
    let named = |list: &[Value], item: &Value| {
        let same = |other: &&Value| other.get(key) == item.get(key);
        list.iter().find(same).cloned()
    };
    items.retain(|item| named(previous, item).is_none() || named(intent, item).is_some());
    for item in items {
        if let (Some(before), Some(after)) = (named(previous, item), named(intent, item)) {
            prune(item, &before, &after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn removes_what_the_manager_no_longer_names_and_nothing_else() {
        let first = json!({"metadata": {"labels": {"a": "1", "b": "2"}},
            "spec": {"containers": [{"name": "x", "env": [{"name": "A"}, {"name": "B"}]}, {"name": "y"}]}});
        let mut object = json!({});
        apply(&mut object, None, &first);
        object["metadata"]["labels"]["other"] = "kept".into();
        object["spec"]["containers"][0]["image"] = "kept".into();
        let second = json!({"metadata": {"labels": {"a": "1"}},
            "spec": {"containers": [{"name": "x", "env": [{"name": "B"}]}]}});
        apply(&mut object, Some(&first), &second);
        assert_eq!(
            object,
            json!({"metadata": {"labels": {"a": "1", "other": "kept"}},
                "spec": {"containers": [{"name": "x", "env": [{"name": "B"}], "image": "kept"}]}})
        );
    }
}
