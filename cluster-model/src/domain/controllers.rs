//! The controllers: what the cluster does by itself as time passes.

use time::OffsetDateTime;

use super::kind::{DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS};
use super::object::uid;
use super::state::{Key, State, Work};

mod deployment;
mod events;
mod garbage;
mod namespace;
mod pod;
mod replica_set;

pub(crate) use pod::Run;
pub use pod::{Behavior, duration};

/// Most pieces of work of one step, so that a flood does not hold up the API.
const MAX_WORK: usize = 5_000;

/// What happens at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The pod with this uid goes on to its next stage.
    Pod(Key, String),
    /// The containers of the pod with this uid have stopped.
    Stopped(Key, String),
    /// An object wants to be looked at.
    Sync(Key),
}

/// Plays the cluster forward to `now` and says when it wants to be called again.
///
/// What is due comes first, so that a replica set looks once at pods that become ready together.
pub fn step(state: &mut State, now: OffsetDateTime) -> Option<OffsetDateTime> {
    for _ in 0..MAX_WORK {
        if let Some(timer) = due(state, now) {
            fire(state, timer, now);
        } else if let Some(work) = state.queue.pop_first() {
            handle(state, work, now);
        } else {
            break;
        }
    }
    state.trim_events();
    if state.queue.is_empty() {
        state.timers.first_key_value().map(|((at, _), _)| *at)
    } else {
        Some(now)
    }
}

fn due(state: &mut State, now: OffsetDateTime) -> Option<Timer> {
    let first = state.timers.first_entry()?;
    (first.key().0 <= now).then(|| first.remove())
}

fn handle(state: &mut State, work: Work, now: OffsetDateTime) {
    match work {
        Work::Collect(owner) => garbage::collect(state, &owner, now),
        Work::Sync(key) => {
            if garbage::reap(state, &key, now) {
                return;
            }
            if key.kind == &DEPLOYMENTS {
                deployment::sync(state, &key, now);
            } else if key.kind == &REPLICA_SETS {
                replica_set::sync(state, &key, now);
            } else if key.kind == &PODS {
                pod::sync(state, &key, now);
            } else if key.kind == &NAMESPACES {
                namespace::sync(state, &key, now);
            }
        }
    }
}

fn fire(state: &mut State, timer: Timer, now: OffsetDateTime) {
    let is = |state: &State, key: &Key, wanted: &str| {
        state.get(key).is_some_and(|object| uid(object) == wanted)
    };
    match timer {
        Timer::Sync(key) => {
            state.queue.insert(Work::Sync(key));
        }
        Timer::Pod(key, uid) if is(state, &key, &uid) => pod::advance(state, &key, now),
        Timer::Stopped(key, uid) if is(state, &key, &uid) => pod::stopped(state, &key),
        Timer::Pod(..) | Timer::Stopped(..) => {}
    }
}

#[cfg(test)]
mod tests;
