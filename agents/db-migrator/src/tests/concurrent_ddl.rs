//! Statements of several transactions: cancelled half way, in the way of others, in doubt.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use shared::SkillError;
use tokio::time::{Duration, sleep};

use super::support::*;
use crate::{
    Metrics,
    domain::{Answer, Dialect, Migration, Version},
    engine::Goal,
};

const BASE: (&str, &str, &str) = (
    "base",
    "CREATE TABLE t (a int PRIMARY KEY, b int); CREATE INDEX t_old ON t (b); CREATE TABLE p (a int NOT NULL) PARTITION BY RANGE (a); \
     CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (9)",
    "DROP TABLE p; DROP TABLE t",
);

/// Name, up, down, and the query that counts 1 when it took effect whole.
const STATEMENTS: [(&str, &str, &str, &str); 4] = [
    (
        "create",
        "CREATE INDEX CONCURRENTLY t_new ON t (b)",
        "DROP INDEX CONCURRENTLY t_new",
        "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('t_new') AND indisvalid",
    ),
    (
        "drop",
        "DROP INDEX CONCURRENTLY t_old",
        "CREATE INDEX CONCURRENTLY t_old ON t (b)",
        "SELECT (to_regclass('t_old') IS NULL)::int::bigint",
    ),
    (
        "reindex",
        "REINDEX TABLE CONCURRENTLY t",
        "REINDEX TABLE CONCURRENTLY t",
        "SELECT (count(*) = 2)::int::bigint FROM pg_index WHERE indrelid = 't'::regclass AND indisvalid",
    ),
    (
        "detach",
        "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY",
        "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (1) TO (9); ALTER TABLE p1 DROP CONSTRAINT p1_a_check",
        "SELECT (NOT relispartition)::int::bigint FROM pg_class WHERE relname = 'p1'",
    ),
];

fn source(up: &str, down: &str) -> Vec<Migration> {
    migrations(Dialect::Postgres, &[BASE, ("concurrent", up, down)])
}

/// Holds what every statement here waits for.
const OLD: &str = "BEGIN; INSERT INTO t VALUES (1, 1); SELECT * FROM p";
const LEFT: &str = "SELECT (SELECT count(*) FROM pg_index WHERE NOT indisvalid) + (SELECT count(*) FROM pg_inherits WHERE inhdetachpending)";

#[tokio::test]
async fn cancels_a_statement_that_waits_and_the_next_run_leaves_nothing_half_done() {
    for (name, up, down, whole) in STATEMENTS {
        let fixture = fixture(Dialect::Postgres, true);
        let (database, source) = (&fixture.database, source(up, down));
        apply(database, &Caller::operator("up"), &source[..1], None)
            .await
            .unwrap();
        let mut old = session(database).await;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (caller, holds) = (Caller::operator("t"), Arc::new(AtomicBool::new(false)));
        let (cancel, seen, begun) = (caller.cancel.clone(), lines.clone(), holds.clone());
        let caller = caller.hook(move |line| {
            // The statement is sent only once the old transaction holds its locks.
            if line.starts_with("begin postgres.execute") && !begun.load(Ordering::SeqCst) {
                return Some(SkillError::failed("not yet"));
            }
            seen.lock().unwrap().push(line.to_owned());
            if line.contains("waits for pid") && line.starts_with("progress") {
                cancel.cancel();
            }
            None
        });
        // The plan is recorded; then the old transaction begins, and the same task goes on.
        assert!(apply(database, &caller, &source, None).await.is_err());
        old.execute(OLD).await.unwrap();
        holds.store(true, Ordering::SeqCst);
        let error = apply(database, &caller, &source, None).await.unwrap_err();
        assert!(matches!(error, SkillError::Canceled), "{name}: {error}");
        old.execute("COMMIT").await.unwrap();
        let metrics = Metrics::default();
        let next = Caller::operator("next");
        let applied = apply_counted(database, &next, &source, None, &metrics)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(applied.head.as_deref(), Some("0002"), "{name}");
        assert_eq!(count(database, whole).await, 1, "{name} took effect");
        assert_eq!(count(database, LEFT).await, 0, "{name} left nothing");
        assert!(
            metrics.doubts(Dialect::Postgres) <= 1,
            "{name}: at most one statement is in doubt"
        );
    }
}

