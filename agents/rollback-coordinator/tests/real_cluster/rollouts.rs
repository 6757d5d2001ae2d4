//! Rollouts of Argo. Nobody acts on them here, so the tests write what Argo's controller would.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use rollback_coordinator::{
    domain::{Kind, Outcome},
    traffic::Gradual,
};
use serde_json::{Value, json};
use shared::testing::FakeAgent;
use tokio::time::timeout;

use crate::{
    agent::Agent,
    support::{PATIENCE, SHOP},
    traffic::definitions,
};

fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout"),
        "rollouts",
    )
}

fn api(agent: &Agent) -> Api<DynamicObject> {
    Api::namespaced_with(agent.client.clone(), SHOP, &resource())
}

fn template(name: &str, image: &str) -> Value {
    let container = json!({"name": "app", "image": image});
    json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}})
}

/// What the controller writes for a revision: a `ReplicaSet` with its number and its hash.
async fn revision(agent: &Agent, rollout: &DynamicObject, number: u64, replicas: u32) {
    let name = rollout.name_any();
    let hash = format!("h{number}");
    let mut template = template(&name, &format!("example/app:{number}"));
    template["metadata"]["labels"]["rollouts-pod-template-hash"] = hash.clone().into();
    let owner = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": name, "uid": rollout.metadata.uid, "controller": true,
    });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{name}-{hash}"), "ownerReferences": [owner],
            "annotations": {"rollout.argoproj.io/revision": number.to_string()},
        },
        "spec": {
            "replicas": replicas, "template": template,
            "selector": {"matchLabels": {"app": name, "rollouts-pod-template-hash": hash}},
        },
    });
    let sets: Api<ReplicaSet> = Api::namespaced(agent.client.clone(), SHOP);
    sets.create(
        &PostParams::default(),
        &serde_json::from_value(set).unwrap(),
    )
    .await
    .unwrap();
}

async fn status(agent: &Agent, name: &str, status: &Value) {
    let patch = Patch::Merge(json!({"status": status}));
    api(agent)
        .patch_status(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// A Rollout whose first version was stable and whose second one is bad; `stable` is the hash that is in force.
async fn bad_release(agent: &Agent, name: &str, stable: &str) {
    definitions(agent).await;
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template(name, "example/app:1")});
    let object = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name, "namespace": SHOP}, "spec": spec});
    agent.plane.apply(&object.to_string()).await.unwrap();
    let rollout = api(agent).get(name).await.unwrap();
    revision(agent, &rollout, 1, 1).await;
    agent.learned_kind(Kind::Rollout, name).await;
    let patch = Patch::Merge(json!({"spec": {"template": template(name, "example/app:2")}}));
    api(agent)
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    revision(agent, &rollout, 2, 1).await;
    status(agent, name, &json!({"stableRS": stable, "currentPodHash": "h2", "phase": "Progressing", "observedGeneration": "2"})).await;
}

/// Plays Argo's controller once the template is back: the first `ReplicaSet` gets the next number and is in force.
async fn controller(agent: &Agent, name: &str) -> Value {
    let back = async {
        loop {
            let rollout = api(agent).get(name).await.unwrap();
            if rollout.data["spec"]["template"]["spec"]["containers"][0]["image"] == "example/app:1"
            {
                return rollout;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, back).await.unwrap();
    // The agent still may have something to say.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rollout = api(agent).get(name).await.unwrap();
    let sets: Api<ReplicaSet> = Api::namespaced(agent.client.clone(), SHOP);
    let number =
        Patch::Merge(json!({"metadata": {"annotations": {"rollout.argoproj.io/revision": "3"}}}));
    sets.patch(&format!("{name}-h1"), &PatchParams::default(), &number)
        .await
        .unwrap();
    let generation = rollout.metadata.generation.unwrap().to_string();
    let done = json!({"stableRS": "h1", "currentPodHash": "h1", "phase": "Healthy", "observedGeneration": generation});
    status(agent, name, &done).await;
    rollout.data["status"].clone()
}

fn healthy() -> FakeAgent {
    let peers = FakeAgent::default().namespace(SHOP);
    peers.peer("monitoring-agent", "check_health", |_: &Value| {
        Ok(json!({"verdict": "healthy"}))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_stopped_before_its_template_comes_back() {
    let agent = Agent::start().await;
    bad_release(&agent, "argo", "h1").await;
    let wanted = (Kind::Rollout, "immediate");
    let (result, seen) = tokio::join!(
        agent.run("argo", wanted, Gradual::default(), healthy()),
        controller(&agent, "argo")
    );
    assert_eq!(result.0.unwrap().outcome, Some(Outcome::RolledBack));
    assert_eq!(
        (&seen["abort"], &seen["promoteFull"]),
        (&json!(true), &Value::Null)
    );
}

/// The bad version was promoted: the way back skips the steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_in_force_comes_back_without_steps() {
    let agent = Agent::start().await;
    bad_release(&agent, "promoted", "h2").await;
    let wanted = (Kind::Rollout, "immediate");
    let (result, seen) = tokio::join!(
        agent.run("promoted", wanted, Gradual::default(), healthy()),
        controller(&agent, "promoted")
    );
    assert_eq!(result.0.unwrap().outcome, Some(Outcome::RolledBack));
    assert_eq!(
        (&seen["abort"], &seen["promoteFull"]),
        (&Value::Null, &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_without_a_template_of_its_own_is_refused() {
    let agent = Agent::start().await;
    definitions(&agent).await;
    let spec =
        json!({"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}});
    let object = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "by-reference", "namespace": SHOP}, "spec": spec});
    agent.plane.apply(&object.to_string()).await.unwrap();
    let wanted = (Kind::Rollout, "immediate");
    let (result, _) = agent
        .run("by-reference", wanted, Gradual::default(), healthy())
        .await;
    let refused = result.unwrap_err().to_string();
    assert!(refused.contains("workloadRef"), "{refused}");
    let sets: Api<ReplicaSet> = Api::namespaced(agent.client.clone(), SHOP);
    let none = sets
        .list(&ListParams::default().labels("app=by-reference"))
        .await
        .unwrap();
    assert!(none.items.is_empty());
}
