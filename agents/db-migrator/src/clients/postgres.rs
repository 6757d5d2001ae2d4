//! PostgreSQL databases as targets.

mod catalog;
mod fill;
mod recipes;
mod shadow;

use std::time::Duration;

use async_trait::async_trait;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_postgres::{
    Client, Config, NoTls, SimpleQueryMessage,
    types::{ToSql, Type},
};

use super::target::{Row, Session, Shadow, Target, TargetError, Transaction, Value};
use crate::domain::{Catalog, Dialect, inverse::Blueprint, proof::TableRows};
use shadow::Scratch;

/// First eight bytes of SHA-256 of `db-migrator/lock/v1`. Advisory locks are per database already.
const LOCK_KEY: i64 = 0x2f6b_91c4_5d0e_a873;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_POLL: Duration = Duration::from_millis(20);
const LAST_POLL: Duration = Duration::from_millis(250);
/// The server notices the death of a client within this time, also while it works on its statement.
const STARTUP: &str = "-c client_connection_check_interval=500 -c lock_timeout=0 -c statement_timeout=0 -c idle_in_transaction_session_timeout=0";

/// A database on a PostgreSQL server (14 or newer). Its `Debug` shows host and database, never the password.
#[derive(Debug, Clone)]
pub struct PostgresTarget {
    config: Config,
}

impl PostgresTarget {
    /// A target for this configuration.
    pub fn new(mut config: Config) -> Self {
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let options = config
            .get_options()
            .map_or_else(|| STARTUP.to_owned(), |own| format!("{own} {STARTUP}"));
        config.options(options);
        Self { config }
    }
}

#[async_trait]
impl Target for PostgresTarget {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn shadows(&self) -> &'static [Shadow] {
        &[Shadow::Empty, Shadow::Copy]
    }

    async fn connect(&self, run: &str) -> Result<Box<dyn Session>, TargetError> {
        let link = connect(&self.config, run).await?;
        Ok(Box::new(PostgresSession {
            backend: backend(&link.client).await?,
            link,
            scratch: None,
        }))
    }

    async fn shadow(
        &self,
        kind: Shadow,
        run: &str,
        live: &mut dyn Session,
    ) -> Result<Box<dyn Session>, TargetError> {
        let (scratch, config) = Scratch::create(&self.config, kind, run, live).await?;
        match connect(&config, run).await {
            Ok(link) => Ok(Box::new(PostgresSession {
                backend: backend(&link.client).await?,
                link,
                scratch: Some(scratch),
            })),
            Err(error) => {
                scratch.drop_database().await?;
                Err(error)
            }
        }
    }
}

/// A client and the task that moves its bytes.
#[derive(Debug)]
struct Link {
    client: Client,
    task: JoinHandle<()>,
}

impl Link {
    /// Ends the connection and waits for it: afterwards the server knows, and its locks are free.
    async fn close(self) {
        drop(self.client);
        if self.task.await.is_err() {
            tracing::debug!("the task of a connection ended early");
        }
    }
}

async fn connect(config: &Config, run: &str) -> Result<Link, TargetError> {
    let mut config = config.clone();
    config.application_name(application_name(run));
    let (client, connection) = config.connect(NoTls).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to a target ended");
        }
    });
    Ok(Link { client, task })
}

/// Tags the backend with its run: the next owner recognises an orphan by it. At most 63 bytes count.
fn application_name(run: &str) -> String {
    format!("db-migrator/{run}")
        .chars()
        .filter(char::is_ascii)
        .take(63)
        .collect()
}

async fn backend(client: &Client) -> Result<i64, TargetError> {
    integer(client, "SELECT pg_backend_pid()::bigint", &[]).await
}

async fn integer(client: &Client, sql: &str, parameters: &[Value]) -> Result<i64, TargetError> {
    let rows = query(client, sql, parameters).await?;
    rows.first()
        .ok_or(TargetError::Unreadable("a row"))?
        .integer(0)
}

impl From<tokio_postgres::Error> for TargetError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            return Self::Unreachable(error.into());
        };
        let code = refusal.code().code();
        match code {
            "55P03" | "40P01" => Self::LockTimeout,
            _ if code.starts_with("57P")
                || code.starts_with("08")
                || code.starts_with("28")
                || code == "3D000"
                || code == "53300" =>
            {
                Self::Unreachable(error.into())
            }
            _ => Self::Sql {
                code: code.to_owned(),
                message: refusal.message().to_owned(),
            },
        }
    }
}

/// One connection.
#[derive(Debug)]
struct PostgresSession {
    link: Link,
    backend: i64,
    scratch: Option<Scratch>,
}

#[async_trait]
impl Session for PostgresSession {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn backend(&self) -> i64 {
        self.backend
    }

    /// Polls: a waiting `pg_advisory_lock` holds a snapshot that `CREATE INDEX CONCURRENTLY` waits for, a deadlock.
    async fn lock(&mut self, run: &str, until: Instant) -> Result<(), TargetError> {
        let mut pause = FIRST_POLL;
        while integer(
            &self.link.client,
            "SELECT pg_try_advisory_lock($1)::int::bigint",
            &[LOCK_KEY.into()],
        )
        .await?
            == 0
        {
            fence(&self.link.client, run).await?;
            if Instant::now() + pause > until {
                return Err(TargetError::Busy);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_POLL);
        }
        let same_backend = backend(&self.link.client).await? == self.backend
            && backend(&self.link.client).await? == self.backend;
        if same_backend {
            Ok(())
        } else {
            Err(TargetError::Pooled)
        }
    }

