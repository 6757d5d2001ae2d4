//! What GitLab sees of a rollback: one freeze that ends, one deployment, one job that runs again, wherever it is killed.

use std::sync::atomic::AtomicBool;

use ::gitlab::testing::RecordingGitlab;
use tempfile::TempDir;

use super::{crash::crash, *};
use crate::{
    clients::{PipelineArgs, Pipelines},
    domain::{Recording, Workload},
    guard::sweep::Sweep,
    metrics::Metrics,
};

const TOKEN: &str = "glpat-secret";
const GOOD: &str = "a91957a858320c0e17f3a0eca7cfacbff50ea29a";
const BAD: &str = "0ff3ae198f8601a285adcf5c0fff204ee6fba5fd";

struct Scene {
    world: Arc<World>,
    gitlab: RecordingGitlab,
    /// Jobs that deployed the good and the bad revision.
    jobs: (u64, u64),
    _folder: TempDir,
}

/// Revision 1 and 2 of `web`, deployed by jobs of project 30 from the commits in their images' tags.
fn built_by_commits(web: &mut Workload) {
    for (revision, sha) in web.revisions.iter_mut().zip([GOOD, BAD]) {
        let image = json!(format!("registry.example.com/shop/web:{}", &sha[..8]));
        revision.template["spec"]["containers"][0]["image"] = image;
    }
    web.template = web.revisions[1].template.clone();
    web.annotations =
        json!({"app.gitlab.com/app": "shop-web", "app.gitlab.com/env": "production-eu"});
}

async fn scene(world: Arc<World>) -> Scene {
    built_by_commits(&mut world.web.lock().unwrap());
    let gitlab = RecordingGitlab::start(TOKEN).await.unwrap();
    gitlab.numbered_project(30, "shop/web");
    gitlab.environment("30", "production/eu", "production-eu");
    let jobs = (
        gitlab.deployed("30", "production/eu", GOOD),
        gitlab.deployed("30", "production/eu", BAD),
    );
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let args = PipelineArgs {
        gitlab_url: Some(gitlab.url()),
        gitlab_token_file: Some(token),
    };
    *world.pipelines.lock().unwrap() = Pipelines::new(&args).unwrap();
    let (there, good) = (world.clone(), world.web().revisions[0].template.clone());
    gitlab.on_deploy("30", move |sha| {
        assert_eq!(sha, GOOD);
        there.apply(good.clone());
    });
    Scene {
        world,
        gitlab,
        jobs,
        _folder: folder,
    }
}

async fn run(
    scene: &Scene,
    store: &Arc<dyn Store>,
    more: Value,
) -> Result<ExecuteRollbackOutput, SkillError> {
    let mut input = input();
    for (name, value) in more.as_object().unwrap() {
        input[name] = value.clone();
    }
    let (context, _) = scene.world.peers().context();
    let wanted = serde_json::from_value(input).unwrap();
    scene.world.execute(store).run(&context, wanted).await
}

fn via_gitlab() -> Value {
    json!({"via": "gitlab"})
}

async fn sweep(scene: &Scene, store: &Arc<dyn Store>) {
    let mut registry = prometheus_client::registry::Registry::default();
    let sweep = Sweep {
        control: scene.world.clone(),
        history: History(store.clone()),
        guard: scene.world.guard(),
        metrics: Metrics::register(&mut registry),
    };
    let (context, _) = scene.world.peers().context();
    sweep.run(&context).await.unwrap();
}

fn times(gitlab: &RecordingGitlab, change: &str) -> usize {
    let changes = gitlab.changes();
    changes.iter().filter(|one| one.starts_with(change)).count()
}

const FREEZE: &str = "POST projects/30/freeze_periods";
const THAW: &str = "DELETE projects/30/freeze_periods/";
const RECORD: &str = "POST projects/30/deployments";

