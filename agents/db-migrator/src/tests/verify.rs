//! Drift and rights on real servers.

use super::support::*;
use crate::{
    clients::Database,
    domain::{Dialect, Migration, drift::SchemaState},
    engine::{self, Job, Verified},
};

async fn verify(database: &Database, source: &[Migration]) -> Verified {
    let (context, metrics) = (
        Caller::operator("verify").context(),
        crate::Metrics::default(),
    );
    let job = Job {
        context: &context,
        database,
        metrics: &metrics,
    };
    engine::verify(job, source).await.unwrap()
}

fn source(dialect: Dialect) -> Vec<Migration> {
    migrations(
        dialect,
        &[
            ("a", "CREATE TABLE a (x INTEGER, y INTEGER)", "DROP TABLE a"),
            (
                "b",
                "CREATE TABLE b (x INTEGER); CREATE INDEX b_x ON b (x)",
                "DROP TABLE b",
            ),
        ],
    )
}

fn shown(verified: &Verified) -> Vec<String> {
    let all = verified.differences.iter().flatten();
    all.map(ToString::to_string).collect()
}

#[tokio::test]
async fn names_what_changed_behind_its_back() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let database = &fixture.database;
        let source = source(dialect);
        assert_eq!(
            verify(database, &source).await.state,
            SchemaState::Unmanaged
        );
        apply(database, &Caller::operator("t"), &source[..1], None)
            .await
            .unwrap();
        let verified = verify(database, &source).await;
        assert_eq!(
            (verified.state, verified.pending.as_slice()),
            (SchemaState::InSync, &["0002".to_owned()][..])
        );
        apply(database, &Caller::operator("u"), &source, None)
            .await
            .unwrap();
        execute(database, "CREATE TABLE stranger (z INTEGER)").await;
        execute(database, "DROP INDEX b_x").await;
        execute(database, "ALTER TABLE a ADD COLUMN w INTEGER").await;
        let verified = verify(database, &source).await;
        assert_eq!(verified.state, SchemaState::Drifted);
        let shown = shown(&verified);
        for expected in [
            "added table",
            "stranger",
            "removed index",
            "b_x",
            "added column",
            "w",
        ] {
            assert!(
                shown.iter().any(|line| line.contains(expected)),
                "{expected}: {shown:?}"
            );
        }
        assert!(verified.unknown.is_none());
    }
}

#[tokio::test]
async fn says_when_the_ledger_alone_does_not_explain_the_schema() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        execute(&fixture.database, "CREATE TABLE before (x INTEGER)").await;
        apply(
            &fixture.database,
            &Caller::operator("t"),
            &source(dialect),
            None,
        )
        .await
        .unwrap();
        assert_eq!(
            verify(&fixture.database, &[]).await.state,
            SchemaState::InSync
        );
        execute(&fixture.database, "CREATE TABLE stranger (z INTEGER)").await;
        let verified = verify(&fixture.database, &[]).await;
        assert_eq!(verified.state, SchemaState::Drifted);
        assert!(
            verified.differences.is_none()
                && verified.unknown.unwrap().contains("did not begin empty")
        );
    }
}

#[tokio::test]
async fn lists_what_a_later_run_would_stumble_over() {
    let fixture = fixture(Dialect::Postgres, true);
    let database = &fixture.database;
    execute(database, "CREATE TABLE p (x int) PARTITION BY RANGE (x)").await;
    execute(
        database,
        "CREATE TABLE t (x int); INSERT INTO t VALUES (1), (1)",
    )
    .await;
    execute(
        database,
        "ALTER TABLE t ADD CONSTRAINT positive CHECK (x > 1) NOT VALID",
    )
    .await;
    let mut session = session(database).await;
    assert!(
        session
            .execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (x)")
            .await
            .is_err()
    );
    session.close().await.unwrap();
    let verified = verify(database, &[]).await;
    let found: Vec<_> = verified
        .findings
        .iter()
        .map(|one| (one.check.as_str(), one.object.as_str()))
        .collect();
    assert!(
        found.contains(&("invalid_index", "public.broken")),
        "{found:?}"
    );
    assert!(
        found.contains(&("not_valid_constraint", "public.t.positive")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|(check, _)| *check == "superuser"),
        "{found:?}"
    );
}

#[tokio::test]
async fn refuses_a_superuser_outside_dev_unless_the_operator_allows_it() {
    let fixture = fixture(Dialect::Postgres, false);
    let bare = crate::clients::Databases::new([format!("shop={}", fixture.url).parse().unwrap()]);
    let strict = bare.find("shop").unwrap();
    let error = apply(
        strict,
        &Caller::operator("t"),
        &source(Dialect::Postgres),
        None,
    )
    .await
    .unwrap_err();
    assert!(
        matches!(error, shared::SkillError::Denied(_))
            && error.to_string().contains("superuser=allow"),
        "{error}"
    );
    digest_of(
        apply(
            &fixture.database,
            &Caller::operator("t"),
            &source(Dialect::Postgres),
            None,
        )
        .await
        .unwrap_err(),
    );
}
