//! The lock, the gate, and who is kept still, at every point of a rollback.

#![expect(clippy::too_many_lines, reason = "a plan is shown with all its writes")]

use super::{crash::crash, *};
use crate::{
    domain::{
        PauseState,
        freeze::FREEZERS,
        gitops::Manager,
        hold::{ObjectRef, tests::merge},
        lease::FENCE_ANNOTATION,
    },
    guard::{lease_of, sweep::Sweep},
    metrics::Metrics,
    skills::ResumeGitops,
};

pub(super) fn app() -> ObjectRef {
    Manager::Application.object("argocd", "shop")
}

pub(super) fn root() -> ObjectRef {
    Manager::Application.object("argocd", "root")
}

pub(super) fn keda() -> ObjectRef {
    FREEZERS[0].object("shop", "web")
}

pub(super) fn canary() -> ObjectRef {
    FREEZERS[2].object("shop", "web")
}

/// `web` is brought by an app of apps, scaled by KEDA and released by Flagger.
pub(super) fn managed(world: &Arc<World>) -> Vec<(ObjectRef, Value)> {
    world.web.lock().unwrap().annotations =
        json!({"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"});
    let application = |parent: &str| {
        let tracking = format!("{parent}:argoproj.io/Application:argocd/x");
        json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": tracking}},
            "spec": {"syncPolicy": {"automated": {"selfHeal": true}}},
            "status": {"sync": {"revision": "bad"}, "resources": [
                {"kind": "Deployment", "namespace": "shop", "name": "web", "status": "OutOfSync"}]}})
    };
    let target = json!({"kind": "Deployment", "name": "web"});
    let objects = &world.objects;
    objects.put(&app(), application("root"));
    objects.put(&root(), application("root"));
    objects.put(&keda(), json!({"spec": {"scaleTargetRef": target}}));
    objects.put(&canary(), json!({"spec": {"targetRef": target}}));
    let all = [app(), root(), keda(), canary()];
    let owned = all.map(|object| {
        let live = world.objects.at(&object).unwrap();
        (object, owned(live))
    });
    owned.into()
}

