//! Backfills in batches.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use shared::SkillError;

use super::support::*;
use crate::{
    domain::{Dialect, Migration, SourceFile, Version, source},
    engine::Goal,
};

fn three_parts(dialect: Dialect, tables: &str, up: &str, backfill: &str) -> Vec<Migration> {
    let file = |name: &str, content: &str| SourceFile {
        name: name.into(),
        content: content.into(),
    };
    let files = [
        file("0001_tables.up.sql", tables),
        file("0001_tables.down.sql", "DROP TABLE orders"),
        file("0002_cents.up.sql", up),
        file(
            "0002_cents.down.sql",
            "ALTER TABLE orders DROP COLUMN cents",
        ),
        file("0002_cents.backfill.sql", backfill),
        file(
            "0002_cents.contract.sql",
            "ALTER TABLE orders DROP COLUMN total",
        ),
    ];
    source::read(&files, dialect).unwrap()
}

const TABLE: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER)";
const UP: &str = "ALTER TABLE orders ADD COLUMN cents BIGINT";
const BACKFILL: &str =
    "-- backfill: batch=100\nUPDATE orders SET cents = coalesce(cents, 0) + total * 100";
const WRONG: &str = "SELECT count(*) FROM orders WHERE cents IS NULL OR cents <> total * 100";

/// Whether the column is there yet.
const HAS_COLUMN: [&str; 2] = [
    "SELECT count(*) FROM pragma_table_info('orders') WHERE name = 'cents'",
    "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'cents'",
];

async fn seed(fixture: &Fixture, rows: u32) {
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO orders (id, total) SELECT i * 3, i FROM n"
    );
    execute(&fixture.database, &sql).await;
}

async fn states(fixture: &Fixture, dialect: Dialect) -> Vec<String> {
    let sql = format!(
        "SELECT state FROM {}backfill ORDER BY migration",
        ledger(dialect)
    );
    query(&fixture.database, &sql)
        .await
        .iter()
        .map(|row| row.text(0).unwrap())
        .collect()
}

#[tokio::test]
async fn continues_after_every_stop_and_writes_no_row_twice() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = three_parts(dialect, TABLE, UP, BACKFILL);
        apply(
            &fixture.database,
            &Caller::operator("a"),
            &source[..1],
            None,
        )
        .await
        .unwrap();
        seed(&fixture, 30_000).await;
        // The update adds to what is there: a row that is written twice would show. Every run is dropped in the middle of
        // whatever it does, as a killed process would be, each a little later than the one before.
        let (mut runs, mut expanded, mut halfway) = (0_u64, 0, 0);
        loop {
            let caller = Caller::operator("b");
            let run = apply(&fixture.database, &caller, &source, None);
            runs += 1;
            // Once the plan is in the ledger a run has little to do before it goes on with the backfill.
            let patience = if expanded > 0 {
                30 + 10 * expanded
            } else {
                300 + 150 * runs
            };
            let patience = std::time::Duration::from_millis(patience);
            if let Ok(done) = tokio::time::timeout(patience, run).await {
                done.unwrap();
                break;
            }
            let column = HAS_COLUMN[usize::from(dialect == Dialect::Postgres)];
            if count(&fixture.database, column).await > 0 {
                expanded += 1;
                let filled = "SELECT count(*) FROM orders WHERE cents IS NOT NULL";
                let filled = count(&fixture.database, filled).await;
                halfway += i32::from(filled > 0 && filled < 30_000);
            }
            assert!(runs < 1_000);
        }
        eprintln!(
            "{dialect:?}: {runs} runs, {halfway} of them stopped between the first row and the last"
        );
        assert_eq!(count(&fixture.database, WRONG).await, 0, "{dialect:?}");
        assert_eq!(states(&fixture, dialect).await, ["done"]);
    }
}

#[tokio::test]
async fn stops_between_batches_when_canceled_and_goes_on_in_the_next_run() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = three_parts(dialect, TABLE, UP, BACKFILL);
        apply(
            &fixture.database,
            &Caller::operator("a"),
            &source[..1],
            None,
        )
        .await
        .unwrap();
        seed(&fixture, 5_000).await;
        let caller = Caller::operator("b");
        let cancel = caller.cancel.clone();
        let caller = caller.hook(move |line| {
            if line.contains("begin") && line.contains("backfills/1-1") {
                cancel.cancel();
            }
            None
        });
        let canceled = apply(&fixture.database, &caller, &source, None)
            .await
            .unwrap_err();
        assert!(matches!(canceled, SkillError::Canceled), "{canceled}");
        assert_ne!(states(&fixture, dialect).await, ["done"]);
        // Until then nothing can be completed, and the migration itself stands.
        let status = status(&fixture.database, &source).await;
        assert_eq!(
            (status.head.as_deref(), status.pending.len()),
            (Some("0002"), 0)
        );
        apply(&fixture.database, &Caller::operator("c"), &source, None)
            .await
            .unwrap();
        assert_eq!(count(&fixture.database, WRONG).await, 0);
        // What the backfill wrote is not at risk.
        let goal = Goal::Version(Version::parse("0001").unwrap());
        let assessment = assess(&fixture.database, &goal).await.unwrap();
        assert_eq!(assessment.rows_at_risk, 0, "{assessment:?}");
        rollback(&fixture.database, &Caller::coordinator("d"), goal)
            .await
            .unwrap();
    }
}

