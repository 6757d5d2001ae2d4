//! Incidents that several workloads share, that people take on, and that others follow, over a memory store; and
//! what the watch makes of a cluster in which two workloads break together.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test stop at what they do not expect"
)]

use std::{sync::Arc, time::Duration};

use cluster::{Cluster, ClusterArgs, Options, Patch};
use cluster_model::{Model, Settings};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Node},
};
use kube::{
    Api,
    api::{Patch as MergePatch, PatchParams},
};
use monitoring_agent::{
    Metrics,
    board::Board,
    clients::{Inventory, KubernetesInventory, Wanted},
    domain::{
        At, Attribution, Change, Finding, Incident, Key, Severity, Status, Thresholds, Trigger,
        Verdict, WorkloadKind,
    },
    ledger::{Ledger, Query},
    skills::{AcknowledgeIncident, DraftPostmortem, FollowIncident, GetIncident},
    watch::{self, Watch, now},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use shared::{Skill, SkillError, testing::FakeAgent};
use store::memory::MemoryStore;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

fn ledger() -> Ledger {
    Ledger::new(Arc::new(MemoryStore::default()))
}

fn finding(name: &str, attribution: Attribution, subject: Option<&str>) -> Finding {
    let at = now();
    Finding {
        key: Key::deployment("shop", name),
        fingerprint: subject.map_or_else(|| format!("shop/{name}"), str::to_owned),
        trigger: Trigger::PodsUnready,
        severity: Severity::Sev3,
        attribution,
        subject: subject.map(str::to_owned),
        because: "its node is not ready".into(),
        revision: Some(2),
        change_at: at.plus(-60_000),
        change: Change::default(),
        began_at: at,
        evidence: Vec::new(),
        traceparent: None,
    }
}

async fn run<S: Skill>(skill: S, input: Value) -> Result<S::Output, SkillError> {
    let (context, _) = FakeAgent::default().namespace("shop").context();
    let input = serde_json::from_value(input).expect("an input of the skill");
    skill.run(&context, input).await
}

#[test]
fn an_incident_with_members_ends_with_the_last_of_them() {
    let node = Some("node/n1");
    let at = At::from_millis(1_793_000_000_000);
    let first = finding("web", Attribution::Node, node);
    let mut incident = Incident::open(first.clone(), "i".into(), 1, at);
    assert!(incident.merge(&finding("api", Attribution::Node, node), at));
    assert!(!incident.merge(&first, at), "no news");
    let [web, api] = ["web", "api"].map(|name| Key::deployment("shop", name));
    assert!(incident.concerns(&web) && incident.concerns(&api));
    assert!(!incident.release(&web, "healthy", at.plus(5)));
    assert!(!incident.concerns(&web) && incident.is_open());
    assert!(incident.merge(&first, at.plus(6)), "broken again");
    assert!(!incident.release(&web, "healthy", at.plus(7)));
    assert!(incident.release(&api, "healthy", at.plus(8)));
    assert_eq!(incident.resolved_at, Some(at.plus(8)));
}

#[test]
fn a_cause_that_is_known_later_is_taken_over_and_does_not_flap() {
    let at = At::from_millis(1_793_000_000_000);
    let unknown = finding("web", Attribution::Unknown, None);
    let mut incident = Incident::open(unknown, "i".into(), 1, at);
    let node = finding("web", Attribution::Node, Some("node/n1"));
    assert!(incident.merge(&node, at.plus(600_000)));
    assert_eq!(incident.subject.as_deref(), Some("node/n1"));
    let dependency = finding("web", Attribution::Dependency, Some("shared-dependency"));
    assert!(!incident.merge(&dependency, at.plus(600_001)));
    assert_eq!(incident.attribution, Attribution::Node);
}

#[tokio::test]
async fn somebody_takes_an_incident_on_and_nothing_overwrites_that() {
    let ledger = ledger();
    let opened = finding("web", Attribution::Node, None);
    let mut incident = ledger.open(opened, now()).await.unwrap().unwrap();
    let skill = || AcknowledgeIncident(ledger.clone());
    let until = now().plus(3_600_000);
    let id = incident.id.clone();
    let input = |dry_run: bool| {
        json!({"id": id, "until": until, "note": " looking ", "dry_run": dry_run,
            "idempotency_key": "k"})
    };
    let plan = run(skill(), input(true)).await.unwrap();
    assert!(!plan.acknowledged);
    assert_eq!(ledger.acknowledgement(&incident.id).await.unwrap(), None);
    let done = run(skill(), input(false)).await.unwrap();
    assert!(done.acknowledged);
    // The watch keeps the incident as it knows it.
    incident.note(now(), "something else", None);
    ledger.keep(&incident).await.unwrap();
    let shown = run(GetIncident(ledger.clone()), json!({"id": incident.id}));
    let kept = shown.await.unwrap().acknowledged.unwrap();
    assert_eq!(
        (kept.by.as_str(), kept.note.as_deref(), kept.until),
        ("operator", Some("looking"), Some(until))
    );
    assert!(kept.holds(now()) && !kept.holds(until));
    for (field, value) in [
        ("until", json!(now().plus(-1))),
        ("until", json!(now().plus(40 * 86_400_000))),
        ("note", json!("x".repeat(501))),
        ("note", json!("\u{1b}[31m")),
        ("id", json!("inc-0-1")),
    ] {
        let mut wrong = json!({"id": id, "dry_run": true});
        wrong[field] = value;
        let refused = run(skill(), wrong).await.unwrap_err();
        assert!(
            matches!(&refused, SkillError::Rejected { field: f, .. } if f == field),
            "{refused}"
        );
    }
    incident.resolve("over", now());
    ledger.keep(&incident).await.unwrap();
    assert!(run(skill(), input(false)).await.is_err(), "it is over");
}

#[tokio::test]
async fn who_follows_an_incident_gets_each_line_once_until_it_is_over() {
    let ledger = ledger();
    let opened = finding("web", Attribution::Node, None);
    let mut incident = ledger.open(opened, now()).await.unwrap().unwrap();
    let known = incident.timeline.len();
    let (context, agent) = FakeAgent::default().namespace("shop").context();
    let input = serde_json::from_value(json!({"id": incident.id, "after": known})).unwrap();
    let skill = FollowIncident(ledger.clone());
    let following = tokio::spawn(async move { skill.run(&context, input).await });
    tokio::task::yield_now().await;
    for line in ["the node answers again", "web is ready"] {
        incident.note(now(), line, None);
        ledger.keep(&incident).await.unwrap();
        tokio::task::yield_now().await;
    }
    incident.resolve("the workload is healthy", now());
    ledger.keep(&incident).await.unwrap();
    let followed = following.await.unwrap().unwrap();
    let lines: Vec<&str> = followed.lines.iter().map(|l| l.event.as_str()).collect();
    assert_eq!(
        lines,
        [
            "the node answers again",
            "web is ready",
            "the workload is healthy"
        ]
    );
    assert_eq!((followed.over, followed.after), (true, known + 3));
    assert_eq!(agent.trail(), ["artifact timeline"; 3]);
}

#[tokio::test]
async fn a_post_mortem_is_a_document_of_its_own() {
    let ledger = ledger();
    let opened = finding("web", Attribution::Node, Some("node/n1"));
    let incident = ledger.open(opened, now()).await.unwrap().unwrap();
    let draft = |format: &str| {
        let input = json!({"id": incident.id, "format": format});
        run(DraftPostmortem(ledger.clone()), input)
    };
    let text = draft("markdown").await.unwrap();
    assert!(text.document.starts_with("# Post-mortem draft: inc-") && !text.over);
    let page = draft("html").await.unwrap().document;
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
}

/// A cluster with two healthy workloads, one pod each.
async fn cluster(folder: &std::path::Path) -> Cluster {
    let settings = Settings {
        ready_after: Duration::from_millis(40),
        stop_after: Duration::from_millis(10),
        ..Settings::default()
    };
    let address = "127.0.0.1:0".parse().unwrap();
    let model = Model::bind(address, settings).await.unwrap();
    let file = folder.join("kubeconfig");
    std::fs::write(&file, model.kubeconfig()).unwrap();
    tokio::spawn(model.serve(std::future::pending()));
    let source = format!("kubeconfig:{}#cluster-model", file.display());
    let cluster = Cluster::connect(&ClusterArgs {
        cluster: source.parse().unwrap(),
    })
    .unwrap();
    let options = Options::default();
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    cluster
        .create::<Namespace>(None, &shop, &options)
        .await
        .unwrap();
    for name in ["web", "api"] {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "annotations": {"meta.helm.sh/release-name": "shop"}},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
                "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}}});
        cluster
            .create::<Deployment>(Some("shop"), &object, &options)
            .await
            .unwrap();
    }
    cluster
}

