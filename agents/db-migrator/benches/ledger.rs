//! What does the ledger cost: small migrations applied with it, and by a naive executor that only notes a version?
//!
//! Input: N migrations of one to three statements each (a table, an index on it, a column more), the shape of most
//! real ones. Both executors run the same statements with one transaction a migration, in the same process, on fresh
//! databases, in turns; the smallest of three rounds counts. `ledger` is everything after the proof: recording the plan,
//! running it, comparing the catalog with the proof inside each transaction, the report. The proof itself (up, down, up
//! and the chain of downs on a shadow) has no naive counterpart; its time stands beside. PostgreSQL runs with fsync.
//!
//! Found (unoptimised build, 2 virtual CPUs with a load of 6 from other work, PostgreSQL 15, 100 migrations): with the
//! ledger SQLite takes 1.34 times as long as the naive executor (2.1 s against 1.6 s) and PostgreSQL 2.4 times (2.6 s
//! against 1.1 s); the proof before it takes 27 ms a migration on SQLite and 210 ms on PostgreSQL, nearly all of it
//! reading the catalog five times. An earlier version that read the catalog in every transaction took 5 to 6 times as
//! long as the naive executor, on both.
//!
//! Run: `cargo bench -p db-migrator`.
#![expect(clippy::print_stdout, reason = "a benchmark's output")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use db_migrator::{
    Metrics,
    clients::{Database, Databases, Transaction},
    domain::{Dialect, Migration, SourceFile, source},
    engine::{self, ApplyRequest, Job},
};
use identity::Principal;
use serde_json::Value;
use shared::{
    Context, SkillError, ToolCall,
    context::{Backplane, Work},
};
use store::{Store, testing::TemporaryPostgres};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 3;
const SIZES: [usize; 2] = [10, 100];

fn migrations(count: usize, dialect: Dialect) -> Vec<Migration> {
    let mut files = Vec::new();
    for n in 1..=count {
        let (up, down) = match n % 3 {
            1 => (
                format!("CREATE TABLE t{n} (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"),
                format!("DROP TABLE t{n}"),
            ),
            2 => (
                format!(
                    "CREATE TABLE t{n} (id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX i{n} ON t{n} (name)"
                ),
                format!("DROP TABLE t{n}"),
            ),
            _ => (
                format!(
                    "ALTER TABLE t{0} ADD COLUMN qty INTEGER NOT NULL DEFAULT 0; CREATE INDEX j{n} ON t{0} (qty); INSERT INTO t{0} (id) VALUES ({n})",
                    n - 1
                ),
                format!(
                    "DELETE FROM t{0} WHERE id = {n}; DROP INDEX j{n}; ALTER TABLE t{0} DROP COLUMN qty",
                    n - 1
                ),
            ),
        };
        files.push(SourceFile {
            name: format!("{n:04}_step.up.sql"),
            content: up,
        });
        files.push(SourceFile {
            name: format!("{n:04}_step.down.sql"),
            content: down,
        });
    }
    source::read(&files, dialect).expect("the generated files are migrations")
}

fn database(url: &str) -> Database {
    let spec = format!("bench={url},dev").parse().expect("the URL is one");
    Databases::new([spec])
        .find("bench")
        .expect("it was configured")
        .clone()
}

/// An agent that does nothing but note when the proof ended.
#[derive(Debug, Default)]
struct Stopwatch(Mutex<Option<Instant>>);

#[async_trait::async_trait]
impl Backplane for Stopwatch {
    async fn call(
        &self,
        _: &Work,
        agent: &'static str,
        _: &str,
        _: Value,
    ) -> Result<Value, SkillError> {
        Err(SkillError::Denied(format!("no edge to {agent}")))
    }

    async fn begin(&self, _: &Work, _: &ToolCall) -> Result<String, SkillError> {
        Ok(String::new())
    }

    async fn end(
        &self,
        _: &Work,
        call: &ToolCall,
        _: String,
        _: &'static str,
    ) -> Result<(), SkillError> {
        if ["sqlite.prove", "postgres.prove"].contains(&call.action) {
            *self.0.lock().expect("nobody panics with it") = Some(Instant::now());
        }
        Ok(())
    }

