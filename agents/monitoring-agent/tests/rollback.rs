//! The whole way against the embedded cluster: a bad release, its incident, one plan and one rollback.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test stop at what they do not expect"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use cluster::{Cluster, ClusterArgs, Options, Patch};
use cluster_model::{Model, Settings};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use monitoring_agent::{
    Metrics,
    board::Board,
    checkup,
    clients::{Inventory, KubernetesInventory, Wanted},
    domain::{
        At, Attribution, Change, Finding, Incident, Key, Severity, Status, Thresholds, Trigger,
        Verdict, WorkloadKind, incident::Rollback,
    },
    ledger::{Ledger, Query},
    watch::{self, Watch, now},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use shared::{SkillError, testing::FakeAgent};
use store::memory::MemoryStore;
use tokio_util::sync::CancellationToken;

const BEHAVIOR: &str = "cluster-model.ossa.dev/behavior";
/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between looks at the ledger.
const LOOK: Duration = Duration::from_millis(10);

struct Mesh {
    cluster: Cluster,
    ledger: Ledger,
    inventory: Arc<dyn Inventory>,
    _folder: tempfile::TempDir,
}

impl Mesh {
    /// A cluster in which `web` is healthy in revision 1.
    async fn start() -> Self {
        let settings = Settings {
            ready_after: Duration::from_millis(40),
            stop_after: Duration::from_millis(10),
            ..Settings::default()
        };
        let model = Model::bind("127.0.0.1:0".parse().unwrap(), settings)
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        std::fs::write(&file, model.kubeconfig()).unwrap();
        tokio::spawn(model.serve(std::future::pending()));
        let source = format!("kubeconfig:{}#cluster-model", file.display());
        let cluster = Cluster::connect(&ClusterArgs {
            cluster: source.parse().unwrap(),
        })
        .unwrap();
        let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let options = Options::default();
        cluster
            .create::<Namespace>(None, &shop, &options)
            .await
            .unwrap();
        cluster
            .create::<Deployment>(Some("shop"), &web(), &options)
            .await
            .unwrap();
        let inventory = Arc::new(KubernetesInventory(cluster.clone()));
        let ledger = Ledger::new(Arc::new(MemoryStore::default()));
        let mesh = Self {
            cluster,
            ledger,
            inventory,
            _folder: folder,
        };
        mesh.until_healthy().await;
        mesh
    }

    async fn until_healthy(&self) {
        let healthy = async {
            loop {
                let observed = self
                    .inventory
                    .observe("shop", &Wanted::one(WorkloadKind::Deployment, "web"))
                    .await
                    .unwrap();
                let health = checkup(&observed, now(), &Thresholds::default());
                if health
                    .iter()
                    .any(|health| health.verdict == Verdict::Healthy)
                {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, healthy)
            .await
            .expect("a healthy workload");
    }

    /// Runs the loop, releases once it knows the healthy revision, and stops when `fits` holds for the newest
    /// incident.
    async fn watch_until(
        &self,
        agent: FakeAgent,
        behavior: Option<&str>,
        fits: impl Fn(&Incident) -> bool,
    ) -> Seen {
        let (context, agent) = agent.context();
        let watch = Watch {
            cluster: self.cluster.clone(),
            namespaces: vec!["shop".into()],
            ledger: self.ledger.clone(),
            inventory: self.inventory.clone(),
            thresholds: Thresholds::default(),
            metrics: Metrics::register(&mut Registry::default()),
            board: Board::default(),
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(watch::run(watch, context, shutdown.clone()));
        let found = async {
            while self.ledger.healthy().await.unwrap().is_empty() {
                tokio::time::sleep(LOOK).await;
            }
            if let Some(behavior) = behavior {
                release(&self.cluster, behavior, "web:2").await;
            }
            loop {
                let query = Query {
                    limit: 1,
                    ..Query::default()
                };
                let newest = self.ledger.list(&query).await.unwrap().pop();
                if let Some(incident) = newest.filter(|incident| fits(incident)) {
                    return incident;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let incident = tokio::time::timeout(PATIENCE, found)
            .await
            .expect("the incident");
        shutdown.cancel();
        running.await.unwrap().unwrap();
        Seen {
            incident,
            calls: agent.trail(),
        }
    }
}

struct Seen {
    incident: Incident,
    calls: Vec<String>,
}

fn web() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "web:1",
                "startupProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 2, "failureThreshold": 15},
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 5, "failureThreshold": 2}}]}}}})
}

