//! kill -9 of a real process at every point around every statement, then the same or another task goes on.

use std::{
    io::{BufRead, BufReader},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::support::*;
use crate::{
    domain::{Dialect, Migration, Version},
    engine::Goal,
};

const URL: &str = "DB_MIGRATOR_TEST_URL";
const POINT: &str = "DB_MIGRATOR_TEST_POINT";
const WORK: &str = "DB_MIGRATOR_TEST_WORK";

fn source(dialect: Dialect) -> Vec<Migration> {
    let transactional = [
        (
            "a",
            "CREATE TABLE a (x INTEGER PRIMARY KEY); CREATE TABLE log (line TEXT NOT NULL); INSERT INTO log VALUES ('a')",
            "DROP TABLE log; DROP TABLE a",
        ),
        (
            "b",
            "INSERT INTO log VALUES ('b'); ALTER TABLE a ADD COLUMN y INTEGER",
            "ALTER TABLE a DROP COLUMN y; DELETE FROM log WHERE line = 'b'",
        ),
    ];
    let other = match dialect {
        Dialect::Sqlite => (
            "c",
            "INSERT INTO log VALUES ('c'); VACUUM; CREATE INDEX a_y ON a (y)",
            "DROP INDEX a_y; DELETE FROM log WHERE line = 'c'",
        ),
        Dialect::Postgres => (
            "c",
            "INSERT INTO log VALUES ('c'); CREATE INDEX CONCURRENTLY a_y ON a (y); INSERT INTO log VALUES ('d')",
            "DELETE FROM log WHERE line IN ('c', 'd'); DROP INDEX CONCURRENTLY a_y",
        ),
    };
    migrations(dialect, &[transactional[0], transactional[1], other])
}

/// Runs in a process of its own and stops for ever at the given tool call.
#[tokio::test]
#[ignore = "the process that other tests kill"]
async fn child() {
    let (Ok(url), Ok(point), Ok(work)) = (
        std::env::var(URL),
        std::env::var(POINT),
        std::env::var(WORK),
    ) else {
        return;
    };
    let point: usize = point.parse().unwrap();
    let seen = AtomicUsize::new(0);
    let caller = Caller::operator("task").hook(move |line| {
        let is_write = line.contains(".execute ") || line.contains(".commit ");
        if is_write && seen.fetch_add(1, Ordering::SeqCst) == point {
            println!("\nstopped at {line}");
            loop {
                std::thread::park();
            }
        }
        None
    });
    let database = database(&url, true);
    let dialect = database.target.dialect();
    match work.as_str() {
        "rollback" => drop(
            rollback(&database, &caller, Goal::Version(Version::zero()))
                .await
                .unwrap(),
        ),
        _ => drop(
            apply(&database, &caller, &source(dialect), Some("1"))
                .await
                .unwrap(),
        ),
    }
    println!("\ncompleted");
}

/// Starts the child, waits until it stopped or completed, and kills it. Says where it stopped.
fn run_and_kill(url: &str, point: usize, work: &str) -> String {
    let variables = [(URL, url), (POINT, &point.to_string()), (WORK, work)];
    let mut child = process("tests::crash::child", &variables).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let last = lines
        .into_iter()
        .find(|line| line.starts_with("stopped at ") || line == "completed")
        .expect("the child says where it is");
    child.kill().unwrap();
    child.wait().unwrap();
    last
}

async fn check_complete(fixture: &Fixture, dialect: Dialect, expected: &str, stopped: &str) {
    let database = &fixture.database;
    let lines = query(database, "SELECT line FROM log ORDER BY line")
        .await
        .iter()
        .map(|row| row.text(0).unwrap())
        .collect::<Vec<_>>();
    let wanted: &[&str] = if dialect == Dialect::Sqlite {
        &["a", "b", "c"]
    } else {
        &["a", "b", "c", "d"]
    };
    assert_eq!(lines, wanted, "after {stopped}");
    assert_eq!(fingerprint(database).await, expected, "after {stopped}");
    let open = count(database, &format!("SELECT count(*) FROM {0}step s JOIN {0}migration m ON m.sequence = s.migration WHERE m.state = 'applied' AND s.direction = 'up' AND s.state <> 'applied'", ledger(dialect))).await;
    assert_eq!(open, 0, "after {stopped}");
}

async fn survives_every_point_of_apply(dialect: Dialect) {
    let whole = fixture(dialect, true);
    apply(
        &whole.database,
        &Caller::operator("whole"),
        &source(dialect),
        None,
    )
    .await
    .unwrap();
    let expected = fingerprint(&whole.database).await;
    let mut point = 0;
    loop {
        let fixture = fixture(dialect, true);
        let stopped = run_and_kill(&fixture.url, point, "apply");
        if stopped == "completed" {
            break;
        }
        // Even points: the runtime runs the same task again. Odd points: another starter comes along first.
        let task = if point % 2 == 0 { "task" } else { "another" };
        apply(
            &fixture.database,
            &Caller::operator(task),
            &source(dialect),
            Some("1"),
        )
        .await
        .unwrap_or_else(|error| panic!("after {stopped}: {error}"));
        check_complete(&fixture, dialect, &expected, &stopped).await;
        point += 1;
    }
    assert!(point >= 18, "only {point} points were tried");
}

#[tokio::test]
async fn survives_a_kill_around_every_statement_on_sqlite() {
    survives_every_point_of_apply(Dialect::Sqlite).await;
}

#[tokio::test]
async fn survives_a_kill_around_every_statement_on_postgres() {
    survives_every_point_of_apply(Dialect::Postgres).await;
}

#[tokio::test]
async fn survives_a_kill_around_every_statement_of_a_rollback() {
    for dialect in BOTH {
        let mut point = 0;
        loop {
            let fixture = fixture(dialect, true);
            let empty = fingerprint(&fixture.database).await;
            apply(
                &fixture.database,
                &Caller::operator("up"),
                &source(dialect),
                None,
            )
            .await
            .unwrap();
            let stopped = run_and_kill(&fixture.url, point, "rollback");
            if stopped == "completed" {
                break;
            }
            let done = rollback(
                &fixture.database,
                &Caller::operator("task"),
                Goal::Version(Version::zero()),
            )
            .await
            .unwrap_or_else(|error| panic!("after {stopped}: {error}"));
            assert_eq!(
                (done.reverted.len(), done.head, done.fingerprint),
                (3, None, empty),
                "after {stopped}"
            );
            // Every third point is enough here: the code between them is the same as above.
            point += 3;
        }
        assert!(point >= 12, "only {point} points were tried");
    }
}
