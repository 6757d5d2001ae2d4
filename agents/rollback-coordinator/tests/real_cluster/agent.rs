//! Whole rollbacks by the skill itself, with what goes back beside the workload.

use std::{sync::Arc, time::Duration};

use control_plane::ControlPlane;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use rollback_coordinator::{
    clients::{Kubernetes, RolloutControl},
    domain::{Health, Kind, Outcome, Step, WorkloadId},
    history::History,
    learn::Learning,
    metrics::Metrics,
    saga::Saga,
    skills::{ExecuteRollback, ExecuteRollbackOutput, Planner},
    traffic::Gradual,
};
use serde_json::{Value, json};
use shared::{Skill as _, SkillError, testing::FakeAgent};
use store::{Scan, Store as _, memory::MemoryStore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, SHOP, agent_cluster, context, helm, plane, ready};

/// Pause between looks.
const LOOK: Duration = Duration::from_millis(50);
/// What must never be seen outside the cluster.
const SECRET: &str = "tr0ub4dor";

/// The agent, with its own rights and a memory of its own.
pub(crate) struct Agent {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) control: Arc<dyn RolloutControl>,
    store: Arc<MemoryStore>,
    learning: CancellationToken,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.learning.cancel();
    }
}

impl Agent {
    pub(crate) async fn start() -> Self {
        let (plane, client) = plane().await;
        let cluster = agent_cluster(plane).await;
        let control: Arc<dyn RolloutControl> = Arc::new(Kubernetes(cluster.clone()));
        let store = Arc::new(MemoryStore::default());
        let learning = CancellationToken::new();
        let (eyes, memory, stop) = (control.clone(), History(store.clone()), learning.clone());
        tokio::spawn(async move {
            let (context, _) = context();
            let learning = Learning {
                control: &*eyes,
                history: &memory,
                context: Some(&context),
            };
            learning.watch(cluster, vec![SHOP.into()], stop).await
        });
        Self {
            plane,
            client,
            control,
            store,
            learning,
        }
    }

    pub(crate) fn history(&self) -> History {
        History(self.store.clone())
    }

    /// Waits until the newest revision of a Deployment is remembered as healthy, with `kept` copies.
    pub(crate) async fn learned(&self, name: &str, kept: usize) {
        let id = WorkloadId {
            namespace: SHOP.into(),
            kind: Kind::Deployment,
            name: name.into(),
        };
        let wait = async {
            loop {
                let found = self.control.workload(&id).await.unwrap().unwrap();
                let known = self.history().complete(found).await.unwrap();
                let healthy = known
                    .current()
                    .is_some_and(|one| one.health == Health::Healthy);
                if healthy && self.copies(name).await.len() >= kept {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
    }

    /// Names of the copies that belong to a Deployment.
    async fn copies(&self, name: &str) -> Vec<String> {
        let labels = ListParams::default().labels("ossa.io/copy-of");
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), SHOP);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), SHOP);
        let mut names = Vec::new();
        for map in maps.list(&labels).await.unwrap() {
            names.extend(
                map.owner_references()
                    .iter()
                    .any(|one| one.name == name)
                    .then(|| map.name_any()),
            );
        }
        for secret in secrets.list(&labels).await.unwrap() {
            names.extend(
                secret
                    .owner_references()
                    .iter()
                    .any(|one| one.name == name)
                    .then(|| secret.name_any()),
            );
        }
        names
    }

    /// Rolls a Deployment back; answers what came of it and the audit trail.
    async fn roll_back(
        &self,
        name: &str,
        verdict: &'static str,
    ) -> (Result<ExecuteRollbackOutput, SkillError>, Vec<String>) {
        let answer = move |_: &Value| {
            if verdict == "denied" {
                return Err(SkillError::Denied("no".into()));
            }
            Ok(json!({"verdict": verdict}))
        };
        let peers = FakeAgent::default().namespace(SHOP);
        let peers = peers.peer("monitoring-agent", "check_health", answer);
        let wanted = (Kind::Deployment, "immediate");
        self.run(name, wanted, Gradual::default(), peers).await
    }

    /// Rolls a workload back with these peers.
    pub(crate) async fn run(
        &self,
        name: &str,
        (kind, strategy): (Kind, &str),
        gradual: Gradual,
        peers: FakeAgent,
    ) -> (Result<ExecuteRollbackOutput, SkillError>, Vec<String>) {
        let skill = ExecuteRollback {
            planner: Planner {
                control: self.control.clone(),
                history: self.history(),
                gradual,
            },
            saga: Saga {
                control: self.control.clone(),
                history: self.history(),
            },
            metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        };
        let input = json!({
            "namespace": SHOP, "workload": {"kind": kind, "name": name}, "strategy": strategy,
            "dry_run": false, "idempotency_key": name,
        });
        let (context, agent) = peers.context();
        let run = skill.run(&context, serde_json::from_value(input).unwrap());
        let result = timeout(PATIENCE, run).await.unwrap();
        (result, agent.trail())
    }

    /// Everything that the agent remembers, as text.
    async fn memory(&self) -> String {
        let mut all = String::new();
        for collection in [
            "kept_configuration",
            "rollback_journals",
            "healthy_revisions",
        ] {
            let scan = Scan {
                collection,
                limit: 1000,
                ..Scan::default()
            };
            for entry in self.store.scan(scan).await.unwrap() {
                all.push_str(&entry.key);
                all.push_str(&String::from_utf8_lossy(&entry.body));
            }
        }
        all
    }
}

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