    async fn begin(&mut self, transaction: Transaction) -> Result<(), TargetError> {
        Ok(self
            .link
            .client
            .batch_execute(&format!(
                "BEGIN; SET LOCAL lock_timeout = {}",
                transaction.lock_timeout_ms
            ))
            .await?)
    }

    /// Settings that a script changed end with it.
    async fn commit(&mut self) -> Result<(), TargetError> {
        Ok(self.link.client.batch_execute("COMMIT; RESET ALL").await?)
    }

    async fn rollback(&mut self) -> Result<(), TargetError> {
        Ok(self
            .link
            .client
            .batch_execute("ROLLBACK; RESET ALL")
            .await?)
    }

    async fn execute(&mut self, sql: &str) -> Result<(), TargetError> {
        Ok(self.link.client.batch_execute(sql).await?)
    }

    async fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, TargetError> {
        query(&self.link.client, sql, parameters).await
    }

    async fn catalog(&mut self) -> Result<Catalog, TargetError> {
        let messages = self.link.client.simple_query(catalog::query()).await?;
        catalog::read(messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        }))
    }

    async fn blueprint(&mut self) -> Result<Blueprint, TargetError> {
        let messages = self.link.client.simple_query(recipes::query()).await?;
        recipes::read(messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        }))
    }

    /// One query for all tables.
    async fn rows(
        &mut self,
        tables: &[(String, Vec<String>)],
    ) -> Result<Vec<TableRows>, TargetError> {
        if tables.is_empty() {
            return Ok(Vec::new());
        }
        let sql = tables
            .iter()
            .enumerate()
            .map(|(at, (table, columns))| digest_query(at, table, columns))
            .collect::<Vec<_>>()
            .join(" UNION ALL ");
        let rows = query(&self.link.client, &format!("{sql} ORDER BY 1"), &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(TableRows {
                    rows: u64::try_from(row.integer(1)?).unwrap_or_default(),
                    digest: row.text(2)?,
                })
            })
            .collect()
    }

    async fn fill(&mut self, tables: &[(String, Vec<String>)]) -> Result<bool, TargetError> {
        match &self.scratch {
            Some(scratch) => fill::fill(scratch.maintenance(), &self.link.client, tables).await,
            None => Ok(true),
        }
    }

    async fn close(self: Box<Self>) -> Result<(), TargetError> {
        self.link.close().await;
        match self.scratch {
            Some(scratch) => scratch.drop_database().await,
            None => Ok(()),
        }
    }
}

/// The sum of the rows' hashes does not depend on their order.
fn digest_query(at: usize, table: &str, columns: &[String]) -> String {
    let hash = if columns.is_empty() {
        "0"
    } else {
        "hashtextextended(db_migrator_row::text, 0)"
    };
    let columns = columns.join(", ");
    format!(
        "SELECT {at}::bigint, count(*)::bigint, coalesce(sum({hash}::numeric), 0)::text FROM (SELECT {columns} FROM {table}) AS db_migrator_row"
    )
}

/// Ends the backend that an earlier incarnation of this very run left behind; other runs are waited for.
async fn fence(client: &Client, run: &str) -> Result<(), TargetError> {
    const ORPHAN: &str = "SELECT count(pg_terminate_backend(a.pid))::bigint FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
        AND ((l.classid::bigint << 32) | l.objid::bigint) = $1 AND a.application_name = $2 AND a.pid <> pg_backend_pid()";
    let ended = integer(
        client,
        ORPHAN,
        &[LOCK_KEY.into(), application_name(run).into()],
    )
    .await?;
    if ended > 0 {
        tracing::warn!(
            run,
            "ended the orphaned backend of an earlier incarnation of this run"
        );
    }
    Ok(())
}

async fn query(client: &Client, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, TargetError> {
    let none: Option<String> = None;
    let typed = parameters
        .iter()
        .map(|value| -> (&(dyn ToSql + Sync), Type) {
            match value {
                Value::Null => (&none, Type::TEXT),
                Value::Integer(number) => (number, Type::INT8),
                Value::Text(text) => (text, Type::TEXT),
            }
        });
    let rows = client.query_typed(sql, &typed.collect::<Vec<_>>()).await?;
    rows.iter()
        .map(|row| {
            (0..row.len())
                .map(|column| value(row, column))
                .collect::<Result<_, _>>()
                .map(Row)
        })
        .collect()
}

fn value(row: &tokio_postgres::Row, column: usize) -> Result<Value, TargetError> {
    let kind = row
        .columns()
        .get(column)
        .map(|column| column.type_().clone());
    if kind == Some(Type::INT8) {
        return Ok(row
            .try_get::<_, Option<i64>>(column)?
            .map_or(Value::Null, Value::Integer));
    }
    Ok(row.try_get::<_, Option<String>>(column)?.into())
}
