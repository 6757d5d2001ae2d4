use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use shared::{Context, Skill, SkillError, context::Work};
use store::{Store, memory::MemoryStore, testing::FaultyStore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{Health, Journal, Member, Outcome, Step},
    fake::{World, revision},
    history::History,
    skills::ExecuteRollbackOutput,
};

mod crash;
mod gitlab;
mod guarded;
mod locked;
mod seeded;

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

fn input() -> Value {
    json!({"namespace": "shop", "deployment": "web", "dry_run": false, "idempotency_key": "k"})
}

/// Executes the rollback of `web` in `shop` as task `task-1`.
async fn execute(
    world: &Arc<World>,
    store: &Arc<dyn Store>,
) -> Result<ExecuteRollbackOutput, SkillError> {
    let (context, _) = world.peers().context();
    world
        .execute(store)
        .run(&context, serde_json::from_value(input()).unwrap())
        .await
}

async fn journal(store: &Arc<dyn Store>) -> Journal {
    History(store.clone())
        .journal("task-1")
        .await
        .unwrap()
        .unwrap()
}

async fn is_locked(store: &Arc<dyn Store>) -> bool {
    History(store.clone())
        .holder("deployments/shop/web")
        .await
        .unwrap()
        .is_some()
}

const STATEFUL: [&str; 7] = [
    "pause",
    "stop",
    "await_gone",
    "revert",
    "restore",
    "await_ready",
    "check_health",
];

#[tokio::test]
async fn a_rollback_without_a_database_restores_and_verifies() {
    let (world, store) = (World::stateless(), memory());
    let output = execute(&world, &store).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(world.log(), ["restore", "await_ready", "check_health"]);
    let web = world.web();
    assert_eq!(web.current().unwrap().name, "web-1");
    assert_eq!((web.replicas, web.paused), (3, false));
    assert!(!is_locked(&store).await);
}

#[tokio::test]
async fn a_pod_that_blocks_the_rollout_is_taken_away() {
    let (world, store) = (World::stateless(), memory());
    let pod = Member {
        name: "web-2".into(),
        uid: "p".into(),
        resource_version: "1".into(),
        revision: "web-2".into(),
        ready: false,
        leaving: false,
    };
    world.blocking.lock().unwrap().push(pod);
    let (context, agent) = world.peers().context();
    let skill = world.execute(&store);
    let wanted = serde_json::from_value(input()).unwrap();
    let output = skill.run(&context, wanted).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(
        world.log(),
        ["restore", "remove web-2", "await_ready", "check_health"]
    );
    let trail = agent.trail();
    for phase in ["intent", "outcome"] {
        let removal = format!("{phase} kubernetes.delete pods/shop/web-2");
        assert!(
            trail.iter().any(|record| record.starts_with(&removal)),
            "{trail:?}"
        );
    }
}

#[tokio::test]
async fn the_schema_moves_while_nobody_uses_it() {
    let (world, store) = (World::stateful("reversible"), memory());
    let output = execute(&world, &store).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(world.log(), STATEFUL);
    let web = world.web();
    assert_eq!(
        (
            web.current().unwrap().name.as_str(),
            web.replicas,
            web.paused
        ),
        ("web-1", 3, false)
    );
    assert!(!is_locked(&store).await);
}

#[tokio::test]
async fn a_failure_before_the_pivot_is_undone() {
    for (broken, log) in [
        ("pause", &[][..]),
        ("stop", &["pause", "resume"]),
        ("await_gone", &["pause", "stop", "resume"]),
        ("deny_revert", &["pause", "stop", "await_gone", "resume"]),
        ("refuse_revert", &["pause", "stop", "await_gone", "resume"]),
    ] {
        let (world, store) = (World::stateful("reversible"), memory());
        let before = world.web();
        world.break_at(broken);
        execute(&world, &store).await.unwrap_err();
        assert_eq!(world.log(), log, "{broken}");
        let after = world.web();
        assert_eq!(
            (after.paused, after.replicas, &after.template),
            (false, 3, &before.template),
            "{broken}"
        );
        let journal = journal(&store).await;
        assert_eq!(journal.outcome, Outcome::Compensated, "{broken}");
        assert!(journal.failure().is_some());
        assert!(!is_locked(&store).await, "{broken}");
    }
}

/// The plan was made while the bad revision still wrote.
#[tokio::test]
async fn rows_written_until_the_last_writer_was_gone_are_not_lost() {
    let (world, store) = (World::stateful("reversible"), memory());
    world.on_wait(|world| {
        let mut evidence = world.evidence.lock().unwrap();
        *evidence = vec!["reverting 4 drops 2 rows".into()];
    });
    let error = execute(&world, &store).await.unwrap_err();
    assert!(
        error.to_string().contains("reverting 4 drops 2 rows"),
        "{error}"
    );
    assert_eq!(world.log(), ["pause", "stop", "await_gone", "resume"]);
    assert_eq!(journal(&store).await.outcome, Outcome::Compensated);
}

