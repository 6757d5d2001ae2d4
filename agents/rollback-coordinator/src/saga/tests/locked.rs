//! The lock, the gate, and what was left behind: who may write, who comes first, and what is never gone back to.

use std::time::Duration;

use super::{
    crash::crash,
    guarded::{lease, managed, owned},
    *,
};
use crate::{
    domain::{WorkloadId, hold::tests::merge, lease::FENCE_ANNOTATION},
    guard::{Grip, lease_of},
    history::Gate,
    skills::AbortRollback,
};

#[tokio::test]
async fn another_mesh_that_holds_the_lease_is_not_disturbed() {
    let (world, store) = (World::stateless(), memory());
    let (context, _) = world.peers().context();
    let theirs = Grip::take(
        &context,
        world.clone(),
        lease_of(&world.web().id),
        ("their-rollback", Duration::from_secs(30)),
    );
    let theirs = theirs.await.unwrap();
    let error = execute(&world, &store).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("rollback their-rollback holds leases/shop/"),
        "{error}"
    );
    assert_eq!(world.log(), Vec::<String>::new());
    assert_eq!(journal(&store).await.outcome, Outcome::Compensated);
    assert!(!is_locked(&store).await);
    theirs.check(&context).await.unwrap();
    assert_eq!(lease(&world)["holderIdentity"], "their-rollback");
}

#[tokio::test]
async fn a_rollback_that_another_one_overtook_writes_nothing_more() {
    let (world, store) = (
        World::stateful("reversible"),
        Arc::new(FaultyStore::dying_in_memory(4, true)),
    );
    assert!(crash(&world, &store).await);
    let before = world.web();
    assert!(before.paused, "it stopped half way");
    // Its time ran out, and another mesh took the workload.
    let taken = json!({"spec": {"holderIdentity": "theirs", "leaseTransitions": 7}});
    world.objects.edit(&lease_of(&before.id), &taken);
    let log = world.log();
    let error = execute(&world, &store.inner).await.unwrap_err();
    assert!(error.to_string().contains("theirs"), "{error}");
    assert_eq!((world.web(), world.log()), (before, log));
    assert_eq!(journal(&store.inner).await.outcome, Outcome::Stuck);
}

#[tokio::test]
async fn a_later_stamp_on_the_workload_stops_a_rollback_that_believes_in_its_lock() {
    let (world, store) = (World::stateful("reversible"), memory());
    world.on_wait(|world| {
        let mut web = world.web.lock().unwrap();
        web.annotations[FENCE_ANNOTATION] = json!("9");
        web.resource_version.push('s');
    });
    let error = execute(&world, &store).await.unwrap_err();
    assert!(
        error.to_string().contains("another rollback writes"),
        "{error}"
    );
    assert_eq!(
        world.log(),
        ["pause", "stop", "await_gone"],
        "no schema moves"
    );
    assert_eq!(journal(&store).await.outcome, Outcome::Stuck);
}

async fn abort(world: &Arc<World>, store: &Arc<dyn Store>) -> Value {
    let (context, _) = world.peers().context();
    let input = json!({"rollback_id": "task-1", "dry_run": false, "idempotency_key": "a"});
    let skill = AbortRollback(History(store.clone()));
    let output = skill
        .run(&context, serde_json::from_value(input).unwrap())
        .await;
    serde_json::to_value(output.unwrap()).unwrap()
}

#[tokio::test]
async fn an_abort_before_the_pivot_undoes_a_rollback_that_waits() {
    let (world, store) = (World::stateful("reversible"), memory());
    let before = managed(&world);
    world.hanging.lock().unwrap().push("await_gone");
    let later = async {
        while world.log() != ["pause", "stop"] {
            tokio::task::yield_now().await;
        }
        abort(&world, &store).await
    };
    let (result, answer) = tokio::join!(execute(&world, &store), later);
    assert_eq!(
        result.unwrap_err().to_string(),
        "operator aborted the rollback"
    );
    assert_eq!(
        (&answer["aborted"], &answer["outcome"], &answer["says"]),
        (&json!(true), &json!("compensated"), &json!("it is undone"))
    );
    assert_eq!(world.log(), ["pause", "stop", "resume"]);
    for (object, wanted) in before {
        assert_eq!(
            owned(world.objects.at(&object).unwrap()),
            wanted,
            "{object}"
        );
    }
    let again = abort(&world, &store).await;
    assert_eq!(
        (&again["aborted"], &again["says"]),
        (&json!(false), &json!("it ended as compensated before"))
    );
}

#[tokio::test]
async fn an_abort_after_the_pivot_says_so_and_the_rollback_goes_on() {
    let (world, store) = (World::stateful("reversible"), memory());
    let answers = Arc::new(std::sync::Mutex::new(None));
    let (history, heard) = (History(store.clone()), answers.clone());
    let aborting = Arc::new(tokio::sync::Notify::new());
    let (begin, world_) = (aborting.clone(), world.clone());
    world.on_health(move |_| begin.notify_one());
    let late = async {
        aborting.notified().await;
        let answer = abort(&world_, &history.0).await;
        *heard.lock().unwrap() = Some(answer);
    };
    let (output, ()) = tokio::join!(execute(&world, &store), late);
    assert_eq!(output.unwrap().outcome, Some(Outcome::RolledBack));
    let answer = answers.lock().unwrap().take().unwrap();
    assert_eq!(answer["aborted"], false, "{answer}");
}

