//! The port to a target database: one session that holds lock, DDL and ledger together.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use shared::SkillError;
use tokio::time::Instant;

use super::{
    question::{self, Counted, Own, Row, Tables, Value},
    watch::Watch,
};
use crate::domain::{Catalog, Dialect, Tenant, inverse::Blueprint, proof::TableRows};

/// How a transaction is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transaction {
    /// Longest wait for a lock, in milliseconds; 0 waits for ever.
    pub lock_timeout_ms: u64,
    /// Whether SQLite's foreign keys are off meanwhile.
    pub foreign_keys_off: bool,
    /// Whether its commit may reach the disk with that of a later transaction.
    pub flushes_later: bool,
}

/// What scripts left in the transaction that they ran in, which is still open.
#[derive(Debug)]
pub struct Ran {
    /// One result a statement; after the first failure nothing took effect.
    pub statements: Vec<Result<(), TargetError>>,
    /// The answers to what was asked after them.
    pub answers: Result<Vec<Vec<Row>>, TargetError>,
}

/// A script and its ledger rows: one transaction, and one round trip where the database allows.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// How the transaction is opened.
    pub transaction: Transaction,
    /// Statements as written, in order.
    pub statements: &'a [&'a str],
    /// What the ledger notes in the same commit.
    pub own: &'a [Own],
}

/// How a batch went: either everything of it is committed or nothing.
#[derive(Debug)]
pub struct BatchOutcome {
    /// One result a statement; after the first failure nothing took effect.
    pub statements: Vec<Result<(), TargetError>>,
    /// The ledger rows and the commit.
    pub commit: Result<(), TargetError>,
}

impl BatchOutcome {
    /// A batch of `count` statements of which those before `at` ran, and that one failed.
    pub fn failed(count: usize, at: usize, error: TargetError) -> Self {
        let mut statements: Vec<_> = (0..count)
            .map(|n| {
                if n < at {
                    Ok(())
                } else {
                    Err(TargetError::Skipped)
                }
            })
            .collect();
        let commit = match statements.get_mut(at) {
            Some(place) => {
                *place = Err(error);
                Err(TargetError::Skipped)
            }
            None => Err(error),
        };
        Self { statements, commit }
    }

    /// A batch of `count` statements that all took effect.
    pub fn committed(count: usize) -> Self {
        let statements = std::iter::repeat_with(|| Ok(()));
        Self {
            statements: statements.take(count).collect(),
            commit: Ok(()),
        }
    }

    /// A batch of `count` statements of which none took effect.
    pub fn not_begun(count: usize, error: TargetError) -> Self {
        let statements = std::iter::repeat_with(|| Err(TargetError::Skipped));
        Self {
            statements: statements.take(count).collect(),
            commit: Err(error),
        }
    }

    /// A batch of `count` statements of which nobody knows what became.
    pub fn lost(count: usize, error: TargetError) -> Self {
        let statements =
            std::iter::repeat_with(|| Err(TargetError::Unreachable(error.to_string().into())));
        Self {
            statements: statements.take(count).collect(),
            commit: Err(error),
        }
    }
}

/// Why a target did not do as asked. Never holds a URL or a value of a row's detail.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The database does not answer.
    #[error("cannot reach the database")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A lock was not free in time: try again in a new transaction.
    #[error("a lock was not free in time")]
    LockTimeout,
    /// Another run holds the database.
    #[error("another run holds the database")]
    Busy,
    /// The database refused a statement.
    #[error("{message} ({code})")]
    Sql {
        /// SQLSTATE, or SQLite's result code.
        code: String,
        /// The database's sentence.
        message: String,
    },
    /// The ledger or catalog holds something else than expected.
    #[error("expected {0} from the database")]
    Unreadable(&'static str),
    /// A shadow could not be made.
    #[error("cannot make a shadow: {0}")]
    NoShadow(String),
    /// Statements of one session arrive at different backends.
    #[error("a connection pooler in transaction mode stands before the database: use a direct URL")]
    Pooled,
    /// The tenant is not there.
    #[error("the database has no schema {0}: it is made with the tenant, before its migrations")]
    NoSchema(String),
    /// A standby answers: it cannot be written to.
    #[error("the server is a standby: name the primary")]
    Standby,
    /// A script dropped the prepared statements of its session: try again in a new transaction.
    #[error("the prepared statements of the session are gone")]
    Forgotten,
    /// A table that had to be empty is not.
    #[error("a table holds rows")]
    NotEmpty,
    /// An earlier statement of the same transaction failed.
    #[error("an earlier statement of the transaction failed")]
    Skipped,
    /// A blocking task of this process ended early.
    #[error("the database worker ended early")]
    Stopped,
}