async fn image(agent: &Agent, name: &str) -> String {
    let deployments: Api<Deployment> = Api::namespaced(agent.client.clone(), SHOP);
    let web = deployments.get(name).await.unwrap();
    web.spec.template.spec.unwrap().containers[0]
        .image
        .clone()
        .unwrap()
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
    let agent = Agent::start().await;
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
    let agent = Agent::start().await;
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
    let agent = Agent::start().await;
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
    assert!(result.is_err());
    let journals = agent.history().journals(10).await.unwrap();
    assert_eq!(
        journals[0].outcome,
        Outcome::Compensated,
        "{:?} {trail:?}",
        journals[0].entries
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

#[tokio::test(flavor = "multi_thread")]
async fn a_helm_release_goes_back_by_the_skill_itself() {
    let agent = Agent::start().await;
    let (plane, client) = (agent.plane, &agent.client);
    helm(plane, "install whole CHART").await;
    ready(client, "whole").await;
    agent.learned("whole", 0).await;
    helm(
        plane,
        "upgrade whole CHART --set image=example/app:2,mode=new,extra=true,legacy=false",
    )
    .await;
    ready(client, "whole").await;
    let (result, _) = agent.roll_back("whole", "healthy").await;
    let output = result.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    println!("steps of the rollback of a release: {:?}", output.steps);
    let history: Value = serde_json::from_str(&helm(plane, "history whole -o json").await).unwrap();
    let words: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["status"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["superseded", "superseded", "deployed"]);
    assert_eq!(image(&agent, "whole").await, "example/app:1");
    helm(
        plane,
        "upgrade whole CHART --set image=example/app:3,replicas=3",
    )
    .await;
    ready(client, "whole").await;
    helm(plane, "rollback whole 3").await;
    ready(client, "whole").await;
}

/// After the pivot nothing is undone, and Helm is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_does_not_recover_is_failed_in_helm_too() {
    let agent = Agent::start().await;
    let (plane, client) = (agent.plane, &agent.client);
    helm(plane, "install stuck CHART").await;
    ready(client, "stuck").await;
    agent.learned("stuck", 0).await;
    helm(
        plane,
        "upgrade stuck CHART --set image=example/app:2,mode=new",
    )
    .await;
    ready(client, "stuck").await;
    let (result, _) = agent.roll_back("stuck", "denied").await;
    assert!(result.is_err());
    let history: Value = serde_json::from_str(&helm(plane, "history stuck -o json").await).unwrap();
    let last = history.as_array().unwrap().last().unwrap();
    assert_eq!(last["status"], "failed", "{history}");
    helm(plane, "upgrade stuck CHART --set image=example/app:3").await;
    ready(client, "stuck").await;
}
