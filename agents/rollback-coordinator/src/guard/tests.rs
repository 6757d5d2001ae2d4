use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use shared::{Context, SkillError, testing::FakeAgent};

use super::*;
use crate::{
    clients::Objects,
    domain::{
        gitops::Manager,
        hold::{Hold, ObjectRef, holder},
        lease,
    },
    fake::objects::MemoryObjects,
};

const LONG: Duration = Duration::from_secs(30);

fn context() -> Context {
    FakeAgent::default()
        .namespace("shop")
        .namespace("argocd")
        .context()
        .0
}

fn web() -> ObjectRef {
    ObjectRef {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        plural: "deployments".into(),
        namespace: "shop".into(),
        name: "web".into(),
    }
}

fn the_lease() -> ObjectRef {
    lease::object("shop", lease::name("Deployment", "web", ""))
}

async fn grip(objects: &Arc<MemoryObjects>, holder: &str) -> Result<Grip, SkillError> {
    Grip::take(&context(), objects.clone(), the_lease(), (holder, LONG)).await
}

fn application(tracked_by: Option<&str>) -> Value {
    let annotations = tracked_by
        .map(|name| json!({"argocd.argoproj.io/tracking-id": format!("{name}:argoproj.io/Application:argocd/x")}));
    json!({"metadata": {"annotations": annotations}, "spec": {"syncPolicy": {"automated": {"selfHeal": true}}},
        "status": {"sync": {"revision": "bad"}}})
}

/// `web` brought by `shop`, that by `root`, that by itself.
fn app_of_apps() -> Arc<MemoryObjects> {
    let objects = MemoryObjects::default();
    objects.put(&web(), json!({"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"}}}));
    let app = |name: &str| Manager::Application.object("argocd", name);
    objects.put(&app("shop"), application(Some("root")));
    objects.put(&app("root"), application(Some("root")));
    Arc::new(objects)
}

async fn find_all(objects: &Arc<MemoryObjects>, namespaces: &[&str], stops: bool) -> Found {
    let namespaces: Vec<String> = namespaces.iter().map(|name| (*name).to_owned()).collect();
    let port: Arc<dyn Objects> = objects.clone();
    find(&context(), &port, &namespaces, (&web(), stops))
        .await
        .unwrap()
}

fn names(holds: &[Hold]) -> Vec<String> {
    holds.iter().map(|hold| hold.object.to_string()).collect()
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_lets_go() {
    let objects = Arc::new(MemoryObjects::default());
    let one = grip(&objects, "one").await.unwrap();
    assert_eq!(one.token(), 1);
    let refused = grip(&objects, "two").await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rollback one holds leases/shop/rollback-deployment-web"
    );
    one.release(&context()).await.unwrap();
    let two = grip(&objects, "two").await.unwrap();
    assert_eq!(two.token(), 2);
    one.release(&context()).await.unwrap();
    assert!(
        grip(&objects, "three").await.is_err(),
        "what is lost is not let go for somebody else"
    );
}

#[tokio::test]
async fn whoever_lost_it_stops_before_the_next_write() {
    const SHORT: Duration = Duration::from_millis(60);
    let objects = Arc::new(MemoryObjects::default());
    let short = || async {
        let how = ("one", SHORT);
        Grip::take(&context(), objects.clone(), the_lease(), how).await
    };
    let (before, after) = (short().await.unwrap(), short().await.unwrap());
    assert_eq!((before.token(), after.token()), (1, 2), "after a crash");
    tokio::time::sleep(SHORT / 2).await;
    after.check(&context()).await.unwrap();
    let lost = before.check(&context()).await.unwrap_err();
    assert!(lost.to_string().contains("was lost"), "{lost}");
    assert!(
        before
            .keep(&context())
            .await
            .to_string()
            .contains("was lost")
    );
    let renewed = objects.at(&the_lease()).unwrap()["spec"]["renewTime"].clone();
    let kept = tokio::time::timeout(SHORT * 3, after.keep(&context())).await;
    assert!(kept.is_err(), "it is kept for as long as it is wanted");
    let later = objects.at(&the_lease()).unwrap()["spec"]["renewTime"].clone();
    assert_ne!(renewed, later);
}

#[tokio::test]
async fn managers_are_found_up_to_the_root_and_paused_from_there() {
    let objects = app_of_apps();
    let found = find_all(&objects, &["shop", "argocd"], false).await;
    assert_eq!(
        names(&found.holds),
        ["applications/argocd/root", "applications/argocd/shop"]
    );
    let git: Vec<_> = found.holds.iter().map(|hold| hold.git.as_deref()).collect();
    assert_eq!(
        git,
        [None, Some("bad")],
        "only the leaf tells what Git holds"
    );
    assert_eq!(found.objections, []);
}

