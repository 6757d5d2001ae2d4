//! A client dies while its backend still works: the next owner ends it before it touches anything.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use shared::SkillError;
use tokio::time::{Duration, Instant, sleep};

use super::support::*;
use crate::{
    clients::{Database, Session},
    domain::{Dialect, Migration},
    engine::Applied,
};

const URL: &str = "DB_MIGRATOR_TEST_URL";

fn source() -> Vec<Migration> {
    migrations(
        Dialect::Postgres,
        &[
            (
                "a",
                "CREATE TABLE a (x INTEGER PRIMARY KEY); CREATE TABLE log (line TEXT NOT NULL)",
                "DROP TABLE log; DROP TABLE a",
            ),
            (
                "b",
                "ALTER TABLE a ADD COLUMN y INTEGER",
                "ALTER TABLE a DROP COLUMN y",
            ),
            (
                "c",
                "INSERT INTO log VALUES ('c'); CREATE INDEX CONCURRENTLY a_y ON a (md5(y::text)); INSERT INTO log VALUES ('d')",
                "DELETE FROM log WHERE line IN ('c', 'd'); DROP INDEX CONCURRENTLY a_y",
            ),
        ],
    )
}

/// Runs in a process of its own until it is killed.
#[tokio::test]
#[ignore = "the process that other tests kill"]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let database = database(&url, true);
    drop(approved(&database, "task").await);
}

/// Applies the source. Of a table that is too large for a shadow nobody knows whether the rows that a script writes come
/// back, so a person approves.
async fn approved(database: &Database, task: &str) -> Applied {
    let all = source();
    match apply(database, &Caller::operator(task), &all, Some("1")).await {
        Err(error @ SkillError::ApprovalRequired { .. }) => {
            let caller = Caller::operator(task).approved(&digest_of(error));
            apply(database, &caller, &all, Some("1")).await.unwrap()
        }
        applied => applied.unwrap(),
    }
}

const OWNERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'db-migrator-owner/task'";
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE '%index concurrently%' AND wait_event_type = 'Lock'";
const BUILDING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'create index concurrently%' AND wait_event_type = 'Lock'";

async fn number(session: &mut dyn Session, sql: &str) -> i64 {
    session.query(sql, &[]).await.unwrap()[0]
        .integer(0)
        .unwrap()
}

/// The client dies while the server still builds its index behind an old transaction.
#[tokio::test]
async fn takes_over_from_an_orphan_that_still_builds_its_index() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    apply(database, &Caller::operator("up"), &source()[..2], None)
        .await
        .unwrap();
    let mut old = session(database).await;
    old.execute("BEGIN; INSERT INTO a (x) VALUES (7)")
        .await
        .unwrap();
    let mut child = process("tests::orphan::child", &[(URL, fixture.url.as_str())])
        .spawn()
        .unwrap();
    let mut watch = session(database).await;
    while number(watch.as_mut(), BUILDING).await == 0 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the child ended before it built the index"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        number(watch.as_mut(), BUILDING).await,
        1,
        "the orphan goes on without its client"
    );
    let heir = Caller::operator("task");
    let all = source();
    let ended = AtomicBool::new(false);
    let inherit = async {
        let applied = apply(database, &heir, &all, Some("1")).await;
        ended.store(true, Ordering::SeqCst);
        applied
    };
    let release = async {
        // The heir first ends the orphan, then waits for the old transaction with a statement of its own: it drops the
        // invalid index.
        while !ended.load(Ordering::SeqCst)
            && (number(watch.as_mut(), OWNERS).await != 1
                || number(watch.as_mut(), WAITING).await != 1)
        {
            std::hint::spin_loop();
        }
        old.execute("COMMIT").await.unwrap();
    };
    let (applied, ()) = tokio::join!(inherit, release);
    assert_eq!(applied.unwrap().head.as_deref(), Some("0003"));
    assert_eq!(count(database, "SELECT count(*) FROM pg_index WHERE indexrelid = 'a_y'::regclass AND indisvalid AND indisready").await, 1);
    assert_eq!(
        count(
            database,
            "SELECT count(*) FROM log WHERE line IN ('c', 'd')"
        )
        .await,
        2
    );
}

/// Backends of owners that run a statement now: (pid, name).
const WORKING: &str = "SELECT pid::bigint, application_name FROM pg_stat_activity WHERE datname = current_database() \
    AND backend_type = 'client backend' AND application_name LIKE 'db-migrator-owner/%' AND state = 'active' AND query ~* '^(create|drop|insert|reindex)'";

