//! Destructive steps that a rollback undoes with all rows.

use super::support::*;
use crate::{
    domain::{Answer, Dialect, Migration, Verdict, Version, staging::Retention},
    engine::{self, ApplyRequest, CompleteRequest, Goal},
};

const TABLES: &str = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), note TEXT, state TEXT NOT NULL DEFAULT 'new');
    CREATE INDEX orders_note ON orders (id);
    INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob');
    INSERT INTO orders VALUES (1, 1, 'fragile', 'new'), (2, 1, NULL, 'sent'), (3, 2, 'gift', 'new')";

fn source(dialect: Dialect, up: &str, down: &str) -> Vec<Migration> {
    migrations(
        dialect,
        &[
            ("tables", TABLES, "DROP TABLE orders; DROP TABLE customers"),
            ("destroy", up, down),
        ],
    )
}

async fn apply_kept(
    fixture: &Fixture,
    task: &str,
    source: &[Migration],
    retention: Retention,
) -> Result<engine::Applied, shared::SkillError> {
    let request = ApplyRequest {
        source,
        retention,
        ..ApplyRequest::default()
    };
    apply_as(&fixture.database, &Caller::operator(task), request).await
}

fn to_one() -> Goal {
    Goal::Version(Version::parse("0001").unwrap())
}

async fn rows(fixture: &Fixture, sql: &str) -> Vec<String> {
    query(&fixture.database, sql)
        .await
        .iter()
        .map(|row| {
            row.optional_text(0)
                .unwrap()
                .unwrap_or_else(|| "(null)".into())
        })
        .collect()
}

const ALL: &str = "SELECT CAST(id AS text) || '/' || CAST(customer_id AS text) || '/' || coalesce(note, '-') || '/' || state FROM orders ORDER BY id";

/// Applies a destructive migration without an approval, rolls it back, and finds everything as it was.
async fn survives(dialect: Dialect, up: &str, down: &str) {
    let fixture = fixture(dialect, true);
    let source = source(dialect, up, down);
    apply(
        &fixture.database,
        &Caller::operator("a"),
        &source[..1],
        None,
    )
    .await
    .unwrap();
    let (before, rows_before) = (
        fingerprint(&fixture.database).await,
        rows(&fixture, ALL).await,
    );
    let plan = plan(&fixture.database, &source).await.unwrap();
    let proof = &plan.migrations[0].proof;
    assert!(proof.verdict.is_proven(), "{dialect:?} {up}: {proof:?}");
    assert!(
        proof.evidence.iter().any(|line| line.contains("retained")),
        "{proof:?}"
    );

    // The catalog afterwards is that of the plain statements.
    let usual = self::fixture(dialect, true);
    execute(&usual.database, TABLES).await;
    execute(&usual.database, up).await;
    apply(&fixture.database, &Caller::operator("b"), &source, None)
        .await
        .unwrap();
    assert_eq!(
        fingerprint(&fixture.database).await,
        fingerprint(&usual.database).await,
        "{dialect:?} {up}"
    );

    let assessment = assess(&fixture.database, &to_one()).await.unwrap();
    assert_eq!(assessment.answer, Answer::Reversible, "{assessment:?}");
    assert!(
        assessment
            .evidence
            .iter()
            .any(|line| line.contains("is retained until")),
        "{assessment:?}"
    );
    rollback(&fixture.database, &Caller::coordinator("c"), to_one())
        .await
        .unwrap();
    assert_eq!(
        fingerprint(&fixture.database).await,
        before,
        "{dialect:?} {up}"
    );
    assert_eq!(rows(&fixture, ALL).await, rows_before, "{dialect:?} {up}");
    // And once more: the names are free again.
    apply(&fixture.database, &Caller::operator("d"), &source, None)
        .await
        .unwrap();
    rollback(&fixture.database, &Caller::coordinator("e"), to_one())
        .await
        .unwrap();
    assert_eq!(rows(&fixture, ALL).await, rows_before, "{dialect:?} {up}");
}

