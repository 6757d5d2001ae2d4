//! SQLite files as targets.

mod catalog;
mod file;
mod recipes;

use std::{fs::File, path::PathBuf};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, types::ValueRef};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::time::Instant;

use file::{copy, empty, lock_path, open};

use super::{
    question::{Own, Row, Value},
    target::{Batch, BatchOutcome, Session, Shadow, Target, TargetError, Transaction},
};
use crate::domain::{Catalog, Dialect, inverse::Blueprint, proof::TableRows, redact};

/// `SQLITE_CONSTRAINT_TRIGGER`: a script's own `RAISE`.
const RAISED: i32 = 1811;
/// Tables with more rows are counted, not digested.
const MAX_DIGESTED_ROWS: u64 = 1_000_000;

/// A database file. The run lock is an advisory lock on `PATH.db-migrator.lock`, which the kernel frees with the process.
#[derive(Debug, Clone)]
pub struct SqliteTarget {
    path: PathBuf,
}

impl SqliteTarget {
    /// A target for the file at `path`, which is created by the first run that writes.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

#[async_trait]
impl Target for SqliteTarget {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn shadows(&self) -> &'static [Shadow] {
        &[Shadow::Copy]
    }

    async fn connect(&self, _: &str) -> Result<Box<dyn Session>, TargetError> {
        let path = self.path.clone();
        let connection = blocking(move || open(&path)).await?;
        Ok(Box::new(SqliteSession {
            connection: Some(connection),
            lock_path: lock_path(&self.path),
            lock: None,
            _shadow: None,
        }))
    }

    async fn shadow(
        &self,
        kind: Shadow,
        _: &str,
        _: &mut dyn Session,
    ) -> Result<Box<dyn Session>, TargetError> {
        let path = self.path.clone();
        let made = blocking(move || match kind {
            Shadow::Copy => copy(&path),
            Shadow::Empty => empty(),
        });
        let (connection, folder) = made.await?;
        let lock_path = lock_path(&folder.path().join("shadow.db"));
        Ok(Box::new(SqliteSession {
            connection: Some(connection),
            lock_path,
            lock: None,
            _shadow: Some(folder),
        }))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TargetError> + Send + 'static,
) -> Result<T, TargetError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| TargetError::Stopped)?
}

impl From<rusqlite::Error> for TargetError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::LockTimeout,
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::NotADatabase) => {
                Self::Unreachable(error.into())
            }
            code => {
                let raised = error
                    .sqlite_error()
                    .is_some_and(|error| error.extended_code == RAISED);
                let message = match &error {
                    rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
                    rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
                    other => other.to_string(),
                };
                Self::Sql {
                    code: code.map_or_else(|| "sqlite".into(), |code| format!("{code:?}")),
                    message: redact::sqlite(raised, &message),
                }
            }
        }
    }
}

/// One connection; it moves into a blocking task for every operation.
#[derive(Debug)]
struct SqliteSession {
    connection: Option<Connection>,
    lock_path: PathBuf,
    lock: Option<File>,
    _shadow: Option<TempDir>,
}

impl SqliteSession {
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, TargetError> + Send + 'static,
    ) -> Result<T, TargetError> {
        let mut connection = self.connection.take().ok_or(TargetError::Stopped)?;
        let (connection, result) = blocking(move || {
            let result = work(&mut connection);
            Ok((connection, result))
        })
        .await?;
        self.connection = Some(connection);
        result
    }
}

#[async_trait]
impl Session for SqliteSession {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn backend(&self) -> i64 {
        i64::from(std::process::id())
    }

    async fn lock(&mut self, _: &str, until: Instant) -> Result<(), TargetError> {
        self.lock = Some(file::lock(&self.lock_path, until).await?);
        Ok(())
    }

    async fn begin(&mut self, transaction: Transaction) -> Result<(), TargetError> {
        self.with(move |connection| begin(connection, transaction))
            .await
    }

    async fn commit(&mut self) -> Result<(), TargetError> {
        self.with(commit).await
    }

    async fn rollback(&mut self) -> Result<(), TargetError> {
        self.with(rollback).await
    }

    /// One blocking task for all of it.
    async fn batch(&mut self, batch: Batch<'_>) -> BatchOutcome {
        let count = batch.statements.len();
        let statements: Vec<String> = batch.statements.iter().map(|&text| text.into()).collect();
        let (transaction, own) = (batch.transaction, batch.own.to_vec());
        let ran = self
            .with(move |connection| Ok(run(connection, transaction, &statements, &own)))
            .await;
        match ran {
            Ok(Ok(())) => BatchOutcome {
                statements: (0..count).map(|_| Ok(())).collect(),
                commit: Ok(()),
            },
            Ok(Err((at, error))) => BatchOutcome::failed(count, at, error),
            Err(error) => BatchOutcome::failed(count, 0, error),
        }
    }

    async fn execute(&mut self, sql: &str) -> Result<(), TargetError> {
        let sql = sql.to_owned();
        self.with(move |connection| Ok(connection.execute_batch(&sql)?))
            .await
    }

    async fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, TargetError> {
        let (sql, parameters) = (sql.to_owned(), parameters.to_vec());
        self.with(move |connection| query(connection, &sql, &parameters))
            .await
    }

    /// One blocking task for all of it.
    async fn pipeline(&mut self, queries: &[Own]) -> Result<Vec<Vec<Row>>, TargetError> {
        let queries = queries.to_vec();
        let run = move |connection: &mut Connection| {
            let all = queries.iter();
            all.map(|own| query(connection, &own.sql, &own.parameters))
                .collect()
        };
        self.with(run).await
    }

