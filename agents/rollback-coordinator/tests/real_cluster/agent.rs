//! Whole rollbacks by the skill itself: the agent with its own rights, and releases of Helm.

use std::{sync::Arc, time::Duration};

use control_plane::ControlPlane;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use rollback_coordinator::{
    clients::{Kubernetes, KubernetesObjects, RolloutControl},
    domain::{Health, Kind, Outcome, WorkloadId},
    guard::{Guard, Settings},
    history::History,
    learn::Learning,
    metrics::Metrics,
    saga::Saga,
    skills::{ExecuteRollback, ExecuteRollbackOutput, Planner},
    traffic::Gradual,
};
use serde_json::{Value, json};
use shared::{Context, Skill as _, SkillError, context::Work, testing::FakeAgent};
use store::{Scan, Store as _, memory::MemoryStore};
use tokio::{
    sync::RwLock,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, SHOP, agent_cluster, context, helm, plane, ready};

/// Longest rollback: 5 minutes, as the manifest says.
const DEADLINE: Duration = Duration::from_mins(5);
/// Pause between looks.
const LOOK: Duration = Duration::from_millis(50);

/// Who may be at work in the namespace: an agent takes copies of configuration away that it does not remember itself.
static PLACE: RwLock<()> = RwLock::const_new(());

/// The agent, with its own rights and a memory of its own.
pub(crate) struct Agent {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: Client,
    pub(crate) control: Arc<dyn RolloutControl>,
    pub(crate) store: Arc<MemoryStore>,
    guard: Guard,
    learning: CancellationToken,
    _turn: Box<dyn Send + Sync>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.learning.cancel();
    }
}

impl Agent {
    pub(crate) async fn start() -> Self {
        Self::start_in(Box::new(PLACE.read().await)).await
    }

    /// An agent beside which no other one is at work.
    pub(crate) async fn start_alone() -> Self {
        Self::start_in(Box::new(PLACE.write().await)).await
    }

    async fn start_in(turn: Box<dyn Send + Sync>) -> Self {
        let (plane, client) = plane().await;
        let cluster = agent_cluster(plane).await;
        let control: Arc<dyn RolloutControl> = Arc::new(Kubernetes(cluster.clone()));
        let objects = Arc::new(KubernetesObjects(cluster.clone()));
        let guard = Guard::new(objects, vec![SHOP.into()], Settings::default());
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
            guard,
            learning,
            _turn: turn,
        }
    }

    pub(crate) fn history(&self) -> History {
        History(self.store.clone())
    }

    /// Waits until the newest revision of a Deployment is remembered as healthy, with `kept` copies.
    pub(crate) async fn learned(&self, name: &str, kept: usize) {
        self.learned_kind(Kind::Deployment, name).await;
        let wait = async {
            while self.copies(name).await.len() < kept {
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
    }

    /// Waits until the newest revision of a workload is remembered as healthy.
    pub(crate) async fn learned_kind(&self, kind: Kind, name: &str) {
        let id = WorkloadId {
            namespace: SHOP.into(),
            kind,
            name: name.into(),
        };
        let wait = async {
            loop {
                let mut found = self.control.workload(&id).await.unwrap().unwrap();
                // What is seen now may not be remembered yet.
                for revision in &mut found.revisions {
                    revision.health = Health::NeverHealthy;
                }
                let known = self.history().complete(found).await.unwrap();
                let healthy = known
                    .current()
                    .is_some_and(|one| one.health == Health::Healthy);
                if healthy {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
    }

    /// Names of the copies that belong to a Deployment.
    pub(crate) async fn copies(&self, name: &str) -> Vec<String> {
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
    pub(crate) async fn roll_back(
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
        wanted: (Kind, &str),
        gradual: Gradual,
        peers: FakeAgent,
    ) -> (Result<ExecuteRollbackOutput, SkillError>, Vec<String>) {
        self.run_with(self.history(), (name, wanted), gradual, peers)
            .await
    }

    /// The same with another memory.
    pub(crate) async fn run_with(
        &self,
        history: History,
        (name, (kind, strategy)): (&str, (Kind, &str)),
        gradual: Gradual,
        peers: FakeAgent,
    ) -> (Result<ExecuteRollbackOutput, SkillError>, Vec<String>) {
        let skill = ExecuteRollback {
            planner: Planner {
                control: self.control.clone(),
                history: history.clone(),
                guard: self.guard.clone(),
                gradual,
            },
            saga: Saga {
                control: self.control.clone(),
                history,
                guard: self.guard.clone(),
            },
            metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        };
        let input = json!({
            "namespace": SHOP, "workload": {"kind": kind, "name": name}, "strategy": strategy,
            "dry_run": false, "idempotency_key": name,
        });
        let (context, agent) = peers.context();
        let work = Work {
            task_id: context.task_id().into(),
            skill: "execute_rollback".into(),
            caller: context.caller().clone(),
            on_behalf_of: None,
            // What the manifest gives the skill, however slow the machine is; half a minute is for fakes.
            deadline: Instant::now() + DEADLINE,
            tool_calls: Arc::default(),
            input_digest: String::new(),
        };
        let context = Context::new(work, None, CancellationToken::new(), agent.clone());
        let run = skill.run(&context, serde_json::from_value(input).unwrap());
        let result = timeout(DEADLINE, run).await.unwrap();
        (result, agent.trail())
    }

    /// Everything that the agent remembers, as text.
    pub(crate) async fn memory(&self) -> String {
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

/// Image that a Deployment wants.
pub(crate) async fn image(agent: &Agent, name: &str) -> String {
    let deployments: Api<Deployment> = Api::namespaced(agent.client.clone(), SHOP);
    let web = deployments.get(name).await.unwrap();
    web.spec.template.spec.unwrap().containers[0]
        .image
        .clone()
        .unwrap()
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
