//! Traffic leaves the bad version before its pods are replaced.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use rollback_coordinator::{
    domain::{Kind, Outcome, Step},
    traffic::Gradual,
};
use serde_json::{Value, json};
use shared::{SkillError, testing::FakeAgent};
use tokio::{sync::OnceCell, time::timeout};

use crate::{
    agent::Agent,
    support::{PATIENCE, SHOP, ready},
};

/// The definitions, once, and known to the API server.
pub(crate) async fn definitions(agent: &Agent) {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        agent
            .plane
            .apply(include_str!("routes.yaml"))
            .await
            .unwrap();
        let served = async {
            for kind in ["HTTPRoute", "VirtualService", "DestinationRule", "Rollout"] {
                while routes(&agent.client, kind)
                    .list(&kube::api::ListParams::default())
                    .await
                    .is_err()
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        timeout(PATIENCE, served).await.unwrap();
    })
    .await;
}

fn routes(client: &Client, kind: &str) -> Api<DynamicObject> {
    let (group, version) = match kind {
        "HTTPRoute" => ("gateway.networking.k8s.io", "v1"),
        "Rollout" => ("argoproj.io", "v1alpha1"),
        _ => ("networking.istio.io", "v1"),
    };
    let plural = format!("{}s", kind.to_lowercase());
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
    Api::namespaced_with(client.clone(), SHOP, &resource)
}

fn deployment(name: &str, labels: &Value, image: &str) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": SHOP},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]},
        }},
    })
    .to_string()
}

fn service(name: &str, selector: &Value) -> String {
    let spec = json!({"selector": selector, "ports": [{"port": 80}]});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": SHOP}, "spec": spec}).to_string()
}

/// A stable version and a canary of it, whose second release is bad, with a route of each kind.
async fn canary(agent: &Agent, name: &str) {
    definitions(agent).await;
    let bad = format!("{name}-canary");
    let labels = |track: &str| json!({"app": name, "track": track});
    let http = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name, "namespace": SHOP},
        "spec": {"rules": [{"backendRefs": [{"name": name, "port": 80, "weight": 80}, {"name": bad, "port": 80, "weight": 20}]}]},
    });
    let istio = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name, "namespace": SHOP},
        "spec": {"http": [{"route": [
            {"destination": {"host": format!("{name}-all"), "subset": "stable"}, "weight": 60},
            {"destination": {"host": format!("{name}-all"), "subset": "canary"}, "weight": 40},
        ]}]},
    });
    let subset = |track: &str| json!({"name": track, "labels": {"track": track}});
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": name, "namespace": SHOP},
        "spec": {"host": format!("{name}-all"), "subsets": [subset("stable"), subset("canary")]},
    });
    for object in [
        deployment(name, &labels("stable"), "example/app:1"),
        deployment(&bad, &labels("canary"), "example/app:1"),
        service(name, &labels("stable")),
        service(&bad, &labels("canary")),
        service(&format!("{name}-all"), &json!({"app": name})),
        http.to_string(),
        istio.to_string(),
        rule.to_string(),
    ] {
        agent.plane.apply(&object).await.unwrap();
    }
    ready(&agent.client, &bad).await;
    agent.learned(&bad, 0).await;
    agent
        .plane
        .apply(&deployment(&bad, &labels("canary"), "example/app:2"))
        .await
        .unwrap();
    ready(&agent.client, &bad).await;
}

