//! Durable state of one agent behind one small trait.
//!
//! Everything an agent keeps (tasks, idempotency keys, its audit outbox, journals) is an [`Entry`] in a
//! named collection. Writes are submitted as batches that commit together or not at all.

use std::{fmt::Debug, future::Future, pin::Pin};

/// The future of a submitted batch: resolves once the batch is durable, or says why it is not.
pub type Commit = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'static>>;

/// One stored document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Identifies the entry within its collection.
    pub key: String,
    /// Partition that scans can be limited to, for example the owning principal.
    pub scope: String,
    /// Sort key within a scope; byte-wise order. Ties are broken by `key`.
    pub sort: String,
    /// Starts at 1 and grows by one with every write of this key.
    pub version: u64,
    /// The document, usually JSON.
    pub body: Vec<u8>,
}

/// One write of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Stores a new entry; the batch fails with [`StoreError::Conflict`] when the key exists.
    Insert { /// Collection name, a constant of the caller.
        collection: &'static str, /// The entry; its `version` is ignored.
        entry: Entry },
    /// Stores an entry, replacing what is there.
    Put { /// Collection name.
        collection: &'static str, /// The entry; its `version` is ignored.
        entry: Entry },
    /// Replaces an entry whose stored version equals `entry.version`, else fails with [`StoreError::Conflict`].
    Update { /// Collection name.
        collection: &'static str, /// The new content; `version` is the version that was read.
        entry: Entry },
    /// Removes an entry; a missing one is no error.
    Delete { /// Collection name.
        collection: &'static str, /// Key of the entry.
        key: String },
}

/// Which entries a scan returns, in order of (`sort`, `key`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Collection to read.
    pub collection: &'static str,
    /// Only this scope; all scopes when absent.
    pub scope: Option<String>,
    /// Only entries strictly after this (`sort`, `key`) in the direction of the scan.
    pub after: Option<(String, String)>,
    /// Newest first (descending) instead of ascending.
    pub descending: bool,
    /// At most this many entries.
    pub limit: usize,
}

/// A durable key-value store with ordered, atomic batches.
#[async_trait::async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Enqueues a batch **before it returns**: batches become durable in the order of these calls.
    /// The returned future resolves when the batch is durable.
    fn submit(&self, batch: Vec<Write>) -> Commit;

    /// Reads one entry.
    async fn get(&self, collection: &'static str, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Reads entries in order.
    async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, StoreError>;

    /// Counts the entries of a collection, of one scope when given.
    async fn count(&self, collection: &'static str, scope: Option<&str>) -> Result<u64, StoreError>;
}

/// Why the store could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// An `Insert` met an existing key or an `Update` another version; nothing of the batch was written.
    #[error("{collection}/{key} was written by someone else")]
    Conflict {
        /// Collection of the entry.
        collection: &'static str,
        /// Key of the entry.
        key: String,
    },
    /// The database refused or is gone.
    #[error("cannot use the store: {0}")]
    Unavailable(String),
}
