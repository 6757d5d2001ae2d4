//! Single behaviours of plan, apply, rollback and status.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use shared::SkillError;

use super::support::*;
use crate::{
    domain::{Answer, Dialect, Verdict, Version},
    engine::Goal,
};

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

fn zero() -> Goal {
    Goal::Version(Version::zero())
}

#[tokio::test]
async fn applies_nothing_twice_and_remembers_a_finished_task() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = migrations(dialect, &TWO);
        let first = apply(&fixture.database, &Caller::operator("t"), &source, None)
            .await
            .unwrap();
        let again = apply(&fixture.database, &Caller::operator("t"), &source, None)
            .await
            .unwrap();
        assert_eq!(
            (
                first.migrations.len(),
                again.migrations.len(),
                first.plan_digest
            ),
            (2, 2, again.plan_digest)
        );
        let other = apply(&fixture.database, &Caller::operator("u"), &source, None)
            .await
            .unwrap();
        assert_eq!(
            (other.migrations.len(), other.head.as_deref()),
            (0, Some("0002"))
        );
        assert_eq!(
            count(&fixture.database, "SELECT count(*) FROM one").await,
            1
        );
    }
}

#[tokio::test]
async fn audits_every_statement_by_name_and_never_by_text() {
    let fixture = fixture(Dialect::Sqlite, true);
    let trail = Arc::new(Mutex::new(Vec::new()));
    let seen = trail.clone();
    let caller = Caller::operator("t").hook(move |line| {
        seen.lock().unwrap().push(line.to_owned());
        None
    });
    apply(
        &fixture.database,
        &caller,
        &migrations(Dialect::Sqlite, &TWO),
        None,
    )
    .await
    .unwrap();
    let trail = trail.lock().unwrap().clone();
    let writes = trail
        .iter()
        .filter(|line| {
            line.starts_with("end sqlite.execute") || line.starts_with("end sqlite.commit")
        })
        .map(String::as_str)
        .collect::<Vec<_>>();
    assert_eq!(
        writes,
        [
            "end sqlite.execute databases/shop migrations/0001 statements/up-1 ok",
            "end sqlite.execute databases/shop migrations/0001 statements/up-2 ok",
            "end sqlite.commit databases/shop migrations/0001 ok",
            "end sqlite.execute databases/shop migrations/0002 statements/up-1 ok",
            "end sqlite.commit databases/shop migrations/0002 ok",
        ]
    );
    assert!(!trail.iter().any(|line| line.contains("CREATE")));
}

#[tokio::test]
async fn rolls_back_from_the_ledger_alone_in_reverse() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let empty = fingerprint(&fixture.database).await;
        apply(
            &fixture.database,
            &Caller::operator("t"),
            &migrations(dialect, &TWO),
            None,
        )
        .await
        .unwrap();
        let done = rollback(&fixture.database, &Caller::operator("r"), zero())
            .await
            .unwrap();
        assert_eq!(
            done.reverted
                .iter()
                .map(|m| m.version.as_str())
                .collect::<Vec<_>>(),
            ["0002", "0001"]
        );
        assert_eq!((done.fingerprint, done.head), (empty, None));
        let once_more = rollback(&fixture.database, &Caller::operator("r"), zero())
            .await
            .unwrap();
        assert_eq!(
            once_more.reverted.len(),
            2,
            "the task's own result is remembered"
        );
        let reapplied = apply(
            &fixture.database,
            &Caller::operator("t2"),
            &migrations(dialect, &TWO),
            None,
        )
        .await
        .unwrap();
        assert_eq!(reapplied.migrations.len(), 2);
    }
}

#[tokio::test]
async fn cancels_between_statements_and_keeps_nothing_of_the_open_migration() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let mut caller = Caller::operator("t");
        let cancel = caller.cancel.clone();
        caller = caller.hook(move |line| {
            if line.starts_with("begin") && line.ends_with("migrations/0001 statements/up-2") {
                cancel.cancel();
            }
            None
        });
        let empty = fingerprint(&fixture.database).await;
        let error = apply(&fixture.database, &caller, &migrations(dialect, &TWO), None)
            .await
            .unwrap_err();
        assert!(matches!(error, SkillError::Canceled));
        assert_eq!(fingerprint(&fixture.database).await, empty);
        assert_eq!(
            status(&fixture.database, &[])
                .await
                .last_run
                .unwrap()
                .outcome
                .as_deref(),
            Some("canceled")
        );
        assert_eq!(
            apply(
                &fixture.database,
                &Caller::operator("u"),
                &migrations(dialect, &TWO),
                None
            )
            .await
            .unwrap()
            .migrations
            .len(),
            2
        );
    }
}

#[tokio::test]
async fn refuses_a_plan_that_is_not_the_one_the_caller_saw() {
    let fixture = fixture(Dialect::Sqlite, true);
    let (context, metrics) = (Caller::operator("t").context(), crate::Metrics::default());
    let job = crate::engine::Job {
        context: &context,
        database: &fixture.database,
        metrics: &metrics,
    };
    let source = migrations(Dialect::Sqlite, &TWO);
    let request = crate::engine::ApplyRequest {
        source: &source,
        plan_digest: Some("0000"),
        release: None,
        ..crate::engine::ApplyRequest::default()
    };
    let error = crate::engine::apply(job, request).await.unwrap_err();
    assert!(
        matches!(error, SkillError::Rejected { ref field, .. } if field == "plan_digest"),
        "{error}"
    );
}