/// The statement runs, and its run dies before it can say so.
#[tokio::test]
async fn reads_from_the_catalog_that_a_statement_in_doubt_took_effect() {
    for (name, up, down, whole) in STATEMENTS {
        let fixture = fixture(Dialect::Postgres, true);
        let (database, source) = (&fixture.database, source(up, down));
        let caller = Caller::operator("t").hook(|line| {
            (line.starts_with("end postgres.execute") && line.contains("migrations/0002"))
                .then(|| SkillError::failed("the audit trail is gone"))
        });
        assert!(apply(database, &caller, &source, None).await.is_err());
        let intents = "SELECT count(*) FROM db_migrator.step WHERE state = 'intent'";
        assert_eq!(count(database, intents).await, 1, "{name}");
        let metrics = Metrics::default();
        let next = Caller::operator("next");
        let applied = apply_counted(database, &next, &source, None, &metrics)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(applied.finished.len(), 1, "{name}");
        assert_eq!(metrics.doubts(Dialect::Postgres), 1, "{name}");
        assert_eq!(count(database, whole).await, 1, "{name}");
        assert_eq!(count(database, intents).await, 0, "{name}");
    }
}

#[tokio::test]
async fn builds_an_index_that_exists_but_is_invalid() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    let source = source(
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_b ON t (b)",
        "DROP INDEX CONCURRENTLY t_b",
    );
    apply(database, &Caller::operator("up"), &source[..1], None)
        .await
        .unwrap();
    let url = fixture.url.clone();
    let caller = Caller::operator("t").hook(move |line| {
        // Somebody else failed to build it between the proof and the statement.
        if line.starts_with("progress applying 0002") {
            let url = url.clone();
            let work = move || {
                tokio::runtime::Runtime::new().unwrap().block_on(async {
                    let database = super::support::database(&url, true);
                    execute(&database, "INSERT INTO t VALUES (1, 1), (2, 1)").await;
                    let mut other = session(&database).await;
                    let broken = "CREATE UNIQUE INDEX CONCURRENTLY t_b ON t (b)";
                    assert!(other.execute(broken).await.is_err());
                    execute(&database, "DELETE FROM t").await;
                });
            };
            std::thread::spawn(work).join().unwrap();
        }
        None
    });
    apply(database, &caller, &source, None).await.unwrap();
    let valid = "SELECT count(*) FROM pg_index WHERE indexrelid = 't_b'::regclass AND indisvalid AND indisready";
    assert_eq!(count(database, valid).await, 1);
}

#[tokio::test]
async fn names_the_old_transaction_when_the_deadline_comes() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    let source = source(STATEMENTS[0].1, STATEMENTS[0].2);
    apply(database, &Caller::operator("up"), &source[..1], None)
        .await
        .unwrap();
    let mut old = session(database).await;
    old.execute("SET application_name = 'nightly report'; BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO t VALUES (1, 1)")
        .await
        .unwrap();
    sleep(Duration::from_millis(1_100)).await;
    let announced = Arc::new(AtomicBool::new(false));
    let seen = announced.clone();
    let caller = Caller {
        patience: Duration::from_secs(8),
        ..Caller::operator("t").hook(move |line| {
            let warned = line.contains("will wait for pid") && line.contains("nightly report");
            seen.fetch_or(warned, Ordering::SeqCst);
            None
        })
    };
    let error = apply(database, &caller, &source, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("deadline") && error.contains("nightly report"),
        "{error}"
    );
    assert!(!error.contains("INSERT"), "{error}");
    assert!(announced.load(Ordering::SeqCst), "it was said before");
}