#[tokio::test]
pub(super) async fn cuts_by_uuid_text_and_composite_keys() {
    let keys = [
        ("a uuid DEFAULT gen_random_uuid()", "a", ""),
        ("a text", "a", "a = 'k' || md5(i::text), "),
        ("a int, b text", "a, b", "a = i % 7, b = 'k' || i, "),
        (
            "a timestamptz, b numeric",
            "b, a",
            "a = now() + i * interval '1 ms', b = i / 3.0, ",
        ),
    ];
    for (columns, key, fill) in keys {
        let fixture = fixture(Dialect::Postgres, true);
        let table = format!("CREATE TABLE orders ({columns}, total INTEGER)");
        let backfill = format!(
            "-- backfill: key={} batch=100\nUPDATE orders AS o SET cents = coalesce(o.cents, 0) + o.total * 100 WHERE o.total > 0",
            key.replace(' ', "")
        );
        let source = three_parts(Dialect::Postgres, &table, UP, &backfill);
        apply(
            &fixture.database,
            &Caller::operator("a"),
            &source[..1],
            None,
        )
        .await
        .unwrap();
        execute(
            &fixture.database,
            "INSERT INTO orders (total) SELECT i FROM generate_series(1, 3000) i",
        )
        .await;
        let sql = format!(
            "UPDATE orders SET {fill}total = i FROM (SELECT ctid AS c, row_number() OVER () AS i FROM orders) n WHERE ctid = c; ALTER TABLE orders ADD PRIMARY KEY ({key})"
        );
        execute(&fixture.database, &sql).await;
        // The schema no longer comes from the ledger alone, so a copy is proven on.
        apply(&fixture.database, &Caller::operator("b"), &source, None)
            .await
            .unwrap();
        assert_eq!(count(&fixture.database, WRONG).await, 0, "{columns}");
    }
}

#[tokio::test]
async fn ends_although_rows_keep_coming() {
    let fixture = fixture(Dialect::Postgres, true);
    let backfill =
        "-- backfill: batch=100\nUPDATE orders SET cents = total * 100 WHERE cents IS NULL";
    let source = three_parts(Dialect::Postgres, TABLE, UP, backfill);
    apply(
        &fixture.database,
        &Caller::operator("a"),
        &source[..1],
        None,
    )
    .await
    .unwrap();
    seed(&fixture, 5_000).await;
    let (stop, database) = (Arc::new(AtomicBool::new(false)), fixture.database.clone());
    let stopped = stop.clone();
    // An application that knows nothing of the new column, until the upper bound is taken; then one that fills it.
    let inserting = tokio::spawn(async move {
        let mut session = session(&database).await;
        let mut id = 1_000_000;
        while !stopped.load(Ordering::SeqCst) {
            let full = format!("INSERT INTO orders (id, total, cents) VALUES ({id}, 1, 100)");
            if session.execute(&full).await.is_err() {
                let old = format!("INSERT INTO orders (id, total) VALUES ({id}, 1)");
                session.execute(&old).await.unwrap();
            }
            id += 1;
        }
        session.close().await.unwrap();
        id - 1_000_000
    });
    apply(&fixture.database, &Caller::operator("b"), &source, None)
        .await
        .unwrap();
    stop.store(true, Ordering::SeqCst);
    assert!(inserting.await.unwrap() > 0);
    let old =
        "SELECT count(*) FROM orders WHERE id < 1000000 AND cents IS DISTINCT FROM total * 100";
    assert_eq!(count(&fixture.database, old).await, 0);
}

#[tokio::test]
async fn says_what_is_wrong_with_a_backfill_before_apply() {
    for (table, backfill, reason) in [
        (TABLE, "DELETE FROM orders", "not an UPDATE"),
        (
            "CREATE TABLE orders (id INTEGER, total INTEGER)",
            BACKFILL,
            "needs a primary key",
        ),
        (
            TABLE,
            "-- backfill: key=total\nUPDATE orders SET cents = 1",
            "NOT NULL",
        ),
    ] {
        let fixture = fixture(Dialect::Postgres, true);
        let source = three_parts(Dialect::Postgres, table, UP, backfill);
        let error = plan(&fixture.database, &source)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{error}");
    }
}
