//! Scripts that stop half way are reverted statement by statement.

use std::sync::atomic::{AtomicBool, Ordering};

use super::support::*;
use crate::{
    clients::Database,
    domain::{Answer, Dialect, Migration, Version, undo::Undo},
    engine::{Applied, ApplyRequest, FailedScript, Goal},
};

const BASE: &str = "CREATE TABLE base (id INTEGER PRIMARY KEY, note TEXT, qty INTEGER NOT NULL); CREATE INDEX base_note ON base (note);
    INSERT INTO base VALUES (1, 'a', 1), (2, 'b', 2), (3, NULL, 3)";

/// Twelve statements; the seventh fails when two rows have the same quantity.
pub(super) fn source(dialect: Dialect) -> Vec<Migration> {
    let (gently, alone) = match dialect {
        Dialect::Postgres => (" CONCURRENTLY", "ANALYZE base"),
        Dialect::Sqlite => ("", "VACUUM"),
    };
    let up = format!(
        "CREATE TABLE log (line TEXT PRIMARY KEY);
         INSERT INTO log VALUES ('one'), ('two');
         ALTER TABLE base ADD COLUMN extra INTEGER;
         CREATE INDEX{gently} base_extra ON base (extra);
         UPDATE base SET note = 'changed' WHERE id < 3;
         DROP INDEX{gently} base_note;
         CREATE UNIQUE INDEX{gently} base_qty ON base (qty);
         {alone};
         DELETE FROM base WHERE id = 3;
         CREATE VIEW noted AS SELECT id FROM base WHERE note IS NOT NULL;
         ALTER TABLE base DROP COLUMN note;
         CREATE TABLE late (id INTEGER PRIMARY KEY)"
    )
    .replace("WHERE note IS NOT NULL", "WHERE qty > 0");
    let down = "DROP TABLE late; DROP VIEW noted; DROP INDEX base_qty; CREATE INDEX base_note ON base (note); DROP INDEX base_extra; \
        ALTER TABLE base DROP COLUMN extra; DELETE FROM log WHERE line IN ('one', 'two'); DROP TABLE log";
    migrations(
        dialect,
        &[("base", BASE, "DROP TABLE base"), ("twelve", &up, down)],
    )
}

pub(super) fn to_one() -> Goal {
    Goal::Version(Version::parse("0001").unwrap())
}

pub(super) async fn apply_or(
    database: &Database,
    caller: &Caller,
    source: &[Migration],
    on_failure: FailedScript,
) -> Result<Applied, shared::SkillError> {
    let request = ApplyRequest {
        source,
        on_failure,
        ..ApplyRequest::default()
    };
    apply_as(database, caller, request).await
}

/// Runs SQL from a thread of its own, as an application would.
fn meanwhile(url: &str, sql: &'static str) {
    let database = database(url, true);
    let done = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(execute(&database, sql));
    });
    done.join().unwrap();
}

/// A caller during whose run an application writes a row that the unique index cannot stand: after the sixth statement.
pub(super) fn spoiled(
    task: &str,
    url: &str,
    then: impl Fn(&str) + Send + Sync + 'static,
) -> Caller {
    let (url, done) = (url.to_owned(), AtomicBool::new(false));
    let after = AtomicBool::new(false);
    Caller::operator(task).hook(move |line| {
        let sixth = line.starts_with("recorded ") && line.contains("statements/up-6 ");
        after.fetch_or(sixth, Ordering::SeqCst);
        // On PostgreSQL the sixth statement has no commit of its own, on SQLite the seventh begins inside a transaction.
        let free = line.starts_with("recorded ") && line.contains(".commit ")
            || line.starts_with("begin ") && line.ends_with("statements/up-7");
        if after.load(Ordering::SeqCst) && free && !done.swap(true, Ordering::SeqCst) {
            meanwhile(&url, "UPDATE base SET qty = 1 WHERE id = 2");
        }
        then(line);
        None
    })
}

pub(super) async fn states(database: &Database, dialect: Dialect) -> Vec<String> {
    let sql = format!(
        "SELECT s.state FROM {0}step s JOIN {0}migration m ON m.sequence = s.migration WHERE m.version = '0002' AND s.direction = 'up' ORDER BY m.sequence DESC, s.ordinal",
        ledger(dialect)
    );
    let rows = query(database, &sql).await;
    rows.iter()
        .take(12)
        .map(|row| row.text(0).unwrap())
        .collect()
}

