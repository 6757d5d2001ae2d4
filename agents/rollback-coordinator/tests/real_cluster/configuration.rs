//! Configuration goes back with the revision that ran with it.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret},
};
use kube::{Api, ResourceExt as _};
use rollback_coordinator::{
    domain::{Outcome, Step},
    skills::ExecuteRollbackOutput,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    agent::{Agent, image},
    support::{PATIENCE, SHOP, ready},
};

/// Pause between looks.
const LOOK: Duration = Duration::from_millis(50);
/// What must never be seen outside the cluster.
const SECRET: &str = "tr0ub4dor";

fn deployment(name: &str, image: &str, replicas: u32) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "containers": [{
                    "name": "app", "image": image,
                    "envFrom": [{"configMapRef": {"name": format!("{name}-env")}}, {"configMapRef": {"name": format!("{name}-none"), "optional": true}}],
                    "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": format!("{name}-keys"), "key": "password"}}}],
                }],
                "volumes": [{"name": "files", "configMap": {"name": format!("{name}-files")}}],
            }},
        },
    })
    .to_string()
}

fn config(name: &str, env: &Value, password: &str, file: &str) -> Vec<String> {
    let meta = |part: &str| json!({"name": format!("{name}-{part}"), "namespace": SHOP});
    [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("env"), "data": env}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("keys"), "stringData": {"password": password}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("files"), "data": {"file": file}}),
    ]
    .iter()
    .map(Value::to_string)
    .collect()
}

async fn apply(agent: &Agent, objects: &[String]) {
    for object in objects {
        agent.plane.apply(object).await.unwrap();
    }
}

/// What pods of a Deployment see.
async fn seen(agent: &Agent, name: &str) -> Value {
    let maps: Api<ConfigMap> = Api::namespaced(agent.client.clone(), SHOP);
    let secrets: Api<Secret> = Api::namespaced(agent.client.clone(), SHOP);
    let keys = secrets
        .get(&format!("{name}-keys"))
        .await
        .unwrap()
        .data
        .unwrap();
    json!({
        "env": maps.get(&format!("{name}-env")).await.unwrap().data,
        "files": maps.get_opt(&format!("{name}-files")).await.unwrap().map(|map| map.data),
        "password": String::from_utf8_lossy(&keys["password"].0),
    })
}

/// A release in force, then a bad one that changes its configuration too: one key changed, one added, one taken away,
/// and one object gone.
async fn release(agent: &Agent, name: &str) -> Value {
    let secret = format!("{SECRET}-{name}");
    apply(
        agent,
        &config(name, &json!({"MODE": "good", "OLD": "1"}), &secret, "good"),
    )
    .await;
    apply(agent, &[deployment(name, "example/app:1", 2)]).await;
    ready(&agent.client, name).await;
    agent.learned(name, 3).await;
    let good = seen(agent, name).await;
    apply(
        agent,
        &config(
            name,
            &json!({"MODE": "bad", "NEW": "1"}),
            &format!("{secret}-bad"),
            "bad",
        ),
    )
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(agent.client.clone(), SHOP);
    maps.delete(
        &format!("{name}-files"),
        &kube::api::DeleteParams::default(),
    )
    .await
    .unwrap();
    apply(agent, &[deployment(name, "example/app:2", 2)]).await;
    good
}

