//! How long does an application stand still while int becomes bigint?
//!
//! Input: a table of 1,000,000 rows with a primary key, an index on the column, a check and a default, on a server with
//! fsync. Four application threads read and write single rows by key all the time: two of the old version, which write
//! the old column, two of the new version, which write the new one as soon as it is there. Shown is the worst time that
//! any of their statements took: without any schema change, during a plain `ALTER TABLE ... ALTER COLUMN ... TYPE`, and
//! during all of an online change (proof, expand, backfill, contract, and the rollback of both), in one process one
//! after the other. Divergent rows are counted by a query at the end of each phase.
//!
//! Two more threads do the same on another table, so that what the machine does to everybody can be told from what the
//! change does; the ratio of both is shown. Found (optimised build, 2 virtual CPUs, quiet machine, PostgreSQL 15): 29 ms at
//! worst in all steps, 217 ms during the proof (306 ms on the other table), 1,034 ms for the plain change. The README has
//! more.
//!
//! Run: `cargo bench -p db-migrator --bench online`. `MESH_BENCH_ROWS` changes the number of rows.
#![expect(clippy::print_stdout, reason = "a benchmark's output")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use db_migrator::{
    Metrics,
    clients::{Database, Databases},
    domain::{Dialect, Migration, SourceFile, Version, source, staging::Retention},
    engine::{self, ApplyRequest, CompleteRequest, Goal, Job, RollbackRequest},
};
use identity::Principal;
use shared::{
    Context, SkillError, ToolCall,
    context::{Backplane, Work},
};
use store::{Store, memory::MemoryStore, testing::TemporaryPostgres};
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

const TABLE: &str = "CREATE TABLE orders (id int PRIMARY KEY, total int NOT NULL DEFAULT 0, note text, CONSTRAINT positive CHECK (total >= 0));
    CREATE INDEX orders_total ON orders (total); CREATE TABLE others (id int PRIMARY KEY, total int)";
const ONLINE: &str =
    "-- migrate: online as total_big\nALTER TABLE orders ALTER COLUMN total TYPE bigint";
const PLAIN: &str = "ALTER TABLE orders ALTER COLUMN total TYPE bigint";

/// An agent around the engine that keeps no record, and tells what was seen at the end of each kind of call.
#[derive(Debug)]
struct Alone(Option<Arc<Seen>>);

#[async_trait::async_trait]
impl Backplane for Alone {
    async fn call(
        &self,
        _: &Work,
        agent: &'static str,
        _: &str,
        _: serde_json::Value,
    ) -> Result<serde_json::Value, SkillError> {
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
        let last = call.resources.last().map_or("", String::as_str);
        let shown = call.action == "postgres.prove" || call.mutates;
        if let Some(seen) = self.0.as_ref().filter(|_| shown) {
            println!("  {:15} {:22} {}", call.action, last, seen.take());
        }
        Ok(())
    }

    fn progress(&self, _: &Work, _: &str, _: u64, _: u64) {}

    fn artifact(&self, _: &Work, _: a2a::types::Artifact, _: bool, _: bool) {}

    fn may_touch(&self, _: &str) -> bool {
        true
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::default())
    }
}

fn context(task: &str, seen: Option<&Arc<Seen>>) -> Context {
    let work = Work {
        task_id: task.into(),
        skill: "bench".into(),
        caller: Principal::agent("deployment-system", "rollback-coordinator", "mesh.local"),
        on_behalf_of: None,
        deadline: Instant::now() + Duration::from_hours(1),
        tool_calls: Arc::default(),
        input_digest: String::new(),
    };
    Context::new(
        work,
        None,
        CancellationToken::new(),
        Arc::new(Alone(seen.cloned())),
    )
}

fn migrations() -> Vec<Migration> {
    let files = [
        ("0001_orders.up.sql", TABLE),
        (
            "0001_orders.down.sql",
            "DROP TABLE others; DROP TABLE orders",
        ),
        ("0002_big.up.sql", ONLINE),
    ];
    let files = files.map(|(name, content)| SourceFile {
        name: name.into(),
        content: content.into(),
    });
    source::read(&files, Dialect::Postgres).expect("they are migrations")
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the server answers");
    tokio::spawn(connection);
    client
}

