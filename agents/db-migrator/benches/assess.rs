//! How long does it take to say whether a database may go back?
//!
//! Input: 300 migrations of a table with an index each, applied with their ledger, on a schema of 300 tables. Asked, a
//! session of its own each time as the skill does it, one after the other:
//! `safe` to the newest version, `reversible` to five migrations back and to none, and `lost` to five back and to none
//! after rows were written to every tenth table. `first` is the first question of a process, which has to read the whole
//! catalog; later ones only make sure that it is the same. Beside them a naive variant: it connects, reads ledger and
//! whole catalog as a plan does, and counts every table by a query of its own.
//!
//! Found (optimised, 2 virtual CPUs, PostgreSQL 15), medians with 300 migrations and tables: SQLite answers in 8 to 17 ms,
//! the naive variant in 11 ms; PostgreSQL in 21 to 28 ms, in 35 ms when every tenth table got rows, a first question in
//! 68 ms, the naive variant in 80 ms; on a busy host twice as long.
//!
//! Run: `cargo bench -p db-migrator --bench assess`. After `--`: migrations and questions, 300 and 200.
#![expect(clippy::print_stdout, reason = "a benchmark's output")]

mod desk;

use std::{sync::Arc, time::Duration};

use db_migrator::{
    Metrics,
    clients::Database,
    domain::{Answer, Dialect, Migration, SourceFile, Version, source},
    engine::{self, ApplyRequest, Goal, Job},
};
use desk::{Stopwatch, context, database};
use store::testing::TemporaryPostgres;
use tokio::time::Instant;

fn migrations(count: usize, dialect: Dialect) -> Vec<Migration> {
    let files = (1..=count).flat_map(|n| {
        let up = format!(
            "CREATE TABLE t{n} (id INTEGER PRIMARY KEY, name TEXT NOT NULL, qty INTEGER); CREATE INDEX i{n} ON t{n} (name)"
        );
        [("up", up), ("down", format!("DROP TABLE t{n}"))].map(|(half, content)| SourceFile {
            name: format!("{n:04}_step.{half}.sql"),
            content,
        })
    });
    source::read(&files.collect::<Vec<_>>(), dialect).expect("they are migrations")
}

async fn assess(database: &Database, stopwatch: &Arc<Stopwatch>, goal: &Goal) -> Answer {
    let (context, metrics) = (context("assess", stopwatch), Metrics::default());
    let job = Job {
        context: &context,
        database,
        metrics: &metrics,
    };
    engine::assess_rollback(job, goal)
        .await
        .expect("it is known")
        .answer
}

/// What anybody would do first.
async fn naive(database: &Database, tables: usize) {
    let mut session = database.target.connect("naive").await.expect("it is there");
    let ledger = match database.target.dialect() {
        Dialect::Sqlite => "SELECT * FROM db_migrator_migration ORDER BY sequence",
        Dialect::Postgres => {
            "SELECT sequence, version, additions FROM db_migrator.migration ORDER BY sequence"
        }
    };
    session.query(ledger, &[]).await.expect("there is a ledger");
    let fingerprint = session.catalog().await.expect("a catalog").fingerprint();
    assert!(!fingerprint.is_empty());
    for n in 1..=tables {
        let count = format!("SELECT count(*) FROM t{n}");
        session.query(&count, &[]).await.expect("a table");
    }
    session.close().await.expect("a session ends");
}

fn print(what: &str, mut all: Vec<Duration>) {
    all.sort();
    let at = |percent: usize| {
        let spent = all.get((all.len() * percent / 100).min(all.len() - 1));
        spent.copied().unwrap_or_default().as_secs_f64() * 1_000.0
    };
    println!(
        "  {what:32} median {:6.1} ms | p99 {:6.1} ms | of {}",
        at(50),
        at(99),
        all.len()
    );
}

async fn timed<T>(
    asked: usize,
    what: &str,
    question: impl AsyncFn() -> T,
    right: impl Fn(&T) -> bool,
) {
    let mut all = Vec::new();
    for _ in 0..asked {
        let started = Instant::now();
        let told = question().await;
        all.push(started.elapsed());
        assert!(right(&told), "{what}");
    }
    print(what, all);
}

async fn apply(database: &Database, stopwatch: &Arc<Stopwatch>, source: &[Migration]) {
    let (task, metrics) = (context("apply", stopwatch), Metrics::default());
    let job = Job {
        context: &task,
        database,
        metrics: &metrics,
    };
    let request = ApplyRequest {
        source,
        ..ApplyRequest::default()
    };
    engine::apply(job, request).await.expect("they apply");
    let action = database.target.dialect().prove_action();
    let moment = |name| stopwatch.first(&format!("{name} {action}"));
    if let Some((end, begin)) = moment("end").zip(moment("begin")) {
        println!(
            "  their proof took {:.1} s",
            end.since(begin).clock.as_secs_f64()
        );
    }
}

async fn compare(dialect: Dialect, url: &str, (count, asked): (usize, usize)) {
    println!("{} with {count} migrations and tables", dialect.name());
    let stopwatch = Arc::new(Stopwatch::default());
    let source = migrations(count, dialect);
    apply(&database(url), &stopwatch, &source).await;
    let version = |at: usize| {
        let known = at.checked_sub(1).and_then(|at| source.get(at));
        Goal::Version(known.map_or_else(Version::zero, |one| one.version.clone()))
    };
    let (newest, five, none) = (version(count), version(count - 5), version(0));
    timed(
        asked.min(20),
        "reversible to none, first",
        async || assess(&database(url), &stopwatch, &none).await,
        |told| *told == Answer::Reversible,
    )
    .await;
    let known = database(url);
    let ask = async |goal: &Goal| assess(&known, &stopwatch, goal).await;
    let safe = |told: &Answer| *told == Answer::SafeWithoutDatabase;
    let back = |told: &Answer| *told == Answer::Reversible;
    let lost = |told: &Answer| *told == Answer::PointOfNoReturn;
    timed(asked, "safe", async || ask(&newest).await, safe).await;
    timed(
        asked,
        "reversible, five back",
        async || ask(&five).await,
        back,
    )
    .await;
    timed(asked, "reversible to none", async || ask(&none).await, back).await;
    let mut session = known.target.connect("rows").await.expect("it is there");
    for n in (1..=count).rev().step_by(10) {
        let rows = format!("INSERT INTO t{n} VALUES (1, 'a', 1), (2, 'b', 2)");
        session.execute(&rows).await.expect("rows");
    }
    session.close().await.expect("a session ends");
    timed(asked, "lost, five back", async || ask(&five).await, lost).await;
    timed(asked, "lost to none", async || ask(&none).await, lost).await;
    timed(
        asked,
        "naive",
        async || naive(&database(url), count).await,
        |()| true,
    )
    .await;
}

#[tokio::main]
async fn main() {
    let mut asked = std::env::args().filter_map(|number| number.parse().ok());
    let sizes = (asked.next().unwrap_or(300), asked.next().unwrap_or(200));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("assess.db");
    std::fs::write(&path, "").expect("a file is written");
    compare(
        Dialect::Sqlite,
        &format!("sqlite:{}", path.display()),
        sizes,
    )
    .await;
    let server = TemporaryPostgres::start_with(&["fsync=on"]).expect("PostgreSQL is installed");
    let url = server.create_database("assess").expect("a database");
    compare(Dialect::Postgres, &url, sizes).await;
}
