//! What does an application feel when a column is added to a table that a reader holds for five seconds?
//!
//! Input: a table of 10,000 rows, four application sessions that read and update rows of it without pause but a
//! millisecond, one transaction that has read the table and stays open for five seconds after the change was first tried.
//! `ours` is a whole `apply_migration`; the other two send the same ALTER TABLE by the rule in their name. A stall is
//! the longest that one query of the application took from the first try to the end of the change.
//!
//! Found (unoptimised build, 2 virtual CPUs with a load of 22 from other work, PostgreSQL 15): without a timeout the
//! application stalls for 5.0 s and the column is there at once; with 500 ms and doubled pauses it stalls for 503 ms and
//! the column comes 3.5 s after the release; ours stalls it for 50 to 62 ms, with 8 to 11 ms for 99 % of the queries
//! before, and the column comes 0.17 to 0.33 s after the release, at the 27th try.
//!
//! Run: `cargo bench -p db-migrator --bench lock_queue`.
#![expect(clippy::print_stdout, reason = "a benchmark's output")]

mod desk;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use db_migrator::{
    Metrics,
    clients::{Session, TargetError},
    domain::{Dialect, Migration, SourceFile, source},
    engine::{self, ApplyRequest, Job},
};
use desk::{Stopwatch, context, database};
use store::testing::TemporaryPostgres;
use tokio::time::{Duration, Instant, sleep};

const ROUNDS: usize = 3;
const HOLD: Duration = Duration::from_secs(5);
const ALTER: &str = "ALTER TABLE one ADD COLUMN c int";

#[derive(Debug, Clone, Copy)]
enum Strategy {
    NoTimeout,
    Doubling,
    Ours,
}

fn migrations() -> Vec<Migration> {
    let file = |name: &str, content: &str| SourceFile {
        name: name.into(),
        content: content.into(),
    };
    let files = [
        file(
            "1_one.up.sql",
            "CREATE TABLE one (a int PRIMARY KEY, b int)",
        ),
        file("1_one.down.sql", "DROP TABLE one"),
        file("2_c.up.sql", ALTER),
        file("2_c.down.sql", "ALTER TABLE one DROP COLUMN c"),
    ];
    source::read(&files, Dialect::Postgres).expect("they are migrations")
}

async fn session(url: &str) -> Box<dyn Session> {
    let target = database(url).target;
    target
        .connect("bench")
        .await
        .expect("the database is there")
}

/// When each query began, and how long it took.
type Latencies = Vec<(Instant, Duration)>;

async fn application(url: String, stop: Arc<AtomicBool>, number: usize) -> Latencies {
    let mut session = session(&url).await;
    let mut latencies = Vec::new();
    let mut row = number;
    while !stop.load(Ordering::SeqCst) {
        row = (row * 7 + 4) % 10_000;
        let sql = if row.is_multiple_of(2) {
            format!("SELECT b FROM one WHERE a = {row}")
        } else {
            format!("UPDATE one SET b = b + 1 WHERE a = {row}")
        };
        let began = Instant::now();
        session.execute(&sql).await.expect("the row is there");
        latencies.push((began, began.elapsed()));
        sleep(Duration::from_millis(1)).await;
    }
    latencies
}

/// Adds the column; `began_at` gets the moment of the first try.
async fn change(strategy: Strategy, url: &str, began_at: &Mutex<Option<Instant>>) -> u64 {
    let mut tries = 0;
    match strategy {
        Strategy::Ours => return ours(url, began_at).await,
        Strategy::NoTimeout => {
            let mut session = session(url).await;
            *began_at.lock().expect("nobody panics with it") = Some(Instant::now());
            session.execute(ALTER).await.expect("the column is new");
        }
        Strategy::Doubling => {
            let mut session = session(url).await;
            *began_at.lock().expect("nobody panics with it") = Some(Instant::now());
            session
                .execute("SET lock_timeout = 500")
                .await
                .expect("a setting");
            let mut pause = Duration::from_secs(1);
            while let Err(error) = session.execute(ALTER).await {
                assert!(matches!(error, TargetError::LockTimeout), "{error}");
                tries += 1;
                sleep(pause).await;
                pause *= 2;
            }
        }
    }
    tries + 1
}

