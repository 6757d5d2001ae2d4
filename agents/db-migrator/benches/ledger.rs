//! What does the ledger cost: small migrations applied with it, by sqlx-cli, and by a naive executor that only notes a
//! version?
//!
//! Input: N migrations of one to three statements each: a table, a table with an index, a column more with an index. In
//! `Rows` each third one also inserts a row, whose table the ledger then counts and digests before and after. All run the
//! same statements with one transaction a migration, on fresh databases of the same server, in turns; the ratios are of
//! medians over all rounds, of the smallest, and of the time that the machine computed. `ledger` is a whole
//! `apply_migration` but for the proof: connection, run lock, recording the plan, running it with every statement's row,
//! comparing the catalog, the report. The plan is proven and recorded before the first round: its database is copied, and
//! each round goes on in a copy, as a task does after a kill. What comes before the first statement counts as the median
//! of three recordings, the rest from each round. The proof (up, down, up and the chain of downs on a shadow) has no
//! counterpart; its time stands beside. sqlx-cli is a process of its own; the time that it takes to start is taken off in
//! a ratio of its own. It is found in PATH, or where `DB_MIGRATOR_BENCH_SQLX` says. PostgreSQL runs with fsync.
//!
//! Found (optimised, 2 virtual CPUs, PostgreSQL 15, 5 rounds), 300 migrations, against sqlx-cli by medians: PostgreSQL
//! 0.82 (`Rows`: 1.02), by processor time 0.78 (1.13); with its files in memory and 15 rounds 0.85, 1.04 by the smallest
//! and 0.89 by processor time. SQLite 0.76 (0.81), by processor time 0.80 (0.85). The proof beside it: SQLite 9 s,
//! PostgreSQL 37 s.
//!
//! Run: `cargo bench -p db-migrator --bench ledger`, with migrations and rounds after `--`, 300 and 9, `sqlite` or
//! `postgres` for one of them, and `schema` or `rows`.
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
use desk::{Moment, Spent, Stopwatch, context, database};
use store::testing::TemporaryPostgres;
use tokio::time::Instant;

/// What every third migration does beside its schema.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Schema,
    Rows,
}

impl Kind {
    const fn tag(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Rows => "rows",
        }
    }
}