    fn progress(&self, _: &Work, _: &str, _: u64, _: u64) {}

    fn artifact(&self, _: &Work, _: a2a::types::Artifact, _: bool, _: bool) {}

    fn may_touch(&self, _: &str) -> bool {
        true
    }

    #[expect(
        clippy::unimplemented,
        reason = "the engine keeps its state in its targets"
    )]
    fn store(&self) -> Arc<dyn Store> {
        unimplemented!("the engine has no store")
    }
}

fn context(stopwatch: &Arc<Stopwatch>) -> Context {
    let work = Work {
        task_id: "bench".into(),
        skill: "bench".into(),
        caller: Principal::external("operator", "mesh.local"),
        on_behalf_of: None,
        deadline: Instant::now() + Duration::from_mins(10),
        tool_calls: Arc::default(),
        input_digest: String::new(),
    };
    Context::new(work, None, CancellationToken::new(), stopwatch.clone())
}

async fn naive(database: &Database, source: &[Migration]) -> Duration {
    let mut session = database
        .target
        .connect("naive")
        .await
        .expect("the database is there");
    let started = Instant::now();
    session
        .execute("CREATE TABLE versions (version text PRIMARY KEY)")
        .await
        .expect("a table can be made");
    for migration in source {
        session
            .begin(Transaction {
                lock_timeout_ms: 0,
                foreign_keys_off: false,
            })
            .await
            .expect("a transaction begins");
        for statement in &migration.up.statements {
            session
                .execute(&statement.text)
                .await
                .expect("the statement is right");
        }
        session
            .query(
                "INSERT INTO versions VALUES ($1)",
                &[migration.version.as_str().into()],
            )
            .await
            .expect("the version is new");
        session.commit().await.expect("a transaction commits");
    }
    let spent = started.elapsed();
    session.close().await.expect("a session ends");
    spent
}

/// Time of the proof, and of everything after it.
async fn with_ledger(database: &Database, source: &[Migration]) -> [Duration; 2] {
    let stopwatch = Arc::new(Stopwatch::default());
    let (context, metrics) = (context(&stopwatch), Metrics::default());
    let started = Instant::now();
    let request = ApplyRequest {
        source,
        plan_digest: None,
        release: None,
    };
    let applied = engine::apply(
        Job {
            context: &context,
            database,
            metrics: &metrics,
        },
        request,
    )
    .await
    .expect("the migrations apply");
    assert_eq!(applied.migrations.len(), source.len());
    let proven = stopwatch
        .0
        .lock()
        .expect("nobody panics with it")
        .expect("there was a proof");
    [proven - started, proven.elapsed()]
}

async fn compare(dialect: Dialect, count: usize, fresh: &mut impl FnMut() -> String) {
    let source = migrations(count, dialect);
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        let (plain, full) = (database(&fresh()), database(&fresh()));
        let [proof, ledger] = with_ledger(&full, &source).await;
        for (best, spent) in best
            .iter_mut()
            .zip([naive(&plain, &source).await, proof, ledger])
        {
            *best = (*best).min(spent);
        }
    }
    let [naive, proof, ledger] = best.map(|spent| spent.as_secs_f64() * 1000.0);
    println!(
        "{:8} {count:4} migrations | naive {naive:7.1} ms | ledger {ledger:7.1} ms = {:.2}x | proof before it {proof:8.1} ms",
        dialect.name(),
        ledger / naive
    );
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = TemporaryPostgres::start_with(&["fsync=on"]).expect("PostgreSQL is installed");
    let mut next = 0;
    for count in SIZES {
        compare(Dialect::Sqlite, count, &mut || {
            next += 1;
            format!(
                "sqlite:{}",
                folder.path().join(format!("{next}.db")).display()
            )
        })
        .await;
        compare(Dialect::Postgres, count, &mut || {
            next += 1;
            server
                .create_database(&format!("bench_{next}"))
                .expect("a database")
        })
        .await;
    }
}
