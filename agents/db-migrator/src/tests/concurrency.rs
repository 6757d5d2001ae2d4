//! Many starters at once, in this process and as processes.

use super::support::*;
use crate::domain::Dialect;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lets_eight_starters_all_succeed_with_every_step_once() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = migrations(dialect, &SOURCE);
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
                .map(|applied| (applied.migrations.len(), applied.head))
            })
        });
        let mut applied = 0;
        for starter in starters.collect::<Vec<_>>() {
            let (count, head) = starter.await.unwrap().unwrap();
            assert_eq!(head.as_deref(), Some("0003"));
            applied += count;
        }
        assert_eq!(applied, 3, "each migration by one starter");
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