async fn weights(client: &Client, name: &str) -> Value {
    let http = routes(client, "HTTPRoute").get(name).await.unwrap();
    let istio = routes(client, "VirtualService").get(name).await.unwrap();
    let list = |route: &DynamicObject, pointer: &str| -> Vec<Value> {
        let all = route.data.pointer(pointer).unwrap().as_array().unwrap();
        all.iter().map(|one| one["weight"].clone()).collect()
    };
    json!([
        list(&http, "/spec/rules/0/backendRefs"),
        list(&istio, "/spec/http/0/route")
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_leaves_a_canary_step_by_step() {
    let agent = Agent::start().await;
    canary(&agent, "shift").await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    let peers = FakeAgent::default().namespace(SHOP).peer(
        "monitoring-agent",
        "check_health",
        move |input| {
            noted
                .lock()
                .unwrap()
                .push(input["workload"]["name"].as_str().unwrap().to_owned());
            Ok(json!({"verdict": "healthy"}))
        },
    );
    let gradual = Gradual {
        shares: vec![50, 10],
        pause: Duration::ZERO,
    };
    let (result, trail) = agent
        .run(
            "shift-canary",
            (Kind::Deployment, "gradual"),
            gradual,
            peers,
        )
        .await;
    let output = result.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    assert_eq!(
        weights(&agent.client, "shift").await,
        json!([[100, 0], [100, 0]])
    );
    let (shift, template) = (Step::ShiftTraffic, Step::RestoreTemplate);
    let at = |step| {
        output
            .plan
            .steps
            .iter()
            .position(|one| *one == step)
            .unwrap()
    };
    assert!(at(shift) < at(template));
    // Twice between the three steps, and once at the end for the workload itself.
    assert_eq!(*asked.lock().unwrap(), ["shift", "shift", "shift-canary"]);
    let moved = trail
        .iter()
        .filter(|one| one.contains("httproutes/shop/shift"));
    assert!(moved.count() >= 3, "{trail:?}");
    // Nobody is in the way of whoever applies the route next.
    let routes = routes(&agent.client, "HTTPRoute");
    let route = routes.get("shift").await.unwrap();
    let owners = route.metadata.managed_fields.unwrap_or_default();
    let is_ours = |manager: &str| manager == "rollback-coordinator";
    let ours = owners
        .iter()
        .filter(|one| one.manager.as_deref().is_some_and(is_ours));
    assert_eq!(ours.count(), 0);
}

/// Those that would take the traffic over are not well either: everything is as before, and a person looks.
#[tokio::test(flavor = "multi_thread")]
async fn weights_come_back_when_the_stable_version_is_not_well() {
    let agent = Agent::start().await;
    canary(&agent, "sick").await;
    let before = weights(&agent.client, "sick").await;
    let peers =
        FakeAgent::default()
            .namespace(SHOP)
            .peer("monitoring-agent", "check_health", |_| {
                Ok(json!({"verdict": "failing"}))
            });
    let gradual = Gradual {
        shares: vec![50],
        pause: Duration::ZERO,
    };
    let (result, trail) = agent
        .run("sick-canary", (Kind::Deployment, "gradual"), gradual, peers)
        .await;
    let problem = match result {
        Err(problem @ SkillError::Failed { .. }) => problem.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(problem.contains("takes the traffic over"), "{problem}");
    assert!(
        trail.iter().any(|one| one.contains("httproutes/shop/sick")),
        "it had begun: {trail:?}"
    );
    assert_eq!(weights(&agent.client, "sick").await, before);
    assert_eq!(
        agent.history().journals(1).await.unwrap()[0].outcome,
        Outcome::Compensated
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_leaves_at_once_when_nobody_asks_for_steps() {
    let agent = Agent::start().await;
    canary(&agent, "once").await;
    let peers =
        FakeAgent::default()
            .namespace(SHOP)
            .peer("monitoring-agent", "check_health", |_| {
                Ok(json!({"verdict": "healthy"}))
            });
    let (result, _) = agent
        .run(
            "once-canary",
            (Kind::Deployment, "immediate"),
            Gradual::default(),
            peers,
        )
        .await;
    let plan = result.unwrap().plan;
    assert_eq!(plan.companions.traffic.unwrap().shares, [0]);
    assert_eq!(
        weights(&agent.client, "once").await,
        json!([[100, 0], [100, 0]])
    );
}