#[tokio::test]
async fn pipelines_are_frozen_meanwhile_and_the_deployment_is_recorded() {
    let (scene, store) = (scene(World::stateless()).await, memory());
    let (seen, gitlab) = (Arc::new(AtomicBool::new(false)), scene.gitlab.clone());
    let frozen = seen.clone();
    scene.world.on_wait(move |_| {
        assert_eq!(gitlab.freezes("30").len(), 1, "while pods come back");
        frozen.store(true, Ordering::SeqCst);
    });
    let (context, agent) = scene.world.peers().context();
    let wanted = serde_json::from_value(input()).unwrap();
    let skill = scene.world.execute(&store);
    let output = skill.run(&context, wanted).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert!(seen.load(Ordering::SeqCst));
    assert!(scene.gitlab.freezes("30").is_empty());
    let last = scene.gitlab.deployments("30").pop().unwrap();
    assert_eq!(
        (&last["sha"], &last["ref"], &last["status"]),
        (&json!(GOOD), &json!("main"), &json!("success"))
    );
    assert_eq!(last["environment"]["name"], "production/eu");
    let recorded = Recording::Recorded {
        deployment: last["id"].as_u64().unwrap(),
        sha: GOOD.into(),
        left: Some(BAD.into()),
    };
    assert_eq!(output.recording, Some(recorded));
    assert!(output.remarks.is_empty(), "{:?}", output.remarks);
    let changes = scene.gitlab.changes();
    assert_eq!((changes[0].as_str(), changes[1].as_str()), (FREEZE, RECORD));
    assert!(changes[2].starts_with(THAW) && changes.len() == 3);
    let trail = agent.trail();
    for record in [
        "intent gitlab.create_freeze_period projects/30/freeze_periods",
        "outcome gitlab.create_deployment projects/30/deployments ok",
        "outcome gitlab.list_deployments projects/30/deployments ok",
    ] {
        assert!(
            trail.iter().any(|line| line == record),
            "{record}: {trail:?}"
        );
    }
    assert!(!format!("{trail:?}").contains(TOKEN));
}

#[tokio::test]
async fn a_crash_at_any_write_freezes_and_records_once() {
    for keeps_last in [false, true] {
        for dies_at in 0.. {
            let scene = scene(World::stateless()).await;
            let store = Arc::new(FaultyStore::dying_in_memory(dies_at, keeps_last));
            if !crash(&scene.world, &store).await {
                assert!(dies_at > 10, "it dies at every write before");
                break;
            }
            let at = format!("write {dies_at}, kept {keeps_last}");
            let output = execute(&scene.world, &store.inner).await.expect(&at);
            assert_eq!(output.outcome, Some(Outcome::RolledBack), "{at}");
            sweep(&scene, &store.inner).await;
            let gitlab = &scene.gitlab;
            assert_eq!(times(gitlab, RECORD), 1, "{at}: {:?}", gitlab.changes());
            assert_eq!(times(gitlab, FREEZE), times(gitlab, THAW), "{at}");
            assert!(gitlab.freezes("30").is_empty(), "{at}");
            let left = History(store.inner.clone()).holding().await.unwrap();
            assert!(left.is_empty(), "{at}: {left:?}");
        }
    }
}

#[tokio::test]
async fn what_is_undone_is_thawed_and_not_recorded() {
    let (scene, store) = (scene(World::stateful("reversible")).await, memory());
    scene.world.break_at("await_gone");
    run(&scene, &store, json!({})).await.unwrap_err();
    assert_eq!(journal(&store).await.outcome, Outcome::Compensated);
    assert_eq!(times(&scene.gitlab, FREEZE), 1);
    assert_eq!(times(&scene.gitlab, RECORD), 0);
    assert!(scene.gitlab.freezes("30").is_empty());
}

