//! The API's verbs on the state: what a call changes and what it answers.

use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;

use super::admission::{prepare_new, prepare_next};
use super::kind::Kind;
use super::object::{is_deleting, list, name, set, text, uid};
use super::patch::{Patch, apply::apply, json_patch, merge_patch, strategic_merge};
use super::refusal::Refusal;
use super::state::{Key, State};

mod delete;
mod scale;

pub(crate) use delete::release as release_owner;
pub use delete::{DeleteOptions, Deleted, Propagation, delete, finish};
pub use scale::{read_scale, write_scale};

/// Most remembered intents of server-side apply.
const MAX_APPLIED: usize = 10_000;

/// The part of an object that a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status alone.
    Status,
}

/// Creates an object in a namespace (empty for cluster-scoped kinds).
///
/// # Errors
/// As Kubernetes answers: 400, 403, 404, 409, 413, 422.
pub fn create(
    state: &mut State,
    kind: &'static Kind,
    place: &str,
    (body, dry_run): (Value, bool),
    now: OffsetDateTime,
) -> Result<Arc<Value>, Refusal> {
    let object = prepare_new(state, kind, place, body, now)?;
    let key = Key::of(kind, &object);
    if state.get(&key).is_some() {
        return Err(Refusal::already_exists(kind, &key.name));
    }
    if dry_run {
        state.check_room(&key, &object)?;
        return Ok(Arc::new(object));
    }
    state.put(&key, object)
}

/// Replaces an object, or its status.
///
/// # Errors
/// As Kubernetes answers: 400, 404, 409, 413, 422.
pub fn replace(
    state: &mut State,
    key: &Key,
    part: Part,
    (body, dry_run): (Value, bool),
) -> Result<Arc<Value>, Refusal> {
    let current = current(state, key)?;
    let next = prepare_next(key.kind, &current, body, part == Part::Status)?;
    if dry_run {
        state.check_room(key, &next)?;
        return Ok(Arc::new(next));
    }
    let stored = state.put(key, next)?;
    let without_finalizers = list(&stored, "/metadata/finalizers").is_empty();
    let had_finalizers = !list(&current, "/metadata/finalizers").is_empty();
    if is_deleting(&stored) && had_finalizers && without_finalizers {
        finish(state, key);
    }
    Ok(stored)
}

/// Changes an object, or its status, in part. Server-side apply creates what is missing; the
/// answer says whether it did.
///
/// # Errors
/// As Kubernetes answers: 400, 404, 409, 413, 422.
pub fn patch(
    state: &mut State,
    key: &Key,
    part: Part,
    (patch, dry_run): (&Patch, bool),
    now: OffsetDateTime,
) -> Result<(Arc<Value>, bool), Refusal> {
    let found = state.get(key).cloned();
    let Some(before) = found else {
        let Patch::Apply { object, manager } = patch else {
            return Err(Refusal::not_found(key.kind, &key.name));
        };
        let mut body = object.clone();
        set(&mut body, "/metadata/name", key.name.as_str());
        let created = create(state, key.kind, &key.namespace, (body, dry_run), now)?;
        remember(state, &created, (object, manager), dry_run);
        return Ok((created, true));
    };
    let mut next = (*before).clone();
    match patch {
        Patch::Json(operations) => next = json_patch(&next, operations)?,
        Patch::Merge(changes) => merge_patch(&mut next, changes),
        Patch::Strategic(changes) => strategic_merge(&mut next, changes),
        Patch::Apply { object, manager } => {
            let intent = (uid(&before).to_owned(), manager.clone());
            apply(&mut next, state.applied.get(&intent), object);
        }
    }
    let stored = replace(state, key, part, (next, dry_run))?;
    if let Patch::Apply { object, manager } = patch {
        remember(state, &stored, (object, manager), dry_run);
    }
    Ok((stored, false))
}

pub(crate) fn current(state: &State, key: &Key) -> Result<Arc<Value>, Refusal> {
    let found = state.get(key).cloned();
    found.ok_or_else(|| Refusal::not_found(key.kind, &key.name))
}

fn remember(state: &mut State, stored: &Value, (intent, manager): (&Value, &str), dry_run: bool) {
    if !dry_run && state.applied.len() < MAX_APPLIED {
        let mut intent = intent.clone();
        for member in ["apiVersion", "kind"] {
            super::object::remove(&mut intent, &format!("/{member}"));
        }
        let who = (uid(stored).to_owned(), manager.to_owned());
        state.applied.insert(who, intent);
    }
}

/// Checks the conditions of a delete call.
pub(crate) fn check_preconditions(
    kind: &Kind,
    object: &Value,
    (wanted_uid, version): (&str, &str),
) -> Result<(), Refusal> {
    let differs = |what: &str, wanted: &str, found: &str| {
        let why = format!(
            "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
        );
        Refusal::conflict(kind, name(object), &why)
    };
    if !wanted_uid.is_empty() && wanted_uid != uid(object) {
        return Err(differs("UID", wanted_uid, uid(object)));
    }
    let found = text(object, "/metadata/resourceVersion");
    if !version.is_empty() && version != found {
        return Err(differs("ResourceVersion", version, found));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
