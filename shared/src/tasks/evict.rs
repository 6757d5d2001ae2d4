//! Bounded memory: ended tasks and old keys go.

use std::{collections::HashSet, sync::atomic::Ordering};

use store::{Entry, Scan, StoreError, Write};

use super::{ACTIVE, KEYS, TASKS, Tasks, WAITING};
use crate::push::CONFIGS;

/// This many new tasks call for an eviction before its time.
pub(super) const CROWD: u64 = 1_000;
/// Entries read in one step.
const STEP: usize = 500;
/// A key outlives its task this many times: a late retry must not run again.
const KEY_FACTOR: u64 = 4;

/// What may stay.
#[derive(Debug, Clone)]
pub(crate) struct Retention {
    /// Ended tasks that are older (RFC 3339) go.
    pub(crate) tasks_before: String,
    /// Keys that are older go.
    pub(crate) keys_before: String,
    /// Where there are more tasks, the oldest ended ones go.
    pub(crate) max_tasks: u64,
}

impl Tasks {
    /// Resolves when many tasks were made since the last eviction.
    pub(crate) async fn crowded(&self) {
        self.0.crowded.notified().await;
    }

    /// Removes what may not stay. Says how many tasks went.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn evict(&self, retention: &Retention) -> Result<u64, StoreError> {
        self.0.made.store(0, Ordering::Relaxed);
        let store = &self.0.store;
        let surplus = store
            .count(TASKS, None)
            .await?
            .saturating_sub(retention.max_tasks);
        let busy = self.busy().await?;
        let over = |entry: &Entry| !busy.contains(&entry.key);
        let tasks = self
            .sweep(TASKS, surplus, &retention.tasks_before, over)
            .await?;
        let max_keys = retention.max_tasks.saturating_mul(KEY_FACTOR);
        let surplus = store.count(KEYS, None).await?.saturating_sub(max_keys);
        self.sweep(KEYS, surplus, &retention.keys_before, |_| true)
            .await?;
        Ok(tasks)
    }

    /// Tasks that run or wait for an approval. Something may come of all others only if their caller answers a question
    /// that it has left open for long.
    async fn busy(&self) -> Result<HashSet<String>, StoreError> {
        let mut busy = HashSet::new();
        for collection in [ACTIVE, WAITING] {
            busy.extend(self.index(collection).await?);
        }
        Ok(busy)
    }

    /// Removes entries from the oldest on while there is a surplus or they are too old, and `goes` agrees.
    async fn sweep(
        &self,
        collection: &'static str,
        mut surplus: u64,
        before: &str,
        goes: impl Fn(&Entry) -> bool,
    ) -> Result<u64, StoreError> {
        let mut scan = Scan {
            collection,
            limit: STEP,
            keys_only: true,
            ..Scan::default()
        };
        let mut removed = 0;
        loop {
            let page = self.0.store.scan(scan.clone()).await?;
            let full = page.len() == STEP;
            scan.after = page
                .last()
                .map(|last| (last.sort.clone(), last.key.clone()));
            let mut writes = Vec::new();
            let mut young = false;
            for entry in page {
                young = surplus == 0 && entry.sort.as_str() >= before;
                if young {
                    break;
                }
                if goes(&entry) {
                    surplus = surplus.saturating_sub(1);
                    removed += 1;
                    writes.extend(self.removal(collection, entry.key).await?);
                }
            }
            if !writes.is_empty() {
                self.0.store.submit(writes).await?;
            }
            if young || !full {
                return Ok(removed);
            }
        }
    }

    /// What goes with an entry.
    async fn removal(
        &self,
        collection: &'static str,
        key: String,
    ) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        if collection == TASKS {
            let scan = Scan {
                collection: CONFIGS,
                scope: Some(key.clone()),
                limit: STEP,
                keys_only: true,
                ..Scan::default()
            };
            let configs = self.0.store.scan(scan).await?;
            writes.extend(configs.into_iter().map(|config| Write::Delete {
                collection: CONFIGS,
                key: config.key,
            }));
        }
        writes.push(Write::Delete { collection, key });
        Ok(writes)
    }
}

#[cfg(test)]
mod tests;
