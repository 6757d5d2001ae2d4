//! The store that several replicas share: one PostgreSQL database.
//!
//! Each process has one ordered writer task with a connection of its own; it commits everything that
//! waits in its queue in one transaction, each batch in a savepoint. Between processes an
//! [`Write::Insert`] or [`Write::Update`] of the same key decides who wins. Reads go over a second connection.

use std::{fmt, sync::Arc};

use futures::FutureExt;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_postgres::{Client, Row, types::ToSql};

use crate::{Commit, Entry, Scan, Store, StoreError, Write, sql, validate};

mod address;
mod tls;
mod writer;

pub use address::{Address, AddressError, ConnectError, Connection};

/// The advisory lock keeps replicas that start at the same moment from making the tables twice.
const SCHEMA: &str = r#"
BEGIN;
SELECT pg_advisory_xact_lock(6510615555426900571);
CREATE TABLE IF NOT EXISTS entry (
  collection TEXT COLLATE "C" NOT NULL, key TEXT COLLATE "C" NOT NULL,
  scope TEXT COLLATE "C" NOT NULL, sort TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (collection, key));
CREATE INDEX IF NOT EXISTS entry_by_scope ON entry (collection, scope, sort, key);
CREATE INDEX IF NOT EXISTS entry_by_sort ON entry (collection, sort, key);
COMMIT;"#;

/// A batch on its way to the writer.
struct Job {
    batch: Vec<Write>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// One PostgreSQL database; share it as `Arc<dyn Store>`.
pub struct PostgresStore {
    address: Address,
    queue: mpsc::UnboundedSender<Job>,
    reader: Mutex<Arc<Client>>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("database", &self.address.config().get_dbname())
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects and makes the tables when they are not there. Lost connections are made again at the next use.
    ///
    /// # Errors
    /// `Unavailable` when the address is wrong or the server does not answer.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let address: Address = url.parse().map_err(|e| unavailable(&e))?;
        let reader = connect(&address).await?;
        reader
            .batch_execute(SCHEMA)
            .await
            .map_err(|e| unavailable(&e))?;
        let (queue, jobs) = mpsc::unbounded_channel();
        tokio::spawn(writer::run(address.clone(), jobs));
        Ok(Self {
            address,
            queue,
            reader: Mutex::new(Arc::new(reader)),
        })
    }

    /// The reader's connection, made again when it was lost.
    async fn reader(&self) -> Result<Arc<Client>, StoreError> {
        let mut reader = self.reader.lock().await;
        if reader.is_closed() {
            *reader = Arc::new(connect(&self.address).await?);
        }
        Ok(Arc::clone(&reader))
    }
}

#[async_trait::async_trait]
impl Store for PostgresStore {
    fn submit(&self, batch: Vec<Write>) -> Commit {
        if let Err(invalid) = validate::batch(&batch) {
            return std::future::ready(Err(invalid)).boxed();
        }
        let (done, result) = oneshot::channel();
        // A writer that is gone drops `done`, which the future below reports.
        drop(self.queue.send(Job { batch, done }));
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
        let row = self
            .reader()
            .await?
            .query_opt(sql::GET, &[&collection, &key])
            .await
            .map_err(|e| unavailable(&e))?;
        row.as_ref().map(entry).transpose()
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Entry>, StoreError> {
        if !validate::can_match(&scan) {
            return Ok(Vec::new());
        }
        let limit = sql::limit(scan.limit);
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&scan.collection];
        values.extend(scan.scope.iter().map(|scope| scope as &(dyn ToSql + Sync)));
        values.extend(
            scan.after
                .iter()
                .flat_map(|(sort, key)| [sort as &(dyn ToSql + Sync), key]),
        );
        values.push(&limit);
        let rows = self
            .reader()
            .await?
            .query(&sql::scan(&scan, "''::bytea"), &values)
            .await
            .map_err(|e| unavailable(&e))?;
        rows.iter().map(entry).collect()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn count(
        &self,
        collection: &'static str,
        scope: Option<&str>,
    ) -> Result<u64, StoreError> {
        if !scope.is_none_or(validate::is_storable) {
            return Ok(0);
        }
        let reader = self.reader().await?;
        let row = match scope {
            None => reader.query_one(sql::COUNT, &[&collection]).await,
            Some(scope) => {
                reader
                    .query_one(sql::COUNT_SCOPE, &[&collection, &scope])
                    .await
            }
        };
        let count: i64 = row
            .and_then(|row| row.try_get(0))
            .map_err(|e| unavailable(&e))?;
        Ok(count.unsigned_abs())
    }
}

async fn connect(address: &Address) -> Result<Client, StoreError> {
    let (client, connection) = address.connect().await.map_err(|e| unavailable(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(error = %unavailable(&error), "lost a connection to PostgreSQL");
        }
    });
    // The server's default may acknowledge commits that are not yet on disk.
    client
        .batch_execute("SET synchronous_commit = on")
        .await
        .map_err(|e| unavailable(&e))?;
    Ok(client)
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    let read = || {
        let version: i64 = row.try_get(3)?;
        Ok(Entry {
            key: row.try_get(0)?,
            scope: row.try_get(1)?,
            sort: row.try_get(2)?,
            version: version.unsigned_abs(),
            body: row.try_get(4)?,
        })
    };
    read().map_err(|e: tokio_postgres::Error| unavailable(&e))
}

/// The error with its cause: tokio-postgres alone says only "db error".
fn unavailable(error: &dyn std::error::Error) -> StoreError {
    let cause = error.source().map(|cause| format!(": {cause}"));
    StoreError::Unavailable(format!("{error}{}", cause.unwrap_or_default()))
}
