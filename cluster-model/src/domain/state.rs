//! What the cluster holds, and the record of its changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::controllers::{Run, Timer};
use super::kind::{EVENTS, Kind};
use super::object::{list, name, namespace, set, text, uid};
use super::refusal::Refusal;

mod log;
mod sequence;

use log::Log;
pub use log::{Change, ChangeKind};
use sequence::Sequence;

/// Most objects at once.
const MAX_OBJECTS: usize = 20_000;
/// Most bytes of all objects at once: 256 MiB, counted as compact JSON.
const MAX_BYTES: usize = 256 << 20;
/// Largest object: 1.5 MiB, etcd's default limit.
pub const MAX_OBJECT_BYTES: usize = 3 << 19;
/// Deepest nesting of an object: what JSON parsers take, and far more than Kubernetes' types have.
pub const MAX_DEPTH: usize = 100;
/// Most event objects; the oldest make room.
const MAX_EVENTS: usize = 1_000;

/// How fast and how repeatably the cluster plays.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From a pod's creation to its readiness.
    pub ready_after: Duration,
    /// From a pod's deletion to its end.
    pub stop_after: Duration,
    /// Start of the sequence of names and uids.
    pub seed: u64,
    /// Changes that a watch may start from.
    pub history: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ready_after: Duration::from_millis(400),
            stop_after: Duration::from_millis(100),
            seed: 0,
            history: 4_096,
        }
    }
}

/// Names one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace; empty when it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// Makes a key.
    pub fn new(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key of an object of this kind.
    pub fn of(kind: &'static Kind, object: &Value) -> Self {
        Self::new(kind, namespace(object), name(object))
    }
}

/// Something that the controllers still have to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// An owner with this uid is gone: its dependents follow.
    Collect(String),
    /// This object, or something that it owns, changed.
    Sync(Key),
}

/// The cluster.
#[derive(Debug)]
pub struct State {
    /// How the cluster plays.
    pub settings: Settings,
    revision: u64,
    bytes: usize,
    objects: BTreeMap<Key, Arc<Value>>,
    owned: BTreeMap<String, BTreeSet<Key>>,
    log: Log,
    sequence: Sequence,
    events: VecDeque<Key>,
    pub(crate) similar_events: BTreeMap<(String, String, String), Key>,
    pub(crate) queue: BTreeSet<Work>,
    pub(crate) timers: BTreeMap<(OffsetDateTime, u64), Timer>,
    alarms: BTreeMap<Key, (OffsetDateTime, u64)>,
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) applied: BTreeMap<(String, String), Value>,
}