async fn notes(database: &Database) -> Vec<Option<String>> {
    let rows = query(database, "SELECT note FROM base ORDER BY id").await;
    rows.iter()
        .map(|row| row.optional_text(0).unwrap())
        .collect()
}

/// A database whose second migration failed at its seventh statement.
pub(super) async fn stopped(dialect: Dialect) -> (Fixture, String) {
    let fixture = fixture(dialect, true);
    let source = source(dialect);
    let base = Caller::operator("base");
    apply(&fixture.database, &base, &source[..1], None)
        .await
        .unwrap();
    let before = fingerprint(&fixture.database).await;
    let caller = spoiled("fails", &fixture.url, |_| ());
    let error = apply(&fixture.database, &caller, &source, None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("continues here"), "{error}");
    let mut wanted = vec!["applied"; 6];
    wanted.extend(["pending"; 6]);
    assert_eq!(states(&fixture.database, dialect).await, wanted);
    (fixture, before)
}

pub(super) async fn is_as_before(fixture: &Fixture, before: &str, when: &str) {
    assert_eq!(fingerprint(&fixture.database).await, before, "{when}");
    let notes = notes(&fixture.database).await;
    assert_eq!(
        notes,
        [Some("a".to_owned()), Some("b".to_owned()), None],
        "{when}"
    );
    let left = "SELECT count(*) FROM base";
    assert_eq!(count(&fixture.database, left).await, 3, "{when}");
}

#[tokio::test]
async fn proves_an_inverse_of_every_statement_before_apply() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let plan = plan(&fixture.database, &source(dialect)).await.unwrap();
        let undo = &plan.migrations[1].parts.undo;
        assert_eq!(undo.len(), 12, "{dialect:?}");
        for step in undo {
            assert!(
                !matches!(step.undo, Undo::Unproven(_)),
                "{dialect:?}: {step:?}"
            );
        }
        assert_eq!(undo[7].undo, Undo::Nothing, "{dialect:?}");
        if dialect == Dialect::Postgres {
            let Undo::By(way) = &undo[3].undo else {
                panic!("{:?}", undo[3]);
            };
            assert!(!way.transactional, "{way:?}");
            assert!(way.text.starts_with("DROP INDEX CONCURRENTLY"), "{way:?}");
        }
        assert!(plan.migrations[0].parts.undo.is_empty(), "it runs at once");
        assert_eq!(plan.unrevertible(), None);
    }
}

#[tokio::test]
async fn the_readme_shows_what_a_plan_says() {
    let fixture = fixture(Dialect::Postgres, true);
    let tables = "CREATE TABLE orders (qty int, note text); INSERT INTO orders VALUES (1, 'x'); CREATE TABLE log (line text)";
    let up = "INSERT INTO log VALUES ('begun'); CREATE INDEX CONCURRENTLY orders_qty ON orders (qty); INSERT INTO log SELECT note FROM orders";
    let source = migrations(
        Dialect::Postgres,
        &[("tables", tables, ""), ("index", up, "")],
    );
    let plan = plan(&fixture.database, &source).await.unwrap();
    let shown = include_str!("../../README.md")
        .split_once("[\n  {\"statement\": 1")
        .unwrap();
    let shown = format!("[{{\"statement\": 1{}]", shown.1.split_once(']').unwrap().0);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let steps = &plan.migrations[1].parts.undo;
    for (step, shown) in steps.iter().zip(shown.as_array().unwrap()) {
        let (field, text) = match &step.undo {
            Undo::By(way) => (
                "sql",
                crate::domain::lex::masked(&way.text, Dialect::Postgres),
            ),
            Undo::Unproven(reason) => ("unproven", reason.clone()),
            Undo::Nothing => panic!("{step:?}"),
        };
        assert_eq!(shown[field], text);
    }
    assert_eq!(steps.len(), 3);
}

