//! Scripts that drop the prepared statements of their session lose nothing, and repeat nothing.

use super::support::*;
use crate::domain::Dialect;

const LOG: (&str, &str) = ("CREATE TABLE log (n int)", "DROP TABLE log");
const FORGET: (&str, &str) = (
    "CREATE FUNCTION forget() RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE ''DEALLOCATE ALL''; END'",
    "DROP FUNCTION forget()",
);

/// Rows that a script writes to the log, itself and its way back.
async fn check(rows: i64, up: &str, down: &str) {
    let fixture = fixture(Dialect::Postgres, true);
    let logs = (1..=4).map(|n| {
        (
            format!("INSERT INTO log VALUES ({n})"),
            format!("DELETE FROM log WHERE n = {n}"),
        )
    });
    let logs = logs.collect::<Vec<_>>();
    let logs = || logs.iter().map(|(up, down)| (up.as_str(), down.as_str()));
    // The same texts come again and again, so that all of them are prepared before.
    let scripts = [LOG, FORGET].into_iter();
    let scripts = scripts.chain(logs()).chain([(up, down)]).chain(logs());
    let scripts = scripts.map(|(up, down)| ("step", up, down));
    let source = migrations(Dialect::Postgres, &scripts.collect::<Vec<_>>());
    // A SELECT may write, so its way back is not proven.
    let plan = plan(&fixture.database, &source).await.unwrap();
    let caller = Caller::operator("t").approved(&plan.digest());
    let applied = apply(&fixture.database, &caller, &source, None)
        .await
        .unwrap();
    assert_eq!(applied.migrations.len(), source.len(), "{up}");
    let all = count(&fixture.database, "SELECT count(*) FROM log").await;
    assert_eq!(all, rows + 8, "each statement once: {up}");
    let open =
        "SELECT count(*) FROM db_migrator.step WHERE direction = 'up' AND state <> 'applied'";
    assert_eq!(count(&fixture.database, open).await, 0, "{up}");
    let baseline = format!(
        "SELECT count(*) FROM db_migrator.migration WHERE sequence = 1 AND additions LIKE '%\"rows\":{all}%'"
    );
    let followed = count(&fixture.database, &baseline).await;
    assert_eq!(
        followed, 1,
        "the baseline follows what migrations wrote: {up}"
    );
}

#[tokio::test]
async fn a_script_that_is_sent_at_once_may_drop_them() {
    check(
        0,
        "CREATE TABLE at_once (x int); DEALLOCATE ALL",
        "DROP TABLE at_once",
    )
    .await;
}

#[tokio::test]
async fn a_script_that_is_measured_may_drop_them() {
    check(
        2,
        "INSERT INTO log VALUES (5); SELECT forget(); INSERT INTO log VALUES (6)",
        "DELETE FROM log WHERE n IN (5, 6)",
    )
    .await;
}

#[tokio::test]
async fn a_script_of_several_transactions_may_drop_them() {
    check(
        1,
        "INSERT INTO log VALUES (5); SELECT forget(); CREATE INDEX CONCURRENTLY log_n ON log (n)",
        "DROP INDEX log_n; DELETE FROM log WHERE n = 5",
    )
    .await;
}
