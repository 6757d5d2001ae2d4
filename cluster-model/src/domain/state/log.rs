use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::{Key, size};

/// Most bytes of remembered changes: 32 MiB, counted as compact JSON.
const MAX_LOG_BYTES: usize = 32 << 20;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Change {
    /// The revision that the change made.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// To which object.
    pub key: Key,
    /// The object before; of a deleted one its last state.
    pub before: Option<Arc<Value>>,
    /// The object after.
    pub after: Option<Arc<Value>>,
}

/// The last changes, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Log {
    changes: VecDeque<(usize, Change)>,
    bytes: usize,
    limit: usize,
    oldest: u64,
}

impl Log {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            changes: VecDeque::new(),
            bytes: 0,
            limit: limit.max(1),
            oldest: 0,
        }
    }

    /// The earliest revision that a watch may start after.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(super) fn after(&self, revision: u64) -> impl Iterator<Item = &Change> {
        let start = self
            .changes
            .partition_point(|(_, change)| change.revision <= revision);
        self.changes.range(start..).map(|(_, change)| change)
    }

    pub(super) fn push(&mut self, change: Change) {
        let value = change.after.as_ref().or(change.before.as_ref());
        let bytes = value.map_or(0, |value| size(value));
        self.bytes += bytes;
        self.changes.push_back((bytes, change));
        while self.changes.len() > self.limit || self.bytes > MAX_LOG_BYTES {
            let Some((bytes, change)) = self.changes.pop_front() else {
                return;
            };
            self.bytes -= bytes;
            self.oldest = change.revision;
        }
    }
}
