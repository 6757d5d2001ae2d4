//! What does the ledger cost: small migrations applied with it, by sqlx-cli, and by a naive executor that only notes a
//! version?
//!
//! Input: N migrations of one to three statements each (a table, an index on it, a column more with a row), the shape of
//! most real ones. All run the same statements with one transaction a migration, on fresh databases of the same server,
//! in turns; the smallest of the rounds counts, and the ratio of medians stands beside. `ledger` is a whole
//! `apply_migration` but for the proof: connection, run lock, recording the plan, running it with every statement's row,
//! comparing the catalog, the report. The proof (up, down, up and the chain of downs on a shadow) has no counterpart; its
//! time stands beside. sqlx-cli is a process of its own; the time that it takes to start and say its version is shown,
//! and taken off in the second ratio. It is found in PATH, or where `DB_MIGRATOR_BENCH_SQLX` says. PostgreSQL runs with
//! fsync.
//!
//! Found (optimised, 2 virtual CPUs, PostgreSQL 15, quiet machine, one round), 300 migrations:
//! PostgreSQL 1.55 times as long as sqlx-cli, SQLite 1.77 times. With the proof 100 and 7 times. Single runs differ by
//! half, as the disk does.
//!
//! Run: `cargo bench -p db-migrator --bench ledger`, or with sizes of your own after `--`.
#![expect(clippy::print_stdout, reason = "a benchmark's output")]

mod desk;

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use db_migrator::{
    Metrics,
    clients::{Database, Transaction},
    domain::{Dialect, Migration, SourceFile, source},
    engine::{self, ApplyRequest, Job},
};
use desk::{Stopwatch, context, database};
use store::testing::TemporaryPostgres;
use tokio::time::Instant;

/// Migrations and rounds; the proofs of many take minutes.
const SIZES: [(usize, usize); 2] = [(30, 3), (300, 1)];

fn files(count: usize) -> Vec<SourceFile> {
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
        for (half, content) in [("up", up), ("down", down)] {
            files.push(SourceFile {
                name: format!("{n:04}_step.{half}.sql"),
                content,
            });
        }
    }
    files
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

/// Time of the proof, and of everything else.
async fn with_ledger(database: &Database, source: &[Migration]) -> [Duration; 2] {
    let stopwatch = Arc::new(Stopwatch::default());
    let (context, metrics) = (context("bench", &stopwatch), Metrics::default());
    let started = Instant::now();
    let request = ApplyRequest {
        source,
        ..ApplyRequest::default()
    };
    let job = Job {
        context: &context,
        database,
        metrics: &metrics,
    };
    let applied = engine::apply(job, request)
        .await
        .expect("the migrations apply");
    let whole = started.elapsed();
    assert_eq!(applied.migrations.len(), source.len());
    let action = database.target.dialect().prove_action();
    let moment = |name| {
        stopwatch
            .first(&format!("{name} {action}"))
            .expect("there was a proof")
    };
    let proof = moment("end") - moment("begin");
    [proof, whole.saturating_sub(proof)]
}

/// The program to compare with, when it is installed.
#[derive(Debug)]
struct Sqlx {
    program: OsString,
    start: Duration,
}

impl Sqlx {
    fn find() -> Option<Self> {
        let program = std::env::var_os("DB_MIGRATOR_BENCH_SQLX").unwrap_or_else(|| "sqlx".into());
        let mut start = Duration::MAX;
        let mut version = String::new();
        for _ in 0..10 {
            let started = Instant::now();
            let output = Command::new(&program).arg("--version").output().ok()?;
            start = start.min(started.elapsed());
            version = String::from_utf8(output.stdout).ok()?;
        }
        println!("{}, starts in {:.1} ms", version.trim(), ms(start));
        Some(Self { program, start })
    }

    fn migrate(&self, url: &str, folder: &Path) -> Duration {
        let started = Instant::now();
        let status = Command::new(&self.program)
            .args([
                "migrate",
                "run",
                "--no-dotenv",
                "--database-url",
                url,
                "--source",
            ])
            .arg(folder)
            .stdout(Stdio::null())
            .status()
            .expect("it ran before");
        assert!(status.success(), "sqlx-cli applied them");
        started.elapsed()
    }
}

fn ms(spent: Duration) -> f64 {
    spent.as_secs_f64() * 1000.0
}

fn smallest(all: &[Duration]) -> Duration {
    all.iter().min().copied().unwrap_or_default()
}

fn median(all: &[Duration]) -> Duration {
    let mut all = all.to_vec();
    all.sort();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn print(dialect: Dialect, count: usize, sqlx: Option<&Sqlx>, all: &[Vec<Duration>; 4]) {
    let [naive, peer, proof, ledger] = all;
    let best = |all| ms(smallest(all));
    println!(
        "{:8} {count:4} migrations | naive {:7.1} ms | ledger {:7.1} ms = {:.2}x naive | proof beside it {:8.1} ms",
        dialect.name(),
        best(naive),
        best(ledger),
        best(ledger) / best(naive),
        best(proof)
    );
    if let Some(sqlx) = sqlx {
        println!(
            "{:8} {count:4} migrations | sqlx-cli {:7.1} ms | ledger = {:.2}x sqlx-cli, {:.2}x without the start of its process, {:.2}x by medians",
            dialect.name(),
            best(peer),
            best(ledger) / best(peer),
            best(ledger) / ms(smallest(peer).saturating_sub(sqlx.start)),
            ms(median(ledger)) / ms(median(peer))
        );
    }
}

async fn compare(
    dialect: Dialect,
    (count, rounds): (usize, usize),
    sqlx: Option<&Sqlx>,
    fresh: &mut impl FnMut() -> String,
) {
    let files = files(count);
    let source = source::read(&files, dialect).expect("the generated files are migrations");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in &files {
        std::fs::write(folder.path().join(&file.name), &file.content).expect("a file is written");
    }
    let mut all: [Vec<Duration>; 4] = Default::default();
    for _ in 0..rounds {
        let [proof, ledger] = with_ledger(&database(&fresh()), &source).await;
        let peer = sqlx.map_or(Duration::ZERO, |sqlx| sqlx.migrate(&fresh(), folder.path()));
        let naive = naive(&database(&fresh()), &source).await;
        for (times, spent) in all.iter_mut().zip([naive, peer, proof, ledger]) {
            times.push(spent);
        }
    }
    print(dialect, count, sqlx, &all);
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = TemporaryPostgres::start_with(&["fsync=on"]).expect("PostgreSQL is installed");
    let sqlx = Sqlx::find();
    if sqlx.is_none() {
        println!(
            "sqlx-cli is not installed: `cargo install sqlx-cli`, or name it in DB_MIGRATOR_BENCH_SQLX"
        );
    }
    let mut next = 0;
    let asked = std::env::args().filter_map(|count| Some((count.parse().ok()?, 1)));
    let mut sizes = asked.collect::<Vec<_>>();
    if sizes.is_empty() {
        sizes.extend(SIZES);
    }
    for size in sizes {
        compare(Dialect::Sqlite, size, sqlx.as_ref(), &mut || {
            next += 1;
            let path = folder.path().join(format!("{next}.db"));
            // An empty file is an empty database, for all three.
            std::fs::write(&path, "").expect("a file is written");
            format!("sqlite:{}", path.display())
        })
        .await;
        compare(Dialect::Postgres, size, sqlx.as_ref(), &mut || {
            next += 1;
            server
                .create_database(&format!("bench_{next}"))
                .expect("a database")
        })
        .await;
    }
}
