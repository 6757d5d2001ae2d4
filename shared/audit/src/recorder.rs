//! The recorder: signs, chains and keeps an agent's records until they are delivered.
//!
//! The store holds one *head* entry (counter and hash of the newest record) beside the outbox. Every record's batch
//! updates the head from the version before it, so a batch that fails takes all that build on it with it, and no
//! record with a missing predecessor is ever kept. The key of the head is a word of the writer's own (its *epoch*):
//! who reads the head anew (after a failure, a restart, or because another replica wrote) replaces it under a new
//! epoch with its first record. Batches that still wait under the old epoch then fail, whatever their version says.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use identity::{SigningKey, SpiffeId};
use serde_json::Value;
use store::{Commit, Entry, Scan, Store, StoreError, Write};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::{
    chain::Head,
    envelope::Envelope,
    record::{Event, Phase, Record, SCHEMA, bounded, bounded_resources, hash, timestamp},
};

mod end;

pub use end::HEAD;
use end::{Chain, Stored, broken, entry, load, padded};

/// Collection of records that wait for delivery.
pub const OUTBOX: &str = "audit_outbox";
/// How often a record is signed again that lost against another writer of the same chain. Each time
/// somebody's record was kept, so this many is far beyond what replicas meet.
const MAX_TRIES: usize = 100;
/// Entries that one step of [`Recorder::delivered`] removes.
const REMOVE: usize = 500;

/// Why an event was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Too many records wait for delivery, and the event announces a change.
    #[error("{depth} audit records wait for delivery")]
    OutboxFull {
        /// How many.
        depth: u64,
    },
}

/// Records of one agent. Clones share the chain.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    runtime: Handle,
    key: SigningKey,
    key_id: String,
    did: String,
    agent: String,
    max_outbox: u64,
    depth: AtomicU64,
    chain: Mutex<Option<Chain>>,
    /// Held while a record is sent again.
    turn: tokio::sync::Mutex<()>,
}

/// The record built on one that was not kept, or the end of the chain is unknown.
fn lost() -> StoreError {
    StoreError::Conflict {
        collection: HEAD,
        key: String::from("newest"),
    }
}

fn is_lost(result: &Result<(), StoreError>) -> bool {
    matches!(
        result,
        Err(StoreError::Conflict {
            collection: HEAD | OUTBOX,
            ..
        })
    )
}

/// A batch on its way, and the epoch it was made under.
struct Sent {
    commit: Commit,
    epoch: String,
}

impl Recorder {
    /// Continues the chain that the store holds, or begins one. `own` is the agent's SPIFFE id; events that
    /// announce a change are refused while `max_outbox` records wait. To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open(
        store: Arc<dyn Store>,
        key: SigningKey,
        own: &SpiffeId,
        max_outbox: u64,
    ) -> Result<Self, StoreError> {
        let depth = store.count(OUTBOX, None).await?;
        let (chain, did) = load(&*store, key.public().did().as_str()).await?;
        let inner = Inner {
            runtime: Handle::current(),
            key_id: key.key_id(),
            did,
            key,
            agent: own.to_string(),
            max_outbox,
            depth: AtomicU64::new(depth),
            chain: Mutex::new(Some(chain)),
            turn: tokio::sync::Mutex::default(),
            store,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Records an event; the future resolves when the record is durable.
    ///
    /// # Errors
    /// [`RecordError::OutboxFull`].
    pub fn record(&self, event: Event) -> Result<Commit, RecordError> {
        self.record_with(event, Vec::new())
    }

    /// Records an event together with other writes: all of it becomes durable, or nothing. Records follow each other in
    /// the order of these calls (one that has to be signed again, after another's failure, comes later), and dropping
    /// the future takes nothing back. The future fails with what the store said of the writes, or `Unavailable`.
    ///
    /// # Errors
    /// [`RecordError::OutboxFull`], for an [`Phase::Intent`] only: what has happened is recorded in any case.
    pub fn record_with(&self, event: Event, writes: Vec<Write>) -> Result<Commit, RecordError> {
        if event.phase == Phase::Intent && self.full() {
            return Err(RecordError::OutboxFull {
                depth: self.depth(),
            });
        }
        self.0.depth.fetch_add(1, Ordering::Relaxed);
        let sent = self.0.send(&event, &writes);
        let work = self
            .0
            .runtime
            .spawn(Arc::clone(&self.0).settle(event, writes, sent));
        Ok(Box::pin(async move {
            work.await
                .unwrap_or_else(|e| Err(StoreError::Unavailable(format!("recording stopped: {e}"))))
        }))
    }

    /// How many records wait for delivery.
    pub fn depth(&self) -> u64 {
        self.0.depth.load(Ordering::Relaxed)
    }

    /// Whether events that announce a change are refused.
    pub fn full(&self) -> bool {
        self.depth() >= self.0.max_outbox
    }

    /// The agent's decentralised identifier: of the key that began the chain.
    pub fn did(&self) -> &str {
        &self.0.did
    }

    /// The oldest undelivered records as DSSE envelopes, with their counters.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pending(&self, limit: usize) -> Result<Vec<(u64, Value)>, StoreError> {
        let entries = self
            .0
            .store
            .scan(Scan {
                collection: OUTBOX,
                limit,
                ..Scan::default()
            })
            .await?;
        entries
            .into_iter()
            .map(|entry| {
                let counter = entry.key.parse().map_err(|_| broken(OUTBOX));
                let envelope = serde_json::from_slice(&entry.body).map_err(|_| broken(OUTBOX));
                Ok((counter?, envelope?))
            })
            .collect()
    }

    /// Forgets the records up to this counter. The chain goes on from its head.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn delivered(&self, up_to: u64) -> Result<(), StoreError> {
        let last = padded(up_to);
        loop {
            let entries = self
                .0
                .store
                .scan(Scan {
                    collection: OUTBOX,
                    limit: REMOVE,
                    ..Scan::default()
                })
                .await?;
            let old = entries
                .into_iter()
                .map(|entry| entry.key)
                .take_while(|key| *key <= last);
            let removals: Vec<_> = old
                .map(|key| Write::Delete {
                    collection: OUTBOX,
                    key,
                })
                .collect();
            let done = removals.len() < REMOVE;
            if !removals.is_empty() {
                self.0.store.submit(removals).await?;
            }
            if done {
                // Counted anew, because other replicas fill and empty the same outbox.
                self.0
                    .depth
                    .store(self.0.store.count(OUTBOX, None).await?, Ordering::Relaxed);
                return Ok(());
            }
        }
    }
}