    async fn catalog(&mut self) -> Result<Catalog, TargetError> {
        self.with(|connection| catalog::read(connection)).await
    }

    fn about(&self, table: &str) -> Own {
        Own {
            sql: catalog::ABOUT.into(),
            parameters: vec![catalog::bare(table).into()],
        }
    }

    async fn blueprint(&mut self) -> Result<Blueprint, TargetError> {
        self.with(|connection| recipes::read(connection)).await
    }

    async fn rows(
        &mut self,
        tables: &[(String, Vec<String>)],
    ) -> Result<Vec<TableRows>, TargetError> {
        let tables = tables.to_vec();
        self.with(move |connection| {
            tables
                .iter()
                .map(|(table, columns)| rows(connection, table, &columns.join(", ")))
                .collect()
        })
        .await
    }

    async fn fill(&mut self, _: &[(String, Vec<String>)]) -> Result<bool, TargetError> {
        Ok(true)
    }

    async fn close(self: Box<Self>) -> Result<(), TargetError> {
        blocking(move || Ok(drop(self))).await
    }
}

fn begin(connection: &mut Connection, transaction: Transaction) -> Result<(), TargetError> {
    let foreign_keys = if transaction.foreign_keys_off {
        "OFF"
    } else {
        "ON"
    };
    Ok(connection.execute_batch(&format!(
        "PRAGMA foreign_keys = {foreign_keys}; BEGIN IMMEDIATE"
    ))?)
}

fn commit(connection: &mut Connection) -> Result<(), TargetError> {
    let off = connection.query_row("PRAGMA foreign_keys", [], |row| row.get::<_, i64>(0))? == 0;
    if off && connection.prepare("PRAGMA foreign_key_check")?.exists([])? {
        return Err(TargetError::Sql {
            code: "ConstraintViolation".into(),
            message: "FOREIGN KEY constraint failed".into(),
        });
    }
    Ok(connection.execute_batch("COMMIT; PRAGMA foreign_keys = ON")?)
}

fn rollback(connection: &mut Connection) -> Result<(), TargetError> {
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    Ok(connection.execute_batch("PRAGMA foreign_keys = ON")?)
}

/// Runs a whole transaction; an error comes with the number of statements before it.
fn run(
    connection: &mut Connection,
    transaction: Transaction,
    statements: &[String],
    own: &[Own],
) -> Result<(), (usize, TargetError)> {
    let mut at = 0;
    let mut attempt = || {
        begin(connection, transaction)?;
        for statement in statements {
            connection.execute_batch(statement)?;
            at += 1;
        }
        for row in own {
            query(connection, &row.sql, &row.parameters)?;
        }
        commit(connection)
    };
    attempt().map_err(|error| {
        // What counts is the first error; a transaction that stayed open would show in the next one.
        if let Err(second) = rollback(connection) {
            tracing::debug!(error = %second, "a transaction could not be rolled back");
        }
        (at, error)
    })
}

fn query(
    connection: &Connection,
    sql: &str,
    parameters: &[Value],
) -> Result<Vec<Row>, TargetError> {
    let mut statement = connection.prepare_cached(sql)?;
    for (at, value) in parameters.iter().enumerate() {
        match value {
            Value::Null => statement.raw_bind_parameter(at + 1, rusqlite::types::Null)?,
            Value::Integer(number) => statement.raw_bind_parameter(at + 1, number)?,
            Value::Text(text) => statement.raw_bind_parameter(at + 1, text)?,
        }
    }
    let width = statement.column_count();
    let mut cursor = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = cursor.next()? {
        let values = (0..width)
            .map(|column| row.get_ref(column).map(value))
            .collect::<Result<_, _>>()?;
        found.push(Row(values));
    }
    Ok(found)
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Text(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

/// The sum of the rows' hashes does not depend on their order.
fn rows(connection: &Connection, table: &str, columns: &str) -> Result<TableRows, TargetError> {
    let count = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
        row.get::<_, i64>(0)
    })?;
    let rows = u64::try_from(count).unwrap_or_default();
    if columns.is_empty() || rows > MAX_DIGESTED_ROWS {
        return Ok(TableRows {
            rows,
            digest: String::new(),
        });
    }
    let mut statement = connection.prepare(&format!("SELECT {columns} FROM {table}"))?;
    let width = statement.column_count();
    let mut cursor = statement.query([])?;
    let mut sum = 0_u128;
    while let Some(row) = cursor.next()? {
        let mut hash = Sha256::new();
        for column in 0..width {
            hash_value(&mut hash, row.get_ref(column)?);
        }
        let head = hash
            .finalize()
            .first_chunk::<16>()
            .map_or(0, |bytes| u128::from_be_bytes(*bytes));
        sum = sum.wrapping_add(head);
    }
    Ok(TableRows {
        rows,
        digest: format!("{sum:032x}"),
    })
}

fn hash_value(hash: &mut Sha256, value: ValueRef<'_>) {
    let (kind, bytes) = match value {
        ValueRef::Null => (0_u8, Vec::new()),
        ValueRef::Integer(number) => (1, number.to_be_bytes().to_vec()),
        ValueRef::Real(number) => (2, number.to_bits().to_be_bytes().to_vec()),
        ValueRef::Text(text) => (3, text.to_vec()),
        ValueRef::Blob(blob) => (4, blob.to_vec()),
    };
    hash.update([kind]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}
