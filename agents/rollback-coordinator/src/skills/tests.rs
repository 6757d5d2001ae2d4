use std::sync::Arc;

use serde_json::{Value, json};
use shared::{Skill, SkillError};
use store::{Store, memory::MemoryStore};

use super::{
    ExecuteRollbackOutput, ListRevisions, PlanRollback, RollbackStatus, planner::Planned,
    rollback_status,
};
use crate::{
    domain::{Health, Outcome, Step},
    fake::{World, revision},
    history::History,
};

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

async fn plan(
    world: &Arc<World>,
    store: &Arc<dyn Store>,
    more: Value,
) -> Result<Planned, SkillError> {
    let (context, _) = world.peers().context();
    PlanRollback(world.planner(store))
        .run(&context, serde_json::from_value(input(more)).unwrap())
        .await
}

/// `shop/web` and further fields.
fn input(more: Value) -> Value {
    let mut input = json!({"namespace": "shop", "deployment": "web"});
    let more: serde_json::Map<String, Value> = serde_json::from_value(more).unwrap();
    input.as_object_mut().unwrap().extend(more);
    input
}

async fn execute(
    world: &Arc<World>,
    more: Value,
    approval: Option<&str>,
) -> Result<ExecuteRollbackOutput, SkillError> {
    let agent = world.peers();
    let (context, _) = match approval {
        Some(digest) => agent.approved(digest),
        None => agent.context(),
    };
    world
        .execute(&memory())
        .run(&context, serde_json::from_value(input(more)).unwrap())
        .await
}

#[tokio::test]
async fn revisions_are_listed_newest_first_with_what_is_remembered() {
    let (world, store) = (World::stateful("reversible"), memory());
    let mut seen = world.web();
    seen.revisions[1].ready = 3;
    seen.revisions[1].health = Health::Healthy;
    History(store.clone()).learn(&seen).await.unwrap();
    let (context, agent) = world.peers().context();
    let wanted = serde_json::from_value(input(json!({}))).unwrap();
    let output = ListRevisions(world.planner(&store))
        .run(&context, wanted)
        .await
        .unwrap();
    assert_eq!(output.current, Some(2));
    let listed: Vec<_> = output
        .revisions
        .iter()
        .map(|r| {
            (
                r.revision,
                r.images[0].as_str(),
                r.health,
                r.schema_version.as_deref(),
                r.replicas,
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            (2, "web:2", Health::Healthy, Some("4"), (3, 0)),
            (1, "web:1", Health::Healthy, Some("3"), (0, 0))
        ]
    );
    assert_eq!(
        agent.trail(),
        ["outcome kubernetes.get deployments/shop/web ok"]
    );
}

#[tokio::test]
async fn foreign_namespaces_unknown_names_and_what_is_no_name_are_refused() {
    let (world, store) = (World::stateless(), memory());
    let denied = plan(&world, &store, json!({"namespace": "kube-system"}))
        .await
        .unwrap_err();
    assert!(matches!(denied, SkillError::Denied(_)));
    for (more, field) in [
        (json!({"deployment": "api"}), "deployment"),
        (json!({"deployment": ""}), "deployment"),
        (json!({"deployment": "a/../b"}), "deployment"),
        (json!({"deployment": "x".repeat(254)}), "deployment"),
        (json!({"namespace": "Shop"}), "namespace"),
        (json!({"to_revision": 9}), "to_revision"),
    ] {
        let error = plan(&world, &store, more).await.unwrap_err();
        assert!(
            matches!(&error, SkillError::Rejected { field: f, .. } if f == field),
            "{error}"
        );
    }
    for both_or_none in [
        json!({"namespace": "shop"}),
        input(json!({"workload": {"kind": "Deployment", "name": "web"}})),
    ] {
        let (context, _) = world.peers().context();
        let skill = PlanRollback(world.planner(&store));
        let wanted = serde_json::from_value(both_or_none).unwrap();
        let error = skill.run(&context, wanted).await.unwrap_err();
        assert!(
            matches!(&error, SkillError::Rejected { field, .. } if field == "workload"),
            "{error}"
        );
    }
    for wrong in [
        json!({}),
        input(json!({"extra": 1})),
        input(json!({"to_revision": -1})),
    ] {
        assert!(serde_json::from_value::<super::planner::Wanted>(wrong).is_err());
    }
}

#[tokio::test]
async fn every_refusal_says_why_there_is_no_rollback() {
    let never = || {
        vec![
            revision(1, Health::NeverHealthy, None),
            revision(2, Health::NeverHealthy, None),
        ]
    };
    let left = || {
        vec![
            revision(1, Health::Quarantined, None),
            revision(2, Health::NeverHealthy, None),
        ]
    };
    for (revisions, more, why) in [
        (
            vec![revision(1, Health::Healthy, None)],
            json!({}),
            "no rollback: there is no earlier revision to go back to",
        ),
        (
            never(),
            json!({}),
            "no rollback: no earlier revision was ever seen healthy; name to_revision if you know better",
        ),
        (
            never(),
            json!({"to_revision": 2}),
            "no rollback: revision 2 is in force already",
        ),
        (
            left(),
            json!({"to_revision": 1}),
            "no rollback: revision 1 is quarantined: a rollback left it because it was bad",
        ),
    ] {
        let world = World::of(revisions, Value::Null);
        let error = plan(&world, &memory(), more).await.unwrap_err();
        assert_eq!(error.to_string(), why);
        assert_eq!(world.log(), Vec::<String>::new());
    }
    let world = World::stateless();
    world.web.lock().unwrap().paused = true;
    let error = plan(&world, &memory(), json!({})).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no rollback: the rollout is paused; resume it first, so that nobody works on it"
    );
}