#[tokio::test]
async fn a_manager_that_nobody_can_reach_is_an_objection() {
    let objects = app_of_apps();
    let found = find_all(&objects, &["shop"], false).await;
    assert_eq!(found.holds, []);
    let said = found.objections[0].to_string();
    assert!(
        said.contains("Application shop, which is in none"),
        "{said}"
    );
    assert!(found.objections[0].may_be_overruled());
    objects.edit(&web(), &json!({"metadata": {"annotations": null, "labels": {
        "kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}}));
    let found = find_all(&objects, &["shop"], false).await;
    assert!(
        found.objections[0]
            .to_string()
            .contains("Kustomization flux-system/apps")
    );
}

#[tokio::test]
async fn a_label_that_helm_uses_too_proves_nothing_alone() {
    let objects = app_of_apps();
    objects.edit(&web(), &json!({"metadata": {"annotations": null, "labels": {"app.kubernetes.io/instance": "shop"}}}));
    assert_eq!(
        find_all(&objects, &["argocd"], false).await,
        Found::default()
    );
    let shop = Manager::Application.object("argocd", "shop");
    objects.edit(&shop, &json!({"status": {"resources": [{"kind": "Deployment", "namespace": "shop", "name": "web"}]}}));
    let found = find_all(&objects, &["argocd"], false).await;
    assert_eq!(found.holds.len(), 2);
}

#[tokio::test]
async fn controllers_of_the_same_fields_are_found_with_the_managers() {
    let objects = app_of_apps();
    let [keda, _, flagger] = crate::domain::freeze::FREEZERS;
    let target = json!({"kind": "Deployment", "name": "web"});
    objects.put(
        &keda.object("shop", "web"),
        json!({"spec": {"scaleTargetRef": target}}),
    );
    objects.put(
        &flagger.object("shop", "web"),
        json!({"spec": {"targetRef": target}}),
    );
    let found = find_all(&objects, &["argocd"], true).await;
    assert_eq!(
        names(&found.holds)[2..],
        ["scaledobjects/shop/web", "canaries/shop/web"]
    );
}

async fn hold_all(objects: &Arc<MemoryObjects>, rollback: &str) -> (Vec<Hold>, Grip) {
    let grip = grip(objects, rollback).await.unwrap();
    let found = find_all(objects, &["argocd"], false).await;
    let port: Arc<dyn Objects> = objects.clone();
    for hold in &found.holds {
        take(&context(), &port, hold, (rollback, &grip))
            .await
            .unwrap();
    }
    (found.holds, grip)
}

#[tokio::test]
async fn what_is_held_is_written_once_and_let_go_as_it_was() {
    let objects = app_of_apps();
    let before: Vec<_> = find_all(&objects, &["argocd"], false).await.holds;
    let specs = |objects: &MemoryObjects| -> Vec<Value> {
        before
            .iter()
            .map(|hold| objects.at(&hold.object).unwrap()["spec"].clone())
            .collect()
    };
    let wanted = specs(&objects);
    let (holds, grip) = hold_all(&objects, "one").await;
    let port: Arc<dyn Objects> = objects.clone();
    let written = objects.writes.lock().unwrap().len();
    for hold in &holds {
        assert_eq!(
            objects.at(&hold.object).unwrap()["spec"]["syncPolicy"]["automated"]["enabled"],
            false
        );
        take(&context(), &port, hold, ("one", &grip)).await.unwrap();
    }
    assert_eq!(objects.writes.lock().unwrap().len(), written, "once");
    for _ in 0..2 {
        for hold in holds.iter().rev() {
            let ended = let_go(&context(), &port, hold, "one").await.unwrap();
            assert_eq!(ended, Ended::LetGo);
        }
        assert_eq!(specs(&objects), wanted);
    }
    objects.delete(&holds[0].object);
    let gone = let_go(&context(), &port, &holds[0], "one").await.unwrap();
    assert_eq!(gone, Ended::Gone);
}

#[tokio::test]
async fn an_argo_cd_without_the_switch_is_told_otherwise() {
    let objects = app_of_apps();
    objects
        .pruned
        .lock()
        .unwrap()
        .push("/spec/syncPolicy/automated/enabled");
    let (holds, grip) = hold_all(&objects, "one").await;
    let port: Arc<dyn Objects> = objects.clone();
    let written = objects.writes.lock().unwrap().len();
    for hold in &holds {
        let live = objects.at(&hold.object).unwrap();
        assert_eq!(
            live["metadata"]["annotations"]["argocd.argoproj.io/skip-reconcile"],
            "true"
        );
        assert_eq!(holder(&live).as_deref(), Some("one"));
        take(&context(), &port, hold, ("one", &grip)).await.unwrap();
    }
    assert_eq!(objects.writes.lock().unwrap().len(), written, "once");
    for hold in &holds {
        let_go(&context(), &port, hold, "one").await.unwrap();
        let live = objects.at(&hold.object).unwrap();
        let annotations = live["metadata"]["annotations"].as_object().unwrap();
        assert_eq!(
            annotations.keys().collect::<Vec<_>>(),
            ["argocd.argoproj.io/tracking-id"]
        );
    }
}

#[tokio::test]
async fn a_second_rollback_of_the_same_application_takes_the_pause_over() {
    let objects = app_of_apps();
    let (first, grip) = hold_all(&objects, "one").await;
    grip.release(&context()).await.unwrap();
    let (second, _) = hold_all(&objects, "two").await;
    let port: Arc<dyn Objects> = objects.clone();
    let ended = let_go(&context(), &port, &first[0], "one").await.unwrap();
    assert_eq!(ended, Ended::TakenOver("two".into()));
    let_go(&context(), &port, &second[0], "two").await.unwrap();
    let live = objects.at(&second[0].object).unwrap();
    assert_eq!(
        live["spec"]["syncPolicy"]["automated"],
        json!({"selfHeal": true})
    );
}
