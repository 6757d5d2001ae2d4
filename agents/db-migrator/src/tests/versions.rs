//! The life of a migration on PostgreSQL 15, 17 and 18.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{completeness::server, support::*};
use crate::{
    clients::Database,
    domain::{Answer, Dialect, Inverse, Migration, Verdict, Version},
    engine::Goal,
};

fn empty(version: u32) -> Database {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("life_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    database(&server(version).create_database(&name).unwrap(), true)
}

fn source() -> Vec<Migration> {
    migrations(
        Dialect::Postgres,
        &[
            (
                "create",
                "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL, qty int NOT NULL DEFAULT 1); INSERT INTO orders (note) VALUES ('a'), ('b')",
                "DROP TABLE orders",
            ),
            (
                "index",
                "CREATE INDEX CONCURRENTLY orders_qty ON orders (qty)",
                "DROP INDEX CONCURRENTLY orders_qty",
            ),
            (
                "widen",
                "ALTER TABLE orders ALTER COLUMN qty TYPE bigint; ALTER TABLE orders ALTER COLUMN note DROP NOT NULL; ALTER TABLE orders RENAME COLUMN note TO remark",
                "",
            ),
            (
                "states",
                "CREATE TYPE state AS ENUM ('new', 'paid'); ALTER TABLE orders ADD COLUMN state state NOT NULL DEFAULT 'new'; CREATE VIEW paid AS SELECT id FROM orders WHERE state = 'paid'",
                "",
            ),
            ("label", "ALTER TYPE state ADD VALUE 'sent'", ""),
            (
                "partitions",
                "CREATE TABLE log (id bigint NOT NULL, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); COMMENT ON TABLE log IS 'one a year'; GRANT SELECT ON log TO PUBLIC",
                "DROP TABLE log_2",
            ),
            ("unpart", "DROP TABLE log", ""),
        ],
    )
}

/// Plan, apply, assess, back and forth, with and without an author's down.
async fn lives(version: u32, source: &[Migration]) {
    let database = empty(version);
    let start = fingerprint(&database).await;
    let plan = plan(&database, source).await.unwrap();
    for migration in &plan.migrations {
        assert!(
            migration.proof.verdict.is_proven(),
            "{version} {}: {:?}",
            migration.name,
            migration.proof.evidence
        );
    }
    let inverses = plan
        .migrations
        .iter()
        .map(|one| one.inverse)
        .take(6)
        .collect::<Vec<_>>();
    let (author, made) = (Inverse::Author, Inverse::Synthesised);
    assert_eq!(inverses, [author, author, made, made, made, made]);
    apply(&database, &Caller::operator("up"), source, None)
        .await
        .unwrap();
    let end = fingerprint(&database).await;
    let zero = Goal::Version(Version::zero());
    assert_eq!(
        assess(&database, &zero).await.unwrap().answer,
        Answer::Reversible
    );
    for (at, planned) in plan.migrations.iter().enumerate().rev() {
        let goal = at
            .checked_sub(1)
            .map_or_else(Version::zero, |before| source[before].version.clone());
        rollback(
            &database,
            &Caller::operator(&format!("down {at}")),
            Goal::Version(goal),
        )
        .await
        .unwrap_or_else(|error| panic!("{version} {}: {error}", planned.name));
        assert_eq!(
            fingerprint(&database).await,
            planned.fingerprint_before,
            "{version} {}",
            planned.name
        );
    }
    assert_eq!(fingerprint(&database).await, start);
    apply(&database, &Caller::operator("again"), source, None)
        .await
        .unwrap();
    assert_eq!(fingerprint(&database).await, end);
}

#[tokio::test]
async fn lives_on_postgres_15() {
    lives(15, &source()).await;
}

#[tokio::test]
async fn lives_on_postgres_17() {
    lives(17, &source()).await;
}

/// With what only this version knows: named NOT NULL constraints and virtual columns.
#[tokio::test]
async fn lives_on_postgres_18() {
    let mut source = source();
    let newer = migrations(
        Dialect::Postgres,
        &[(
            "newer",
            "ALTER TABLE orders ADD CONSTRAINT has_remark NOT NULL remark; ALTER TABLE orders ADD COLUMN twice bigint GENERATED ALWAYS AS (qty * 2) VIRTUAL; ALTER TABLE orders ADD CONSTRAINT loose CHECK (qty < 9) NOT ENFORCED",
            "",
        )],
    );
    source.extend(newer.into_iter().map(|migration| Migration {
        version: Version::parse("9").unwrap(),
        ..migration
    }));
    lives(18, &source).await;
}

#[tokio::test]
async fn loses_no_verdict_between_plan_and_ledger() {
    let database = empty(18);
    apply(&database, &Caller::operator("up"), &source(), None)
        .await
        .unwrap();
    let rows = query(
        &database,
        "SELECT inverse, verdict FROM db_migrator.migration ORDER BY sequence",
    )
    .await;
    let words = rows
        .iter()
        .map(|row| (row.text(0).unwrap(), row.text(1).unwrap()));
    let known = words.map(|(inverse, verdict)| {
        (
            Inverse::parse(&inverse).unwrap(),
            Verdict::parse(&verdict).unwrap(),
        )
    });
    assert!(known.clone().all(|(_, verdict)| verdict.is_proven()));
    assert_eq!(
        known
            .filter(|(inverse, _)| *inverse == Inverse::Synthesised)
            .count(),
        5
    );
}

/// A schema of 300 tables with keys, indexes, defaults and comments; prints how long an assessment takes.
#[tokio::test]
async fn assesses_a_schema_of_300_tables() {
    const MANY: &str = "DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format('CREATE TABLE many_%s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
        parent bigint, name text NOT NULL DEFAULT %L, at timestamptz DEFAULT now(), qty int CHECK (qty > 0))', n, 'x'); \
        EXECUTE format('CREATE INDEX ON many_%s (parent, at)', n); EXECUTE format('COMMENT ON TABLE many_%s IS %L', n, 'one of many'); END LOOP; END $$";
    const NONE: &str = "DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format('DROP TABLE many_%s', n); END LOOP; END $$";
    let database = empty(18);
    let source = migrations(
        Dialect::Postgres,
        &[
            ("many", MANY, NONE),
            ("one", "ALTER TABLE many_7 ADD COLUMN note text", ""),
        ],
    );
    apply(&database, &Caller::operator("up"), &source, None)
        .await
        .unwrap();
    let goal = Goal::Version(Version::parse("1").unwrap());
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = tokio::time::Instant::now();
        let assessment = assess(&database, &goal).await.unwrap();
        times.push(started.elapsed());
        assert_eq!(assessment.answer, Answer::Reversible);
    }
    println!(
        "assess_rollback on 300 tables, fastest of five: {:?}",
        times.iter().min()
    );
}