#[tokio::test]
async fn the_answer_of_db_migrator_decides_the_database_step() {
    let moving = [
        Step::PauseRollout,
        Step::StopWriters,
        Step::RollBackDatabase,
    ];
    for (answer, additive, moves, approval) in [
        ("safe_without_database", false, false, false),
        ("reversible", true, false, false),
        ("reversible", false, true, false),
        ("point_of_no_return", false, true, true),
    ] {
        let revisions = vec![
            revision(1, Health::Healthy, Some("3")),
            revision(2, Health::NeverHealthy, Some("4")),
        ];
        let world = World::of(
            revisions,
            json!({"answer": answer, "rows_at_risk": 7, "additive_only": additive}),
        );
        let Planned { plan, .. } = plan(&world, &memory(), json!({})).await.unwrap();
        assert_eq!((plan.from_revision, plan.to_revision), (2, 1));
        assert!(
            moving.iter().all(|step| plan.steps.contains(step) == moves),
            "{answer} {additive}"
        );
        assert_eq!(
            (plan.database.is_some(), plan.needs_approval),
            (moves, approval),
            "{answer} {additive}"
        );
        let changed: Vec<&str> = plan
            .diff
            .lines()
            .filter(|line| line.contains("image"))
            .map(str::trim_end)
            .collect();
        assert!(
            matches!(changed[..], [old, new] if old.starts_with('-') && old.ends_with("\"web:2\"") && new.starts_with('+') && new.ends_with("\"web:1\"")),
            "{}",
            plan.diff
        );
    }
}

#[tokio::test]
async fn db_migrator_is_asked_only_when_the_schema_differs_and_nothing_is_planned_without_it() {
    let same = vec![
        revision(1, Health::Healthy, Some("3")),
        revision(2, Health::NeverHealthy, Some("3")),
    ];
    let world = World::of(same, json!("no answer that anybody could read"));
    assert!(
        plan(&world, &memory(), json!({}))
            .await
            .unwrap()
            .plan
            .database
            .is_none()
    );
    let other = vec![
        revision(1, Health::Healthy, Some("3")),
        revision(2, Health::NeverHealthy, Some("4")),
    ];
    let world = World::of(other, json!("no answer that anybody could read"));
    assert!(plan(&world, &memory(), json!({})).await.is_err());
}

#[tokio::test]
async fn a_dry_run_returns_the_plan_and_changes_nothing() {
    let world = World::stateful("point_of_no_return");
    let before = world.web();
    let output = execute(&world, json!({}), None).await.unwrap();
    assert_eq!(
        (output.executed, output.rollback_id, output.outcome),
        (false, None, None)
    );
    let planned = plan(&world, &memory(), json!({})).await.unwrap();
    assert_eq!(
        (output.plan_digest, output.plan),
        (planned.plan_digest, planned.plan)
    );
    assert_eq!((world.web(), world.log()), (before, Vec::new()));
}

#[tokio::test]
async fn another_plan_than_the_one_that_was_looked_at_is_refused() {
    let world = World::stateless();
    let more = json!({"dry_run": false, "idempotency_key": "k", "plan_digest": "0000"});
    let error = execute(&world, more, None).await.unwrap_err();
    assert!(
        matches!(&error, SkillError::Rejected { field, .. } if field == "plan_digest"),
        "{error}"
    );
    assert_eq!(world.log(), Vec::<String>::new());
    let digest = plan(&world, &memory(), json!({}))
        .await
        .unwrap()
        .plan_digest;
    let more = json!({"dry_run": false, "idempotency_key": "k", "plan_digest": digest});
    assert_eq!(
        execute(&world, more, None).await.unwrap().outcome,
        Some(Outcome::RolledBack)
    );
}

#[tokio::test]
async fn rows_are_lost_only_after_an_approval_of_this_plan() {
    let world = World::stateful("point_of_no_return");
    let more = json!({"dry_run": false, "idempotency_key": "k"});
    let Err(SkillError::ApprovalRequired {
        plan_digest,
        summary,
    }) = execute(&world, more.clone(), None).await
    else {
        panic!("an approval is required")
    };
    assert!(summary.contains("loses 7 rows"), "{summary}");
    let other = execute(&world, more.clone(), Some("another plan")).await;
    assert!(matches!(other, Err(SkillError::ApprovalRequired { .. })));
    assert_eq!(world.log(), Vec::<String>::new());
    let output = execute(&world, more, Some(&plan_digest)).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(world.reverted.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_status_shows_the_journal_of_a_rollback() {
    let (world, store) = (World::stateless(), memory());
    let (context, _) = world.peers().context();
    let wanted =
        serde_json::from_value(input(json!({"dry_run": false, "idempotency_key": "k"}))).unwrap();
    let done = world.execute(&store).run(&context, wanted).await.unwrap();
    assert_eq!(done.rollback_id.as_deref(), Some("task-1"));
    let status = RollbackStatus(History(store));
    let ask = |input: Value| {
        let input: rollback_status::Input = serde_json::from_value(input).unwrap();
        status.run(&context, input)
    };
    for question in [json!({}), json!({"rollback_id": "task-1"})] {
        let [journal] = &ask(question).await.unwrap().rollbacks[..] else {
            panic!("one journal")
        };
        assert_eq!(
            (journal.outcome, &journal.entries, journal.progress()),
            (Outcome::RolledBack, &done.steps, (5, 5))
        );
        assert_eq!(journal.caller, "operator");
    }
    let error = ask(json!({"rollback_id": "task-2"})).await.unwrap_err();
    assert!(
        matches!(&error, SkillError::Rejected { field, .. } if field == "rollback_id"),
        "{error}"
    );
}