/// What a plan says about configuration: names of objects and of keys.
fn named(output: &ExecuteRollbackOutput) -> Value {
    let changes = output.plan.companions.configuration.iter();
    changes
        .map(|one| {
            json!([
                one.reference.to_string(),
                one.added,
                one.removed,
                one.changed
            ])
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_comes_back_with_its_revision() {
    let agent = Agent::start_alone().await;
    let good = release(&agent, "config").await;
    ready(&agent.client, "config").await;
    let (result, trail) = agent.roll_back("config", "healthy").await;
    let output = result.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(seen(&agent, "config").await, good);
    assert_eq!(image(&agent, "config").await, "example/app:1");
    let expected = json!([
        ["ConfigMap config-env", ["NEW"], ["OLD"], ["MODE"]],
        ["ConfigMap config-files", [], ["file"], []],
        ["Secret config-keys", [], [], ["password"]],
    ]);
    assert_eq!(named(&output), expected);
    assert!(
        output.plan.steps.is_sorted() && output.plan.steps.contains(&Step::RestoreConfiguration)
    );
    let everything = format!("{}{}{trail:?}", json!(output), agent.memory().await);
    assert!(!everything.contains(SECRET), "{everything}");
    assert!(!everything.contains(&base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        "tr0ub4dor-con"
    )));
    assert!(
        trail.iter().any(|record| record.contains("config-keys")),
        "{trail:?}"
    );
    // Somebody who applies the next release finds no foreign owner in the way.
    let maps: Api<ConfigMap> = Api::namespaced(agent.client.clone(), SHOP);
    let map = maps.get("config-env").await.unwrap();
    let owners: Vec<_> = map
        .managed_fields()
        .iter()
        .filter_map(|one| one.manager.clone())
        .collect();
    assert!(
        !owners.contains(&"rollback-coordinator".to_owned()),
        "{owners:?}"
    );
    agent.learned("config", 3).await;
    assert!(agent.copies("config").await.len() <= 6);
}

/// Pods of the old revision that are still there read their environment from the bad content or not, nobody knows: they
/// are made anew.
#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_target_that_run_already_are_made_anew() {
    let agent = Agent::start_alone().await;
    let secret = format!("{SECRET}-partly");
    apply(
        &agent,
        &config("partly", &json!({"MODE": "good"}), &secret, "good"),
    )
    .await;
    apply(&agent, &[deployment("partly", "example/app:1", 2)]).await;
    ready(&agent.client, "partly").await;
    agent.learned("partly", 3).await;
    let mut bad: Value = serde_json::from_str(&deployment("partly", "example/app:2", 2)).unwrap();
    bad["spec"]["template"]["metadata"]["annotations"] =
        json!({"kubelet.mesh/fault": "never-ready"});
    apply(
        &agent,
        &config("partly", &json!({"MODE": "bad"}), &secret, "good"),
    )
    .await;
    apply(&agent, &[bad.to_string()]).await;
    let (result, _) = agent.roll_back("partly", "healthy").await;
    let output = result.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert!(
        output.plan.companions.restart.is_some(),
        "{:?}",
        output.plan.reasons
    );
    let web = ready(&agent.client, "partly").await;
    let annotations = web.spec.template.metadata.unwrap().annotations.unwrap();
    assert!(annotations.contains_key("ossa.io/restored-configuration"));
    assert_eq!(seen(&agent, "partly").await["env"], json!({"MODE": "good"}));
}

/// Before the template is touched everything can be taken back: here its write is refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_finished_is_taken_back() {
    let agent = Agent::start_alone().await;
    release(&agent, "undone").await;
    ready(&agent.client, "undone").await;
    let bad = seen(&agent, "undone").await;
    // The administrator forbids changes of this Deployment: admission refuses the template, and nothing else.
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "undone"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"], "resourceNames": ["undone"]}]},
            "validations": [{"expression": "object.spec.template == oldObject.spec.template", "message": "frozen", "reason": "Forbidden"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "undone"},
        "spec": {"policyName": "undone", "validationActions": ["Deny"]},
    });
    apply(&agent, &[policy.to_string(), binding.to_string()]).await;
    frozen(&agent).await;
    let (result, trail) = agent.roll_back("undone", "healthy").await;
    let problem = result.unwrap_err();
    let journals = agent.history().journals(10).await.unwrap();
    assert_eq!(
        journals.first().map(|journal| journal.outcome),
        Some(Outcome::Compensated),
        "{problem} {trail:?}"
    );
    assert_eq!(seen(&agent, "undone").await, bad);
    assert_eq!(image(&agent, "undone").await, "example/app:2");
    let left = agent.copies("undone").await;
    assert!(left.len() <= 6, "{left:?}");
}

/// Waits until the policy is in force, which takes the API server a moment.
async fn frozen(agent: &Agent) {
    let deployments: Api<Deployment> = Api::namespaced(agent.client.clone(), SHOP);
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"try": "1"}}}}});
    let params = kube::api::PatchParams {
        dry_run: true,
        ..kube::api::PatchParams::default()
    };
    let wait = async {
        while deployments
            .patch("undone", &params, &kube::api::Patch::Merge(&patch))
            .await
            .is_ok()
        {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
}
