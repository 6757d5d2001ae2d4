//! A store whose writes go wrong when a test says so.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{Commit, Entry, Scan, Store, StoreError, Write, memory::MemoryStore};

/// A store whose process dies at a chosen write, so that neither that one nor a later one ever ends, or that refuses
/// writes for a while. Reading goes on.
#[derive(Debug)]
pub struct FaultyStore {
    /// What is left when it died.
    pub inner: Arc<dyn Store>,
    /// Told when it dies.
    pub died: Notify,
    /// Whether writes fail meanwhile, for a full disk.
    pub refuses: AtomicBool,
    writes: AtomicUsize,
    dies_at: usize,
    keeps_last: bool,
}

impl FaultyStore {
    /// Dies after `dies_at` writes: before the next one takes effect or, when it keeps that, right after.
    pub fn dying(inner: Arc<dyn Store>, dies_at: usize, keeps_last: bool) -> Self {
        Self {
            inner,
            died: Notify::new(),
            refuses: AtomicBool::new(false),
            writes: AtomicUsize::new(0),
            dies_at,
            keeps_last,
        }
    }

    /// The same over a store in memory.
    pub fn dying_in_memory(dies_at: usize, keeps_last: bool) -> Self {
        Self::dying(Arc::new(MemoryStore::default()), dies_at, keeps_last)
    }

    /// Never dies, over a store in memory.
    pub fn in_memory() -> Self {
        Self::dying_in_memory(usize::MAX, false)
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn submit(&self, batch: Vec<Write>) -> Commit {
        if self.refuses.load(Ordering::SeqCst) {
            let full = StoreError::Unavailable("disk full".into());
            return Box::pin(std::future::ready(Err(full)));
        }
        let at = self.writes.fetch_add(1, Ordering::SeqCst);
        if at < self.dies_at {
            return self.inner.submit(batch);
        }
        if at == self.dies_at && self.keeps_last {
            drop(self.inner.submit(batch));
        }
        self.died.notify_one();
        Box::pin(std::future::pending())
    }

    async fn get(&self, collection: &'static str, key: &str) -> Result<Option<Entry>, StoreError> {
        self.inner.get(collection, key).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(scan).await
    }

    async fn count(
        &self,
        collection: &'static str,
        scope: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.inner.count(collection, scope).await
    }
}