#[tokio::test]
async fn names_edited_and_late_migrations() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        apply(
            &fixture.database,
            &Caller::operator("t"),
            &migrations(dialect, &TWO),
            None,
        )
        .await
        .unwrap();
        let edited = migrations(
            dialect,
            &[("one", "CREATE TABLE one (a TEXT)", "DROP TABLE one")],
        );
        let error = apply(&fixture.database, &Caller::operator("u"), &edited, None)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("changed after it was applied"),
            "{error}"
        );
        assert!(status(&fixture.database, &edited).await.conflict.is_some());
    }
}

#[tokio::test]
async fn sees_drift_and_does_not_roll_back_over_it() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        apply(
            &fixture.database,
            &Caller::operator("t"),
            &migrations(dialect, &TWO),
            None,
        )
        .await
        .unwrap();
        execute(&fixture.database, "CREATE INDEX sneaky ON two (b)").await;
        let status = status(&fixture.database, &[]).await;
        assert_ne!(status.expected_fingerprint, Some(status.fingerprint));
        let assessment = assess(&fixture.database, &zero()).await.unwrap();
        assert_eq!(assessment.answer, Answer::PointOfNoReturn);
        let digest = digest_of(
            rollback(&fixture.database, &Caller::coordinator("r"), zero())
                .await
                .unwrap_err(),
        );
        // Dropping the table drops the sneaky index too, so even this approved rollback restores the proven catalog.
        assert_eq!(
            rollback(
                &fixture.database,
                &Caller::coordinator("r").approved(&digest),
                zero()
            )
            .await
            .unwrap()
            .reverted
            .len(),
            2
        );
    }
}

#[tokio::test]
async fn rebuilds_a_sqlite_table_with_foreign_keys_off() {
    let rebuild = "PRAGMA foreign_keys = OFF; CREATE TABLE n (id INTEGER PRIMARY KEY, x TEXT NOT NULL); INSERT INTO n SELECT id, x FROM p; \
        DROP TABLE p; ALTER TABLE n RENAME TO p; PRAGMA foreign_keys = ON;";
    let back = rebuild.replace("x TEXT NOT NULL", "x TEXT");
    let fixture = fixture(Dialect::Sqlite, true);
    let source = migrations(
        Dialect::Sqlite,
        &[
            (
                "p",
                "CREATE TABLE p (id INTEGER PRIMARY KEY, x TEXT); CREATE TABLE c (p INTEGER REFERENCES p (id) ON DELETE CASCADE); INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (1);",
                "DROP TABLE c; DROP TABLE p",
            ),
            ("rebuild", rebuild, &back),
        ],
    );
    let applied = apply(&fixture.database, &Caller::operator("t"), &source, None)
        .await
        .unwrap();
    assert_eq!(
        applied
            .migrations
            .iter()
            .map(|m| m.verdict)
            .collect::<Vec<_>>(),
        [Verdict::Reversible, Verdict::Reversible]
    );
    assert_eq!(
        count(&fixture.database, "SELECT count(*) FROM c").await,
        1,
        "no cascade"
    );
    rollback(
        &fixture.database,
        &Caller::operator("r"),
        Goal::Version(Version::parse("0001").unwrap()),
    )
    .await
    .unwrap();
    assert_eq!(count(&fixture.database, "SELECT count(*) FROM c").await, 1);
}

#[tokio::test]
async fn keeps_sqlite_scripts_inside_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = fixture(Dialect::Sqlite, true);
    let mut session = session(&fixture.database).await;
    let escape = format!(
        "ATTACH '{}' AS other",
        folder.path().join("stolen.db").display()
    );
    assert!(
        session
            .execute(&escape)
            .await
            .unwrap_err()
            .to_string()
            .contains("not authorized")
    );
    assert!(
        session
            .execute(&format!(
                "VACUUM INTO '{}'",
                folder.path().join("copy.db").display()
            ))
            .await
            .is_err()
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn says_when_the_database_is_gone_without_naming_its_address() {
    let database = database("postgres://app:s3cret@127.0.0.1:1/none", true);
    let error = plan(&database, &migrations(Dialect::Postgres, &TWO))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        SkillError::Unavailable {
            dependency: "postgres",
            ..
        }
    ));
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn gives_the_lock_up_at_the_deadline() {
    let fixture = fixture(Dialect::Sqlite, true);
    let mut holder = session(&fixture.database).await;
    holder
        .lock(
            "other",
            tokio::time::Instant::now() + Duration::from_secs(1),
        )
        .await
        .unwrap();
    let caller = Caller {
        patience: Duration::from_millis(50),
        ..Caller::operator("t")
    };
    let error = apply(
        &fixture.database,
        &caller,
        &migrations(Dialect::Sqlite, &TWO),
        None,
    )
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            SkillError::Unavailable {
                dependency: "sqlite",
                ..
            }
        ),
        "{error}"
    );
}