async fn release(cluster: &Cluster, behavior: &str, image: &str) {
    let patch = Patch::Strategic(json!({"spec": {"template": {
        "metadata": {"annotations": {BEHAVIOR: behavior}},
        "spec": {"containers": [{"name": "web", "image": image}]}}}}));
    let options = Options::default();
    cluster
        .patch::<Deployment>(Some("shop"), "web", &patch, &options)
        .await
        .unwrap();
}

type Requests = Arc<Mutex<Vec<Value>>>;

/// A coordinator that restores the old template in the cluster.
fn coordinator(cluster: &Cluster, requests: &Requests) -> FakeAgent {
    let (cluster, requests) = (cluster.clone(), requests.clone());
    FakeAgent::default()
        .peer("rollback-coordinator", "plan_rollback", |_| {
            let plan = json!({"namespace": "shop", "deployment": "web", "from_revision": 2, "to_revision": 1, "needs_approval": false});
            Ok(json!({"plan": plan, "plan_digest": "d"}))
        })
        .peer("rollback-coordinator", "execute_rollback", move |input| {
            requests.lock().unwrap().push(input.clone());
            let cluster = cluster.clone();
            tokio::spawn(async move { release(&cluster, "", "web:1").await });
            Ok(json!({"executed": true, "rollback_id": "task-9", "outcome": "rolled_back",
                "steps": [{"step": "restore_template", "state": "done", "took_ms": 12}]}))
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_release_is_rolled_back_once() {
    for behavior in [
        "crash-loop",
        "never-ready",
        "image-pull",
        "oom",
        "unready-after:100ms",
    ] {
        let mesh = Mesh::start().await;
        let requests = Requests::default();
        let agent = coordinator(&mesh.cluster, &requests);
        let Seen { incident, calls } = mesh
            .watch_until(agent, Some(behavior), |i| !i.is_open())
            .await;
        assert_eq!(
            calls,
            [
                "call rollback-coordinator/plan_rollback",
                "call rollback-coordinator/execute_rollback"
            ],
            "{behavior}"
        );
        let expected = json!({"namespace": "shop", "workload": {"kind": "Deployment", "name": "web"}, "to_revision": 1, "dry_run": false, "idempotency_key": incident.id});
        assert_eq!(*requests.lock().unwrap(), [expected], "{behavior}");
        assert_eq!(
            (incident.attribution, incident.revision, incident.status),
            (Attribution::Release, Some(2), Status::Resolved),
            "{behavior}"
        );
        assert_eq!(
            incident.rollback.unwrap().rollback_id.as_deref(),
            Some("task-9")
        );
        let took = incident
            .timeline
            .iter()
            .find(|e| e.event == "rollback step restore_template");
        assert_eq!(took.unwrap().took_ms, Some(12));
        mesh.until_healthy().await;
        let all = mesh
            .ledger
            .list(&Query {
                limit: 9,
                ..Query::default()
            })
            .await
            .unwrap();
        assert_eq!(all.len(), 1, "{behavior}: one cause, one incident");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_rollback_is_left_to_a_person() {
    let mesh = Mesh::start().await;
    let agent = FakeAgent::default().peer("rollback-coordinator", "plan_rollback", |_| {
        Err(SkillError::failed("no rollback: the rollout is paused"))
    });
    let seen = mesh
        .watch_until(agent, Some("crash-loop"), |i| {
            i.status == Status::NeedsHuman
        })
        .await;
    assert_eq!(seen.calls, ["call rollback-coordinator/plan_rollback"]);
    let last = &seen.incident.timeline.last().unwrap().event;
    assert_eq!(
        last,
        "no rollback is planned: no rollback: the rollout is paused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_needs_approval_waits_for_it() {
    let mesh = Mesh::start().await;
    let agent = FakeAgent::default()
        .peer("rollback-coordinator", "plan_rollback", |_| {
            let plan = json!({"from_revision": 2, "to_revision": 1, "needs_approval": true});
            Ok(json!({"plan": plan, "plan_digest": "d"}))
        })
        .peer("rollback-coordinator", "execute_rollback", |_| {
            Err(SkillError::failed("task t1 waits for an approval"))
        });
    let seen = mesh
        .watch_until(agent, Some("crash-loop"), |i| {
            i.status == Status::AwaitingApproval
        })
        .await;
    assert_eq!(seen.calls.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_release_is_not_rolled_back_for_an_older_one() {
    let mesh = Mesh::start().await;
    let agent = FakeAgent::default().peer("rollback-coordinator", "plan_rollback", |_| {
        Ok(json!({"plan": {"from_revision": 3, "to_revision": 1}, "plan_digest": "d"}))
    });
    let seen = mesh
        .watch_until(agent, Some("crash-loop"), |i| {
            i.status == Status::NeedsHuman
        })
        .await;
    assert_eq!(seen.calls, ["call rollback-coordinator/plan_rollback"]);
}

/// After kill -9 between the request and its answer the same request is made again, under the same key.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_takes_the_rollback_up_under_the_same_key() {
    let mesh = Mesh::start().await;
    let finding = Finding {
        key: Key::deployment("shop", "web"),
        fingerprint: "shop/web/d/s".into(),
        trigger: Trigger::NewRevisionFailing,
        severity: Severity::Sev1,
        attribution: Attribution::Release,
        subject: None,
        because: String::new(),
        revision: Some(2),
        change: Change::default(),
        change_at: At::from_millis(1_793_000_000_000),
        began_at: At::from_millis(1_793_000_000_000),
        evidence: Vec::new(),
        traceparent: None,
    };
    let mut before = mesh.ledger.open(finding, now()).await.unwrap().unwrap();
    before.rollback = Some(Rollback {
        to_revision: 1,
        idempotency_key: before.id.clone(),
        plan_digest: "d".into(),
        needs_approval: false,
        rollback_id: None,
    });
    mesh.ledger.keep(&before).await.unwrap();
    let requests = Requests::default();
    let agent = coordinator(&mesh.cluster, &requests);
    let seen = mesh.watch_until(agent, None, |i| !i.is_open()).await;
    assert_eq!(
        seen.calls,
        ["call rollback-coordinator/execute_rollback"],
        "no second plan"
    );
    let requests = requests.lock().unwrap();
    assert_eq!(requests[0]["idempotency_key"], Value::from(before.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_and_slow_releases_open_nothing() {
    let mesh = Mesh::start().await;
    for (behavior, image) in [("", "web:2"), ("slow:2500ms", "web:3"), ("", "web:3")] {
        release(&mesh.cluster, behavior, image).await;
        let (cluster, ledger) = (mesh.cluster.clone(), mesh.ledger.clone());
        let inventory = mesh.inventory.clone();
        let watch = Watch {
            cluster,
            namespaces: vec!["shop".into()],
            ledger,
            inventory,
            thresholds: Thresholds::default(),
            metrics: Metrics::register(&mut Registry::default()),
            board: Board::default(),
        };
        let (context, agent) = FakeAgent::default().context();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(watch::run(watch, context, shutdown.clone()));
        mesh.until_healthy().await;
        shutdown.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(agent.trail(), Vec::<String>::new(), "{behavior} {image}");
    }
    let all = mesh
        .ledger
        .list(&Query {
            limit: 9,
            ..Query::default()
        })
        .await
        .unwrap();
    assert_eq!(all, []);
}