/// Approved here, and by nobody at db-migrator: what waits there must not move the schema under the bad revision later.
#[tokio::test]
async fn an_approval_that_nobody_gives_is_withdrawn() {
    let (world, store) = (World::stateful("point_of_no_return"), memory());
    world.unapproved.store(usize::MAX, Ordering::SeqCst);
    let wanted = serde_json::from_value(json!({"namespace": "shop", "deployment": "web"})).unwrap();
    let (context, _) = world.peers().context();
    let planned = world.planner(&store);
    let digest = planned.plan(&context, &wanted).await.unwrap().0.plan_digest;
    let (context, agent) = world.peers().context();
    let work = Work {
        task_id: "task-1".into(),
        skill: "execute_rollback".into(),
        caller: context.caller().clone(),
        on_behalf_of: None,
        // A second more than what is kept for writing down how it ended.
        deadline: Instant::now() + Duration::from_secs(6),
        tool_calls: Arc::default(),
        input_digest: String::new(),
    };
    let approval = shared::context::Approval {
        plan_digest: digest,
        approver: "somebody".into(),
    };
    let context = Context::new(work, Some(approval), CancellationToken::new(), agent);
    let skill = world.execute(&store);
    let run = skill.run(&context, serde_json::from_value(input()).unwrap());
    assert!(matches!(
        run.await.unwrap_err(),
        SkillError::DeadlineExceeded
    ));
    let log = ["pause", "stop", "await_gone", "withdraw \"m-1\"", "resume"];
    assert_eq!(world.log(), log);
    assert_eq!(journal(&store).await.outcome, Outcome::Compensated);
}

#[tokio::test]
async fn what_cannot_be_undone_is_left_to_a_person() {
    let (world, store) = (World::stateful("reversible"), memory());
    world.break_at("await_gone");
    world.break_at("resume");
    execute(&world, &store).await.unwrap_err();
    assert_eq!(journal(&store).await.outcome, Outcome::Stuck);
    assert!(!is_locked(&store).await);
}

#[tokio::test]
async fn after_the_pivot_there_is_no_way_back() {
    for (at, broken) in STATEFUL.into_iter().enumerate().skip(3) {
        let (world, store) = (World::stateful("reversible"), memory());
        world.break_at(broken);
        execute(&world, &store).await.unwrap_err();
        assert_eq!(world.log(), STATEFUL[..at], "{broken}: nothing is resumed");
        assert_eq!(journal(&store).await.outcome, Outcome::Stuck, "{broken}");
        assert!(!is_locked(&store).await, "{broken}");
        let again = execute(&world, &store).await.unwrap();
        assert_eq!(
            again.outcome,
            Some(Outcome::Stuck),
            "{broken}: it ended, and is not begun again"
        );
        assert_eq!(world.log(), STATEFUL[..at]);
    }
}

#[tokio::test]
async fn another_rollback_of_the_deployment_is_waited_for_by_nobody() {
    let (world, store) = (World::stateless(), memory());
    let history = History(store.clone());
    history
        .lock("deployments/shop/web", "task-0")
        .await
        .unwrap();
    let error = execute(&world, &store).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("rollback task-0 of deployments/shop/web is still running"),
        "{error}"
    );
    assert_eq!(journal(&store).await.outcome, Outcome::Compensated);
    assert_eq!(world.log(), Vec::<String>::new());
    assert_eq!(
        history
            .holder("deployments/shop/web")
            .await
            .unwrap()
            .as_deref(),
        Some("task-0"),
        "the other one keeps its lock"
    );
}

#[tokio::test]
async fn a_release_between_plan_and_lock_is_not_rolled_back() {
    let (world, store) = (
        World::stateless(),
        Arc::new(FaultyStore::dying_in_memory(1, false)),
    );
    assert!(crash::crash(&world, &store).await);
    world
        .web
        .lock()
        .unwrap()
        .revisions
        .push(revision(3, Health::NeverHealthy, None));
    let error = execute(&world, &store.inner).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "somebody released in between: web-3 is in force, not web-2"
    );
    assert_eq!(world.log(), Vec::<String>::new());
    assert!(!is_locked(&store.inner).await);
}

#[tokio::test]
async fn a_revision_that_was_left_is_never_chosen_again() {
    let (world, store) = (World::stateless(), memory());
    execute(&world, &store).await.unwrap();
    let mut next = revision(4, Health::NeverHealthy, None);
    next.replicas = 3;
    world.web.lock().unwrap().revisions.push(next);
    let web = History(store.clone()).complete(world.web()).await.unwrap();
    assert_eq!(web.revision(2).unwrap().health, Health::Quarantined);
    let plan = crate::domain::plan::choose(&web, crate::domain::Target::LastHealthy).unwrap();
    assert_eq!(plan.1.name, "web-1", "revision 2 is newer, but was left");
    assert!(crate::domain::plan::choose(&web, crate::domain::Target::Revision(2)).is_err());
}