impl State {
    /// An empty cluster. Its first revision is 1.
    pub fn new(settings: Settings) -> Self {
        Self {
            log: Log::new(settings.history),
            sequence: Sequence::new(settings.seed),
            settings,
            revision: 1,
            bytes: 0,
            objects: BTreeMap::new(),
            owned: BTreeMap::new(),
            events: VecDeque::new(),
            similar_events: BTreeMap::new(),
            queue: BTreeSet::new(),
            timers: BTreeMap::new(),
            alarms: BTreeMap::new(),
            runs: BTreeMap::new(),
            applied: BTreeMap::new(),
        }
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The changes after a revision, oldest first.
    ///
    /// # Errors
    /// 410 when they are no longer, or never were, remembered.
    pub fn changes_after(&self, revision: u64) -> Result<impl Iterator<Item = &Change>, Refusal> {
        let oldest = self.log.oldest();
        if revision < oldest || revision > self.revision {
            return Err(Refusal::expired(revision, oldest));
        }
        Ok(self.log.after(revision))
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The objects of a kind, of one namespace or of all, in order of namespace and name.
    pub fn list<'a>(
        &'a self,
        kind: &'static Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let first = Key::new(kind, namespace.unwrap_or_default(), "");
        self.objects.range(first..).take_while(move |(key, _)| {
            key.kind == kind && namespace.is_none_or(|namespace| key.namespace == namespace)
        })
    }

    /// The keys of every object in a namespace.
    pub fn keys_in(&self, namespace: &str) -> Vec<Key> {
        let inside = |key: &&Key| key.namespace == namespace && key.kind.namespaced;
        self.objects.keys().filter(inside).cloned().collect()
    }

    /// The objects of a kind that name this uid as an owner.
    pub fn owned(&self, owner: &str, kind: &'static Kind) -> Vec<(Key, Arc<Value>)> {
        let keys = self.owned_keys(owner).into_iter();
        keys.filter(|key| key.kind == kind)
            .filter_map(|key| self.get(&key).cloned().map(|value| (key, value)))
            .collect()
    }

    /// The keys of all objects that name this uid as an owner.
    pub fn owned_keys(&self, owner: &str) -> Vec<Key> {
        let keys = self.owned.get(owner);
        keys.map(|keys| keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// A fresh uid in the form of a version 4 UUID.
    pub fn next_uid(&mut self) -> String {
        self.sequence.uid()
    }

    /// A fresh suffix of five letters for a generated name.
    pub fn next_suffix(&mut self) -> String {
        self.sequence.suffix()
    }

    /// A fresh number.
    pub fn next_number(&mut self) -> u64 {
        self.sequence.number()
    }

    /// Says whether an object of this size can be stored in place of what is there.
    ///
    /// # Errors
    /// 413 for one object, 500 for all of them together.
    pub fn check_room(&self, key: &Key, value: &Value) -> Result<(), Refusal> {
        let bytes = check_size(value)?;
        let is_new = !self.objects.contains_key(key);
        if self.bytes + bytes > MAX_BYTES || (is_new && self.objects.len() >= MAX_OBJECTS) {
            return Err(Refusal::full());
        }
        Ok(())
    }

    /// Stores an object under the next revision and returns what is stored. An object that equals
    /// the stored one leaves everything as it is.
    ///
    /// # Errors
    /// As [`State::check_room`].
    pub fn put(&mut self, key: &Key, mut value: Value) -> Result<Arc<Value>, Refusal> {
        self.check_room(key, &value)?;
        let before = self.objects.get(key).cloned();
        if let Some(before) = &before {
            let version = text(before, "/metadata/resourceVersion").to_owned();
            set(&mut value, "/metadata/resourceVersion", version);
            if **before == value {
                return Ok(Arc::clone(before));
            }
        }
        self.revision += 1;
        set(
            &mut value,
            "/metadata/resourceVersion",
            self.revision.to_string(),
        );
        let value = Arc::new(value);
        self.objects.insert(key.clone(), Arc::clone(&value));
        self.record(key, before, Some(&value));
        Ok(value)
    }

    /// Takes an object out and returns its last state, under the next revision.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.revision += 1;
        let mut last = (*before).clone();
        set(
            &mut last,
            "/metadata/resourceVersion",
            self.revision.to_string(),
        );
        self.record(key, Some(Arc::new(last.clone())), None);
        if let Some(alarm) = self.alarms.remove(key) {
            self.timers.remove(&alarm);
        }
        let gone = uid(&last).to_owned();
        self.runs.remove(&gone);
        self.applied.retain(|(uid, _), _| *uid != gone);
        if self.owned.contains_key(&gone) {
            self.queue.insert(Work::Collect(gone));
        }
        Some(Arc::new(last))
    }

    /// Forgets the oldest event objects beyond the limit.
    pub fn trim_events(&mut self) {
        while self.events.len() > MAX_EVENTS {
            if let Some(oldest) = self.events.pop_front() {
                self.remove(&oldest);
                self.similar_events.retain(|_, key| *key != oldest);
            }
        }
    }

    /// Puts a timer at a time; it fires once.
    pub(crate) fn set_timer(&mut self, at: OffsetDateTime, timer: Timer) {
        let number = self.sequence.number();
        self.timers.insert((at, number), timer);
    }

    /// Lets an object be looked at at a time, in place of any time that was set before.
    pub(crate) fn wake(&mut self, key: &Key, at: OffsetDateTime) {
        let number = self.sequence.number();
        if let Some(before) = self.alarms.insert(key.clone(), (at, number)) {
            self.timers.remove(&before);
        }
        self.timers.insert((at, number), Timer::Sync(key.clone()));
    }

    fn record(&mut self, key: &Key, before: Option<Arc<Value>>, after: Option<&Arc<Value>>) {
        self.bytes += after.map_or(0, |value| size(value));
        self.bytes = self
            .bytes
            .saturating_sub(before.as_ref().map_or(0, |value| size(value)));
        for object in before.iter().chain(after) {
            for owner in list(object, "/metadata/ownerReferences") {
                self.notify_owner(
                    key,
                    owner,
                    after.is_some_and(|after| owned_by(after, owner)),
                );
            }
        }
        if key.kind == &EVENTS && before.is_none() {
            self.events.push_back(key.clone());
        }
        if after.is_some() {
            self.queue.insert(Work::Sync(key.clone()));
        } else if key.kind.namespaced {
            self.queue.insert(Work::Sync(Key::new(
                &super::kind::NAMESPACES,
                "",
                &key.namespace,
            )));
        }
        self.log.push(Change {
            revision: self.revision,
            kind: match (&before, after) {
                (None, _) => ChangeKind::Added,
                (Some(_), Some(_)) => ChangeKind::Modified,
                (Some(_), None) => ChangeKind::Deleted,
            },
            key: key.clone(),
            before,
            after: after.cloned(),
        });
    }

    /// Keeps the index of owners and wakes the owner.
    fn notify_owner(&mut self, key: &Key, owner: &Value, still: bool) {
        let owner_uid = text(owner, "/uid");
        if still {
            let keys = self.owned.entry(owner_uid.to_owned()).or_default();
            keys.insert(key.clone());
        } else if let Some(keys) = self.owned.get_mut(owner_uid) {
            keys.remove(key);
            if keys.is_empty() {
                self.owned.remove(owner_uid);
            }
        }
        if let Some(kind) = Kind::of(text(owner, "/apiVersion"), text(owner, "/kind")) {
            let namespace = if kind.namespaced { &key.namespace } else { "" };
            let owner = Key::new(kind, namespace, text(owner, "/name"));
            self.queue.insert(Work::Sync(owner));
        }
    }
}

fn owned_by(object: &Value, owner: &Value) -> bool {
    list(object, "/metadata/ownerReferences")
        .iter()
        .any(|other| text(other, "/uid") == text(owner, "/uid"))
}

/// Measures an object that may be stored.
///
/// # Errors
/// 413 when it is too large or nested too deeply.
pub(crate) fn check_size(value: &Value) -> Result<usize, Refusal> {
    if !within_depth(value, MAX_DEPTH) {
        return Err(Refusal::too_deep(MAX_DEPTH));
    }
    let bytes = size(value);
    if bytes > MAX_OBJECT_BYTES {
        return Err(Refusal::too_large(MAX_OBJECT_BYTES));
    }
    Ok(bytes)
}

fn within_depth(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|item| within_depth(item, left - 1)),
        Value::Object(members) => {
            left > 0 && members.values().all(|value| within_depth(value, left - 1))
        }
        _ => true,
    }
}

/// Bytes of an object as compact JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            let each = members
                .iter()
                .map(|(name, value)| name.len() + 4 + size(value));
            each.sum::<usize>() + 2
        }
    }
}

#[cfg(test)]
mod tests;