/// What four applications saw.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    worst: AtomicU64,
    /// The same for the applications on the other table, which nobody changes.
    control: AtomicU64,
    /// The worst of both since the start.
    all: Mutex<(f64, f64)>,
    statements: AtomicU64,
    failed: AtomicU64,
    /// Whether the new version has its column.
    expanded: AtomicU8,
}

impl Seen {
    /// Worst stalls and statements since the last look.
    fn take(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let millis = |micros: &AtomicU64| micros.swap(0, Ordering::SeqCst) as f64 / 1_000.0;
        let (worst, control) = (millis(&self.worst), millis(&self.control));
        if let Ok(mut all) = self.all.lock() {
            *all = (all.0.max(worst), all.1.max(control));
        }
        format!(
            "worst stall {worst:7.1} ms, {control:7.1} ms on another table at the same time = {:.1}x, {} statements",
            worst / control,
            self.statements.swap(0, Ordering::SeqCst)
        )
    }
}

async fn application(url: String, number: u64, rows: u64, seen: Arc<Seen>) {
    let client = client(&url).await;
    let mut at = number * 7_919;
    while !seen.stop.load(Ordering::Relaxed) {
        at = (at.wrapping_mul(6_364_136_223_846_793_005)).wrapping_add(1_442_695_040_888_963_407);
        let other = number >= 4;
        let id = (at >> 33) % if other { 100_000 } else { rows } + 1;
        let new = (2..4).contains(&number) && seen.expanded.load(Ordering::SeqCst) == 1;
        let column = if new { "total_big" } else { "total" };
        let table = if other { "others" } else { "orders" };
        let sql = if (at >> 20).is_multiple_of(2) {
            format!("SELECT {column} FROM {table} WHERE id = {id}")
        } else {
            format!("UPDATE {table} SET {column} = {id} + {number} WHERE id = {id}")
        };
        let started = Instant::now();
        let answered = client.simple_query(&sql).await;
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        if other {
            seen.control.fetch_max(took, Ordering::Relaxed);
            continue;
        }
        seen.statements.fetch_add(1, Ordering::Relaxed);
        seen.worst.fetch_max(took, Ordering::Relaxed);
        // The new version notices the contract by the name of its column and goes on with the old name.
        if answered.is_err() && !new {
            seen.failed.fetch_add(1, Ordering::Relaxed);
        }
        if answered.is_err() && new {
            seen.expanded.store(2, Ordering::SeqCst);
        }
    }
}

async fn seed(url: &str, rows: u64) {
    let client = client(url).await;
    let sql = format!(
        "INSERT INTO orders SELECT i, i, 'note ' || i FROM generate_series(1, {rows}) i; \
         INSERT INTO others SELECT i, i FROM generate_series(1, 100000) i; \
         ANALYZE; CHECKPOINT"
    );
    client.batch_execute(&sql).await.expect("rows");
}

fn start(url: &str, rows: u64) -> (Arc<Seen>, Vec<tokio::task::JoinHandle<()>>) {
    let seen = Arc::new(Seen::default());
    let running = (0..6)
        .map(|number| tokio::spawn(application(url.to_owned(), number, rows, seen.clone())))
        .collect();
    (seen, running)
}

async fn stop(seen: &Seen, running: Vec<tokio::task::JoinHandle<()>>) {
    seen.stop.store(true, Ordering::SeqCst);
    for application in running {
        application.await.expect("an application ends");
    }
}

async fn count(url: &str, sql: &str) -> i64 {
    let client = client(url).await;
    let row = client.query_one(sql, &[]).await.expect("a count");
    row.get(0)
}

async fn plain(server: &TemporaryPostgres, rows: u64) {
    let url = server.create_database("plain").expect("a database");
    let own = client(&url).await;
    own.batch_execute(TABLE).await.expect("a table");
    seed(&url, rows).await;
    let (seen, running) = start(&url, rows);
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("no schema change, 5 s     {}", seen.take());
    let started = Instant::now();
    own.batch_execute(PLAIN).await.expect("the plain change");
    println!(
        "plain ALTER TYPE          {} in {:.1} s",
        seen.take(),
        started.elapsed().as_secs_f64()
    );
    stop(&seen, running).await;
}