#[tokio::test]
async fn brings_back_tables_columns_and_rows_without_a_down() {
    for dialect in BOTH {
        for up in [
            "DROP TABLE orders",
            "ALTER TABLE orders DROP COLUMN note",
            "ALTER TABLE orders DROP COLUMN state",
            "DELETE FROM orders WHERE note IS NULL",
            "UPDATE orders SET note = 'gone', state = 'old' WHERE id < 3",
            "DELETE FROM orders; DROP TABLE orders",
        ] {
            survives(dialect, up, "").await;
        }
    }
    survives(Dialect::Postgres, "TRUNCATE TABLE orders", "").await;
}

#[tokio::test]
async fn puts_what_is_retained_into_the_authors_down() {
    for dialect in BOTH {
        survives(
            dialect,
            "CREATE TABLE tags (id INTEGER PRIMARY KEY); ALTER TABLE orders DROP COLUMN note",
            "ALTER TABLE orders ADD COLUMN note TEXT; DROP TABLE tags",
        )
        .await;
        survives(
            dialect,
            "DROP TABLE orders; CREATE TABLE tags (id INTEGER PRIMARY KEY)",
            "DROP TABLE tags; CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), note TEXT, \
             state TEXT NOT NULL DEFAULT 'new'); CREATE INDEX orders_note ON orders (id)",
        )
        .await;
    }
}

#[tokio::test]
pub(super) async fn keeps_what_was_indexed_and_constrained() {
    let fixture = fixture(Dialect::Postgres, true);
    let tables = "CREATE TABLE kinds (code int PRIMARY KEY); INSERT INTO kinds VALUES (7);
        CREATE TABLE items (id int PRIMARY KEY, kind int NOT NULL REFERENCES kinds, code text NOT NULL, CONSTRAINT code_is_set CHECK (code <> ''), UNIQUE (kind, code));
        CREATE INDEX items_kind ON items (kind) WHERE kind > 0; INSERT INTO items SELECT i, 7, 'c' || i FROM generate_series(1, 50) i";
    let source = migrations(
        Dialect::Postgres,
        &[
            ("tables", tables, ""),
            (
                "drop",
                "ALTER TABLE items DROP COLUMN kind; ALTER TABLE items DROP COLUMN code",
                "",
            ),
        ],
    );
    apply(
        &fixture.database,
        &Caller::operator("a"),
        &source[..1],
        None,
    )
    .await
    .unwrap();
    let before = fingerprint(&fixture.database).await;
    apply(&fixture.database, &Caller::operator("b"), &source, None)
        .await
        .unwrap();
    execute(&fixture.database, "INSERT INTO items VALUES (100)").await;
    let assessment = assess(&fixture.database, &to_one()).await.unwrap();
    assert_eq!(
        assessment.answer,
        Answer::PointOfNoReturn,
        "a row without a value that must have one"
    );
    assert!(
        assessment
            .evidence
            .iter()
            .any(|line| line.starts_with("1 row ")),
        "{assessment:?}"
    );
    execute(&fixture.database, "DELETE FROM items WHERE id = 100").await;
    rollback(&fixture.database, &Caller::coordinator("c"), to_one())
        .await
        .unwrap();
    assert_eq!(fingerprint(&fixture.database).await, before);
    assert_eq!(
        count(
            &fixture.database,
            "SELECT count(*) FROM items WHERE kind = 7 AND code = 'c' || id"
        )
        .await,
        50
    );
}

