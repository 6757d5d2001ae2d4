//! What does the ledger cost: small migrations applied with it, and by a naive executor that only notes a version?
//!
//! Input: N migrations of one to three statements each (a table, an index on it, a column more), the shape of most
//! real ones. Both executors run the same statements with one transaction a migration, in the same process, on fresh
//! databases, in turns; the smallest of three rounds counts. `plan` is the proof (up, down, up and the chain of downs on
//! a shadow) that no naive executor has; `apply` contains it.
//!
//! FOUND
//!
//! Run: `cargo bench -p db-migrator`.
#![expect(clippy::print_stdout, reason = "a benchmark's output")]

use std::time::Duration;

use db_migrator::{
    Metrics,
    clients::{Database, Databases, Transaction},
    domain::{Dialect, Migration, SourceFile, source},
    engine::{self, ApplyRequest, Job},
};
use shared::{Context, testing::FakeAgent};
use store::testing::TemporaryPostgres;
use tokio::time::Instant;

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

fn context() -> Context {
    FakeAgent::default().context().0
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

async fn proof(database: &Database, source: &[Migration]) -> Duration {
    let (context, metrics) = (context(), Metrics::default());
    let started = Instant::now();
    let plan = engine::plan(
        Job {
            context: &context,
            database,
            metrics: &metrics,
        },
        source,
    )
    .await
    .expect("the plan is made");
    assert!(plan.refusals().is_empty(), "{:?}", plan.refusals());
    started.elapsed()
}

async fn with_ledger(database: &Database, source: &[Migration]) -> Duration {
    let (context, metrics) = (context(), Metrics::default());
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
    started.elapsed()
}

async fn compare(dialect: Dialect, count: usize, fresh: &mut impl FnMut() -> String) {
    let source = migrations(count, dialect);
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        let (plain, full) = (database(&fresh()), database(&fresh()));
        let spent = [
            naive(&plain, &source).await,
            proof(&full, &source).await,
            with_ledger(&full, &source).await,
        ];
        for (best, spent) in best.iter_mut().zip(spent) {
            *best = (*best).min(spent);
        }
    }
    let [naive, plan, apply] = best.map(|spent| spent.as_secs_f64() * 1000.0);
    let alone = apply - plan;
    println!(
        "{:8} {count:4} | naive {naive:7.1} ms | plan {plan:8.1} ms | apply {apply:8.1} ms | apply without its proof {alone:7.1} ms = {:.2}x naive",
        dialect.name(),
        alone / naive
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
