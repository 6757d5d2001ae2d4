//! Rollbacks through the real Kubernetes client against the embedded cluster; only the peers are faked.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test stop at what they do not expect"
)]

use std::{sync::Arc, time::Duration};

use cluster::{Cluster, ClusterArgs, Options, Patch};
use cluster_model::{Model, Settings};
use k8s_openapi::api::{
    apps::v1::Deployment as KubeDeployment,
    core::v1::{Namespace, Pod},
};
use rollback_coordinator::{
    clients::{Kubernetes, KubernetesObjects, RolloutControl, Waited},
    domain::{Health, Kind, Outcome, Rollout, Step, StepState, Workload, WorkloadId},
    guard::{Guard, Settings as Limits},
    history::History,
    learn,
    metrics::Metrics,
    saga::Saga,
    skills::{ExecuteRollback, ExecuteRollbackOutput, Planner},
    traffic::Gradual,
};
use serde_json::{Value, json};
use shared::{Skill, testing::FakeAgent};
use store::memory::MemoryStore;
use tokio_util::sync::CancellationToken;

const BEHAVIOR: &str = "cluster-model.ossa.dev/behavior";
/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between looks at the cluster.
const LOOK: Duration = Duration::from_millis(10);

struct Mesh {
    cluster: Cluster,
    control: Arc<dyn RolloutControl>,
    history: History,
    _folder: tempfile::TempDir,
}