#[tokio::test]
async fn says_what_cannot_be_retained_before_it_is_lost() {
    let fixture = fixture(Dialect::Sqlite, true);
    let needed = "CREATE TABLE t (id INTEGER, a TEXT NOT NULL); INSERT INTO t VALUES (1, 'x')";
    let source = migrations(
        Dialect::Sqlite,
        &[
            ("t", needed, "DROP TABLE t"),
            (
                "drop",
                "ALTER TABLE t DROP COLUMN a",
                "ALTER TABLE t ADD COLUMN a TEXT NOT NULL DEFAULT ''",
            ),
        ],
    );
    let plan = plan(&fixture.database, &source).await.unwrap();
    assert_eq!(
        plan.migrations[1].proof.verdict,
        Verdict::Lossy,
        "{:?}",
        plan.migrations[1].proof
    );
    assert!(
        plan.refusals()[0].contains("holds 1 rows"),
        "{:?}",
        plan.refusals()
    );
    assert!(plan.migrations[1].parts.retained.is_empty());
    let evidence = plan.migrations[1].proof.evidence.join("; ");
    assert!(
        evidence.contains("t has no primary key to keep its values by"),
        "{evidence}"
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn ends_with_the_window_and_says_so() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = source(
            dialect,
            "ALTER TABLE orders DROP COLUMN note; DROP TABLE orders",
            "",
        );
        apply(
            &fixture.database,
            &Caller::operator("a"),
            &source[..1],
            None,
        )
        .await
        .unwrap();
        apply_kept(&fixture, "b", &source, Retention::parse("PT1S").unwrap())
            .await
            .unwrap();
        let hidden = |sql: &'static str| count(&fixture.database, sql);
        let list = if dialect == Dialect::Sqlite {
            "db_migrator_retained_list"
        } else {
            "db_migrator.retained"
        };
        // The window is over by the database's clock, whatever the test's clock says.
        let changed = format!(
            "UPDATE {}migration SET changed_at = '2020-01-01T00:00:00.000Z'",
            ledger(dialect)
        );
        execute(&fixture.database, &changed).await;
        let assessment = assess(&fixture.database, &to_one()).await.unwrap();
        assert_eq!(assessment.answer, Answer::PointOfNoReturn);
        assert!(
            assessment
                .evidence
                .iter()
                .any(|line| line.contains("ended at 2020-01-01T00:00:01.000Z")),
            "{assessment:?}"
        );

        apply(&fixture.database, &Caller::operator("c"), &source, None)
            .await
            .unwrap();
        assert_eq!(
            count(
                &fixture.database,
                &format!("SELECT count(*) FROM {list} WHERE purged_at IS NOT NULL")
            )
            .await,
            2
        );
        let left = if dialect == Dialect::Sqlite {
            "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'db_migrator_retained_0%' OR sql LIKE '%retained_0%'"
        } else {
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'db_migrator_retained%'"
        };
        assert_eq!(hidden(left).await, 0, "{dialect:?}");
        let refused = rollback(&fixture.database, &Caller::coordinator("d"), to_one())
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("dropped for good"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn keeps_nothing_when_asked_to_and_then_wants_an_approval() {
    let fixture = fixture(Dialect::Postgres, true);
    let source = source(Dialect::Postgres, "DROP TABLE orders", "");
    apply(
        &fixture.database,
        &Caller::operator("a"),
        &source[..1],
        None,
    )
    .await
    .unwrap();
    let none = Retention::parse("none").unwrap();
    digest_of(apply_kept(&fixture, "b", &source, none).await.unwrap_err());
    let approved = digest_of(apply_kept(&fixture, "b", &source, none).await.unwrap_err());
    apply(&fixture.database, &Caller::operator("c"), &source, None)
        .await
        .unwrap();
    // A purge before the end of the window needs an approval of its own.
    let request = || CompleteRequest {
        goal: None,
        plan_digest: None,
        retention: Retention::default(),
        purge: true,
    };
    let caller = Caller::operator("p");
    let desk = Desk::new(&fixture.database, &caller);
    let job = desk.job();
    let wanted = digest_of(engine::complete(job, request()).await.unwrap_err());
    assert_ne!(wanted, approved);
    let caller = Caller::operator("p").approved(&wanted);
    let desk = Desk::new(&fixture.database, &caller);
    let job = desk.job();
    let done = engine::complete(job, request()).await.unwrap();
    assert_eq!(done.purged, ["table public.orders"]);
}