#[tokio::test]
async fn a_gitlab_that_is_gone_holds_nothing_up_and_hears_of_it_later() {
    let (scene, store) = (scene(World::stateless()).await, memory());
    let gitlab = scene.gitlab.clone();
    scene
        .world
        .on_wait(move |_| gitlab.fail_next(100, 503, Some(0)));
    let output = run(&scene, &store, json!({})).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(output.recording, None);
    assert!(output.remarks[0].contains("recorded later"));
    assert_eq!(scene.gitlab.freezes("30").len(), 1);
    let owed = History(store.clone()).holding().await.unwrap();
    assert_eq!(owed.len(), 1);
    scene.gitlab.recover();
    sweep(&scene, &store).await;
    assert!(scene.gitlab.freezes("30").is_empty());
    assert_eq!(times(&scene.gitlab, RECORD), 1);
    assert!(History(store).holding().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_gitlab_that_did_not_answer_is_not_waited_for_again() {
    let scene = scene(World::stateless()).await;
    scene.gitlab.fail_next(4, 503, Some(0));
    let dry = json!({"dry_run": true});
    for _ in 0..2 {
        let output = run(&scene, &memory(), dry.clone()).await.unwrap();
        assert!(
            output
                .plan
                .reasons
                .join("\n")
                .contains("GitLab does not answer")
        );
        assert_eq!(output.plan.environment, None);
    }
    // The four tries of the first call, and no more.
    assert_eq!(scene.gitlab.requests().len(), 4);
}

#[tokio::test]
async fn a_token_that_may_not_freeze_is_said_and_the_rollback_goes_on() {
    let (scene, store) = (scene(World::stateless()).await, memory());
    // What is known of the environment stays known.
    run(&scene, &memory(), json!({"dry_run": true}))
        .await
        .unwrap();
    scene.gitlab.token("another");
    let output = run(&scene, &store, json!({})).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert!(output.remarks[0].contains("GitLab refused the token (401)"));
    assert!(matches!(output.recording, Some(Recording::Nothing { .. })));
    assert!(History(store).holding().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_workload_that_gitlab_does_not_know_goes_back_all_the_same() {
    let scene = scene(World::stateless()).await;
    let annotate = |all: Value| scene.world.web.lock().unwrap().annotations = all;
    annotate(json!({}));
    let error = run(&scene, &memory(), via_gitlab()).await.unwrap_err();
    assert!(error.to_string().contains("names no project"), "{error}");
    annotate(json!({"app.gitlab.com/app": "shop-web", "app.gitlab.com/env": "staging"}));
    let output = run(&scene, &memory(), json!({})).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    let reasons = output.plan.reasons.join("\n");
    assert!(reasons.contains("no environment staging of one project shop-web"));
    assert!(scene.gitlab.changes().is_empty());
}

#[tokio::test]
async fn gitlab_runs_the_last_good_job_again_and_health_is_verified() {
    let (scene, store) = (scene(World::stateless()).await, memory());
    let output = run(&scene, &store, via_gitlab()).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    let steps = [
        Step::Lock,
        Step::Redeploy,
        Step::AwaitReady,
        Step::Verify,
        Step::Release,
    ];
    assert_eq!(output.plan.steps, steps);
    assert_eq!(scene.world.log(), ["await_ready", "check_health"]);
    let (good, _) = scene.jobs;
    let retry = format!("POST projects/30/jobs/{good}/retry");
    assert_eq!(scene.gitlab.changes(), [retry]);
    let web = scene.world.web();
    assert_eq!(web.current().unwrap().name, "web-1");
    let job = journal(&store).await.redeployed.unwrap().job.unwrap();
    assert_eq!(scene.gitlab.jobs("30").last().unwrap()["id"], job);
    let environment = output.plan.environment.unwrap();
    let left = History(store)
        .has_left_commit(&environment, BAD)
        .await
        .unwrap();
    assert!(left, "its job does not bring it back");
}

#[tokio::test]
async fn a_job_runs_again_once_wherever_the_coordinator_is_killed() {
    for keeps_last in [false, true] {
        for dies_at in 0.. {
            let scene = scene(World::stateless()).await;
            let store = Arc::new(FaultyStore::dying_in_memory(dies_at, keeps_last));
            let as_store: Arc<dyn Store> = store.clone();
            let died = tokio::select! {
                biased;
                _ended = run(&scene, &as_store, via_gitlab()) => false,
                () = store.died.notified() => true,
            };
            if !died {
                assert!(dies_at > 6, "it dies at every write before");
                break;
            }
            let at = format!("write {dies_at}, kept {keeps_last}");
            let output = run(&scene, &store.inner, via_gitlab()).await.expect(&at);
            assert_eq!(output.outcome, Some(Outcome::RolledBack), "{at}");
            let (good, _) = scene.jobs;
            let retries = times(
                &scene.gitlab,
                &format!("POST projects/30/jobs/{good}/retry"),
            );
            assert_eq!(retries, 1, "{at}");
            assert_eq!(scene.gitlab.jobs("30").len(), 3, "{at}");
            assert!(!is_locked(&store.inner).await, "{at}");
        }
    }
}

#[tokio::test]
async fn a_job_that_cannot_run_again_is_refused_before_anything_is_written() {
    let (scene, store) = (scene(World::stateless()).await, memory());
    let (good, _) = scene.jobs;
    let refused = async |why: &str| {
        let error = run(&scene, &store, via_gitlab()).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(scene.gitlab.changes().is_empty());
        assert!(!is_locked(&store).await);
    };
    scene
        .gitlab
        .edit_job("30", good, &json!({"archived": true}));
    refused("is archived").await;
    let running = json!({"archived": false, "status": "running"});
    scene.gitlab.edit_job("30", good, &running);
    refused("has not ended").await;
    scene
        .gitlab
        .edit_job("30", good, &json!({"status": "success"}));
    let environment = crate::domain::Environment {
        project: "30".into(),
        name: "production/eu".into(),
    };
    // An earlier rollback left the commit that would come back.
    let mut left = Journal::begin(
        "earlier",
        plan_of(&scene).await,
        "operator",
        origin(&scene).await,
        "",
    );
    left.plan.environment = Some(environment);
    left.recording = Some(Recording::Recorded {
        deployment: 9,
        sha: BAD.into(),
        left: Some(GOOD.into()),
    });
    left.plan.images.from.clear();
    left.origin.from_template = json!({});
    left.origin.uid = "another".into();
    left.set(
        Step::RestoreTemplate,
        crate::domain::StepState::Done { took_ms: 1 },
    );
    left.outcome = Outcome::RolledBack;
    History(store.clone()).end(&left).await.unwrap();
    refused("is quarantined").await;
    *scene.world.pipelines.lock().unwrap() = None;
    refused("no GitLab is configured").await;
}

async fn plan_of(scene: &Scene) -> crate::domain::Plan {
    let output = run(scene, &memory(), json!({"dry_run": true})).await;
    output.unwrap().plan
}

async fn origin(scene: &Scene) -> crate::domain::Origin {
    crate::domain::Origin::of(&scene.world.web(), &plan_of(scene).await).unwrap()
}

#[tokio::test]
async fn a_job_that_waits_for_somebody_is_started_and_one_that_fails_is_left_to_a_person() {
    let scene_one = scene(World::stateless()).await;
    let (gitlab, good) = (&scene_one.gitlab, scene_one.jobs.0);
    gitlab.jobs_end_as("30", "failed");
    let store = memory();
    let error = run(&scene_one, &store, via_gitlab()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("ended as failed: script_failure")
    );
    assert_eq!(journal(&store).await.outcome, Outcome::Stuck);
    assert_eq!(
        times(gitlab, &format!("POST projects/30/jobs/{good}/retry")),
        1
    );

    let scene = scene(World::stateless()).await;
    scene.gitlab.retried_waits("30");
    let output = run(&scene, &memory(), via_gitlab()).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert!(scene.gitlab.changes()[1].ends_with("/play"));
}

#[tokio::test]
async fn a_job_that_gitlab_refuses_to_run_changes_nothing() {
    let (scene, store) = (scene(World::stateless()).await, memory());
    let (gitlab, good) = (scene.gitlab.clone(), scene.jobs.0);
    // Between the plan and the call: the first step of the rollback writes the workload's annotation.
    scene.world.objects.on_write(move || {
        gitlab.edit_job("30", good, &json!({"archived": true}));
    });
    let error = run(&scene, &store, via_gitlab()).await.unwrap_err();
    assert!(
        error.to_string().contains("Job is not retryable"),
        "{error}"
    );
    assert_eq!(journal(&store).await.outcome, Outcome::Compensated);
    assert!(!is_locked(&store).await);
    assert_eq!(scene.world.web().current().unwrap().name, "web-2");
}

#[tokio::test]
async fn a_schema_that_has_to_move_waits_for_no_job() {
    let scene = scene(World::stateful("reversible")).await;
    let error = run(&scene, &memory(), via_gitlab()).await.unwrap_err();
    assert!(error.to_string().contains("leave out via"), "{error}");
}