/// Whoever comes first at the gate decides, whatever dies in between.
#[tokio::test]
async fn an_abort_meets_a_crash_at_any_write() {
    for keeps_last in [false, true] {
        for dies_at in 1.. {
            let world = World::stateful("reversible");
            let before = managed(&world);
            let store = Arc::new(FaultyStore::dying_in_memory(dies_at, keeps_last));
            if !crash(&world, &store).await {
                break;
            }
            let at = format!("write {dies_at}, kept {keeps_last}");
            let history = History(store.inner.clone());
            if history.journal("task-1").await.unwrap().is_none() {
                continue;
            }
            let gate = history.abort("task-1", "operator").await.unwrap();
            let ended = execute(&world, &store.inner).await;
            let journal = journal(&store.inner).await;
            match gate {
                Gate::Aborted { .. } => {
                    assert_eq!(journal.outcome, Outcome::Compensated, "{at}: {ended:?}");
                    assert!(world.reverted.lock().unwrap().is_empty(), "{at}");
                    assert_eq!(
                        (world.web().replicas, world.web().paused),
                        (3, false),
                        "{at}"
                    );
                    for (object, wanted) in before {
                        assert_eq!(
                            owned(world.objects.at(&object).unwrap()),
                            wanted,
                            "{at} {object}"
                        );
                    }
                }
                Gate::Pivoted => assert_eq!(journal.outcome, Outcome::RolledBack, "{at}"),
            }
        }
    }
}

#[tokio::test]
async fn a_bad_template_stays_bad_under_another_name() {
    let (world, store) = (World::stateless(), memory());
    execute(&world, &store).await.unwrap();
    let mut other = world.web();
    other.uid = "another".into();
    for revision in &mut other.revisions {
        revision.name = format!("other-{}", revision.number);
    }
    let known = History(store.clone())
        .complete(other.clone())
        .await
        .unwrap();
    assert_eq!(known.revision(2).unwrap().health, Health::Quarantined);
    // The image alone tells it too, unless it was seen healthy here.
    let bad = other
        .revisions
        .iter_mut()
        .find(|one| one.number == 2)
        .unwrap();
    bad.template["metadata"] = json!({"labels": {"app": "other"}});
    for (seen, expected) in [
        (Health::NeverHealthy, Health::Quarantined),
        (Health::Healthy, Health::Healthy),
    ] {
        other
            .revisions
            .iter_mut()
            .find(|one| one.number == 2)
            .unwrap()
            .health = seen;
        let known = History(store.clone())
            .complete(other.clone())
            .await
            .unwrap();
        assert_eq!(known.revision(2).unwrap().health, expected);
    }
    let annotation = &world.web().annotations[crate::domain::quarantine::QUARANTINE_ANNOTATION];
    assert!(
        annotation.as_str().unwrap().contains("web:2"),
        "{annotation}"
    );
}

#[tokio::test]
async fn a_deployment_is_rolled_back_once_and_a_workload_three_times_an_hour() {
    let (world, store) = (World::stateful("reversible"), memory());
    world.break_at("revert");
    execute(&world, &store).await.unwrap_err();
    world.broken.lock().unwrap().clear();
    let plan = |more: Value| {
        let mut wanted = json!({"namespace": "shop", "deployment": "web"});
        merge(&mut wanted, &more);
        let (world, store) = (world.clone(), store.clone());
        async move {
            let (context, _) = world.peers().context();
            let wanted = serde_json::from_value(wanted).unwrap();
            world.planner(&store).plan(&context, &wanted).await
        }
    };
    // It is stuck with its pods away; the rollout being paused is the first thing to see.
    world.web.lock().unwrap().paused = false;
    let error = plan(json!({})).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("rollback task-1 has dealt with this deployment"),
        "{error}"
    );
    let vouched = plan(json!({"to_revision": 1})).await.unwrap().0.plan;
    assert!(vouched.needs_approval, "a person may overrule it");
    for (more, why) in [
        (json!({"cause": "node"}), "the cause is failing nodes"),
        (
            json!({"from_revision": 1, "to_revision": 1}),
            "revision 2 was released on top of revision 1",
        ),
    ] {
        let error = plan(more).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_schema_that_another_workload_needs_is_not_taken_away() {
    let (world, store) = (World::stateful("reversible"), memory());
    let worker = crate::guard::object(&WorkloadId {
        name: "worker".into(),
        ..world.web().id
    });
    let template = json!({"metadata": {"annotations": {"ossa.io/database": "shop", "ossa.io/schema-version": "4"}}});
    world.objects.put(
        &worker,
        json!({"spec": {"replicas": 1, "template": template}}),
    );
    let error = execute(&world, &store).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("deployments/shop/worker needs schema 4 of shop"),
        "{error}"
    );
    assert_eq!(world.log(), Vec::<String>::new());
    world
        .objects
        .edit(&worker, &json!({"spec": {"replicas": 0}}));
    execute(&world, &store).await.unwrap();
}
