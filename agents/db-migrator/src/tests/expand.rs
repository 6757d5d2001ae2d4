//! Columns that change online.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shared::SkillError;

use super::{support::*, versions_online::version_now};
use crate::{
    clients::Database,
    domain::{Answer, Dialect, Migration, Version, staging::Retention},
    engine::{self, CompleteRequest, Completed, Goal},
};

const TABLE: &str = "CREATE TABLE kinds (id int PRIMARY KEY); INSERT INTO kinds SELECT generate_series(0, 9);
    CREATE TABLE orders (id serial PRIMARY KEY, total int NOT NULL DEFAULT 0, kind int REFERENCES kinds, note text, CONSTRAINT total_is_positive CHECK (total >= 0));
    CREATE INDEX orders_total ON orders (total); CREATE UNIQUE INDEX orders_both ON orders (total, id) WHERE total > 0";
const TABLE_DOWN: &str = "DROP TABLE orders; DROP TABLE kinds";
pub(super) const ONLINE: &str = "-- the column is full at two billion\n-- migrate: online as total_big\nALTER TABLE orders ALTER COLUMN total TYPE bigint";
const DIVERGENT: &str = "SELECT count(*) FROM orders WHERE total_big IS DISTINCT FROM total";

pub(super) fn source(up: &str) -> Vec<Migration> {
    migrations(
        Dialect::Postgres,
        &[("orders", TABLE, TABLE_DOWN), ("big", up, "")],
    )
}

pub(super) async fn complete(fixture: &Fixture, caller: &Caller) -> Result<Completed, SkillError> {
    complete_on(&fixture.database, caller).await
}

pub(super) async fn complete_on(
    database: &Database,
    caller: &Caller,
) -> Result<Completed, SkillError> {
    let desk = Desk::new(database, caller);
    let job = desk.job();
    let request = || CompleteRequest {
        goal: None,
        plan_digest: None,
        retention: Retention::default(),
        purge: false,
    };
    let done = engine::complete(job, request()).await;
    if matches!(done, Err(SkillError::ApprovalRequired { .. })) {
        let plan = engine::plan_contracts(job, &request()).await.unwrap();
        panic!("{:?}", plan.refusals());
    }
    done
}

pub(super) fn version(text: &str) -> Goal {
    Goal::Version(Version::parse(text).unwrap())
}

pub(super) async fn with_rows(rows: u32) -> Fixture {
    let fixture = fixture(Dialect::Postgres, true);
    apply(
        &fixture.database,
        &Caller::operator("t1"),
        &source(ONLINE)[..1],
        None,
    )
    .await
    .unwrap();
    let sql = format!(
        "INSERT INTO orders (total, kind, note) SELECT i, i % 10, 'n' || i FROM generate_series(1, {rows}) i"
    );
    execute(&fixture.database, &sql).await;
    fixture
}