impl Inner {
    /// Signs and submits under one lock, so that records reach the store in the order of their counters.
    /// Nothing when the end of the chain is not known.
    fn send(&self, event: &Event, writes: &[Write]) -> Option<Sent> {
        let mut chain = self.chain();
        let chain = chain.as_mut()?;
        let payload = self.record(event.clone(), &chain.head).to_bytes();
        let head = Head {
            counter: chain.head.counter + 1,
            hash: hash(&payload),
        };
        let envelope = Envelope::sign(&self.key, &self.key_id, &payload);
        let stored = Stored {
            head,
            did: self.did.clone(),
        };
        let mut batch = chain.advance(&stored);
        let key = padded(stored.head.counter);
        batch.push(Write::Insert {
            collection: OUTBOX,
            entry: Entry {
                sort: key.clone(),
                ..entry(&key, 0, &envelope)
            },
        });
        batch.extend_from_slice(writes);
        chain.head = stored.head;
        Some(Sent {
            commit: self.store.submit(batch),
            epoch: chain.epoch.clone(),
        })
    }

    /// Waits until the record is durable; signs it again at the new end of the chain when it built on a record that
    /// was not kept, or when another replica's record came first.
    async fn settle(
        self: Arc<Self>,
        event: Event,
        writes: Vec<Write>,
        sent: Option<Sent>,
    ) -> Result<(), StoreError> {
        let mut result = match sent {
            Some(sent) => self.kept(sent).await,
            None => Err(lost()),
        };
        if is_lost(&result) {
            // One at a time, so that a failing record takes no others with it again.
            let _turn = self.turn.lock().await;
            for _ in 0..MAX_TRIES {
                result = self.resend(&event, &writes).await;
                if !is_lost(&result) {
                    break;
                }
            }
        }
        if is_lost(&result) {
            let reason = "other writers of the audit chain were always faster";
            result = Err(StoreError::Unavailable(reason.to_owned()));
        }
        if let Err(error) = &result {
            // The caller may not have waited for it.
            tracing::warn!(action = event.action, %error, "an audit record was not kept");
            self.depth
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |depth| {
                    depth.checked_sub(1)
                })
                .ok();
        }
        result
    }

    /// Reads the head where it is unknown, and sends.
    async fn resend(&self, event: &Event, writes: &[Write]) -> Result<(), StoreError> {
        if self.chain().is_none() {
            let (chain, _) = load(&*self.store, &self.did).await?;
            *self.chain() = Some(chain);
        }
        match self.send(event, writes) {
            Some(sent) => self.kept(sent).await,
            None => Err(lost()),
        }
    }

    async fn kept(&self, Sent { commit, epoch }: Sent) -> Result<(), StoreError> {
        let result = commit.await;
        if result.is_err() {
            self.forget(&epoch);
        }
        result
    }

    /// The end of the chain is unknown after a failure, unless somebody has read it anew since.
    fn forget(&self, epoch: &str) {
        let mut chain = self.chain();
        if chain.as_ref().is_some_and(|chain| chain.epoch == epoch) {
            *chain = None;
        }
    }

    fn chain(&self) -> std::sync::MutexGuard<'_, Option<Chain>> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, event: Event, head: &Head) -> Record {
        Record {
            schema: SCHEMA.to_owned(),
            id: Uuid::now_v7().to_string(),
            time: timestamp(OffsetDateTime::now_utc()),
            did: self.did.clone(),
            agent: self.agent.clone(),
            counter: head.counter + 1,
            prev: head.hash.clone(),
            call_id: clean(event.call_id),
            phase: event.phase,
            caller: clean(event.caller),
            on_behalf_of: event.on_behalf_of.map(clean),
            action: clean(event.action),
            resources: bounded_resources(event.resources.into_iter().map(printable).collect()),
            decision: clean(event.decision),
            input_sha256: event.input_sha256,
            output_sha256: event.output_sha256,
            policy_sha256: event.policy_sha256,
            trace_id: event.trace_id,
            span_id: event.span_id,
            task_id: event.task_id.map(clean),
        }
    }
}

fn clean(text: String) -> String {
    bounded(printable(text))
}

/// Control characters would only serve to deceive a reader.
fn printable(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.replace(char::is_control, "\u{fffd}")
    } else {
        text
    }
}
