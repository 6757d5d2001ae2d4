use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{check_preconditions, current};
use crate::domain::controllers::Timer;
use crate::domain::object::{int, is_deleting, list, set, stamp, text, uid};
use crate::domain::refusal::Refusal;
use crate::domain::state::{Key, State, Work};

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// They follow it.
    #[default]
    Background,
    /// They go before it.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// What goes with a delete call.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// What happens to dependents.
    pub propagation: Propagation,
    /// Seconds that a pod may take to stop.
    pub grace: Option<i64>,
    /// Only this object.
    pub uid: String,
    /// Only this version of it.
    pub resource_version: String,
    /// Check, and change nothing.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Without any time to stop.
    pub fn now() -> Self {
        Self {
            grace: Some(0),
            ..Self::default()
        }
    }
}

/// What became of a deleted object.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// It is gone; its last state.
    Gone(Arc<Value>),
    /// It goes when its finalizers, dependents or containers are done.
    Going(Arc<Value>),
}

/// The finalizer of foreground deletion.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// Deletes an object.
///
/// # Errors
/// 404, or 409 when a precondition does not hold.
pub fn delete(
    state: &mut State,
    key: &Key,
    options: &DeleteOptions,
    now: OffsetDateTime,
) -> Result<Deleted, Refusal> {
    let object = current(state, key)?;
    let conditions = (options.uid.as_str(), options.resource_version.as_str());
    check_preconditions(key.kind, &object, conditions)?;
    if options.dry_run {
        return Ok(Deleted::Gone(object));
    }
    if options.propagation == Propagation::Orphan {
        release_dependents(state, uid(&object));
    }
    let mut next = (*object).clone();
    let grace = grace(key, &object, options);
    let waits = options.propagation == Propagation::Foreground
        && !state.owned_keys(uid(&object)).is_empty();
    if waits && !list(&object, "/metadata/finalizers").contains(&json!(FOREGROUND)) {
        let mut finalizers = list(&object, "/metadata/finalizers").to_vec();
        finalizers.push(json!(FOREGROUND));
        set(&mut next, "/metadata/finalizers", finalizers);
    }
    let held = !list(&next, "/metadata/finalizers").is_empty() || key.kind.kind == "Namespace";
    if !held && grace == 0 {
        return Ok(Deleted::Gone(state.remove(key).unwrap_or(object)));
    }
    if !is_deleting(&next) {
        let end = now + time::Duration::seconds(grace);
        set(&mut next, "/metadata/deletionTimestamp", stamp(end));
        set(&mut next, "/metadata/deletionGracePeriodSeconds", grace);
        if key.kind.kind == "Namespace" {
            set(&mut next, "/status/phase", "Terminating");
        }
        if grace > 0 {
            let longest = std::time::Duration::from_secs(grace.unsigned_abs());
            let stop = state.settings.stop_after.min(longest);
            let uid = uid(&object).to_owned();
            state.set_timer(now + stop, Timer::Stopped(key.clone(), uid));
        }
    }
    Ok(Deleted::Going(state.put(key, next)?))
}

/// Seconds that the containers of a pod get; none for what never ran and for other kinds.
fn grace(key: &Key, object: &Value, options: &DeleteOptions) -> i64 {
    if key.kind.kind != "Pod" || text(object, "/spec/nodeName").is_empty() {
        return 0;
    }
    let own = int(object, "/spec/terminationGracePeriodSeconds");
    options.grace.or(own).unwrap_or(30).clamp(0, 86_400)
}

/// Removes an object that only waited for its finalizers.
pub fn finish(state: &mut State, key: &Key) {
    let is_namespace = key.kind.kind == "Namespace" && !state.keys_in(&key.name).is_empty();
    if !is_namespace {
        state.remove(key);
    }
}

/// Takes the owner out of its dependents.
fn release_dependents(state: &mut State, owner: &str) {
    for key in state.owned_keys(owner) {
        release(state, &key, owner);
    }
}

/// Takes one owner out of one object.
pub(crate) fn release(state: &mut State, key: &Key, owner: &str) {
    let Some(object) = state.get(key).cloned() else {
        return;
    };
    let others = list(&object, "/metadata/ownerReferences").iter();
    let others: Vec<_> = others
        .filter(|other| text(other, "/uid") != owner)
        .cloned()
        .collect();
    let mut next = (*object).clone();
    set(&mut next, "/metadata/ownerReferences", others);
    if state.put(key, next).is_err() {
        state.queue.insert(Work::Sync(key.clone()));
    }
}