#[tokio::test]
async fn a_write_is_tried_again_when_somebody_else_wrote() {
    let (world, store) = (World::stateless(), memory());
    world.conflicts.store(4, Ordering::SeqCst);
    execute(&world, &store).await.unwrap();
    assert_eq!(world.log().first().map(String::as_str), Some("restore"));
    let (world, store) = (World::stateful("reversible"), memory());
    world.conflicts.store(5, Ordering::SeqCst);
    let error = execute(&world, &store).await.unwrap_err();
    assert_eq!(error.to_string(), "somebody wrote in between");
    assert_eq!(
        journal(&store).await.outcome,
        Outcome::Compensated,
        "five times is enough"
    );
}

#[tokio::test]
async fn a_bad_release_with_one_ready_pod_is_not_learned() {
    let (world, store) = (World::stateless(), memory());
    let history = History(store.clone());
    let learned = |ready: u32| {
        let mut web = world.web();
        let bad = web.revisions.last_mut().unwrap();
        (bad.replicas, bad.ready, bad.health) = (ready, ready, Health::Healthy);
        web
    };
    let seen = || async {
        history
            .complete(world.web())
            .await
            .unwrap()
            .revision(2)
            .unwrap()
            .health
    };
    history.learn(&learned(1)).await.unwrap();
    assert_eq!(seen().await, Health::NeverHealthy);
    history.learn(&learned(3)).await.unwrap();
    assert_eq!(seen().await, Health::Healthy);
}

/// A run of task `task-1` with its own deadline and cancellation.
fn run_of(world: &Arc<World>, deadline: Instant, cancel: CancellationToken) -> Context {
    let (context, agent) = world.peers().context();
    let work = Work {
        task_id: "task-1".into(),
        skill: "execute_rollback".into(),
        caller: context.caller().clone(),
        on_behalf_of: None,
        deadline,
        tool_calls: Arc::default(),
        input_digest: String::new(),
    };
    Context::new(work, None, cancel, agent)
}

#[tokio::test]
async fn time_that_runs_out_is_written_down() {
    for (hangs, outcome) in [
        ("await_gone", Outcome::Compensated),
        ("await_ready", Outcome::Stuck),
        ("check_health", Outcome::Stuck),
    ] {
        let (world, store) = (World::stateful("reversible"), memory());
        world.hanging.lock().unwrap().push(hangs);
        let context = run_of(&world, Instant::now(), CancellationToken::new());
        let input = serde_json::from_value(input()).unwrap();
        let error = world
            .execute(&store)
            .run(&context, input)
            .await
            .unwrap_err();
        assert!(
            matches!(error, SkillError::DeadlineExceeded),
            "{hangs}: {error}"
        );
        assert_eq!(journal(&store).await.outcome, outcome, "{hangs}");
        let web = world.web();
        assert_eq!(
            (web.paused, web.replicas),
            (false, 3),
            "{hangs}: pods run again"
        );
        assert!(!is_locked(&store).await, "{hangs}");
    }
}

#[tokio::test]
async fn a_canceled_rollback_is_undone() {
    let (world, store) = (World::stateful("reversible"), memory());
    world.hanging.lock().unwrap().push("await_gone");
    let cancel = CancellationToken::new();
    let context = run_of(
        &world,
        Instant::now() + Duration::from_mins(1),
        cancel.clone(),
    );
    let skill = world.execute(&store);
    let run = skill.run(&context, serde_json::from_value(input()).unwrap());
    let later = async {
        while world.log() != ["pause", "stop"] {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(run, later);
    assert!(matches!(result, Err(SkillError::Canceled)));
    assert_eq!(world.log(), ["pause", "stop", "resume"]);
    assert_eq!(journal(&store).await.outcome, Outcome::Compensated);
    assert!(!is_locked(&store).await);
}

#[tokio::test]
async fn the_approval_at_db_migrator_is_waited_for() {
    let (world, store) = (World::stateful("point_of_no_return"), memory());
    world.unapproved.store(1, Ordering::SeqCst);
    let planned = world.planner(&store);
    let wanted = serde_json::from_value(json!({"namespace": "shop", "deployment": "web"})).unwrap();
    let (context, _) = world.peers().context();
    let digest = planned.plan(&context, &wanted).await.unwrap().0.plan_digest;
    let (context, _) = world.peers().approved(&digest);
    let output = world
        .execute(&store)
        .run(&context, serde_json::from_value(input()).unwrap())
        .await
        .unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(world.log(), STATEFUL);
    assert_eq!(world.unapproved.load(Ordering::SeqCst), 0);
}