fn files(count: usize, kind: Kind) -> Vec<SourceFile> {
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
            _ => {
                let table = format!("t{}", n - 1);
                let (insert, delete) = match kind {
                    Kind::Schema => (String::new(), String::new()),
                    Kind::Rows => (
                        format!("; INSERT INTO {table} (id) VALUES ({n})"),
                        format!("DELETE FROM {table} WHERE id = {n}; "),
                    ),
                };
                (
                    format!(
                        "ALTER TABLE {table} ADD COLUMN qty INTEGER NOT NULL DEFAULT 0; CREATE INDEX j{n} ON {table} (qty){insert}"
                    ),
                    format!("{delete}DROP INDEX j{n}; ALTER TABLE {table} DROP COLUMN qty"),
                )
            }
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

async fn naive(database: &Database, source: &[Migration]) -> Spent {
    let mut session = database
        .target
        .connect("naive")
        .await
        .expect("the database is there");
    let started = Moment::now();
    session
        .execute("CREATE TABLE versions (version text PRIMARY KEY)")
        .await
        .expect("a table can be made");
    for migration in source {
        session
            .begin(Transaction::default())
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
    let spent = Moment::now().since(started);
    session.close().await.expect("a session ends");
    spent
}

/// How often the plan is proven and recorded, for the median of what comes before its first statement.
const RECORDINGS: usize = 3;

/// The task of all rounds: a task that was begun goes on.
const TASK: &str = "bench";

/// Proves and records a plan and stops before its first statement. Time of the proof, and of everything else.
async fn record(database: &Database, source: &[Migration]) -> [Spent; 2] {
    let dialect = database.target.dialect();
    let stopwatch = Arc::new(Stopwatch::barring(dialect.execute_action()));
    let (context, metrics) = (context(TASK, &stopwatch), Metrics::default());
    let job = Job {
        context: &context,
        database,
        metrics: &metrics,
    };
    let request = ApplyRequest {
        source,
        ..ApplyRequest::default()
    };
    let started = Moment::now();
    tokio::select! {
        ended = engine::apply(job, request) => panic!("it ran nothing: {ended:?}"),
        () = stopwatch.reached() => {}
    }
    let whole = Moment::now().since(started);
    let moment = |name| stopwatch.first(&format!("{name} {}", dialect.prove_action()));
    let proof = moment("end").zip(moment("begin"));
    let (ended, began) = proof.expect("there was a proof");
    let proof = ended.since(began);
    [proof, whole - proof]
}

/// Runs what was recorded. Time from its first statement on.
async fn go_on(database: &Database, source: &[Migration]) -> Spent {
    let stopwatch = Arc::new(Stopwatch::default());
    let (context, metrics) = (context(TASK, &stopwatch), Metrics::default());
    let job = Job {
        context: &context,
        database,
        metrics: &metrics,
    };
    let request = ApplyRequest {
        source,
        ..ApplyRequest::default()
    };
    let applied = engine::apply(job, request).await;
    let ended = Moment::now();
    let applied = applied.expect("the migrations apply");
    assert_eq!(applied.migrations.len(), source.len());
    let dialect = database.target.dialect();
    let began = |action| stopwatch.first(&format!("begin {action}"));
    let proof = began(dialect.prove_action());
    assert!(proof.is_none(), "it goes on with its plan");
    ended.since(began(dialect.execute_action()).expect("statements were run"))
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

    fn migrate(&self, url: &str, folder: &Path) -> Spent {
        let started = Moment::now();
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
        Moment::now().since(started)
    }
}

fn ms(spent: Duration) -> f64 {
    spent.as_secs_f64() * 1000.0
}

/// Median and smallest time, and processor time of all rounds.
fn sum_up(all: &[Spent]) -> [f64; 3] {
    let mut times = all.iter().map(|spent| ms(spent.clock)).collect::<Vec<_>>();
    times.sort_by(f64::total_cmp);
    let at = |place: usize| times.get(place).copied().unwrap_or_default();
    let processor = all.iter().map(|spent| ms(spent.processor)).sum();
    [at(times.len() / 2), at(0), processor]
}

fn print(dialect: Dialect, count: usize, sqlx: Option<&Sqlx>, all: &[Vec<Spent>; 3]) {
    let [naive, peer, ledger] = all;
    let [median, smallest, processor] = sum_up(ledger);
    println!(
        "{:8} {count:4} migrations, {} rounds | ledger {median:7.1} ms, at best {smallest:7.1} ms",
        dialect.name(),
        ledger.len(),
    );
    let start = sqlx.map_or(Duration::ZERO, |sqlx| sqlx.start);
    for (name, other, start) in [("naive", naive, Duration::ZERO), ("sqlx-cli", peer, start)] {
        let [its_median, its_smallest, its_processor] = sum_up(other);
        if its_median > 0.0 {
            println!(
                "  {:.2}x {name} by medians, {:.2}x by the smallest, {:.2}x by processor time, {:.2}x without the start of its process | {its_median:7.1} ms, at best {its_smallest:7.1} ms",
                median / its_median,
                smallest / its_smallest,
                processor / its_processor,
                median / (its_median - ms(start)),
            );
        }
    }
}

/// Where databases are made.
enum Place {
    Folder(tempfile::TempDir),
    Server(TemporaryPostgres),
}

impl Place {
    const fn dialect(&self) -> Dialect {
        match self {
            Self::Folder(_) => Dialect::Sqlite,
            Self::Server(_) => Dialect::Postgres,
        }
    }

    fn fresh(&self, name: &str) -> String {
        match self {
            Self::Folder(folder) => {
                let path = folder.path().join(name);
                // An empty file is an empty database, for all three.
                std::fs::write(&path, "").expect("a file is written");
                format!("sqlite:{}", path.display())
            }
            Self::Server(server) => server.create_database(name).expect("a database"),
        }
    }

    async fn copy(&self, from: &str, name: &str) -> String {
        match self {
            Self::Folder(folder) => {
                let path = folder.path().join(name);
                std::fs::copy(folder.path().join(from), &path).expect("a file is copied");
                format!("sqlite:{}", path.display())
            }
            Self::Server(server) => {
                let target = database(&server.url("postgres")).target;
                let mut session = target.connect("copy").await.expect("a server");
                let sql = format!("CREATE DATABASE {name} TEMPLATE {from}");
                // The server may still be ending the session that recorded.
                while session.execute(&sql).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                session.close().await.expect("a session ends");
                server.url(name)
            }
        }
    }
}

async fn compare(place: &Place, kind: Kind, (count, rounds): (usize, usize), sqlx: Option<&Sqlx>) {
    let dialect = place.dialect();
    let files = files(count, kind);
    let source = source::read(&files, dialect).expect("the generated files are migrations");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in &files {
        std::fs::write(folder.path().join(&file.name), &file.content).expect("a file is written");
    }
    let tag = kind.tag();
    let planned = format!("planned_{tag}");
    let mut recorded = Vec::new();
    for again in 0..RECORDINGS {
        let name = if again == 0 {
            planned.clone()
        } else {
            format!("{planned}_{again}")
        };
        recorded.push(record(&database(&place.fresh(&name)), &source).await);
    }
    recorded.sort_by_key(|[_, recording]| recording.clock);
    let median = recorded.get(RECORDINGS / 2).copied();
    let [proof, recording] = median.expect("there are some");
    println!(
        "{:8} {count:4} migrations, {kind:?} | proof {:.1} s | all before the first statement {:.1} ms",
        dialect.name(),
        proof.clock.as_secs_f64(),
        ms(recording.clock)
    );
    let mut all: [Vec<Spent>; 3] = Default::default();
    for round in 0..rounds {
        let copy = place.copy(&planned, &format!("ledger_{tag}_{round}")).await;
        let ledger = recording + go_on(&database(&copy), &source).await;
        let fresh = |name: &str| place.fresh(&format!("{name}_{tag}_{round}"));
        let peer = sqlx.map_or_else(Spent::default, |sqlx| {
            sqlx.migrate(&fresh("sqlx"), folder.path())
        });
        let naive = naive(&database(&fresh("naive")), &source).await;
        for (times, spent) in all.iter_mut().zip([naive, peer, ledger]) {
            times.push(spent);
        }
    }
    print(dialect, count, sqlx, &all);
}

/// On a worker of the runtime, as tasks of the agent are: what waits for the server and what reads its answers then take
/// turns on one thread.
#[tokio::main]
async fn main() {
    tokio::spawn(run()).await.expect("it ends by itself");
}

async fn run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = TemporaryPostgres::start_with(&["fsync=on"]).expect("PostgreSQL is installed");
    let sqlx = Sqlx::find();
    if sqlx.is_none() {
        println!(
            "sqlx-cli is not installed: `cargo install sqlx-cli`, or name it in DB_MIGRATOR_BENCH_SQLX"
        );
    }
    let asked = std::env::args().filter_map(|number| number.parse().ok());
    let mut asked = asked.collect::<Vec<_>>().into_iter();
    let size = (asked.next().unwrap_or(300), asked.next().unwrap_or(9));
    let one = std::env::args().find_map(|asked| {
        let mut known = [Dialect::Sqlite, Dialect::Postgres].into_iter();
        known.find(|dialect| dialect.name() == asked)
    });
    let named = |kind: &Kind| std::env::args().any(|asked| asked == kind.tag());
    let mut kinds = vec![Kind::Schema, Kind::Rows];
    if kinds.iter().any(named) {
        kinds.retain(named);
    }
    let places = [Place::Folder(folder), Place::Server(server)];
    for place in places
        .iter()
        .filter(|place| one.is_none_or(|one| one == place.dialect()))
    {
        for kind in kinds.clone() {
            compare(place, kind, size, sqlx.as_ref()).await;
        }
    }
}
