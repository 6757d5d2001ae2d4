//! Namespaces: a service account at the start, everything gone at the end.

use serde_json::json;
use time::OffsetDateTime;

use crate::domain::kind::SERVICE_ACCOUNTS;
use crate::domain::object::is_deleting;
use crate::domain::state::{Key, State};
use crate::domain::verbs::{DeleteOptions, create, delete};

pub(super) fn sync(state: &mut State, key: &Key, now: OffsetDateTime) {
    let Some(namespace) = state.get(key).cloned() else {
        return;
    };
    if !is_deleting(&namespace) {
        let account = json!({"metadata": {"name": "default"}});
        if state
            .get(&Key::new(&SERVICE_ACCOUNTS, &key.name, "default"))
            .is_none()
        {
            let _full = create(state, &SERVICE_ACCOUNTS, &key.name, (account, false), now);
        }
        return;
    }
    for inside in state.keys_in(&key.name) {
        let _held = delete(state, &inside, &DeleteOptions::now(), now);
    }
    if state.keys_in(&key.name).is_empty() {
        state.remove(key);
    }
}
