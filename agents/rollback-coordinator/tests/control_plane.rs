//! Rollbacks of StatefulSets and DaemonSets on a real control plane, with the rights that are rendered for the agent;
//! only the peers are faked.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test stop at what they do not expect"
)]

use std::{sync::Arc, time::Duration};

use cluster::{Cluster, ClusterArgs};
use control_plane::{
    ControlPlane,
    simulation::{Behaviour, Fault},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use rollback_coordinator::{
    clients::{Kubernetes, RolloutControl},
    domain::{Health, Kind, Outcome, Workload, WorkloadId},
    history::History,
    learn,
    metrics::Metrics,
    saga::Saga,
    skills::{ExecuteRollback, ExecuteRollbackOutput, Planner},
};
use serde_json::{Value, json};
use shared::{Skill, SkillError, testing::FakeAgent};
use store::memory::MemoryStore;
use tokio::{sync::OnceCell, time::timeout};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything: 2 minutes, for a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between looks at the cluster.
const LOOK: Duration = Duration::from_millis(50);

/// An agent that knows of one rollback, on the control plane that all tests of this process share.
struct Agent {
    plane: &'static ControlPlane,
    client: Client,
    control: Arc<dyn RolloutControl>,
    history: History,
    learning: CancellationToken,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.learning.cancel();
    }
}

impl Agent {
    async fn start() -> Self {
        static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
        let plane = PLANE
            .get_or_init(|| async {
                let plane = ControlPlane::start().await.unwrap();
                plane.namespace("shop").await.unwrap();
                plane
            })
            .await;
        let kubeconfig = plane.agent("rollback-coordinator").await.unwrap();
        let source = format!("kubeconfig:{}", kubeconfig.display());
        let args = ClusterArgs {
            cluster: source.parse().unwrap(),
        };
        let cluster = Cluster::connect(&args).unwrap();
        let control: Arc<dyn RolloutControl> = Arc::new(Kubernetes(cluster.clone()));
        let history = History(Arc::new(MemoryStore::default()));
        let learning = CancellationToken::new();
        let (eyes, memory, stop) = (control.clone(), history.clone(), learning.clone());
        tokio::spawn(async move {
            let namespaces = vec!["shop".into()];
            learn::watch(cluster, namespaces, &*eyes, &memory, stop).await
        });
        Self {
            plane,
            client: plane.client().await.unwrap(),
            control,
            history,
            learning,
        }
    }

