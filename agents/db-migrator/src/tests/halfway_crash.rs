//! kill -9 while a script that stopped half way is reverted, at every point; then somebody goes on.

use std::{
    io::{BufRead, BufReader},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    halfway::{apply_or, is_as_before, source, spoiled, states, stopped, to_one},
    support::*,
};
use crate::{domain::Dialect, engine::FailedScript};

const URL: &str = "DB_MIGRATOR_TEST_URL";
const POINT: &str = "DB_MIGRATOR_TEST_POINT";
const WORK: &str = "DB_MIGRATOR_TEST_WORK";

/// Another database like it.
async fn copy(original: &Fixture, dialect: Dialect) -> Fixture {
    let copy = fixture(dialect, true);
    if dialect == Dialect::Sqlite {
        let path = |url: &str| url.trim_start_matches("sqlite:").to_owned();
        std::fs::copy(path(&original.url), path(&copy.url)).unwrap();
        return copy;
    }
    let name = |url: &str| url.rsplit_once('/').unwrap().1.to_owned();
    let (from, to) = (name(&original.url), name(&copy.url));
    let desk = &fixture(dialect, true).database;
    execute(desk, &format!("DROP DATABASE {to}")).await;
    execute(desk, &format!("CREATE DATABASE {to} TEMPLATE {from}")).await;
    copy
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
    let stop = move |line: &str| {
        let is_write = line.contains("statements/undo-") || line.contains(".commit ");
        if is_write && seen.fetch_add(1, Ordering::SeqCst) == point {
            println!("\nstopped at {line}");
            loop {
                std::thread::park();
            }
        }
    };
    let database = database(&url, true);
    let dialect = database.target.dialect();
    if work == "rollback" {
        let caller = Caller::coordinator("task").hook(move |line| {
            stop(line);
            None
        });
        rollback(&database, &caller, to_one()).await.unwrap();
    } else {
        let caller = spoiled("task", &url, move |line| {
            if line.contains("undo-") {
                stop(line);
            }
        });
        apply_or(&database, &caller, &source(dialect), FailedScript::Revert)
            .await
            .unwrap_err();
    }
    println!("\ncompleted");
}

/// Starts the child, waits until it stopped or completed, and kills it. Says where it stopped.
fn run_and_kill(url: &str, point: usize, work: &str) -> String {
    let variables = [(URL, url), (POINT, &point.to_string()), (WORK, work)];
    let mut child = process("tests::halfway_crash::child", &variables)
        .spawn()
        .unwrap();
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

async fn survives_a_kill_at_every_point_of_undoing(dialect: Dialect) {
    let (original, before) = stopped(dialect).await;
    let mut point = 0;
    loop {
        let fixture = copy(&original, dialect).await;
        let stopped = run_and_kill(&fixture.url, point, "rollback");
        if stopped == "completed" {
            break;
        }
        // The same task runs again, or another rollback, or an apply that comes along: all go the way back to its end.
        let database = &fixture.database;
        let when = format!("{dialect:?} after {stopped}");
        match point % 3 {
            0 => drop(rollback(database, &Caller::coordinator("task"), to_one()).await),
            1 => drop(rollback(database, &Caller::coordinator("other"), to_one()).await),
            _ => drop(
                apply(
                    database,
                    &Caller::operator("other"),
                    &source(dialect)[..1],
                    None,
                )
                .await,
            ),
        }
        is_as_before(&fixture, &before, &when).await;
        let open = states(database, dialect).await;
        assert!(
            open.iter()
                .all(|state| state == "reverted" || state == "pending"),
            "{when}: {open:?}"
        );
        point += 1;
    }
    assert!(point >= 12, "only {point} points were tried");
}

#[tokio::test]
async fn survives_a_kill_while_undoing_on_sqlite() {
    survives_a_kill_at_every_point_of_undoing(Dialect::Sqlite).await;
}

#[tokio::test]
async fn survives_a_kill_while_undoing_on_postgres() {
    survives_a_kill_at_every_point_of_undoing(Dialect::Postgres).await;
}

#[tokio::test]
async fn survives_a_kill_while_a_failed_apply_reverts_itself() {
    for dialect in BOTH {
        let mut point = 0;
        loop {
            let fixture = fixture(dialect, true);
            let (database, source) = (&fixture.database, source(dialect));
            apply(database, &Caller::operator("base"), &source[..1], None)
                .await
                .unwrap();
            let before = fingerprint(database).await;
            let stopped = run_and_kill(&fixture.url, point, "apply");
            if stopped == "completed" {
                break;
            }
            let when = format!("{dialect:?} after {stopped}");
            let again = Caller::operator("task");
            let error = apply_or(database, &again, &source, FailedScript::Revert)
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("reverted"), "{when}: {error}");
            is_as_before(&fixture, &before, &when).await;
            // Every fifth point is enough: the code between them is the same as above.
            point += 5;
        }
        assert!(point >= 9, "only {point} points were tried");
    }
}