pub(super) async fn digest(fixture: &Fixture) -> String {
    let sql = "SELECT coalesce(sum(hashtextextended(concat_ws('/', id, total, kind, note), 0)::numeric), 0)::text || ' ' || count(*) FROM orders";
    query(&fixture.database, sql).await[0].text(0).unwrap()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
pub(super) async fn ends_with_the_catalog_of_a_plain_change_of_type() {
    let fixture = with_rows(3_000).await;
    let (before, rows) = (fingerprint(&fixture.database).await, digest(&fixture).await);
    apply(
        &fixture.database,
        &Caller::operator("t2"),
        &source(ONLINE),
        None,
    )
    .await
    .unwrap();
    assert_eq!(count(&fixture.database, DIVERGENT).await, 0);
    let expanded = fingerprint(&fixture.database).await;

    // Both applications write, each its own column.
    execute(
        &fixture.database,
        "INSERT INTO orders (total) VALUES (5000); INSERT INTO orders (total_big) VALUES (6000); UPDATE orders SET total = 7 WHERE id = 1; \
         UPDATE orders SET total_big = 8 WHERE id = 2; INSERT INTO orders (note) VALUES ('default')",
    )
    .await;
    assert_eq!(count(&fixture.database, DIVERGENT).await, 0);
    assert_eq!(count(&fixture.database, "SELECT count(*) FROM orders WHERE (id = 1 AND total_big = 7) OR (id = 2 AND total = 8) OR total = 6000").await, 3);
    assert_eq!(
        assess(&fixture.database, &version("0001"))
            .await
            .unwrap()
            .answer,
        Answer::Reversible
    );

    let done = complete(&fixture, &Caller::operator("t3")).await.unwrap();
    assert_eq!(done.applied.head.as_deref(), Some("0002.contract"));
    let usual = self::fixture(Dialect::Postgres, true);
    execute(&usual.database, TABLE).await;
    execute(&usual.database, "ALTER TABLE orders ALTER COLUMN total DROP DEFAULT, ALTER COLUMN total TYPE bigint, ALTER COLUMN total SET DEFAULT 0").await;
    assert_eq!(
        fingerprint(&fixture.database).await,
        fingerprint(&usual.database).await
    );

    // Within the window the old form comes back with every row, also those written since.
    execute(&fixture.database, "INSERT INTO orders (total) VALUES (9000); UPDATE orders SET total = 10 WHERE id = 3; DELETE FROM orders WHERE id = 4").await;
    let assessment = assess(&fixture.database, &version("0001")).await.unwrap();
    assert_eq!(
        (assessment.answer, assessment.rows_at_risk),
        (Answer::Reversible, 0),
        "{assessment:?}"
    );
    rollback(
        &fixture.database,
        &Caller::coordinator("t4"),
        version("0002"),
    )
    .await
    .unwrap();
    assert_eq!(fingerprint(&fixture.database).await, expanded);
    assert_eq!(count(&fixture.database, DIVERGENT).await, 0);
    assert_eq!(
        count(
            &fixture.database,
            "SELECT count(*) FROM orders WHERE total = 9000 OR (id = 3 AND total = 10)"
        )
        .await,
        2
    );
    complete(&fixture, &Caller::operator("t5")).await.unwrap();
    rollback(
        &fixture.database,
        &Caller::coordinator("t6"),
        version("0001"),
    )
    .await
    .unwrap();
    assert_eq!(fingerprint(&fixture.database).await, before);
    assert_ne!(
        digest(&fixture).await,
        rows,
        "what the applications wrote stays"
    );
}

#[tokio::test]
pub(super) async fn counts_what_the_old_column_cannot_hold() {
    let fixture = with_rows(10).await;
    apply(
        &fixture.database,
        &Caller::operator("t2"),
        &source(ONLINE),
        None,
    )
    .await
    .unwrap();
    complete(&fixture, &Caller::operator("t3")).await.unwrap();
    execute(
        &fixture.database,
        "UPDATE orders SET total = 5000000000 WHERE id < 4",
    )
    .await;
    let assessment = assess(&fixture.database, &version("0001")).await.unwrap();
    assert_eq!(
        (assessment.answer, assessment.rows_at_risk),
        (Answer::PointOfNoReturn, 3),
        "{assessment:?}"
    );
    assert!(
        assessment
            .evidence
            .iter()
            .any(|line| line.contains("cannot hold")),
        "{assessment:?}"
    );
}

#[tokio::test]
pub(super) async fn changes_a_primary_key_with_its_sequence_and_renames() {
    let fixture = with_rows(500).await;
    let up = "-- migrate: online\nALTER TABLE orders ALTER COLUMN id TYPE bigint;\n-- migrate: online\nALTER TABLE orders RENAME COLUMN note TO remark";
    let source = source(up);
    let (before, rows) = (fingerprint(&fixture.database).await, digest(&fixture).await);
    apply(&fixture.database, &Caller::operator("t2"), &source, None)
        .await
        .unwrap();
    execute(
        &fixture.database,
        "INSERT INTO orders (note) VALUES ('old'); INSERT INTO orders (remark) VALUES ('new')",
    )
    .await;
    assert_eq!(count(&fixture.database, "SELECT count(*) FROM orders WHERE note IS DISTINCT FROM remark OR id_new IS DISTINCT FROM id").await, 0);
    execute(
        &fixture.database,
        "DELETE FROM orders WHERE remark IN ('old', 'new')",
    )
    .await;
    complete(&fixture, &Caller::operator("t3")).await.unwrap();
    let usual = self::fixture(Dialect::Postgres, true);
    execute(&usual.database, TABLE).await;
    execute(&usual.database, "ALTER TABLE orders ALTER COLUMN id TYPE bigint; ALTER TABLE orders RENAME COLUMN note TO remark").await;
    assert_eq!(
        fingerprint(&fixture.database).await,
        fingerprint(&usual.database).await
    );
    execute(
        &fixture.database,
        "INSERT INTO orders (remark) VALUES ('x'); DELETE FROM orders WHERE remark = 'x'",
    )
    .await;
    rollback(
        &fixture.database,
        &Caller::coordinator("t4"),
        version("0001"),
    )
    .await
    .unwrap();
    assert_eq!(
        (fingerprint(&fixture.database).await, digest(&fixture).await),
        (before, rows)
    );
}

#[tokio::test]
pub(super) async fn validates_constraints_without_a_long_lock() {
    let fixture = with_rows(100).await;
    let up = "-- migrate: online\nALTER TABLE orders ALTER COLUMN note SET NOT NULL;\n\
        -- migrate: online\nALTER TABLE orders ADD CONSTRAINT short CHECK (length(note) < 100);\n\
        -- migrate: online\nALTER TABLE orders ADD CONSTRAINT other FOREIGN KEY (kind) REFERENCES kinds (id)";
    let before = fingerprint(&fixture.database).await;
    let plan = plan(&fixture.database, &source(up)).await.unwrap();
    let steps = plan.migrations[0]
        .up
        .steps
        .iter()
        .map(|step| step.statement.text.clone())
        .collect::<Vec<_>>();
    // A constraint with a name needs no check in its stead.
    let expected = if version_now() >= 18 { 6 } else { 8 };
    assert_eq!(steps.len(), expected, "{steps:?}");
    assert_eq!(
        steps
            .iter()
            .filter(|step| step.ends_with("NOT VALID"))
            .count(),
        3
    );
    apply(
        &fixture.database,
        &Caller::operator("t2"),
        &source(up),
        None,
    )
    .await
    .unwrap();
    let usual = self::fixture(Dialect::Postgres, true);
    execute(&usual.database, &format!("{TABLE}; {up}")).await;
    assert_eq!(
        fingerprint(&fixture.database).await,
        fingerprint(&usual.database).await
    );
    rollback(
        &fixture.database,
        &Caller::coordinator("t3"),
        version("0001"),
    )
    .await
    .unwrap();
    assert_eq!(fingerprint(&fixture.database).await, before);
}

#[tokio::test]
pub(super) async fn refuses_by_name_what_hangs_on_the_column() {
    for (more, reason) in [
        ("CREATE VIEW sums AS SELECT total FROM orders", "view sums"),
        (
            "CREATE TABLE lines (o int REFERENCES orders (id))",
            "foreign key lines_o_fkey",
        ),
        (
            "ALTER TABLE orders ADD COLUMN twice int GENERATED ALWAYS AS (total * 2) STORED",
            "depends on it",
        ),
    ] {
        let fixture = with_rows(1).await;
        execute(&fixture.database, more).await;
        let column = if more.contains("lines") {
            "id"
        } else {
            "total"
        };
        let up =
            format!("-- migrate: online\nALTER TABLE orders ALTER COLUMN {column} TYPE bigint");
        let error = plan(&fixture.database, &source(&up))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// Four applications, two of each version, until they are told to stop. Returns how many writes failed and worked.
async fn applications(
    url: &str,
    stop: &Arc<AtomicBool>,
) -> Vec<tokio::task::JoinHandle<(u32, u32)>> {
    let mut running = Vec::new();
    for number in 0..4_i32 {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        let stop = stop.clone();
        running.push(tokio::spawn(async move {
            let column = if number < 2 { "total" } else { "total_big" };
            let (mut failed, mut worked, mut at) = (0, 0, number * 7_919);
            while !stop.load(Ordering::Relaxed) {
                at = (at * 31 + 17) % 20_000;
                let id = at.abs() + 1;
                let written = if at % 5 == 0 {
                    client
                        .execute(&format!("INSERT INTO orders ({column}) VALUES ({id})"), &[])
                        .await
                } else {
                    client
                        .execute(
                            &format!(
                                "UPDATE orders SET {column} = {id} + {number} WHERE id = {id}"
                            ),
                            &[],
                        )
                        .await
                };
                match written {
                    Ok(_) => worked += 1,
                    Err(_) => failed += 1,
                }
            }
            (worked, failed)
        }));
    }
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lets_both_versions_write_all_the_time() {
    let fixture = with_rows(20_000).await;
    // Expand first, so that the new version has its column; its backfill then runs under load.
    let caller = Caller::operator("t2").hook(|line| {
        (line.starts_with("begin") && line.contains("backfills/1-1"))
            .then(|| SkillError::failed("wait"))
    });
    apply(&fixture.database, &caller, &source(ONLINE), None)
        .await
        .unwrap_err();
    let stop = Arc::new(AtomicBool::new(false));
    let running = applications(&fixture.url, &stop).await;
    apply(
        &fixture.database,
        &Caller::operator("t3"),
        &source(ONLINE),
        None,
    )
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    for application in running {
        let (worked, failed) = application.await.unwrap();
        assert!(
            worked > 0 && failed == 0,
            "{worked} writes worked, {failed} failed"
        );
    }
    assert_eq!(count(&fixture.database, DIVERGENT).await, 0);
    complete(&fixture, &Caller::operator("t4")).await.unwrap();
    assert_eq!(
        count(
            &fixture.database,
            "SELECT count(*) FROM orders WHERE total IS NULL"
        )
        .await,
        0
    );
}
