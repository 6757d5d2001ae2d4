//! The skills as callers see them, and the README's examples held against their types.

use std::{path::Path, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use shared::{Effect, Skill, SkillError, testing::FakeAgent};

use super::support::{Caller, execute};
use crate::{
    Metrics,
    clients::{Databases, OciRegistries, Workspace},
    domain::Answer,
    skills::{
        ApplyMigration, ApplyMigrationInput, ApplyMigrationOutput, AssessRollback,
        AssessRollbackInput, AssessRollbackOutput, CompleteMigrationInput, CompleteMigrationOutput,
        Decision, LintMigrationInput, LintMigrationOutput, MigrationStatus, MigrationStatusInput,
        MigrationStatusOutput, PlanMigration, PlanMigrationInput, PlanReport, RollbackMigration,
        RollbackMigrationInput, RollbackMigrationOutput, UndoReport, Workbench,
    },
};

fn workbench(folder: &Path) -> Workbench {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let spec = |name: &str, flag: &str| {
        format!(
            "{name}=sqlite:{}{flag}",
            folder.join(format!("{name}.db")).display()
        )
        .parse()
        .unwrap()
    };
    Workbench {
        databases: Arc::new(Databases::new([spec("shop", ""), spec("shop-dev", ",dev")])),
        workspace: Workspace::new(root),
        registries: OciRegistries::new([], [], None).unwrap(),
        metrics: Metrics::default(),
    }
}

fn input<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Runs a skill and shows the answer with `--nocapture`.
async fn run<S: Skill>(skill: &S, caller: &Caller, request: Value) -> Result<S::Output, SkillError>
where
    S::Output: Serialize,
{
    println!("{} {request}", S::ID);
    let answer = skill.run(&caller.context(), input(request)).await;
    match &answer {
        Ok(output) => println!("{}", serde_json::to_string_pretty(output).unwrap()),
        Err(error) => println!("{error}"),
    }
    answer
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn takes_the_example_through_all_skills() {
    let folder = tempfile::tempdir().unwrap();
    let bench = workbench(folder.path());
    let (plan, apply, status) = (
        PlanMigration(bench.clone()),
        ApplyMigration(bench.clone()),
        MigrationStatus(bench.clone()),
    );
    let (assess, rollback) = (AssessRollback(bench.clone()), RollbackMigration(bench));
    let path =
        |release: &str| json!({ "path": format!("examples/shop/releases/{release}/migrations") });
    let caller = |task: &str| Caller::operator(task);

    let refused = run(
        &plan,
        &caller("p"),
        json!({ "database": "shop", "source": path("1.0.0-rc.1"), "retain": "none" }),
    )
    .await
    .unwrap();
    assert_eq!(
        (
            refused.decision,
            refused.refusals.len(),
            refused.approval_needed
        ),
        (Decision::Refused, 1, true)
    );
    let dry = run(
        &apply,
        &caller("d"),
        json!({ "database": "shop", "source": path("1.0.0"), "release": "1.0.0" }),
    )
    .await
    .unwrap();
    assert!(
        dry.dry_run && dry.applied.is_empty(),
        "a dry run is the default"
    );
    let request = json!({ "database": "shop", "source": path("1.0.0"), "release": "1.0.0", "dry_run": false, "idempotency_key": "k", "plan_digest": dry.plan_digest });
    assert!(
        matches!(run(&apply, &caller("a"), request.clone()).await, Err(SkillError::ApprovalRequired { plan_digest, .. }) if plan_digest == dry.plan_digest)
    );
    let applied = run(&apply, &caller("a").approved(&dry.plan_digest), request)
        .await
        .unwrap();
    assert_eq!(applied.applied, ["0001", "0002", "0003"]);

    let bad = json!({ "database": "shop", "source": path("1.1.0"), "release": "1.1.0" });
    let planned = run(&apply, &caller("d2"), bad.clone()).await.unwrap();
    let mut request = bad;
    request["dry_run"] = json!(false);
    request["idempotency_key"] = json!("k2");
    run(
        &apply,
        &caller("a2").approved(&planned.plan_digest),
        request,
    )
    .await
    .unwrap();
    let shown = run(
        &status,
        &caller("s"),
        json!({ "database": "shop", "source": path("1.1.0") }),
    )
    .await
    .unwrap();
    assert_eq!(
        (
            shown.head.as_deref(),
            shown.applied.len(),
            shown.drift.catalog_changed
        ),
        (Some("0004"), 4, false)
    );

    let assessed = run(
        &assess,
        &caller("q"),
        json!({ "database": "shop", "release": "1.0.0" }),
    )
    .await
    .unwrap();
    assert_eq!(assessed.assessment.answer, Answer::Reversible);
    let request = json!({ "database": "shop", "to_version": assessed.assessment.to_version, "dry_run": false, "idempotency_key": "k3" });
    let done = run(&rollback, &Caller::coordinator("r"), request)
        .await
        .unwrap();
    assert_eq!(
        (done.reverted, done.head.as_deref()),
        (vec!["0004".to_owned()], Some("0003"))
    );
}

#[tokio::test]
async fn says_which_field_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let bench = workbench(folder.path());
    let (context, agent) = FakeAgent::default().context();
    let plan = PlanMigration(bench.clone());
    let check =
        async |request: Value, expected: &str| match plan.run(&context, input(request)).await {
            Err(SkillError::Rejected { field, .. }) => assert_eq!(field, expected),
            other => panic!("{other:?}"),
        };
    check(
        json!({ "database": "sqlite:/etc/passwd", "source": { "path": "." } }),
        "database",
    )
    .await;
    check(json!({ "database": "shop", "source": {} }), "source").await;
    check(
        json!({ "database": "shop", "source": { "path": "../.." } }),
        "source.path",
    )
    .await;
    check(
        json!({ "database": "shop", "source": { "path": "/etc" } }),
        "source.path",
    )
    .await;
    check(json!({ "database": "shop", "source": { "files": [{ "name": "../x.sql", "content": "" }] } }), "source.files[0].name").await;
    check(json!({ "database": "shop", "source": { "files": [{ "name": "1_a.sql", "content": "ATTACH 'x' AS y" }] } }), "source").await;
    check(
        json!({ "database": "shop", "source": { "files": [] } }),
        "source",
    )
    .await;
    assert!(
        agent.trail().is_empty(),
        "nothing was touched for any of them"
    );
    assert!(
        serde_json::from_value::<ApplyMigrationInput>(
            json!({ "database": "shop", "source": {}, "force": true })
        )
        .is_err()
    );
    let goals = AssessRollback(bench);
    let both = goals
        .run(
            &context,
            input(json!({ "database": "shop", "to_version": "1", "release": "1" })),
        )
        .await;
    assert!(matches!(both, Err(SkillError::Rejected { field, .. }) if field == "to_version"));
    let unknown = goals
        .run(
            &context,
            input(json!({ "database": "shop", "release": "9" })),
        )
        .await;
    assert!(matches!(unknown, Err(SkillError::Rejected { field, .. }) if field == "release"));
}

#[tokio::test]
async fn never_shows_literals_of_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let plan = PlanMigration(workbench(folder.path()));
    let files = json!([{ "name": "1_a.sql", "content": "CREATE TABLE t (a TEXT DEFAULT 's3cret'); INSERT INTO t VALUES ('hunter2')" }]);
    let report = run(
        &plan,
        &Caller::operator("p"),
        json!({ "database": "shop-dev", "source": { "files": files } }),
    )
    .await
    .unwrap();
    let text = serde_json::to_string(&report).unwrap();
    assert!(
        !text.contains("s3cret") && !text.contains("hunter2") && text.contains("'***'"),
        "{text}"
    );
}