async fn online(server: &TemporaryPostgres, rows: u64) {
    let url = server.create_database("online").expect("a database");
    let spec = format!("bench={url},superuser=allow,dev")
        .parse()
        .expect("the URL is one");
    let database = Databases::new([spec])
        .find("bench")
        .expect("it is there")
        .clone();
    let (source, metrics) = (migrations(), Metrics::default());
    apply(
        &database,
        "t1",
        source.get(..1).unwrap_or_default(),
        (&metrics, None),
    )
    .await;
    seed(&url, rows).await;
    let (seen, running) = start(&url, rows);
    let watched = seen.clone();
    let watching = url.clone();
    let column = tokio::spawn(async move {
        const THERE: &str = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'total_big' AND NOT attisdropped \
            AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = attrelid AND tgname = 'migrate_orders_total')";
        while count(&watching, THERE).await == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        watched.expanded.store(1, Ordering::SeqCst);
    });
    let phase = async |name: &str, started: Instant| {
        println!("{name} took {:.1} s", started.elapsed().as_secs_f64());
    };
    let started = Instant::now();
    apply(&database, "t2", &source, (&metrics, Some(&seen))).await;
    phase("online: proof, expand, backfill", started).await;
    column.await.expect("the column came");
    let divergent = "SELECT count(*) FROM orders WHERE total_big IS DISTINCT FROM total";
    println!("  divergent rows: {}", count(&url, divergent).await);
    let started = Instant::now();
    complete(&database, &metrics, &seen).await;
    phase("online: contract               ", started).await;
    let divergent = "SELECT count(*) FROM orders WHERE db_migrator_retained_0002_contract_total IS DISTINCT FROM total";
    println!("  divergent rows: {}", count(&url, divergent).await);
    let started = Instant::now();
    rollback(&database, &metrics, &seen).await;
    phase("online: rollback of both       ", started).await;
    println!("  at the end             {}", seen.take());
    stop(&seen, running).await;
    let (worst, control) = seen.all.lock().map_or((0.0, 0.0), |all| *all);
    println!(
        "  worst of all: {worst:.1} ms, {control:.1} ms on another table = {:.1}x",
        worst / control
    );
    println!(
        "  statements that failed: {}",
        seen.failed.load(Ordering::SeqCst)
    );
}

async fn apply(
    database: &Database,
    task: &str,
    source: &[Migration],
    (metrics, seen): (&Metrics, Option<&Arc<Seen>>),
) {
    let context = context(task, seen);
    let job = Job {
        context: &context,
        database,
        metrics,
    };
    let request = ApplyRequest {
        source,
        ..ApplyRequest::default()
    };
    engine::apply(job, request).await.expect("it applies");
}

async fn complete(database: &Database, metrics: &Metrics, seen: &Arc<Seen>) {
    let context = context("t3", Some(seen));
    let job = Job {
        context: &context,
        database,
        metrics,
    };
    let request = CompleteRequest {
        goal: None,
        plan_digest: None,
        retention: Retention::default(),
        purge: false,
    };
    engine::complete(job, request).await.expect("it completes");
}

async fn rollback(database: &Database, metrics: &Metrics, seen: &Arc<Seen>) {
    let context = context("t4", Some(seen));
    let job = Job {
        context: &context,
        database,
        metrics,
    };
    let goal = Goal::Version(Version::parse("0001").expect("a version"));
    engine::rollback(
        job,
        RollbackRequest {
            goal,
            hooks: &[],
            covered: None,
        },
    )
    .await
    .expect("it rolls back");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() {
    let rows = std::env::var("MESH_BENCH_ROWS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    println!("{rows} rows, 4 application threads");
    let server = TemporaryPostgres::start_with(&["fsync=on"]).expect("PostgreSQL is installed");
    plain(&server, rows).await;
    online(&server, rows).await;
}
