//! Tables that are taken for empty are empty: what others hold is still told from what migrations wrote.

use super::support::*;
use crate::{
    domain::{Answer, Dialect, Migration, Version},
    engine::Goal,
};

const LOG: (&str, &str, &str) = ("log", "CREATE TABLE log (n int)", "DROP TABLE log");
const NOTE: (&str, &str, &str) = (
    "note",
    "ALTER TABLE log ADD COLUMN note text DEFAULT 'x'; CREATE INDEX log_n ON log (n)",
    "DROP INDEX log_n; ALTER TABLE log DROP COLUMN note",
);

async fn apply_all(fixture: &Fixture, source: &[Migration]) {
    let planned = plan(&fixture.database, source).await.unwrap();
    let caller = Caller::operator("t").approved(&planned.digest());
    apply(&fixture.database, &caller, source, None)
        .await
        .unwrap();
}

async fn answer(fixture: &Fixture) -> (Answer, u64) {
    let goal = Goal::Version(Version::zero());
    let told = assess(&fixture.database, &goal).await.unwrap();
    (told.answer, told.rows_at_risk)
}

#[tokio::test]
async fn rows_of_an_application_are_at_risk_whatever_is_defined_over_them() {
    for (before, after, at_risk) in [
        ("SELECT 1", "SELECT 1", 0),
        ("INSERT INTO log VALUES (1)", "SELECT 1", 1),
        ("SELECT 1", "INSERT INTO log VALUES (1), (2)", 2),
        // Blocks without a row in them.
        ("INSERT INTO log VALUES (1); DELETE FROM log", "SELECT 1", 0),
        (
            "CREATE TABLE part () INHERITS (log); INSERT INTO part VALUES (1)",
            "DROP TABLE part",
            0,
        ),
    ] {
        let fixture = fixture(Dialect::Postgres, true);
        apply_all(&fixture, &migrations(Dialect::Postgres, &[LOG])).await;
        execute(&fixture.database, before).await;
        apply_all(&fixture, &migrations(Dialect::Postgres, &[LOG, NOTE])).await;
        execute(&fixture.database, after).await;
        let expected = if at_risk == 0 {
            Answer::Reversible
        } else {
            Answer::PointOfNoReturn
        };
        assert_eq!(answer(&fixture).await, (expected, at_risk), "{before}");
    }
}

#[tokio::test]
async fn a_script_that_only_seems_to_define_writes_once_and_its_rows_are_its_own() {
    let fixture = fixture(Dialect::Postgres, true);
    let source = migrations(
        Dialect::Postgres,
        &[
            LOG,
            (
                "fill",
                "CREATE FUNCTION fill() RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (1) RETURNING n'",
                "DROP FUNCTION fill()",
            ),
            (
                "copy",
                "CREATE TABLE copy AS SELECT n FROM (SELECT fill() AS n OFFSET 0) AS filled WHERE n > 1",
                "DELETE FROM log; DROP TABLE copy",
            ),
            NOTE,
        ],
    );
    apply_all(&fixture, &source).await;
    let rows = count(&fixture.database, "SELECT count(*) FROM log").await;
    assert_eq!(rows, 1);
    assert_eq!(answer(&fixture).await, (Answer::Reversible, 0));
    execute(&fixture.database, "INSERT INTO log VALUES (2)").await;
    let (answer, at_risk) = answer(&fixture).await;
    assert_eq!((answer, at_risk), (Answer::PointOfNoReturn, 1));
}
