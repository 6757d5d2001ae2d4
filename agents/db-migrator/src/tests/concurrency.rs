//! Many starters at once, in this process and as processes.

use std::io::Read;

use super::support::*;
use crate::domain::Dialect;

const URL: &str = "DB_MIGRATOR_TEST_URL";
const PROCESS: &str = "DB_MIGRATOR_TEST_PROCESS";
const PROCESSES: usize = 8;
const TASKS_EACH: usize = 4;

const SOURCE: [(&str, &str, &str); 3] = [
    (
        "a",
        "CREATE TABLE a (x INTEGER PRIMARY KEY); CREATE TABLE log (line TEXT NOT NULL);",
        "DROP TABLE log; DROP TABLE a",
    ),
    (
        "b",
        "INSERT INTO log VALUES ('b'); CREATE TABLE b (x INTEGER PRIMARY KEY)",
        "DROP TABLE b; DELETE FROM log WHERE line = 'b'",
    ),
    (
        "c",
        "INSERT INTO log VALUES ('c'); CREATE INDEX log_line ON log (line)",
        "DROP INDEX log_line; DELETE FROM log WHERE line = 'c'",
    ),
];

/// Four starters of a process of its own; says how many migrations each of them applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the test below"]
async fn starters() {
    let (Ok(url), Ok(process)) = (std::env::var(URL), std::env::var(PROCESS)) else {
        return;
    };
    let database = database(&url, true);
    let source = migrations(database.target.dialect(), &SOURCE);
    let starters = (0..TASKS_EACH).map(|number| {
        let (database, source) = (database.clone(), source.clone());
        let task = format!("starter-{process}-{number}");
        tokio::spawn(async move {
            apply(&database, &Caller::operator(&task), &source, None)
                .await
                .map(|applied| (applied.migrations.len(), applied.head))
        })
    });
    for starter in starters.collect::<Vec<_>>() {
        let (applied, head) = starter.await.unwrap().unwrap();
        assert_eq!(head.as_deref(), Some("0003"));
        println!("\napplied {applied}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lets_thirty_two_starters_in_eight_processes_all_succeed_with_every_step_once() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let processes = (0..PROCESSES).map(|number| {
            let number = number.to_string();
            let variables = [(URL, fixture.url.as_str()), (PROCESS, number.as_str())];
            process("tests::concurrency::starters", &variables)
                .spawn()
                .unwrap()
        });
        let mut applied = Vec::new();
        for mut process in processes.collect::<Vec<_>>() {
            let mut said = String::new();
            let out = process.stdout.as_mut().unwrap();
            out.read_to_string(&mut said).unwrap();
            assert!(process.wait().unwrap().success(), "{said}");
            let counts = said
                .lines()
                .filter_map(|line| line.strip_prefix("applied "));
            applied.extend(counts.map(|count| count.parse::<usize>().unwrap()));
        }
        assert_eq!(applied.len(), PROCESSES * TASKS_EACH, "all succeeded");
        assert_eq!(
            applied.iter().sum::<usize>(),
            3,
            "each migration by one starter"
        );
        assert_eq!(
            count(&fixture.database, "SELECT count(*) FROM log").await,
            2
        );
        let steps = count(
            &fixture.database,
            &format!(
                "SELECT count(*) FROM {}step WHERE direction = 'up' AND state = 'applied'",
                ledger(dialect)
            ),
        )
        .await;
        assert_eq!(steps, 6);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lets_starters_wait_for_an_index_that_is_built_concurrently() {
    let fixture = fixture(Dialect::Postgres, true);
    let index = (
        "i",
        "CREATE INDEX CONCURRENTLY a_x ON a (x)",
        "DROP INDEX CONCURRENTLY a_x",
    );
    let source = migrations(Dialect::Postgres, &[SOURCE[0], index]);
    let starters = (0..8).map(|number| {
        let (database, source) = (database(&fixture.url, true), source.clone());
        tokio::spawn(async move {
            apply(
                &database,
                &Caller::operator(&format!("starter-{number}")),
                &source,
                None,
            )
            .await
            .map(|applied| applied.migrations.len())
        })
    });
    let mut applied = 0;
    for starter in starters.collect::<Vec<_>>() {
        applied += starter
            .await
            .unwrap()
            .expect("a blocking lock would deadlock here");
    }
    assert_eq!(applied, 2);
    assert_eq!(
        count(
            &fixture.database,
            "SELECT count(*) FROM pg_index WHERE indexrelid = 'a_x'::regclass AND indisvalid"
        )
        .await,
        1
    );
}