/// An object without what the cluster counts.
pub(super) fn owned(mut live: Value) -> Value {
    live["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    live.as_object_mut().unwrap().remove("status");
    // A merge patch leaves empty objects behind; they mean nothing.
    let empty = json!({});
    if live["metadata"]["annotations"] == empty {
        live["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
    }
    live
}

fn enabled(world: &World, object: &ObjectRef) -> bool {
    let live = world.objects.at(object).unwrap();
    live["spec"]["syncPolicy"]["automated"]["enabled"] != false
}

/// Git gets the good revision, and Argo CD sees it.
fn git_moves(world: &World) {
    let mut live = world.objects.at(&app()).unwrap();
    merge(
        &mut live,
        &json!({"status": {"sync": {"revision": "good"}}}),
    );
    live["status"]["resources"][0]["status"] = json!("Synced");
    world
        .objects
        .edit(&app(), &json!({"status": live["status"]}));
}

async fn sweep(world: &Arc<World>, store: &Arc<dyn Store>) {
    let mut registry = prometheus_client::registry::Registry::default();
    let sweep = Sweep {
        control: world.clone(),
        history: History(store.clone()),
        guard: world.guard(),
        metrics: Metrics::register(&mut registry),
    };
    let (context, _) = world.peers().context();
    sweep.run(&context).await.unwrap();
}

pub(super) fn lease(world: &World) -> Value {
    let id = world.web().id;
    world.objects.at(&lease_of(&id)).unwrap()["spec"].clone()
}

#[tokio::test]
async fn git_and_controllers_are_kept_still_until_they_may_go_on() {
    let (world, store) = (World::stateful("reversible"), memory());
    let before = managed(&world);
    let output = execute(&world, &store).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    let steps: Vec<Step> = output.plan.steps.clone();
    assert!(steps.is_sorted());
    for step in [
        Step::PauseGitops,
        Step::Freeze,
        Step::Thaw,
        Step::ResumeGitops,
    ] {
        assert!(steps.contains(&step), "{step:?}");
    }
    let pause = output.gitops.unwrap();
    assert_eq!((pause.state, pause.overdue), (PauseState::Paused, false));
    assert!(
        pause
            .waits_for
            .unwrap()
            .contains("still is at Git revision \"bad\"")
    );
    assert!(!enabled(&world, &app()) && !enabled(&world, &root()));
    for object in [keda(), canary()] {
        let wanted = before.iter().find(|(one, _)| *one == object).unwrap();
        assert_eq!(
            owned(world.objects.at(&object).unwrap()),
            wanted.1,
            "{object} goes on"
        );
    }
    assert_eq!(lease(&world)["holderIdentity"], "");
    assert_eq!(world.web().annotations[FENCE_ANNOTATION], "1");
    sweep(&world, &store).await;
    assert!(!enabled(&world, &app()), "Git still holds the bad revision");
    git_moves(&world);
    sweep(&world, &store).await;
    for (object, wanted) in before {
        assert_eq!(
            owned(world.objects.at(&object).unwrap()),
            wanted,
            "{object}"
        );
    }
    let journal = journal(&store).await;
    assert_eq!(journal.gitops.unwrap().state, PauseState::Resumed);
    assert!(History(store).holding().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_plan_shows_every_write_with_its_object() {
    let (world, store) = (World::stateful("reversible"), memory());
    managed(&world);
    let (context, _) = world.peers().context();
    let wanted = serde_json::from_value(json!({"namespace": "shop", "deployment": "web"})).unwrap();
    let plan = world
        .planner(&store)
        .plan(&context, &wanted)
        .await
        .unwrap()
        .0
        .plan;
    let writes: Vec<_> = plan
        .writes
        .iter()
        .map(|write| {
            (
                write.step,
                write.object.as_str(),
                &write.before,
                &write.after,
            )
        })
        .collect();
    let enabled = "/spec/syncPolicy/automated/enabled";
    let paused = "/metadata/annotations/autoscaling.keda.sh~1paused";
    let json = |path: &str, value: Value| json!({path: value});
    assert_eq!(
        writes,
        [
            (
                Step::Lock,
                "leases/shop/rollback-deployment-web",
                &json!({}),
                &json!({"/spec/holderIdentity": "the rollback's id"})
            ),
            (
                Step::PauseGitops,
                "applications/argocd/root",
                &json(enabled, Value::Null),
                &json(enabled, json!(false))
            ),
            (
                Step::PauseGitops,
                "applications/argocd/shop",
                &json(enabled, Value::Null),
                &json(enabled, json!(false))
            ),
            (
                Step::Freeze,
                "scaledobjects/shop/web",
                &json(paused, Value::Null),
                &json(paused, json!("true"))
            ),
            (
                Step::Freeze,
                "canaries/shop/web",
                &json("/spec/suspend", Value::Null),
                &json("/spec/suspend", json!(true))
            ),
            (
                Step::PauseRollout,
                "deployments/shop/web",
                &json("/spec/paused", json!(false)),
                &json("/spec/paused", json!(true))
            ),
            (
                Step::StopWriters,
                "deployments/shop/web",
                &json("/spec/replicas", json!(3)),
                &json("/spec/replicas", json!(0))
            ),
        ]
    );
    assert!(
        world.objects.writes.lock().unwrap().is_empty(),
        "a plan writes nothing"
    );
}

#[tokio::test]
async fn what_is_undone_gives_everybody_back_what_they_had() {
    for broken in ["pause", "await_gone", "deny_revert"] {
        let (world, store) = (World::stateful("reversible"), memory());
        let before = managed(&world);
        world.break_at(broken);
        execute(&world, &store).await.unwrap_err();
        let journal = journal(&store).await;
        assert_eq!(journal.outcome, Outcome::Compensated, "{broken}");
        assert_eq!(journal.gitops.unwrap().state, PauseState::Resumed);
        for (object, wanted) in before {
            assert_eq!(
                owned(world.objects.at(&object).unwrap()),
                wanted,
                "{broken} {object}"
            );
        }
    }
}

#[tokio::test]
async fn a_rollback_that_stopped_half_way_keeps_everybody_still_and_tells_a_person() {
    let (world, store) = (World::stateful("reversible"), memory());
    managed(&world);
    world.break_at("restore");
    execute(&world, &store).await.unwrap_err();
    assert_eq!(journal(&store).await.outcome, Outcome::Stuck);
    sweep(&world, &store).await;
    assert!(
        !enabled(&world, &app()),
        "it would bring writers back to a schema that moved"
    );
    let paused = &world.objects.at(&keda()).unwrap()["metadata"]["annotations"];
    assert_eq!(paused["autoscaling.keda.sh/paused"], "true");
    assert!(journal(&store).await.gitops.unwrap().overdue);
    // Until the person says so.
    let skill = ResumeGitops {
        history: History(store.clone()),
        guard: world.guard(),
    };
    let ask = |dry_run: bool| {
        let input = json!({"rollback_id": "task-1", "dry_run": dry_run, "idempotency_key": "k"});
        let (context, _) = world.peers().context();
        let skill = skill.clone();
        async move {
            skill
                .run(&context, serde_json::from_value(input).unwrap())
                .await
                .unwrap()
        }
    };
    let planned = ask(true).await;
    assert_eq!(planned.let_go.len(), 4);
    assert!(!enabled(&world, &app()));
    assert_eq!(ask(false).await.let_go, planned.let_go);
    assert!(enabled(&world, &app()) && enabled(&world, &root()));
    assert!(History(store).holding().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_owner_who_switches_git_on_again_is_not_overruled() {
    let (world, store) = (World::stateless(), memory());
    managed(&world);
    execute(&world, &store).await.unwrap();
    let on = json!({"spec": {"syncPolicy": {"automated": {"enabled": true}}}});
    world.objects.edit(&app(), &on);
    sweep(&world, &store).await;
    assert!(enabled(&world, &app()) && enabled(&world, &root()));
    assert_eq!(
        world.objects.at(&app()).unwrap()["spec"]["syncPolicy"]["automated"]["enabled"],
        true
    );
    assert_eq!(
        journal(&store).await.gitops.unwrap().state,
        PauseState::Resumed
    );
}

#[tokio::test]
async fn what_cannot_be_let_go_now_is_let_go_later() {
    let (world, store) = (World::stateful("reversible"), memory());
    managed(&world);
    let broken = || world.objects.broken.lock().unwrap();
    // The API answers while it is held, and not when it would be let go.
    let canary_name = canary().to_string();
    world.on_health(move |world| {
        let mut broken = world.objects.broken.lock().unwrap();
        broken.push(canary_name.clone());
    });
    let output = execute(&world, &store).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(
        world.objects.at(&canary()).unwrap()["spec"]["suspend"],
        true
    );
    sweep(&world, &store).await;
    assert_eq!(
        world.objects.at(&canary()).unwrap()["spec"]["suspend"],
        true
    );
    broken().clear();
    sweep(&world, &store).await;
    assert_eq!(
        world.objects.at(&canary()).unwrap()["spec"]["suspend"],
        Value::Null
    );
}

/// Git moves while the rollback runs.
fn git_moves_at_check(world: &Arc<World>) {
    world.on_health(git_moves);
}

#[tokio::test]
async fn git_that_moved_already_goes_on_with_the_rollback() {
    let (world, store) = (World::stateless(), memory());
    managed(&world);
    git_moves_at_check(&world);
    let output = execute(&world, &store).await.unwrap();
    assert_eq!(output.gitops.unwrap().state, PauseState::Resumed);
    assert!(enabled(&world, &app()) && enabled(&world, &root()));
}

#[tokio::test]
async fn a_crash_at_any_write_leaves_nothing_held() {
    for keeps_last in [false, true] {
        for stateful in [false, true] {
            let mut crashes = 0;
            for dies_at in 0.. {
                let world = if stateful {
                    World::stateful("reversible")
                } else {
                    World::stateless()
                };
                let before = managed(&world);
                let store = Arc::new(FaultyStore::dying_in_memory(dies_at, keeps_last));
                if !crash(&world, &store).await {
                    break;
                }
                crashes += 1;
                let at = format!("write {dies_at}, kept {keeps_last}, stateful {stateful}");
                let output = execute(&world, &store.inner).await.expect(&at);
                assert_eq!(output.outcome, Some(Outcome::RolledBack), "{at}");
                assert_eq!(output.gitops.unwrap().state, PauseState::Paused, "{at}");
                assert!(!enabled(&world, &app()), "{at}");
                git_moves(&world);
                sweep(&world, &store.inner).await;
                for (object, wanted) in before {
                    assert_eq!(
                        owned(world.objects.at(&object).unwrap()),
                        wanted,
                        "{at} {object}"
                    );
                }
                assert_eq!(
                    world.log().iter().filter(|word| *word == "restore").count(),
                    1,
                    "{at}"
                );
            }
            let steps = if stateful { 12 } else { 9 };
            // Holding GitOps and freezing are written down before each.
            assert_eq!(crashes, steps + 2 + 2);
        }
    }
}
