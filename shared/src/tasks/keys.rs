//! Keys under which a call happens at most once: the caller's message id, and its idempotency key.

use std::collections::{HashMap, VecDeque};

use audit::record::timestamp;
use serde::{Deserialize, Serialize};
use store::{Entry, Write};
use time::OffsetDateTime;

/// Collection of the keys.
pub(super) const KEYS: &str = "idempotency_keys";

/// Keys of this process that are remembered, so that a repeated call is noticed before it runs. What is forgotten here is
/// still noticed by the store, after a run that changed nothing.
const REMEMBERED: usize = 10_000;

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// `messageId`, unique for the principal.
    Message,
    /// `idempotency_key`, unique for principal and skill.
    Call,
}

/// A key of one call.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) kind: KeyKind,
    pub(super) name: String,
    pub(super) digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeyBody {
    pub(super) task_id: String,
    pub(super) digest: String,
}

impl Key {
    /// The caller's idempotency key for one skill, and the digest of the input it stands for.
    pub(crate) fn of_call(owner: &str, skill: &str, key: &str, digest: &str) -> Self {
        Self {
            kind: KeyKind::Call,
            name: crate::digest::of_bytes(format!("{owner}\n{skill}\n{key}").as_bytes()),
            digest: digest.to_owned(),
        }
    }

    /// The id of a message, and the digest of the message.
    pub(crate) fn of_message(owner: &str, message_id: &str, digest: String) -> Self {
        // No skill is named like this, so the two kinds never meet.
        Self {
            kind: KeyKind::Message,
            name: crate::digest::of_bytes(format!("{owner}\n\n{message_id}").as_bytes()),
            digest,
        }
    }

    /// The write that takes the key for a task, or fails because it is taken.
    pub(super) fn write(&self, task_id: &str, owner: &str) -> Write {
        let body = KeyBody {
            task_id: task_id.to_owned(),
            digest: self.digest.clone(),
        };
        Write::Insert {
            collection: KEYS,
            entry: Entry {
                key: self.name.clone(),
                scope: owner.to_owned(),
                sort: timestamp(OffsetDateTime::now_utc()),
                version: 0,
                body: serde_json::to_vec(&body).unwrap_or_default(),
            },
        }
    }
}

/// The newest keys of this process.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: HashMap<String, (String, String)>,
    order: VecDeque<String>,
}

impl Recent {
    /// The digest and the task that a key stands for.
    pub(super) fn get(&self, key: &Key) -> Option<(&str, &str)> {
        let (digest, task) = self.known.get(&key.name)?;
        Some((digest, task))
    }

    pub(super) fn add(&mut self, key: &Key, task_id: &str) {
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        let value = (key.digest.clone(), task_id.to_owned());
        self.known.insert(key.name.clone(), value);
        self.order.push_back(key.name.clone());
    }

    /// Forgets a key that this task did not get.
    pub(super) fn remove(&mut self, key: &Key, task_id: &str) {
        if self.get(key).is_some_and(|(_, task)| task == task_id) {
            self.known.remove(&key.name);
        }
    }
}