async fn until_healthy(inventory: &dyn Inventory) {
    let healthy = async {
        loop {
            let observed = inventory.observe("shop", &Wanted::default()).await.unwrap();
            let health = monitoring_agent::checkup(&observed, now(), &Thresholds::default());
            if health.len() == 2 && health.iter().all(|h| h.verdict == Verdict::Healthy) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, healthy)
        .await
        .expect("healthy workloads");
}

/// A watch over two healthy workloads of one Helm release.
struct Scene {
    cluster: Cluster,
    ledger: Ledger,
    agent: Arc<FakeAgent>,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn start(thresholds: Thresholds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster(folder.path()).await;
        let inventory: Arc<dyn Inventory> = Arc::new(KubernetesInventory(cluster.clone()));
        until_healthy(&*inventory).await;
        let ledger = ledger();
        let watch = Watch {
            cluster: cluster.clone(),
            namespaces: vec!["shop".into()],
            ledger: ledger.clone(),
            inventory,
            thresholds,
            metrics: Metrics::register(&mut Registry::default()),
            board: Board::default(),
        };
        let refuse = |_: &Value| Err(SkillError::failed("no rollback in this test"));
        let (context, agent) = FakeAgent::default()
            .peer("rollback-coordinator", "plan_rollback", refuse)
            .context();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(watch::run(watch, context, shutdown.clone()));
        let scene = Self {
            cluster,
            ledger,
            agent,
            shutdown,
            running,
            _folder: folder,
        };
        scene
            .until(async |scene| scene.ledger.healthy().await.unwrap().len() == 2)
            .await;
        scene
    }

    async fn until(&self, holds: impl AsyncFn(&Self) -> bool) {
        let wait = async {
            while !holds(self).await {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("in time");
    }

    async fn incidents(&self) -> Vec<Incident> {
        let query = Query {
            limit: 9,
            ..Query::default()
        };
        self.ledger.list(&query).await.unwrap()
    }

    /// Releases both workloads so that they crash.
    async fn release_badly(&self) {
        for name in ["web", "api"] {
            let patch =
                Patch::Strategic(json!({"spec": {"template": {"metadata": {"annotations": {
                "cluster-model.ossa.dev/behavior": "crash-loop"}}}}}));
            let options = Options::default();
            self.cluster
                .patch::<Deployment>(Some("shop"), name, &patch, &options)
                .await
                .unwrap();
        }
    }

    async fn stop(self) -> Vec<String> {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.agent.trail()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_that_a_node_breaks_together_are_one_incident() {
    let scene = Scene::start(Thresholds::default()).await;
    let nodes = scene.cluster.list::<Node>(None).await.unwrap();
    let api: Api<Node> = Api::all(scene.cluster.client().await.unwrap());
    for node in &nodes {
        let name = node.metadata.name.as_deref().unwrap();
        let down = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        api.patch_status(name, &PatchParams::default(), &MergePatch::Merge(down))
            .await
            .unwrap();
    }
    scene.release_badly().await;
    let both = async |scene: &Scene| {
        let all = scene.incidents().await;
        all.iter().any(|incident| incident.members.len() == 2)
    };
    scene.until(both).await;
    let all = scene.incidents().await;
    assert_eq!(scene.stop().await, Vec::<String>::new(), "nobody was asked");
    let [incident] = &all[..] else {
        panic!("one incident: {all:#?}")
    };
    assert_eq!(
        (incident.attribution, incident.status),
        (Attribution::Node, Status::NeedsHuman)
    );
    assert!(incident.subject.as_ref().unwrap().starts_with("node/"));
    assert_eq!(incident.workload.kind, WorkloadKind::Deployment);
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_of_one_helm_release_have_incidents_that_belong_together() {
    let scene = Scene::start(Thresholds::default()).await;
    scene.release_badly().await;
    let both = async |scene: &Scene| {
        let all = scene.incidents().await;
        let asked = all.iter().all(|i| i.status == Status::NeedsHuman);
        all.len() == 2 && asked && all.iter().any(|i| i.part_of.is_some())
    };
    scene.until(both).await;
    let all = scene.incidents().await;
    let asked = scene.stop().await;
    assert_eq!(asked, ["call rollback-coordinator/plan_rollback"; 2]);
    let (parts, wholes): (Vec<_>, Vec<_>) = all.iter().partition(|i| i.part_of.is_some());
    let ([part], [whole]) = (&parts[..], &wholes[..]) else {
        panic!("one is part of the other: {all:#?}")
    };
    assert_eq!(part.part_of.as_ref(), Some(&whole.id));
    assert!(whole.members.iter().any(|member| member.key == part.key()));
    assert!(all.iter().all(Incident::is_release));
}
