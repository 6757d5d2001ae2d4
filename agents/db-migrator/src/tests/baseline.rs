//! Baselines, late migrations, and the fields of requests about both and about other tools.

use std::sync::Arc;

use serde_json::{Value, json};
use shared::{Skill, SkillError};

use super::{
    adopt::{A_UP, adopted, pairs, planned, rejected, wanted},
    support::{BOTH, Caller, apply, assess, count, execute, fixture, ledger, rollback},
};
use crate::{
    Metrics,
    clients::{Databases, OciRegistries, Workspace},
    domain::{Answer, Version},
    engine::{Goal, Wanted},
    skills::{ApplyMigration, ApplyMigrationOutput, Decision, PlanMigration, Workbench},
};

#[tokio::test]
async fn takes_a_baseline_on_a_persons_word() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = pairs(dialect);
        execute(&fixture.database, A_UP).await;
        execute(&fixture.database, "CREATE TABLE b (y integer NOT NULL)").await;
        execute(&fixture.database, "CREATE INDEX b_y ON b (y)").await;
        let unknown = Wanted::Baseline(Version::parse("9").unwrap());
        let error = planned(&fixture, &wanted(&source, unknown))
            .await
            .unwrap_err();
        rejected(error, "baseline", "a version of the source");
        let request = wanted(&source, Wanted::Baseline(Version::parse("2").unwrap()));
        adopted(&fixture, &Caller::operator("b"), &request)
            .await
            .unwrap();
        let went_on = apply(&fixture.database, &Caller::operator("c"), &source, None)
            .await
            .unwrap();
        assert_eq!(went_on.head.as_deref(), Some("3"));
        let irreversible = format!(
            "SELECT count(*) FROM {}migration WHERE verdict = 'irreversible' AND state = 'applied'",
            ledger(dialect)
        );
        assert_eq!(count(&fixture.database, &irreversible).await, 2);
        let caller = Caller::operator("r");
        let three = Goal::Version(Version::parse("2").unwrap());
        assert_eq!(
            rollback(&fixture.database, &caller, three)
                .await
                .unwrap()
                .reverted
                .len(),
            1
        );
        let back = rollback(
            &fixture.database,
            &Caller::operator("z"),
            Goal::Version(Version::zero()),
        )
        .await;
        assert!(
            matches!(back, Err(SkillError::Failed { message, .. }) if message.contains("no down"))
        );
    }
}

#[tokio::test]
async fn runs_a_late_migration_only_when_it_is_told_to() {
    for dialect in BOTH {
        let fixture = fixture(dialect, true);
        let source = pairs(dialect);
        let (newer, mut all) = ([source[0].clone(), source[2].clone()], source.clone());
        apply(&fixture.database, &Caller::operator("1"), &newer, None)
            .await
            .unwrap();
        let refused = apply(&fixture.database, &Caller::operator("2"), &all, None).await;
        rejected(
            refused.unwrap_err(),
            "source",
            "2 was never applied, but the newer 3 was",
        );
        all[1].may_run_late = true;
        let late = apply(&fixture.database, &Caller::operator("3"), &all, None)
            .await
            .unwrap();
        assert_eq!(late.migrations[0].version.as_str(), "2");
        assert_eq!(late.head.as_deref(), Some("3"));
        let goal = |version: &str| Goal::Version(Version::parse(version).unwrap());
        let kept = assess(&fixture.database, &goal("2")).await.unwrap();
        assert_eq!(kept.answer, Answer::PointOfNoReturn, "{:?}", kept.evidence);
        assert!(
            kept.evidence
                .iter()
                .any(|e| e.contains("2 was applied after"))
        );
        let back = assess(&fixture.database, &goal("1")).await.unwrap();
        assert_eq!(back.answer, Answer::Reversible, "{:?}", back.evidence);
        let caller = Caller::operator("4");
        let reverted = rollback(&fixture.database, &caller, goal("1"))
            .await
            .unwrap()
            .reverted;
        assert_eq!(reverted.len(), 2);
    }
}

/// A SQLite database with the history of golang-migrate, and its migrations in an archive.
#[tokio::test]
async fn takes_over_through_the_skills_from_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("shop.tar")).unwrap();
    let mut archive = tar::Builder::new(file);
    for (name, text) in [
        ("db/1_a.up.sql", A_UP),
        ("db/1_a.down.sql", "DROP TABLE a"),
        ("db/2_b.up.sql", "CREATE TABLE b (y integer)"),
        ("db/2_b.down.sql", "DROP TABLE b"),
        ("other/1_x/up.sql", "CREATE TABLE x (y integer)"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        archive
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    }
    archive.finish().unwrap();
    let path = folder.path().join("shop.db");
    let spec = format!("shop=sqlite:{},dev", path.display());
    let bench = Workbench {
        databases: Arc::new(Databases::new([spec.parse().unwrap()])),
        workspace: Workspace::new(folder.path()),
        registries: OciRegistries::new([], [], None).unwrap(),
        metrics: Metrics::default(),
    };
    let database = bench.databases.find("shop").unwrap().clone();
    execute(&database, A_UP).await;
    let table = "CREATE TABLE schema_migrations (version uint64, dirty bool); \
        CREATE UNIQUE INDEX version_unique ON schema_migrations (version); INSERT INTO schema_migrations VALUES (1, false)";
    execute(&database, table).await;
    let request = |more: Value| {
        let source = json!({ "archive": "shop.tar", "subfolder": "db" });
        let mut request = json!({ "database": "shop", "source": source });
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        request
    };
    let apply = async |task: &str, more: Value| -> Result<ApplyMigrationOutput, SkillError> {
        let input = serde_json::from_value(request(more)).unwrap();
        let context = Caller::operator(task).context();
        ApplyMigration(bench.clone()).run(&context, input).await
    };
    let plain = apply("1", json!({})).await;
    rejected(plain.unwrap_err(), "adopt", "golang_migrate in");
    let both = apply("2", json!({ "adopt": "auto", "baseline": "1" })).await;
    rejected(both.unwrap_err(), "baseline", "either adopt or baseline");
    let other = apply("3", json!({ "adopt": "goose" })).await;
    rejected(other.unwrap_err(), "adopt", "there is golang_migrate in");
    let input = serde_json::from_value(request(json!({ "adopt": "auto" }))).unwrap();
    let context = Caller::operator("4").context();
    let report = PlanMigration(bench.clone())
        .run(&context, input)
        .await
        .unwrap();
    assert_eq!(report.decision, Decision::Accepted);
    let adoption = report.adoption.unwrap();
    assert_eq!(
        (adoption.migrations.len(), adoption.pending),
        (1, vec!["2".to_owned()])
    );
    let wet = |digest: Value| json!({ "adopt": "auto", "dry_run": false, "idempotency_key": "k", "plan_digest": digest });
    let stale = apply("5", wet(json!("00"))).await;
    rejected(stale.unwrap_err(), "plan_digest", &report.plan_digest);
    for again in [false, true] {
        let taken = apply("6", wet(json!(report.plan_digest))).await.unwrap();
        assert_eq!(taken.adopted, ["1"], "again: {again}");
        assert_eq!((taken.applied.len(), taken.head.as_deref()), (0, Some("1")));
    }
    let goes_on = apply(
        "7",
        json!({ "adopt": "auto", "dry_run": false, "idempotency_key": "l" }),
    )
    .await;
    assert_eq!(goes_on.unwrap().applied, ["2"]);
}