impl TargetError {
    /// The skill's error for a failure of the database itself.
    pub fn into_skill(self, dialect: Dialect) -> SkillError {
        match self {
            Self::Unreachable(_) | Self::Stopped | Self::Busy | Self::Standby => {
                SkillError::unavailable(dialect.name(), self)
            }
            Self::LockTimeout => SkillError::failed(
                "tables were locked by others for too long: nothing was changed, try again",
            ),
            Self::Sql { .. }
            | Self::Unreadable(_)
            | Self::NoShadow(_)
            | Self::NoSchema(_)
            | Self::Forgotten
            | Self::NotEmpty
            | Self::Skipped
            | Self::Pooled => {
                let message = self.to_string();
                SkillError::failed(message)
            }
        }
    }
}

/// What is asked of a catalog most often.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its quoted tables with their quoted columns.
    pub tables: Vec<(String, Vec<String>)>,
}

impl Shape {
    /// The shape of a catalog.
    pub fn of(catalog: &Catalog) -> Self {
        Self {
            fingerprint: catalog.fingerprint(),
            tables: catalog.tables(),
        }
    }
}

/// What a shadow holds when it is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shadow {
    /// Nothing: the ledger's migrations are replayed into it, then rows are copied.
    Empty,
    /// A copy of schema and rows.
    Copy,
}

/// A database that migrations are applied to.
#[async_trait]
pub trait Target: Debug + Send + Sync {
    /// Which SQL it speaks.
    fn dialect(&self) -> Dialect;

    /// Whose schema it is, when it is not the whole database.
    fn tenant(&self) -> Option<&Tenant> {
        None
    }

    /// The target of one tenant of this database; `None` where it has no tenants.
    fn of_tenant(&self, _: Tenant) -> Option<Arc<dyn Target>> {
        None
    }

    /// The ways to make a shadow of it, best first.
    fn shadows(&self) -> &'static [Shadow];

    /// Opens a session for a run.
    async fn connect(&self, run: &str) -> Result<Box<dyn Session>, TargetError>;

    /// Opens a session that takes the run lock next.
    async fn connect_to_own(&self, run: &str) -> Result<Box<dyn Session>, TargetError> {
        self.connect(run).await
    }

    /// Opens a session, and a second one beside it where the database serves both at once and gives another one.
    async fn connect_twice(
        &self,
        run: &str,
    ) -> Result<(Box<dyn Session>, Option<Box<dyn Session>>), TargetError> {
        Ok((self.connect(run).await?, None))
    }

    /// Makes a shadow: a session on a database of its own, gone after [`Session::close`] or, after a crash, with the
    /// next shadow that is made.
    /// `live` is the run's session on the database itself.
    async fn shadow(
        &self,
        kind: Shadow,
        run: &str,
        live: &mut dyn Session,
    ) -> Result<Box<dyn Session>, TargetError>;
}

/// One explicit connection: lock, statements and ledger rows go through it and nothing else.
#[async_trait]
pub trait Session: Debug + Send {
    /// Which SQL it speaks.
    fn dialect(&self) -> Dialect;

    /// Whose schema it works in, when it is not the whole database.
    fn tenant(&self) -> Option<&Tenant> {
        None
    }

    /// The process that serves this session (PostgreSQL), or this process.
    fn backend(&self) -> i64;

    /// Takes the run lock of the database by polling; it is free again when the session or its process ends.
    async fn lock(&mut self, run: &str, until: Instant) -> Result<(), TargetError>;

    /// Opens a transaction.
    async fn begin(&mut self, transaction: Transaction) -> Result<(), TargetError>;

    /// Commits it.
    async fn commit(&mut self) -> Result<(), TargetError>;

    /// Drops it.
    async fn rollback(&mut self) -> Result<(), TargetError>;

