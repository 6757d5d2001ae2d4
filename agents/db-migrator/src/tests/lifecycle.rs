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
            if line.ends_with("migrations/0001 statements/up-1 ok") {
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
        [Verdict::Reversible; 3]
    );
    let last = &plan.migrations[2];
    assert_eq!(last.inverse, crate::domain::Inverse::Synthesised);
    assert!(
        last.proof.evidence[0].contains("changed column t.a"),
        "{:?}",
        last.proof.evidence
    );
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
async fn waits_in_short_steps_for_a_table_that_others_use() {
    let fixture = fixture(Dialect::Postgres, true);
    apply(
        &fixture.database,
        &Caller::operator("t"),
        &migrations(Dialect::Postgres, &TWO[..1]),
        None,
    )
    .await
    .unwrap();
    let mut reader = session(&fixture.database).await;
    reader
        .execute("BEGIN; LOCK TABLE one IN ACCESS SHARE MODE")
        .await
        .unwrap();
    let source = migrations(
        Dialect::Postgres,
        &[
            TWO[0],
            (
                "add",
                "ALTER TABLE one ADD COLUMN c int",
                "ALTER TABLE one DROP COLUMN c",
            ),
        ],
    );
    let attempts = Arc::new(Mutex::new(0));
    let seen = attempts.clone();
    let (freed, free) = tokio::sync::oneshot::channel();
    let freed = Mutex::new(Some(freed));
    let caller = Caller::operator("u").hook(move |line| {
        if line.contains("end postgres.execute") && line.ends_with("failed") {
            *seen.lock().unwrap() += 1;
            freed.lock().unwrap().take().map(|freed| freed.send(()));
        }
        None
    });
    let release = async {
        free.await.unwrap();
        reader.execute("COMMIT").await.unwrap();
    };
    let (applied, ()) = tokio::join!(apply(&fixture.database, &caller, &source, None), release);
    assert_eq!(applied.unwrap().migrations.len(), 1);
    assert!(
        *attempts.lock().unwrap() >= 1,
        "the first attempt gave up after its lock timeout"
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn builds_an_index_concurrently_and_cleans_up_after_a_failed_one() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    let table = (
        "t",
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)",
        "DROP TABLE t",
    );
    let index = (
        "i",
        "CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a); COMMENT ON TABLE t IS 'indexed'",
        "COMMENT ON TABLE t IS NULL; DROP INDEX CONCURRENTLY t_a",
    );
    let source = migrations(Dialect::Postgres, &[table, index]);
    apply(database, &Caller::operator("t"), &source[..1], None)
        .await
        .unwrap();
    // A duplicate arrives between the proof and the statement.
    let url = fixture.url.clone();
    let caller = Caller::operator("u").hook(move |line| {
        if line.starts_with("begin postgres.execute")
            && line.ends_with("migrations/0002 statements/up-1")
        {
            let url = url.clone();
            std::thread::spawn(move || {
                tokio::runtime::Runtime::new().unwrap().block_on(execute(
                    &super::support::database(&url, true),
                    "INSERT INTO t VALUES (2)",
                ));
            })
            .join()
            .unwrap();
        }
        None
    });
    let error = apply(database, &caller, &source, None).await.unwrap_err();
    assert!(error.to_string().contains("23505"), "{error}");
    assert_eq!(
        count(
            database,
            "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        )
        .await,
        0,
        "no invalid index is left"
    );
    assert_eq!(
        assess(database, &zero()).await.unwrap().answer,
        Answer::PointOfNoReturn,
        "half way"
    );
    execute(
        database,
        "DELETE FROM t WHERE ctid = (SELECT max(ctid) FROM t)",
    )
    .await;
    let applied = apply(database, &Caller::operator("v"), &source, None)
        .await
        .unwrap();
    assert_eq!(
        (applied.finished.len(), applied.head.as_deref()),
        (1, Some("0002"))
    );
    assert_eq!(
        rollback(
            database,
            &Caller::operator("r"),
            Goal::Version(Version::parse("0001").unwrap())
        )
        .await
        .unwrap()
        .reverted
        .len(),
        1
    );
    assert_eq!(
        count(
            database,
            "SELECT count(*) FROM pg_indexes WHERE indexname = 't_a'"
        )
        .await,
        0
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