async fn ours(url: &str, began_at: &Mutex<Option<Instant>>) -> u64 {
    let stopwatch = Arc::new(Stopwatch::default());
    let (context, metrics, all) = (
        context("change", &stopwatch),
        Metrics::default(),
        migrations(),
    );
    let database = database(url);
    let job = Job {
        context: &context,
        database: &database,
        metrics: &metrics,
    };
    let request = ApplyRequest {
        source: &all,
        ..ApplyRequest::default()
    };
    let done = AtomicBool::new(false);
    let apply = async {
        engine::apply(job, request)
            .await
            .expect("the column is new");
        done.store(true, Ordering::SeqCst);
    };
    let notice = async {
        while !done.load(Ordering::SeqCst) {
            if let Some(at) = stopwatch.first("begin postgres.execute") {
                *began_at.lock().expect("nobody panics with it") = Some(at.clock);
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(apply, notice);
    metrics.lock_attempts(Dialect::Postgres) + 1
}

/// Prepares the table by the first migration, so that the second is what is measured.
async fn prepare(url: &str) {
    let stopwatch = Arc::new(Stopwatch::default());
    let (context, metrics, all) = (
        context("prepare", &stopwatch),
        Metrics::default(),
        migrations(),
    );
    let database = database(url);
    let job = Job {
        context: &context,
        database: &database,
        metrics: &metrics,
    };
    let request = ApplyRequest {
        source: all.get(..1).unwrap_or_default(),
        ..ApplyRequest::default()
    };
    engine::apply(job, request)
        .await
        .expect("an empty database");
    let mut session = session(url).await;
    session
        .execute("INSERT INTO one SELECT g, 0 FROM generate_series(0, 9999) g")
        .await
        .expect("rows");
}

async fn round(strategy: Strategy, url: &str) {
    prepare(url).await;
    let mut reader = session(url).await;
    reader
        .execute("BEGIN; SELECT count(*) FROM one")
        .await
        .expect("a reader");
    let stop = Arc::new(AtomicBool::new(false));
    let applications = (0..4)
        .map(|number| tokio::spawn(application(url.to_owned(), stop.clone(), number)))
        .collect::<Vec<_>>();
    sleep(Duration::from_secs(1)).await;
    let began_at = Mutex::new(None);
    let release = async {
        let first = loop {
            let at = *began_at.lock().expect("nobody panics with it");
            match at {
                Some(at) => break at,
                None => sleep(Duration::from_millis(1)).await,
            }
        };
        tokio::time::sleep_until(first + HOLD).await;
        reader.execute("COMMIT").await.expect("the reader ends");
        (first, Instant::now())
    };
    let change = async {
        let tries = change(strategy, url, &began_at).await;
        (tries, Instant::now())
    };
    let ((tries, done), (first, released)) = tokio::join!(change, release);
    stop.store(true, Ordering::SeqCst);
    let (mut stall, mut before) = (Duration::ZERO, Vec::new());
    for application in applications {
        for (began, took) in application.await.expect("the application ran") {
            if began + took >= first && began <= done {
                stall = stall.max(took);
            } else if began < first {
                before.push(took);
            }
        }
    }
    before.sort();
    let p99 = before
        .get(before.len() * 99 / 100)
        .copied()
        .unwrap_or_default();
    println!(
        "{strategy:?}: worst application stall {:6.1} ms (99 % of queries before: {:.1} ms) | done {:5.2} s after the release | {tries} tries",
        stall.as_secs_f64() * 1000.0,
        p99.as_secs_f64() * 1000.0,
        (done - released).as_secs_f64()
    );
}

#[tokio::main]
async fn main() {
    let server = TemporaryPostgres::start_with(&["fsync=off"]).expect("PostgreSQL is installed");
    for number in 0..ROUNDS {
        for strategy in [Strategy::NoTimeout, Strategy::Doubling, Strategy::Ours] {
            let name = format!("{strategy:?}_{number}").to_lowercase();
            let url = server.create_database(&name).expect("a database");
            round(strategy, &url).await;
        }
    }
}
