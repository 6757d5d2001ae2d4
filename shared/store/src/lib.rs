//! Durable state of one agent behind one small trait.
//!
//! Everything an agent keeps (tasks, idempotency keys, its audit outbox, journals) is an [`Entry`] in a
//! named collection. Writes are submitted as batches that commit together or not at all, in the order of
//! submission; a whole queue of batches shares one flush to disk (group commit).
//!
//! Three stores behave alike (one conformance suite runs over all of them): [`sqlite::SqliteStore`] for one
//! process, [`postgres::PostgresStore`] for several replicas, [`memory::MemoryStore`] for tests and benchmarks.

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

pub mod memory;
pub mod postgres;
mod sql;
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
mod validate;

/// The future of a submitted batch: resolves once the batch is durable, or says why it is not.
pub type Commit = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'static>>;

/// One stored document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Identifies the entry within its collection; at most 512 bytes, without NUL.
    pub key: String,
    /// Partition that scans can be limited to, for example the owning principal; same limits.
    pub scope: String,
    /// Sort key within a scope; byte-wise order. Ties are broken by `key`; same limits.
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
    Insert {
        /// Collection name, a constant of the caller.
        collection: &'static str,
        /// The entry; its `version` is ignored.
        entry: Entry,
    },
    /// Stores an entry, replacing what is there.
    Put {
        /// Collection name.
        collection: &'static str,
        /// The entry; its `version` is ignored.
        entry: Entry,
    },
    /// Replaces an entry whose stored version equals `entry.version`, else fails with [`StoreError::Conflict`].
    Update {
        /// Collection name.
        collection: &'static str,
        /// The new content; `version` is the version that was read.
        entry: Entry,
    },
    /// Removes an entry; a missing one is no error.
    Delete {
        /// Collection name.
        collection: &'static str,
        /// Key of the entry.
        key: String,
    },
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
    /// Leave the bodies empty.
    pub keys_only: bool,
}

/// A durable key-value store with ordered, atomic batches.
#[async_trait::async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Enqueues a batch **before it returns**: batches become durable in the order of these calls.
    /// The returned future resolves when the batch is durable; dropping it does not take the batch back.
    ///
    /// A batch that fails does not hold back the batches after it: a caller whose batches build on each
    /// other makes each of them fail by an [`Write::Update`] of a common entry.
    fn submit(&self, batch: Vec<Write>) -> Commit;

    /// Reads one entry. What no store would keep (a key that is too long or holds a NUL) is not there.
    async fn get(&self, collection: &'static str, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Reads entries in order; none when the scope or the position is one that no store would keep.
    async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, StoreError>;

    /// Whether other processes may write to the same store.
    fn is_shared(&self) -> bool {
        false
    }

    /// Counts the entries of a collection, of one scope when given.
    async fn count(&self, collection: &'static str, scope: Option<&str>)
    -> Result<u64, StoreError>;
}

/// Why the store could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// An `Insert` met an existing key or an `Update` another version; nothing of the batch was written.
    #[error("{collection}/{key} was written by someone else")]
    Conflict {
        /// Collection of the entry.
        collection: &'static str,
        /// Key of the entry.
        key: String,
    },
    /// The database refused or is gone (after a lost connection the batch may still have been written),
    /// or a key, scope or sort key is longer than 512 bytes or holds a NUL (then nothing was written).
    #[error("cannot use the store: {0}")]
    Unavailable(String),
}

/// Opens the store that a `--store` flag names: `sqlite:PATH` or `postgres://USER@HOST/DATABASE`.
/// Each agent needs a file or database (or `search_path`) of its own.
///
/// # Errors
/// `Unavailable` when the address is neither, or the database cannot be opened.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        Ok(Arc::new(sqlite::SqliteStore::open(path)?))
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(Arc::new(postgres::PostgresStore::connect(url).await?))
    } else {
        Err(StoreError::Unavailable(String::from(
            "the address starts with neither sqlite: nor postgres://",
        )))
    }
}