    /// Runs a script and its ledger rows in a transaction of their own.
    async fn batch(&mut self, batch: Batch<'_>) -> BatchOutcome;

    /// The same where these quoted tables hold no row before and after its statements; otherwise nothing of it, and its
    /// commit is `NotEmpty`. So it is too where the database does not know without counting.
    async fn batch_without_rows(&mut self, batch: Batch<'_>, _: &[String]) -> BatchOutcome {
        BatchOutcome::not_begun(batch.statements.len(), TargetError::NotEmpty)
    }

    /// Opens a transaction and asks in it, in one round trip where the database allows.
    async fn begin_asking(
        &mut self,
        transaction: Transaction,
        questions: &[Own],
    ) -> Result<Vec<Vec<Row>>, TargetError> {
        self.begin(transaction).await?;
        self.pipeline(questions).await
    }

    /// Runs statements as written in the transaction that is open and asks after them, in one round trip where the
    /// database allows. After the first failure none is run, and the transaction waits for its rollback.
    async fn run(&mut self, statements: &[&str], questions: &[Own]) -> Ran {
        let mut outcome = Vec::with_capacity(statements.len());
        let mut failed = false;
        for statement in statements {
            outcome.push(if failed {
                Err(TargetError::Skipped)
            } else {
                self.execute(statement).await
            });
            failed = matches!(outcome.last(), Some(Err(_)));
        }
        Ran {
            statements: outcome,
            answers: if failed {
                Err(TargetError::Skipped)
            } else {
                self.pipeline(questions).await
            },
        }
    }

    /// Notes rows in the transaction that is open and commits it, in one round trip where the database allows.
    async fn commit_with(&mut self, rows: &[Own]) -> Result<(), TargetError> {
        self.pipeline(rows).await?;
        self.commit().await
    }

    /// Runs statements of our own that do not depend on each other's answers, in one round trip where the database allows.
    async fn pipeline(&mut self, queries: &[Own]) -> Result<Vec<Vec<Row>>, TargetError> {
        let mut found = Vec::with_capacity(queries.len());
        for own in queries {
            found.push(self.query(&own.sql, &own.parameters).await?);
        }
        Ok(found)
    }

    /// Watches this session from outside; `None` where nothing can be seen.
    fn watch(&self) -> Option<Box<dyn Watch>> {
        None
    }

    /// Whether its connection can break while the database lives on: then another one tells what became of its work.
    fn may_return(&self) -> bool {
        false
    }

    /// Runs one statement as written.
    async fn execute(&mut self, sql: &str) -> Result<(), TargetError>;

    /// Runs a statement of our own with parameters `$1`, `$2` in order of appearance.
    async fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, TargetError>;

    /// Reads the catalog without the ledger.
    async fn catalog(&mut self) -> Result<Catalog, TargetError>;

    /// What the catalog looks like; cheaper than reading it where it is known not to have changed since it was read.
    async fn shape(&mut self) -> Result<Arc<Shape>, TargetError> {
        Ok(Arc::new(Shape::of(&self.catalog().await?)))
    }

    /// A question about a quoted table: its quoted columns as the catalog names them, each beside a 1 when the table is
    /// known to hold no row. Nothing when there is no such table, and a null when it has no column.
    fn about(&self, table: &str) -> Own;

    /// Those of these quoted tables that exist.
    async fn tables(&mut self, names: &[String]) -> Result<Tables, TargetError> {
        let questions = names.iter().map(|table| self.about(table));
        let questions = questions.collect::<Vec<_>>();
        question::tables(names, self.pipeline(&questions).await?)
    }

    /// Counts rows up to `most` and digests those that are not more, in one round trip where the database allows.
    async fn count(&mut self, all: &[Counted], most: u64) -> Result<Vec<TableRows>, TargetError> {
        let questions = all.iter().map(|one| Own {
            sql: one.query(most),
            parameters: Vec::new(),
        });
        let mut found = Vec::with_capacity(all.len());
        for answer in self.pipeline(&questions.collect::<Vec<_>>()).await? {
            let row = answer.first().ok_or(TargetError::Unreadable("a row"))?;
            found.push(TableRows {
                rows: u64::try_from(row.integer(0)?).unwrap_or_default(),
                digest: String::new(),
            });
        }
        let few = found.iter_mut().zip(all);
        let few = few.filter(|(rows, _)| (1..=most).contains(&rows.rows));
        let (few, tables) = few
            .filter_map(|(rows, one)| Some((rows, (one.table.clone(), one.digested.clone()?))))
            .unzip::<_, _, Vec<_>, Vec<_>>();
        for (place, rows) in few.into_iter().zip(self.rows(&tables).await?) {
            place.digest = rows.digest;
        }
        Ok(found)
    }

    /// Reads how everything in the catalog is made and unmade.
    async fn blueprint(&mut self) -> Result<Blueprint, TargetError>;

    /// Counts and digests the rows of tables over these quoted columns, in the order of the tables.
    async fn rows(
        &mut self,
        tables: &[(String, Vec<String>)],
    ) -> Result<Vec<TableRows>, TargetError>;

    /// Fills an empty shadow's tables with the rows of the database it shadows. `false` when there are too many.
    async fn fill(&mut self, tables: &[(String, Vec<String>)]) -> Result<bool, TargetError>;

    /// Ends the session; a shadow is dropped with it.
    async fn close(self: Box<Self>) -> Result<(), TargetError>;
}