#[tokio::test]
async fn reports_drift_in_its_status() {
    let folder = tempfile::tempdir().unwrap();
    let bench = workbench(folder.path());
    let files = json!([{ "name": "1_a.up.sql", "content": "CREATE TABLE t (a TEXT)" }, { "name": "1_a.down.sql", "content": "DROP TABLE t" }]);
    let request = json!({ "database": "shop-dev", "source": { "files": files }, "dry_run": false, "idempotency_key": "k" });
    run(
        &ApplyMigration(bench.clone()),
        &Caller::operator("a"),
        request,
    )
    .await
    .unwrap();
    let database = bench.databases.find("shop-dev").unwrap().clone();
    execute(&database, "CREATE INDEX i ON t (a)").await;
    let status = run(
        &MigrationStatus(bench),
        &Caller::operator("s"),
        json!({ "database": "shop-dev" }),
    )
    .await
    .unwrap();
    assert!(status.drift.catalog_changed && status.drift.expected_fingerprint.is_some());
}

#[test]
fn declares_which_skills_change_the_world() {
    assert_eq!(
        [
            PlanMigration::EFFECT,
            AssessRollback::EFFECT,
            MigrationStatus::EFFECT
        ],
        [Effect::Read; 3]
    );
    assert_eq!(
        [ApplyMigration::EFFECT, RollbackMigration::EFFECT],
        [Effect::Mutate; 2]
    );
}

/// Every JSON block of the README that follows a skill's heading: the request, then the answer.
#[test]
fn shows_real_requests_and_answers_in_the_readme() {
    let blocks = include_str!("../../README.md")
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let blocks = blocks
        .map(|block| {
            serde_json::from_str::<Value>(block).unwrap_or_else(|error| panic!("{error}: {block}"))
        })
        .collect::<Vec<_>>();
    let [
        status,
        status_answer,
        plan,
        plan_answer,
        lint,
        lint_answer,
        apply,
        apply_answer,
        complete,
        complete_answer,
        assess,
        assess_answer,
        rollback,
        rollback_answer,
        verify,
        verify_answer,
        undo,
    ] = blocks.try_into().expect("seventeen blocks");
    assert_eq!(input::<Vec<UndoReport>>(undo).len(), 3);
    drop(input::<crate::skills::VerifySchemaInput>(verify));
    let verified = input::<crate::skills::VerifySchemaOutput>(verify_answer);
    assert_eq!(verified.answer, crate::domain::drift::SchemaState::InSync);
    drop(input::<MigrationStatusInput>(status));
    drop(input::<MigrationStatusOutput>(status_answer));
    drop(input::<PlanMigrationInput>(plan));
    assert_eq!(input::<PlanReport>(plan_answer).decision, Decision::Refused);
    assert!(input::<LintMigrationInput>(lint).prove);
    assert_eq!(input::<LintMigrationOutput>(lint_answer).findings.len(), 4);
    assert!(!input::<ApplyMigrationInput>(apply).dry_run);
    drop(input::<ApplyMigrationOutput>(apply_answer));
    assert!(!input::<CompleteMigrationInput>(complete).dry_run);
    drop(input::<CompleteMigrationOutput>(complete_answer));
    drop(input::<AssessRollbackInput>(assess));
    assert_eq!(
        input::<AssessRollbackOutput>(assess_answer)
            .assessment
            .answer,
        Answer::Reversible
    );
    drop(input::<RollbackMigrationInput>(rollback));
    assert_eq!(
        input::<RollbackMigrationOutput>(rollback_answer).reverted,
        ["0004"]
    );
}

#[test]
fn has_flags_that_clap_accepts() {
    use clap::CommandFactory;
    crate::Cli::command().debug_assert();
}
