//! The watch on a real control plane, with the rights that are rendered for this agent: releases of all three kinds
//! that fail in ways which only real controllers and a real scheduler tell.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test stop at what they do not expect"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cluster::{Cluster, ClusterArgs};
use control_plane::{
    ControlPlane,
    simulation::{Behaviour, Fault},
};
use monitoring_agent::{
    Metrics,
    board::Board,
    checkup,
    clients::{Inventory, KubernetesInventory, Wanted},
    domain::{Attribution, Incident, Thresholds, Verdict, WorkloadKind},
    ledger::{Ledger, Query},
    watch::{Watch, now, run},
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use shared::{SkillError, testing::FakeAgent};
use store::memory::MemoryStore;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything: 3 minutes, for a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(100);
/// The namespace that the rendered roles name.
const SHOP: &str = "shop";

/// Name, kind and replicas, what its release changes, and what is to blame.
type Case = (&'static str, WorkloadKind, fn(&mut Value), Attribution);

const CASES: [Case; 7] = [
    (
        "sts-crash",
        WorkloadKind::StatefulSet,
        crash,
        Attribution::Release,
    ),
    (
        "ds-crash",
        WorkloadKind::DaemonSet,
        crash,
        Attribution::Release,
    ),
    (
        "dep-tape",
        WorkloadKind::Deployment,
        tape,
        Attribution::Release,
    ),
    (
        "sts-tape",
        WorkloadKind::StatefulSet,
        tape,
        Attribution::Release,
    ),
    (
        "dep-refused",
        WorkloadKind::Deployment,
        refused,
        Attribution::Release,
    ),
    (
        "dep-large",
        WorkloadKind::Deployment,
        large,
        Attribution::Release,
    ),
    (
        "dep-quota",
        WorkloadKind::Deployment,
        image,
        Attribution::Quota,
    ),
];

fn crash(template: &mut Value) {
    let behaviour = Behaviour::failing(Fault::CrashLoop).backs_off(20.0);
    template["metadata"]["annotations"] = json!(behaviour.annotations());
}

fn tape(template: &mut Value) {
    template["spec"]["nodeSelector"] = json!({"disk": "tape"});
}

fn refused(template: &mut Value) {
    template["spec"]["hostNetwork"] = true.into();
}

fn large(template: &mut Value) {
    template["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100000"}});
}

fn image(template: &mut Value) {
    template["spec"]["containers"][0]["image"] = "example/app:2".into();
}

fn manifest(name: &str, kind: WorkloadKind, change: Option<fn(&mut Value)>) -> String {
    let mut template = json!({
        "metadata": {"labels": {"app": name}, "annotations": Behaviour::healthy().annotations()},
        "spec": {"containers": [{"name": "app", "image": "example/app:1"}]},
    });
    if name == "dep-quota" {
        template["spec"]["priorityClassName"] = "batch".into();
    }
    if let Some(change) = change {
        change(&mut template);
    }
    let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template});
    match kind {
        WorkloadKind::Deployment => {
            spec["replicas"] = 2.into();
            let rolling = json!({"maxSurge": 1, "maxUnavailable": 0});
            spec["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": rolling});
        }
        WorkloadKind::StatefulSet => {
            spec["replicas"] = 2.into();
            spec["serviceName"] = name.into();
        }
        WorkloadKind::DaemonSet => {}
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "namespace": SHOP}})
    .to_string()
}

async fn prepare(plane: &ControlPlane) {
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP, "labels": labels}}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "batch"}, "value": 10}),
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "batch", "namespace": SHOP},
            "spec": {"hard": {"pods": "2"}, "scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["batch"]}]}}}),
    ] {
        plane.apply(&object.to_string()).await.unwrap();
    }
    for (name, kind, ..) in CASES {
        plane.apply(&manifest(name, kind, None)).await.unwrap();
    }
}

async fn verdicts(inventory: &dyn Inventory) -> BTreeMap<String, Verdict> {
    let observed = inventory.observe(SHOP, &Wanted::default()).await.unwrap();
    let health = checkup(&observed, now(), &Thresholds::default());
    let health = health.into_iter();
    health.map(|one| (one.name, one.verdict)).collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect(what);
}

async fn incidents(ledger: &Ledger) -> BTreeMap<String, Incident> {
    let query = Query {
        limit: 100,
        ..Query::default()
    };
    let all = ledger.list(&query).await.unwrap();
    let named = all.into_iter().map(|i| (i.workload.name.clone(), i));
    named.collect()
}

fn watch(cluster: Cluster, inventory: &Arc<dyn Inventory>, ledger: &Ledger) -> Watch {
    Watch {
        cluster,
        namespaces: vec![SHOP.into()],
        ledger: ledger.clone(),
        inventory: inventory.clone(),
        thresholds: Thresholds {
            unschedulable_after_ms: 3_000,
            quota_after_ms: 3_000,
            ..Thresholds::default()
        },
        metrics: Metrics::register(&mut Registry::default()),
        board: Board::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_controllers_are_understood_with_the_rendered_rights() {
    let plane = ControlPlane::start().await.unwrap();
    prepare(&plane).await;
    let kubeconfig = plane.agent("monitoring-agent").await.unwrap();
    let source = format!("kubeconfig:{}", kubeconfig.display());
    let cluster = source.parse().unwrap();
    let cluster = Cluster::connect(&ClusterArgs { cluster }).unwrap();
    let inventory: Arc<dyn Inventory> = Arc::new(KubernetesInventory(cluster.clone()));
    until("healthy workloads", async || {
        let verdicts = verdicts(&*inventory).await;
        verdicts.len() == CASES.len() && verdicts.values().all(|v| *v == Verdict::Healthy)
    })
    .await;
    let ledger = Ledger::new(Arc::new(MemoryStore::default()));
    let watch = watch(cluster, &inventory, &ledger);
    let refuse = |_: &Value| Err(SkillError::failed("no rollback in this test"));
    let (context, agent) = FakeAgent::default()
        .peer("rollback-coordinator", "plan_rollback", refuse)
        .context();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(run(watch, context, shutdown.clone()));
    until("learned revisions", async || {
        ledger.healthy().await.unwrap().len() >= CASES.len()
    })
    .await;
    for (name, kind, change, _) in CASES {
        plane
            .apply(&manifest(name, kind, Some(change)))
            .await
            .unwrap();
    }
    let expected: BTreeSet<&str> = CASES.iter().map(|(name, ..)| *name).collect();
    let mut found = BTreeMap::new();
    until("an incident of each", async || {
        found = incidents(&ledger).await;
        found.len() >= expected.len() || running.is_finished()
    })
    .await;
    let verdicts = verdicts(&*inventory).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
    for (name, kind, _, attribution) in CASES {
        let incident = &found[name];
        println!(
            "{name}: {} by {}, {} ms after its first sign: {}",
            incident.attribution.as_str(),
            incident.triggers[0].as_str(),
            incident.detected_at.since(incident.began_at),
            incident.because
        );
        assert_eq!(incident.attribution, attribution, "{name}: {incident:#?}");
        assert_eq!(incident.workload.kind, kind, "{name}");
        assert_eq!(incident.change.previous, Some(1), "{name}");
        assert_ne!(verdicts[name], Verdict::Healthy, "{name}");
    }
    let asked = agent.trail().len();
    assert_eq!(asked, CASES.len() - 1, "one request for each bad release");
}