    /// Applies a revision of a workload.
    async fn apply(&self, id: &WorkloadId, version: &str, fault: Option<Fault>, more: &Value) {
        let behaviour = fault.map_or_else(Behaviour::healthy, Behaviour::failing);
        let mut annotations = behaviour.annotations();
        annotations.insert("version".into(), version.into());
        if version == "2" && more.get("schema").is_some() {
            annotations.insert("ossa.io/schema-version".into(), "4".into());
        } else {
            annotations.insert("ossa.io/schema-version".into(), "3".into());
        }
        annotations.insert("ossa.io/database".into(), "shop".into());
        let probe = json!({"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1});
        let mut spec = json!({
            "selector": {"matchLabels": {"app": id.name}},
            "template": {
                "metadata": {"labels": {"app": id.name}, "annotations": annotations},
                "spec": {"containers": [{"name": "app", "image": format!("example/app:{version}"), "readinessProbe": probe}]},
            },
        });
        let fields = spec.as_object_mut().unwrap();
        if id.kind == Kind::StatefulSet {
            fields.insert("replicas".into(), 3.into());
            fields.insert("serviceName".into(), id.name.clone().into());
        }
        if let Some(more) = more.get("spec").and_then(Value::as_object) {
            fields.extend(more.clone());
        }
        let object = json!({
            "apiVersion": "apps/v1", "kind": id.kind.as_str(),
            "metadata": {"name": id.name, "namespace": id.namespace}, "spec": spec,
        });
        self.plane.apply(&object.to_string()).await.unwrap();
    }

    async fn workload(&self, id: &WorkloadId) -> Workload {
        let found = self.control.workload(id).await.unwrap().unwrap();
        self.history.complete(found).await.unwrap()
    }

    async fn until(&self, id: &WorkloadId, what: &str, holds: impl Fn(&Workload, &[Pod]) -> bool) {
        let looking = async {
            loop {
                let (workload, pods) = (self.workload(id).await, self.pods(id).await);
                if holds(&workload, &pods) {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = timeout(PATIENCE, looking).await.is_err();
        assert!(
            !late,
            "{id} never was {what}: {:#?}",
            self.workload(id).await
        );
    }

    async fn pods(&self, id: &WorkloadId) -> Vec<Pod> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &id.namespace);
        let list = ListParams::default().labels(&format!("app={}", id.name));
        api.list(&list).await.unwrap().items
    }

    /// Deploys version 1 and waits until it is remembered as healthy.
    async fn deploy(&self, id: &WorkloadId, more: &Value) {
        self.apply(id, "1", None, more).await;
        let healthy = |workload: &Workload, _: &[Pod]| {
            let current = workload.current();
            current.is_some_and(|one| one.health == Health::Healthy && one.ready >= 3)
        };
        self.until(id, "healthy", healthy).await;
    }

    async fn roll_back(
        &self,
        id: &WorkloadId,
        peers: FakeAgent,
    ) -> Result<ExecuteRollbackOutput, SkillError> {
        let planner = Planner {
            control: self.control.clone(),
            history: self.history.clone(),
        };
        let saga = Saga {
            control: self.control.clone(),
            history: self.history.clone(),
        };
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        let input = json!({"namespace": id.namespace, "workload": id.named(), "dry_run": false, "idempotency_key": "k"});
        let (context, _) = peers.context();
        let skill = ExecuteRollback {
            planner,
            saga,
            metrics,
        };
        let wanted = serde_json::from_value(input).unwrap();
        timeout(PATIENCE, skill.run(&context, wanted))
            .await
            .expect("a rollback that ends")
    }

    /// All pods are of version 1 and ready, and as many as before.
    async fn is_back(&self, id: &WorkloadId, pods: usize) {
        let all = self.pods(id).await;
        assert_eq!(all.len(), pods);
        for pod in &all {
            assert_eq!(version(pod), "1", "{:?}", pod.metadata.name);
            assert!(is_ready(pod), "{:?}", pod.metadata.name);
        }
    }
}

fn id(kind: Kind, name: &str) -> WorkloadId {
    WorkloadId {
        namespace: "shop".into(),
        kind,
        name: name.into(),
    }
}

fn version(pod: &Pod) -> &str {
    pod.metadata.annotations.as_ref().unwrap()["version"].as_str()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}

fn peers() -> FakeAgent {
    FakeAgent::default()
        .namespace("shop")
        .peer("monitoring-agent", "check_health", |_| {
            Ok(json!({"verdict": "healthy"}))
        })
}

/// A pod of version 2 is there, and not ready.
fn is_stuck(_: &Workload, pods: &[Pod]) -> bool {
    pods.iter().any(|pod| {
        version(pod) == "2" && !is_ready(pod) && pod.spec.as_ref().unwrap().node_name.is_some()
    })
}

/// The controller alone would wait for the bad pod for ever (kubernetes 67250).
#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_whose_bad_pod_never_becomes_ready_is_back_at_once() {
    let agent = Agent::start().await;
    let id = id(Kind::StatefulSet, "ordered");
    agent.deploy(&id, &json!({})).await;
    agent
        .apply(&id, "2", Some(Fault::NeverReady), &json!({}))
        .await;
    agent.until(&id, "stuck", is_stuck).await;
    let output = agent.roll_back(&id, peers()).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    agent.is_back(&id, 3).await;
    let after = agent.workload(&id).await;
    let bad = after
        .revisions
        .iter()
        .find(|one| one.health == Health::Quarantined);
    assert!(bad.is_some(), "the bad revision is quarantined: {after:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parallel_and_a_partitioned_stateful_set_go_back() {
    let parallel = json!({"spec": {"podManagementPolicy": "Parallel"}});
    let partition = json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}});
    for (name, more) in [("parallel", parallel), ("partition", partition)] {
        let agent = Agent::start().await;
        let id = id(Kind::StatefulSet, name);
        agent.deploy(&id, &more).await;
        agent.apply(&id, "2", Some(Fault::CrashLoop), &more).await;
        agent.until(&id, "stuck", is_stuck).await;
        let output = agent.roll_back(&id, peers()).await.unwrap();
        assert_eq!(output.outcome, Some(Outcome::RolledBack), "{name}");
        agent.is_back(&id, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_nobody_replaces_are_taken_away_one_by_one() {
    let by_hand = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
    for (kind, name) in [
        (Kind::StatefulSet, "by-hand"),
        (Kind::DaemonSet, "by-hands"),
    ] {
        let agent = Agent::start().await;
        let id = id(kind, name);
        agent.deploy(&id, &by_hand).await;
        agent
            .apply(&id, "2", Some(Fault::CrashLoop), &by_hand)
            .await;
        // Somebody tries the new version on one pod.
        let pods = agent.pods(&id).await;
        let count = pods.len();
        let api: Api<Pod> = Api::namespaced(agent.client.clone(), "shop");
        let first = pods[0].metadata.name.as_deref().unwrap();
        api.delete(first, &kube::api::DeleteParams::default())
            .await
            .unwrap();
        agent.until(&id, "stuck", is_stuck).await;
        let output = agent.roll_back(&id, peers()).await.unwrap();
        assert_eq!(output.outcome, Some(Outcome::RolledBack));
        assert!(
            output
                .plan
                .reasons
                .iter()
                .any(|reason| reason.contains("OnDelete"))
        );
        agent.is_back(&id, count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_set_goes_back() {
    let agent = Agent::start().await;
    let id = id(Kind::DaemonSet, "logs");
    agent.deploy(&id, &json!({})).await;
    agent
        .apply(&id, "2", Some(Fault::CrashLoop), &json!({}))
        .await;
    agent.until(&id, "stuck", is_stuck).await;
    let output = agent.roll_back(&id, peers()).await.unwrap();
    assert_eq!(output.outcome, Some(Outcome::RolledBack));
    agent.is_back(&id, 4).await;
}

/// Nobody uses the schema while it moves, also where pods have names and stop in order.
#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_a_stateful_set_moves_after_its_last_pod_is_gone() {
    let agent = Agent::start().await;
    let id = id(Kind::StatefulSet, "ledger");
    let more = json!({"schema": true});
    agent.deploy(&id, &more).await;
    agent.apply(&id, "2", Some(Fault::NeverReady), &more).await;
    agent.until(&id, "stuck", is_stuck).await;
    let (client, handle) = (agent.client.clone(), tokio::runtime::Handle::current());
    let peers = peers()
        .peer("db-migrator", "assess_rollback", |_| {
            Ok(json!({"answer": "reversible", "rows_at_risk": 0, "additive_only": false, "plan_digest": "d"}))
        })
        .peer("db-migrator", "rollback_migration", move |_| {
            let api: Api<Pod> = Api::namespaced(client.clone(), "shop");
            let list = ListParams::default().labels("app=ledger");
            let pods = tokio::task::block_in_place(|| handle.block_on(api.list(&list))).unwrap();
            assert_eq!(pods.items.len(), 0, "somebody uses the schema");
            Ok(json!({}))
        });
    let output = agent.roll_back(&id, peers).await.unwrap();
    assert_eq!(
        output.outcome,
        Some(Outcome::RolledBack),
        "{:?}",
        output.steps
    );
    agent.is_back(&id, 3).await;
}

/// What must not be rolled back is refused with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn refuses_a_schema_that_moves_under_pods_that_cannot_stop() {
    let agent = Agent::start().await;
    let claims = json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}});
    for (id, more, reason) in [
        (
            id(Kind::DaemonSet, "agents"),
            json!({"schema": true}),
            "a DaemonSet cannot be scaled to zero",
        ),
        (
            id(Kind::StatefulSet, "volumes"),
            json!({"schema": true, "spec": claims}),
            "deletes the volume claims",
        ),
    ] {
        agent.deploy(&id, &more).await;
        agent.apply(&id, "2", Some(Fault::CrashLoop), &more).await;
        agent.until(&id, "stuck", is_stuck).await;
        let peers = peers().peer("db-migrator", "assess_rollback", |_| {
            Ok(json!({"answer": "reversible", "rows_at_risk": 0, "additive_only": false, "plan_digest": "d"}))
        });
        let error = agent.roll_back(&id, peers).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}