#[tokio::test]
async fn shows_how_far_an_index_is() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    let source = source(
        "CREATE INDEX CONCURRENTLY t_slow ON t (slow(a))",
        "DROP INDEX CONCURRENTLY t_slow",
    );
    let slow = "CREATE FUNCTION slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.002); RETURN a; END $$";
    let base = (
        BASE.0,
        format!("{}; {slow}", BASE.1),
        format!("{}; DROP FUNCTION slow", BASE.2),
    );
    let mut all = migrations(Dialect::Postgres, &[(base.0, &base.1, &base.2)]);
    all.push(source[1].clone());
    apply(database, &Caller::operator("up"), &all[..1], None)
        .await
        .unwrap();
    let (lines, url) = (Arc::new(Mutex::new(Vec::new())), fixture.url.clone());
    let seen = lines.clone();
    let caller = Caller::operator("t").hook(move |line| {
        if line.starts_with("progress applying 0002") {
            // Rows that came after the proof: two seconds of work.
            let url = url.clone();
            let work = move || {
                tokio::runtime::Runtime::new().unwrap().block_on(execute(
                    &super::support::database(&url, true),
                    "INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g",
                ));
            };
            std::thread::spawn(work).join().unwrap();
        }
        seen.lock().unwrap().push(line.to_owned());
        None
    });
    apply(database, &caller, &all, None).await.unwrap();
    let lines = lines.lock().unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("CREATE INDEX CONCURRENTLY: building index")),
        "{lines:?}"
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn builds_an_index_concurrently_and_cleans_up_after_a_failed_one() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    let table = (
        "t",
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)",
        "DROP TABLE t",
    );
    let index = (
        "i",
        "CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a); COMMENT ON TABLE t IS 'indexed'",
        "COMMENT ON TABLE t IS NULL; DROP INDEX CONCURRENTLY t_a",
    );
    let source = migrations(Dialect::Postgres, &[table, index]);
    apply(database, &Caller::operator("t"), &source[..1], None)
        .await
        .unwrap();
    // A duplicate arrives between the proof and the statement.
    let url = fixture.url.clone();
    let caller = Caller::operator("u").hook(move |line| {
        if line.starts_with("begin postgres.execute")
            && line.ends_with("migrations/0002 statements/up-1")
        {
            let url = url.clone();
            std::thread::spawn(move || {
                tokio::runtime::Runtime::new().unwrap().block_on(execute(
                    &super::support::database(&url, true),
                    "INSERT INTO t VALUES (2)",
                ));
            })
            .join()
            .unwrap();
        }
        None
    });
    let error = apply(database, &caller, &source, None).await.unwrap_err();
    assert!(error.to_string().contains("23505"), "{error}");
    assert_eq!(
        count(
            database,
            "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        )
        .await,
        0,
        "no invalid index is left"
    );
    assert_eq!(
        assess(database, &Goal::Version(Version::zero()))
            .await
            .unwrap()
            .answer,
        Answer::PointOfNoReturn,
        "half way"
    );
    execute(
        database,
        "DELETE FROM t WHERE ctid = (SELECT max(ctid) FROM t)",
    )
    .await;
    let applied = apply(database, &Caller::operator("v"), &source, None)
        .await
        .unwrap();
    assert_eq!(
        (applied.finished.len(), applied.head.as_deref()),
        (1, Some("0002"))
    );
    assert_eq!(
        rollback(
            database,
            &Caller::operator("r"),
            Goal::Version(Version::parse("0001").unwrap())
        )
        .await
        .unwrap()
        .reverted
        .len(),
        1
    );
    assert_eq!(
        count(
            database,
            "SELECT count(*) FROM pg_indexes WHERE indexname = 't_a'"
        )
        .await,
        0
    );
}