#[tokio::test]
pub(super) async fn a_rollback_reverts_what_a_failed_script_had_applied() {
    for dialect in BOTH {
        let (fixture, before) = stopped(dialect).await;
        let database = &fixture.database;
        let assessment = assess(database, &to_one()).await.unwrap();
        assert_eq!(assessment.answer, Answer::Reversible, "{assessment:?}");
        let halfway = assessment.halfway.unwrap();
        assert_eq!(
            (halfway.applied, halfway.statements, halfway.can_undo),
            (6, 12, true)
        );
        let ahead = Goal::Version(Version::parse("0002").unwrap());
        let ahead = assess(database, &ahead).await.unwrap();
        assert_eq!(ahead.answer, Answer::PointOfNoReturn, "{ahead:?}");

        let done = rollback(database, &Caller::coordinator("back"), to_one())
            .await
            .unwrap();
        assert_eq!(done.reverted.len(), 1);
        assert_eq!(done.head.as_deref(), Some("0001"));
        is_as_before(&fixture, &before, "after the rollback").await;
        let mut wanted = vec!["reverted"; 6];
        wanted.extend(["pending"; 6]);
        assert_eq!(states(database, dialect).await, wanted);
        assert!(
            assess(database, &to_one()).await.unwrap().halfway.is_none(),
            "nothing is half way"
        );

        // With the row mended, the whole migration runs, and back.
        execute(database, "UPDATE base SET qty = 2 WHERE id = 2").await;
        apply(database, &Caller::operator("again"), &source(dialect), None)
            .await
            .unwrap();
        rollback(database, &Caller::coordinator("whole"), to_one())
            .await
            .unwrap();
        is_as_before(&fixture, &before, "after the whole").await;
    }
}

#[tokio::test]
async fn a_failed_apply_reverts_itself_when_asked_to() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let (database, source) = (&fixture.database, source(dialect));
        apply(database, &Caller::operator("base"), &source[..1], None)
            .await
            .unwrap();
        let before = fingerprint(database).await;
        let caller = spoiled("fails", &fixture.url, |_| ());
        let error = apply_or(database, &caller, &source, FailedScript::Revert)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("6 statements that it had applied were reverted"),
            "{error}"
        );
        assert!(!error.contains("continues here"), "{error}");
        is_as_before(&fixture, &before, "after the failure").await;
    }
}

#[tokio::test]
async fn names_the_statement_that_cannot_be_undone() {
    let alone = |dialect| match dialect {
        Dialect::Postgres => {
            "CREATE INDEX CONCURRENTLY base_qty ON base (id); CREATE UNIQUE INDEX CONCURRENTLY base_one ON base (qty)"
        }
        Dialect::Sqlite => "VACUUM; CREATE UNIQUE INDEX base_one ON base (qty)",
    };
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let up = format!("INSERT INTO base SELECT 9, 'new', 9; {}", alone(dialect));
        let source = migrations(
            dialect,
            &[("base", BASE, "DROP TABLE base"), ("insert", &up, "")],
        );
        let database = &fixture.database;
        apply(database, &Caller::operator("base"), &source[..1], None)
            .await
            .unwrap();
        let plan = plan(database, &source).await.unwrap();
        let evidence = plan.migrations[0].proof.evidence.join("; ");
        assert!(evidence.contains("statement 1 (INSERT"), "{evidence}");
        let digest = plan.digest();
        let caller = Caller::operator("go").approved(&digest).hook(move |line| {
            let stop = line.starts_with("begin") && line.ends_with("statements/up-3");
            stop.then(|| shared::SkillError::failed("no more"))
        });
        let refused = apply_or(database, &caller, &source, FailedScript::Revert)
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("statement 1 (INSERT"),
            "{refused}"
        );
        apply(database, &caller, &source, None).await.unwrap_err();
        let assessment = assess(database, &to_one()).await.unwrap();
        assert_eq!(assessment.answer, Answer::PointOfNoReturn);
        let halfway = assessment.halfway.unwrap();
        assert!(!halfway.can_undo, "{halfway:?}");
        let refused = rollback(database, &Caller::operator("back"), to_one())
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("statement 1 (INSERT"), "{refused}");
        assert_eq!(
            count(database, "SELECT count(*) FROM base").await,
            4,
            "nothing was changed"
        );
        apply(database, &Caller::operator("on"), &source, None)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn counts_the_rows_that_were_written_to_a_half_applied_script() {
    for dialect in BOTH {
        let (fixture, before) = stopped(dialect).await;
        let database = &fixture.database;
        execute(database, "INSERT INTO log VALUES ('by an application')").await;
        let assessment = assess(database, &to_one()).await.unwrap();
        assert_eq!(
            (assessment.answer, assessment.rows_at_risk),
            (Answer::PointOfNoReturn, 1),
            "{assessment:?}"
        );
        let caller = Caller::coordinator("back");
        let digest = digest_of(rollback(database, &caller, to_one()).await.unwrap_err());
        let caller = Caller::coordinator("back").approved(&digest);
        rollback(database, &caller, to_one()).await.unwrap();
        assert_eq!(fingerprint(database).await, before);
    }
}
