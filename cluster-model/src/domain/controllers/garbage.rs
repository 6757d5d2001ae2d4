//! The garbage collector: dependents follow their owners.

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::domain::kind::Kind;
use crate::domain::object::{is_deleting, list, set, text, uid};
use crate::domain::state::{Key, State};
use crate::domain::verbs::{DeleteOptions, delete, finish};

const FOREGROUND: &str = "foregroundDeletion";

/// Deletes, or releases, the dependents of an owner that is gone.
pub(super) fn collect(state: &mut State, owner: &str, now: OffsetDateTime) {
    for key in state.owned_keys(owner) {
        let Some(object) = state.get(&key).cloned() else {
            continue;
        };
        let others = list(&object, "/metadata/ownerReferences").iter();
        let mut others = others.filter(|other| text(other, "/uid") != owner);
        if others.any(|other| exists(state, &key, other) != Some(false)) {
            crate::domain::verbs::release_owner(state, &key, owner);
        } else {
            let _gone = delete(state, &key, &DeleteOptions::default(), now);
        }
    }
}

/// Looks whether an object has to go: its owners never were, or it waits for its dependents.
pub(super) fn reap(state: &mut State, key: &Key, now: OffsetDateTime) -> bool {
    let Some(object) = state.get(key).cloned() else {
        return false;
    };
    if is_deleting(&object) {
        return list(&object, "/metadata/finalizers").contains(&json!(FOREGROUND))
            && wait_for_dependents(state, key, &object, now);
    }
    let owners = list(&object, "/metadata/ownerReferences");
    let missing = |owner: &Value| exists(state, key, owner) == Some(false);
    if owners.is_empty() || !owners.iter().all(missing) {
        return false;
    }
    delete(state, key, &DeleteOptions::default(), now).is_ok()
}

fn wait_for_dependents(state: &mut State, key: &Key, object: &Value, now: OffsetDateTime) -> bool {
    let dependents = state.owned_keys(uid(object));
    for dependent in &dependents {
        if state
            .get(dependent)
            .is_some_and(|found| !is_deleting(found))
        {
            let _going = delete(state, dependent, &DeleteOptions::default(), now);
        }
    }
    if !state.owned_keys(uid(object)).is_empty() {
        return true;
    }
    let others = list(object, "/metadata/finalizers").iter();
    let others: Vec<_> = others
        .filter(|f| **f != json!(FOREGROUND))
        .cloned()
        .collect();
    if others.is_empty() {
        finish(state, key);
    } else {
        let mut next = object.clone();
        set(&mut next, "/metadata/finalizers", others);
        let _stored = state.put(key, next);
    }
    true
}

/// Says whether an owner exists; `None` when its kind is not served here.
fn exists(state: &State, dependent: &Key, owner: &Value) -> Option<bool> {
    let kind = Kind::of(text(owner, "/apiVersion"), text(owner, "/kind"))?;
    let namespace = if kind.namespaced {
        dependent.namespace.as_str()
    } else {
        ""
    };
    let found = state.get(&Key::new(kind, namespace, text(owner, "/name")));
    Some(found.is_some_and(|found| uid(found) == text(owner, "/uid")))
}
