//! What the tests share.

use std::{path::PathBuf, sync::Arc, time::Duration};

use cluster::{Cluster, ClusterArgs};
use control_plane::ControlPlane;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::{Api, Client, api::ListParams};
use rollback_coordinator::clients::KubeDynamicObjects;
use serde_json::{Value, json};
use shared::{Context, testing::FakeAgent};
use tokio::{sync::OnceCell, time::timeout};

/// Longest wait for anything: 2 minutes, for a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// Pause between looks at the cluster.
const LOOK: Duration = Duration::from_millis(50);
/// The namespace that the agent may touch.
pub(crate) const SHOP: &str = "shop";

/// The control plane and a client of its administrator for the runtime of the calling test.
pub(crate) async fn plane() -> (&'static ControlPlane, Client) {
    // Never dropped: its programs end with the process.
    static PLANE: OnceCell<(ControlPlane, PathBuf)> = OnceCell::const_new();
    let (plane, _) = PLANE.get_or_init(start).await;
    (plane, plane.client().await.unwrap())
}

async fn start() -> (ControlPlane, PathBuf) {
    let plane = ControlPlane::start().await.unwrap();
    plane.namespace(SHOP).await.unwrap();
    let kubeconfig = plane.agent("rollback-coordinator").await.unwrap();
    (plane, kubeconfig)
}

/// The cluster with the agent's own rights.
pub(crate) async fn agent_cluster(plane: &ControlPlane) -> Cluster {
    let kubeconfig = plane.agent("rollback-coordinator").await.unwrap();
    let source = format!("kubeconfig:{}", kubeconfig.display());
    let cluster = source.parse().unwrap();
    Cluster::connect(&ClusterArgs { cluster }).unwrap()
}

/// The agent's objects.
pub(crate) async fn agent_objects(plane: &ControlPlane) -> Arc<KubeDynamicObjects> {
    Arc::new(KubeDynamicObjects::new(agent_cluster(plane).await))
}

/// A run of a skill, with its audit trail.
pub(crate) fn context() -> (Context, Arc<FakeAgent>) {
    FakeAgent::default().namespace(SHOP).context()
}

/// Runs Helm, which has to succeed; answers what it printed.
pub(crate) async fn helm(plane: &ControlPlane, line: &str) -> String {
    let (succeeded, printed) = try_helm(plane, line).await;
    assert!(succeeded, "helm {line}: {printed}");
    printed
}

/// Runs Helm in the agent's namespace. `CHART` stands for the chart of these tests.
pub(crate) async fn try_helm(plane: &ControlPlane, line: &str) -> (bool, String) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_cluster/chart");
    let line = line.replace("CHART", chart);
    let mut arguments: Vec<&str> = line.split(' ').collect();
    arguments.extend(["-n", SHOP]);
    plane.helm().run(&arguments).await.unwrap()
}

/// The pod template of a Deployment's revision, as the agent sees it.
pub(crate) async fn template(client: &Client, name: &str, revision: u32) -> Value {
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), SHOP);
    let wanted = revision.to_string();
    let labels = ListParams::default().labels(&format!("app={name}"));
    let found = async {
        loop {
            let all = sets.list(&labels).await.unwrap();
            let number = |set: &&ReplicaSet| {
                let annotations = set.metadata.annotations.as_ref();
                annotations.and_then(|all| all.get("deployment.kubernetes.io/revision"))
                    == Some(&wanted)
            };
            if let Some(set) = all.items.iter().find(number) {
                let mut template = json!(set.spec.template);
                let labels = template["metadata"]["labels"].as_object_mut().unwrap();
                labels.remove("pod-template-hash");
                return template;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, found).await.unwrap()
}

/// Waits until all pods of a Deployment are updated and ready.
pub(crate) async fn ready(client: &Client, name: &str) -> Deployment {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SHOP);
    let wait = async {
        loop {
            let found = deployments.get(name).await.unwrap();
            let status = found.status.clone().unwrap_or_default();
            let wanted = found.spec.replicas;
            let all = [
                status.replicas,
                status.updated_replicas,
                status.ready_replicas,
            ];
            if status.observed_generation == found.metadata.generation
                && all.iter().all(|number| *number == wanted)
            {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap()
}