/// Looks without pause until told to stop: the most workers seen at once, and when another than the orphan came first.
async fn watch(
    session: &mut dyn Session,
    orphan: i64,
    stop: &AtomicBool,
    most: &AtomicUsize,
) -> Option<Instant> {
    let mut heir = None;
    while !stop.load(Ordering::SeqCst) {
        let working = session.query(WORKING, &[]).await.unwrap();
        most.fetch_max(working.len(), Ordering::SeqCst);
        let other = working.iter().any(|row| row.integer(0).unwrap() != orphan);
        if other && heir.is_none() {
            heir = Some(Instant::now());
        }
        sleep(Duration::from_millis(2)).await;
    }
    heir
}

/// The orphan builds an index on two million rows; the heir is the same task, then another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_over_from_an_orphan_that_builds_a_large_index() {
    for heir in ["task", "another"] {
        let fixture = fixture(Dialect::Postgres, true);
        let database = &fixture.database;
        apply(database, &Caller::operator("up"), &source()[..2], None)
            .await
            .unwrap();
        // Too large to be copied into a shadow: the proof is quick, the index is not.
        execute(database, "ALTER TABLE a ADD COLUMN filler text; INSERT INTO a SELECT g, g, repeat('x', 100) FROM generate_series(1, 2000000) g; ALTER TABLE a DROP COLUMN filler").await;
        let mut child = process("tests::orphan::child", &[(URL, fixture.url.as_str())])
            .spawn()
            .unwrap();
        let mut sampler = session(database).await;
        let orphan = loop {
            assert!(child.try_wait().unwrap().is_none(), "the child ended early");
            let building = sampler.query("SELECT pid::bigint FROM pg_stat_progress_create_index WHERE datname = current_database() AND blocks_done > 0", &[]).await.unwrap();
            if let [row] = building.as_slice() {
                break row.integer(0).unwrap();
            }
            sleep(Duration::from_millis(2)).await;
        };
        child.kill().unwrap();
        let killed = Instant::now();
        child.wait().unwrap();
        let (stop, most) = (AtomicBool::new(false), AtomicUsize::new(0));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let seen = lines.clone();
        let caller = Caller::operator(heir).hook(move |line| {
            seen.lock().unwrap().push(line.to_owned());
            None
        });
        let all = source();
        let inherit = async {
            let applied = apply(database, &caller, &all, Some("1")).await;
            stop.store(true, Ordering::SeqCst);
            applied
        };
        let (applied, took_over) =
            tokio::join!(inherit, watch(sampler.as_mut(), orphan, &stop, &most));
        println!(
            "heir {heir}: its first statement came {} ms after the kill",
            took_over.map_or(0, |at| (at - killed).as_millis())
        );
        assert_eq!(applied.unwrap().head.as_deref(), Some("0003"));
        assert!(took_over.is_some(), "the heir was seen");
        assert_eq!(
            most.load(Ordering::SeqCst),
            1,
            "never two backends of owners at work: {:?}",
            lines.lock().unwrap()
        );
        assert_eq!(count(database, "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = 'a_y' AND indisvalid").await, 1);
        assert_eq!(
            count(
                database,
                "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
            )
            .await,
            0
        );
        assert_eq!(count(database, "SELECT count(*) FROM log").await, 2);
    }
}

/// A backend that lost the run lock and lives on: the next owner ends it all the same.
#[tokio::test]
async fn ends_a_former_owner_that_no_longer_holds_the_lock() {
    let fixture = fixture(Dialect::Postgres, true);
    let mut former = session(&fixture.database).await;
    former
        .lock("former", Instant::now() + Duration::from_secs(5))
        .await
        .unwrap();
    former
        .execute("SELECT pg_advisory_unlock_all()")
        .await
        .unwrap();
    former
        .execute("BEGIN; CREATE TABLE half (a int)")
        .await
        .unwrap();
    let mut reader = session(&fixture.database).await;
    apply(
        &fixture.database,
        &Caller::operator("next"),
        &source()[..1],
        None,
    )
    .await
    .unwrap();
    assert!(former.execute("COMMIT").await.is_err(), "it was ended");
    reader
        .execute("SELECT 1")
        .await
        .expect("a session that owned nothing lives on");
    assert_eq!(
        count(
            &fixture.database,
            "SELECT count(*) FROM pg_tables WHERE tablename = 'half'"
        )
        .await,
        0
    );
}
