//! The default store: one SQLite file in WAL mode.
//!
//! One thread writes. It takes everything that waits in its queue, applies each batch in a savepoint and
//! flushes once for all (`synchronous=FULL`), so an acknowledged batch survives `kill -9` and power loss.
//! Readers have connections of their own and never wait for the writer.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use futures::FutureExt;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, ToSql};
use tokio::sync::oneshot;

use crate::{Commit, Entry, Scan, Store, StoreError, Write, sql, validate};

mod writer;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS entry (
  collection TEXT NOT NULL, key TEXT NOT NULL, scope TEXT NOT NULL, sort TEXT NOT NULL,
  version INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (collection, key));
CREATE INDEX IF NOT EXISTS entry_by_scope ON entry (collection, scope, sort, key);
CREATE INDEX IF NOT EXISTS entry_by_sort ON entry (collection, sort, key);";

/// How long a connection waits for the lock of another process that has the file open.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept by each connection: 5 writes, or 3 reads and 8 shapes of scan.
const STATEMENT_CACHE: usize = 16;

/// A batch on its way to the writer.
struct Job {
    batch: Vec<Write>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// One SQLite file; share it as `Arc<dyn Store>`.
pub struct SqliteStore {
    path: PathBuf,
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    idle_readers: Arc<Mutex<Vec<Connection>>>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, making it when it is not there.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be opened or is not a SQLite database.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let connection = prepare(&path)
            .map_err(|e| StoreError::Unavailable(format!("{}: {e}", path.display())))?;
        let (queue, jobs) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name(String::from("store-writer"))
            .spawn(move || writer::run(connection, &jobs))
            .map_err(|e| StoreError::Unavailable(format!("cannot start the writer thread: {e}")))?;
        Ok(Self {
            path,
            queue: Some(queue),
            writer: Some(writer),
            idle_readers: Arc::default(),
        })
    }

    /// Runs `read` on a reader connection in a blocking thread.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle_readers));
        let work = move || {
            let taken = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = taken.map_or_else(|| reader(&path), Ok)?;
            let result = read(&connection)?;
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
            Ok(result)
        };
        let result: rusqlite::Result<T> = tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| StoreError::Unavailable(format!("reader stopped: {e}")))?;
        result.map_err(unavailable)
    }
}

impl Drop for SqliteStore {
    /// Waits until the queue is written and the file closed.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(Err(_)) = self.writer.take().map(JoinHandle::join) {
            tracing::error!(path = %self.path.display(), "the store's writer panicked");
        }
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    fn submit(&self, batch: Vec<Write>) -> Commit {
        if let Err(invalid) = validate::batch(&batch) {
            return std::future::ready(Err(invalid)).boxed();
        }
        let (done, result) = oneshot::channel();
        if let Some(queue) = &self.queue {
            // A writer that is gone drops `done`, which the future below reports.
            drop(queue.send(Job { batch, done }));
        }
        async move {
            result.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable(String::from("the writer is gone")))
            })
        }
        .boxed()
    }

    async fn get(&self, collection: &'static str, key: &str) -> Result<Option<Entry>, StoreError> {
        if !validate::is_storable(key) {
            return Ok(None);
        }
        let key = key.to_owned();
        self.read(move |c| {
            c.prepare_cached(sql::GET)?
                .query_row((collection, key), entry)
                .optional()
        })
        .await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        if !validate::can_match(&scan) {
            return Ok(Vec::new());
        }
        self.read(move |connection| {
            let limit = sql::limit(scan.limit);
            let mut values: Vec<&dyn ToSql> = vec![&scan.collection];
            values.extend(scan.scope.iter().map(|scope| scope as &dyn ToSql));
            values.extend(
                scan.after
                    .iter()
                    .flat_map(|(sort, key)| [sort as &dyn ToSql, key]),
            );
            values.push(&limit);
            connection
                .prepare_cached(&sql::scan(&scan, "x''"))?
                .query_map(&*values, entry)?
                .collect()
        })
        .await
    }

    async fn count(
        &self,
        collection: &'static str,
        scope: Option<&str>,
    ) -> Result<u64, StoreError> {
        if !scope.is_none_or(validate::is_storable) {
            return Ok(0);
        }
        let scope = scope.map(str::to_owned);
        let count = self.read(move |connection| match scope {
            None => connection
                .prepare_cached(sql::COUNT)?
                .query_row([collection], |row| row.get::<_, i64>(0)),
            Some(scope) => connection
                .prepare_cached(sql::COUNT_SCOPE)?
                .query_row((collection, scope), |row| row.get(0)),
        });
        Ok(count.await?.unsigned_abs())
    }
}

/// Opens the writer's connection and makes the tables.
fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(connection)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let version: i64 = row.get(3)?;
    Ok(Entry {
        key: row.get(0)?,
        scope: row.get(1)?,
        sort: row.get(2)?,
        version: version.unsigned_abs(),
        body: row.get(4)?,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "fits map_err")]
fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