impl Mesh {
    /// A cluster with `web` in revision 1, which was learned to be healthy.
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
        model.write_kubeconfig(&file).unwrap();
        tokio::spawn(model.serve(std::future::pending()));
        let source = format!("kubeconfig:{}#cluster-model", file.display());
        let cluster = Cluster::connect(&ClusterArgs {
            cluster: source.parse().unwrap(),
        })
        .unwrap();
        let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        cluster
            .create::<Namespace>(None, &shop, &Options::default())
            .await
            .unwrap();
        cluster
            .create::<KubeDeployment>(Some("shop"), &web(), &Options::default())
            .await
            .unwrap();
        let control = Arc::new(Kubernetes(cluster.clone()));
        let history = History(Arc::new(MemoryStore::default()));
        let mesh = Self {
            cluster,
            control,
            history,
            _folder: folder,
        };
        mesh.learn(1).await;
        mesh
    }

    /// Runs the learning loop until it remembers that a revision was healthy.
    async fn learn(&self, number: u64) {
        let shutdown = CancellationToken::new();
        let (cluster, control, history) = (
            self.cluster.clone(),
            self.control.clone(),
            self.history.clone(),
        );
        let stop = shutdown.clone();
        let running = tokio::spawn(async move {
            learn::watch(cluster, vec!["shop".into()], &*control, &history, stop).await
        });
        let remembered = |mut web: Workload| async move {
            web.revisions
                .iter_mut()
                .for_each(|revision| revision.health = Health::NeverHealthy);
            let known = self.history.complete(web).await.unwrap();
            known
                .revision(number)
                .is_some_and(|revision| revision.health == Health::Healthy)
        };
        self.until(remembered).await;
        shutdown.cancel();
        running.await.unwrap().unwrap();
    }

    async fn web(&self) -> Workload {
        self.control.workload(&web_id()).await.unwrap().unwrap()
    }

    /// Waits until something holds for the workload.
    async fn until<F: Future<Output = bool>>(&self, holds: impl Fn(Workload) -> F) {
        let wait = async {
            while !holds(self.web().await).await {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("the cluster gets there");
    }

    async fn release(&self, image: &str, annotations: Value) {
        let patch = Patch::Strategic(json!({"spec": {"template": {
            "metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "web", "image": image}]}}}}));
        self.cluster
            .patch::<KubeDeployment>(Some("shop"), "web", &patch, &Options::default())
            .await
            .unwrap();
    }

    async fn execute(&self, agent: FakeAgent) -> ExecuteRollbackOutput {
        let objects = Arc::new(KubernetesObjects(self.cluster.clone()));
        let guard = Guard::new(objects, vec!["shop".into()], Limits::default());
        let planner = Planner {
            control: self.control.clone(),
            history: self.history.clone(),
            guard: guard.clone(),
            gradual: Gradual::default(),
        };
        let saga = Saga {
            control: self.control.clone(),
            history: self.history.clone(),
            guard,
        };
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        let input = json!({"namespace": "shop", "deployment": "web", "dry_run": false, "idempotency_key": "k"});
        let (context, _) = agent.context();
        let skill = ExecuteRollback {
            planner,
            saga,
            metrics,
        };
        skill
            .run(&context, serde_json::from_value(input).unwrap())
            .await
            .unwrap()
    }
}

fn web_id() -> WorkloadId {
    WorkloadId {
        namespace: "shop".into(),
        kind: Kind::Deployment,
        name: "web".into(),
    }
}

/// `web` as revision 1 declares it.
fn web() -> Value {
    let probe = json!({"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {"ossa.io/database": "shop", "ossa.io/schema-version": "3"}},
            "spec": {"containers": [{"name": "web", "image": "web:1", "readinessProbe": probe}]}}}})
}

fn peers() -> FakeAgent {
    FakeAgent::default()
        .namespace("shop")
        .peer("monitoring-agent", "check_health", |_| {
            Ok(json!({"verdict": "healthy"}))
        })
}

/// `(number, wanted, ready)` of each revision.
fn sizes(web: &Workload) -> Vec<(u64, u32, u32)> {
    web.revisions
        .iter()
        .map(|revision| (revision.number, revision.replicas, revision.ready))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_is_replaced_by_the_revision_that_was_healthy() {
    let mesh = Mesh::start().await;
    let before = mesh.web().await;
    mesh.release("web:2", json!({BEHAVIOR: "crash-loop"})).await;
    mesh.until(|web| async move { web.revision(2).is_some_and(|bad| bad.replicas > 0) })
        .await;
    let output = mesh.execute(peers()).await;
    assert_eq!(
        (
            output.outcome,
            output.plan.from_revision,
            output.plan.to_revision
        ),
        (Some(Outcome::RolledBack), 2, 1)
    );
    let after = mesh.web().await;
    assert_eq!(
        sizes(&after),
        [(2, 0, 0), (3, 2, 2)],
        "the old ReplicaSet came back under a new number"
    );
    assert_eq!(after.template, before.template);
    assert_eq!(
        after.current().unwrap().name,
        before.current().unwrap().name
    );

    // The process dies right after the write: the same task is run again, and revision 1 is not there any more.
    let mut journal = mesh.history.journal("task-1").await.unwrap().unwrap();
    journal.outcome = Outcome::Running;
    journal.set(Step::RestoreTemplate, StepState::Started);
    for step in [Step::AwaitReady, Step::Verify, Step::Release] {
        journal.set(step, StepState::Pending);
    }
    mesh.history.keep(&journal).await.unwrap();
    let again = mesh.execute(peers()).await;
    assert_eq!(again.outcome, Some(Outcome::RolledBack));
    let written = mesh.web().await;
    assert_eq!(written.annotations["ossa.io/rollback-fence"], "2");
    let same = Workload {
        resource_version: after.resource_version.clone(),
        annotations: after.annotations.clone(),
        ..written
    };
    assert_eq!(
        same, after,
        "nothing but the stamp of the lock is written again"
    );
}

/// The bad revision is rolled out whole, so it is the only one with pods: the hard case for stopping its writers.
#[tokio::test(flavor = "multi_thread")]
async fn the_schema_moves_after_the_last_pod_is_gone() {
    let mesh = Mesh::start().await;
    let before = mesh.web().await;
    mesh.release("web:2", json!({"ossa.io/schema-version": "4"}))
        .await;
    mesh.learn(2).await;
    mesh.until(|web| async move { sizes(&web) == [(1, 0, 0), (2, 2, 2)] })
        .await;
    let (cluster, handle) = (mesh.cluster.clone(), tokio::runtime::Handle::current());
    let agent = peers()
        .peer("db-migrator", "assess_rollback", |input| {
            assert_eq!(*input, json!({"database": "shop", "to_version": "3"}));
            Ok(json!({"answer": "reversible", "rows_at_risk": 0, "additive_only": false, "plan_digest": "d"}))
        })
        .peer("db-migrator", "rollback_migration", move |_| {
            let pods = tokio::task::block_in_place(|| handle.block_on(cluster.list::<Pod>(Some("shop")))).unwrap();
            let names: Vec<_> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
            assert!(names.is_empty(), "{names:?} use the schema");
            Ok(json!({}))
        });
    let output = mesh.execute(agent).await;
    assert_eq!(
        output.outcome,
        Some(Outcome::RolledBack),
        "{:?}",
        output.steps
    );
    let after = mesh.web().await;
    assert_eq!(sizes(&after), [(2, 0, 0), (3, 2, 2)]);
    assert_eq!(
        (&after.template, after.replicas, after.paused),
        (&before.template, 2, false)
    );
    let known = mesh.history.complete(after).await.unwrap();
    assert_eq!(known.revision(2).unwrap().health, Health::Quarantined);
}

/// A watch that cannot even list its pods proves nothing about them.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_answer_has_not_stopped_its_pods() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let model = Model::bind("127.0.0.1:0".parse().unwrap(), Settings::default())
        .await
        .unwrap();
    model.write_kubeconfig(&file).unwrap();
    drop(model);
    let source = format!("kubeconfig:{}#cluster-model", file.display());
    let cluster = Cluster::connect(&ClusterArgs {
        cluster: source.parse().unwrap(),
    })
    .unwrap();
    let control = Kubernetes(cluster);
    let unseen = Workload {
        id: web_id(),
        resource_version: "1".into(),
        uid: "u".into(),
        replicas: 1,
        paused: false,
        rollout: Rollout::default(),
        template: json!({}),
        annotations: json!({}),
        revisions: Vec::new(),
    };
    let gone = tokio::time::timeout(Duration::from_millis(500), control.await_gone(&unseen)).await;
    assert!(
        !matches!(gone, Ok(Ok(Waited::Done))),
        "nobody has seen the pods"
    );
}
