//! What plans prove, and on what.

use super::support::*;
use crate::domain::{Dialect, Verdict};

const TWO: [(&str, &str, &str); 2] = [
    (
        "one",
        "CREATE TABLE one (a INTEGER PRIMARY KEY); INSERT INTO one VALUES (1);",
        "DROP TABLE one",
    ),
    (
        "two",
        "CREATE TABLE two (b INTEGER PRIMARY KEY)",
        "DROP TABLE two",
    ),
];

#[tokio::test]
async fn proves_on_top_of_a_schema_that_nobody_recorded() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        execute(
            &fixture.database,
            "CREATE TABLE old (id INTEGER PRIMARY KEY, note TEXT)",
        )
        .await;
        execute(&fixture.database, "INSERT INTO old VALUES (1, 'x')").await;
        let drop = migrations(
            dialect,
            &[(
                "drop",
                "ALTER TABLE old DROP COLUMN note",
                "ALTER TABLE old ADD COLUMN note TEXT",
            )],
        );
        let plan = plan(&fixture.database, &drop).await.unwrap();
        assert_eq!(
            plan.migrations[0].proof.verdict,
            Verdict::Lossy,
            "{:?}",
            plan.refusals()
        );
    }
}

#[tokio::test]
async fn finds_a_down_that_breaks_only_in_a_chain() {
    let chain = [
        (
            "t",
            "CREATE TABLE t (a INTEGER, b INTEGER)",
            "DROP VIEW IF EXISTS v; DROP TABLE t",
        ),
        (
            "v",
            "CREATE VIEW v AS SELECT a FROM t",
            "DROP VIEW v; CREATE VIEW w AS SELECT a FROM t; DROP VIEW w",
        ),
    ];
    let fixture = fixture(Dialect::Sqlite, true);
    let plan = plan(&fixture.database, &migrations(Dialect::Sqlite, &chain))
        .await
        .unwrap();
    assert!(plan.refusals().is_empty(), "{:?}", plan.refusals());
    // Alone the second down restores its own start; before it, the first one leaves a table behind once it ran twice.
    let broken = [
        ("t", "CREATE TABLE t (a INTEGER)", "DROP TABLE t"),
        ("u", "CREATE TABLE u (a INTEGER)", "DROP TABLE u"),
        ("v", "DROP TABLE t", "CREATE TABLE t (a BIGINT)"),
    ];
    let plan = super::support::plan(&fixture.database, &migrations(Dialect::Sqlite, &broken))
        .await
        .unwrap();
    assert_eq!(
        plan.migrations
            .iter()
            .map(|m| m.proof.verdict)
            .collect::<Vec<_>>(),
        [Verdict::Reversible, Verdict::Reversible, Verdict::Wrong]
    );
}

#[tokio::test]
async fn sweeps_scratch_databases_that_a_crash_left() {
    let fixture = fixture(Dialect::Postgres, true);
    let oid = count(
        &fixture.database,
        "SELECT oid::bigint FROM pg_database WHERE datname = current_database()",
    )
    .await;
    let orphan = format!("db_migrator_shadow_{oid}_0123");
    execute(&fixture.database, &format!("CREATE DATABASE {orphan}")).await;
    plan(&fixture.database, &migrations(Dialect::Postgres, &TWO))
        .await
        .unwrap();
    let left = count(
        &fixture.database,
        &format!(
            "SELECT count(*) FROM pg_database WHERE datname LIKE 'db\\_migrator\\_shadow\\_{oid}%'"
        ),
    )
    .await;
    assert_eq!(left, 0, "neither the orphan nor the plan's own");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn proves_with_the_rows_that_are_there_while_others_are_connected() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    let base = (
        "base",
        "CREATE TABLE p (id serial PRIMARY KEY, v text); CREATE TABLE c (id int REFERENCES p, d int GENERATED ALWAYS AS (id * 2) STORED);
         CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF to_jsonb(NEW) ->> 'v' = 'live' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;
         INSERT INTO p (v) VALUES ('seed'); CREATE TRIGGER deny BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION deny();",
        "DROP TABLE c; DROP TABLE p; DROP FUNCTION deny",
    );
    apply(
        database,
        &Caller::operator("t"),
        &migrations(Dialect::Postgres, &[base]),
        None,
    )
    .await
    .unwrap();
    execute(database, "ALTER TABLE p DISABLE TRIGGER deny; INSERT INTO p (v) VALUES ('live'); INSERT INTO c VALUES (2); ALTER TABLE p ENABLE TRIGGER deny").await;
    let _application = session(database).await;
    let check = async |up: &str, down: &str| {
        plan(
            database,
            &migrations(Dialect::Postgres, &[base, ("x", up, down)]),
        )
        .await
        .unwrap()
        .migrations[0]
            .proof
            .clone()
    };
    let lossy = check(
        "ALTER TABLE p DROP COLUMN v",
        "ALTER TABLE p ADD COLUMN v text",
    )
    .await;
    assert_eq!(
        (lossy.verdict, lossy.destroys.len()),
        (Verdict::Lossy, 1),
        "{:?}",
        lossy.evidence
    );
    assert!(
        lossy.destroys[0].contains("2 rows"),
        "the live row was seen: {:?}",
        lossy.destroys
    );
    let kept = check(
        "CREATE TABLE kept AS SELECT id, v FROM p; ALTER TABLE p DROP COLUMN v",
        "ALTER TABLE p ADD COLUMN v text; ALTER TABLE p DISABLE TRIGGER deny; UPDATE p SET v = kept.v FROM kept WHERE kept.id = p.id; ALTER TABLE p ENABLE TRIGGER deny; DROP TABLE kept",
    )
    .await;
    assert_eq!(kept.verdict, Verdict::Reversible, "{:?}", kept.evidence);
    let seeds = check(
        "INSERT INTO p (v) VALUES ('new')",
        "DELETE FROM p WHERE v = 'new'",
    )
    .await;
    assert_eq!(
        seeds.verdict,
        Verdict::Reversible,
        "sequences were copied too: {:?}",
        seeds.evidence
    );
}
