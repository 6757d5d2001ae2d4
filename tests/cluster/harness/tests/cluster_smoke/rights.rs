//! Who may do what.

use cluster::{Cluster, ClusterArgs, ClusterError};
use control_plane::simulation::Behaviour;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::{Event, Namespace, Node, Pod, Secret},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::support::{plane, template, workload};

/// HTTP status of an answer, 200 for success.
fn status<T>(answer: Result<T, kube::Error>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(other) => panic!("{other}"),
    }
}

async fn list<K>(api: Api<K>) -> u16
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    status(api.list(&ListParams::default()).await)
}

async fn annotate(client: &Client, namespace: &str) -> u16 {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"touched": "yes"}}}));
    status(
        deployments
            .patch("web", &PatchParams::default(), &patch)
            .await,
    )
}

/// The namespaces that the rendered roles name, the first with a Deployment.
async fn shop() {
    let (plane, _) = plane().await;
    for namespace in ["shop", "elsewhere"] {
        plane.namespace(namespace).await.unwrap();
        let template = template("web", &Behaviour::healthy());
        let yaml = workload("Deployment", (namespace, "web"), 1, &template);
        plane.apply(&yaml).await.unwrap();
    }
}

#[tokio::test]
async fn a_service_account_without_rights_is_refused() {
    let (plane, _) = plane().await;
    plane.namespace("nobody").await.unwrap();
    let account =
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: nobody, namespace: nobody}}";
    plane.apply(account).await.unwrap();
    let kubeconfig = plane.service_account("nobody", "nobody").await.unwrap();
    let client = plane.client_of(&kubeconfig).await.unwrap();
    assert_eq!(
        list(Api::<Pod>::namespaced(client.clone(), "nobody")).await,
        403
    );
    assert_eq!(list(Api::<Namespace>::all(client.clone())).await, 403);
    client.apiserver_version().await.unwrap();
}

#[tokio::test]
async fn a_forged_token_is_refused() {
    let (plane, _) = plane().await;
    let text = std::fs::read_to_string(plane.kubeconfig()).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["users"][0]["user"] = json!({"token": "eyJhbGciOiJub25lIn0.e30."});
    let file = plane.folder().join("forged.kubeconfig");
    std::fs::write(&file, config.to_string()).unwrap();
    let client = plane.client_of(&file).await.unwrap();
    assert_eq!(list(Api::<Pod>::all(client)).await, 401);
}

#[tokio::test]
async fn the_monitoring_agent_may_read_and_not_write() {
    shop().await;
    let (plane, _) = plane().await;
    let kubeconfig = plane.agent("monitoring-agent").await.unwrap();
    let client = plane.client_of(&kubeconfig).await.unwrap();
    assert_eq!(
        list(Api::<Pod>::namespaced(client.clone(), "shop")).await,
        200
    );
    assert_eq!(
        list(Api::<Event>::namespaced(client.clone(), "shop")).await,
        200
    );
    assert_eq!(
        list(Api::<Deployment>::namespaced(client.clone(), "shop")).await,
        200
    );
    assert_eq!(
        list(Api::<ReplicaSet>::namespaced(client.clone(), "shop")).await,
        200
    );
    assert_eq!(list(Api::<Node>::all(client.clone())).await, 200);
    assert_eq!(
        list(Api::<Secret>::namespaced(client.clone(), "shop")).await,
        403
    );
    assert_eq!(
        list(Api::<Pod>::namespaced(client.clone(), "elsewhere")).await,
        403
    );
    assert_eq!(annotate(&client, "shop").await, 403);
}

#[tokio::test]
async fn the_rollback_coordinator_may_patch_deployments_and_not_delete_them() {
    shop().await;
    let (plane, _) = plane().await;
    let kubeconfig = plane.agent("rollback-coordinator").await.unwrap();
    let client = plane.client_of(&kubeconfig).await.unwrap();
    assert_eq!(annotate(&client, "shop").await, 200);
    assert_eq!(annotate(&client, "elsewhere").await, 403);
    assert_eq!(
        list(Api::<ReplicaSet>::namespaced(client.clone(), "shop")).await,
        200
    );
    // Helm's records are Secrets.
    for (namespace, expected) in [("shop", 200), ("elsewhere", 403)] {
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        assert_eq!(list(secrets).await, expected, "{namespace}");
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "shop");
    let deleted = deployments.delete("web", &DeleteParams::default()).await;
    assert_eq!(status(deleted), 403);
}

#[tokio::test]
async fn the_client_of_the_agents_has_the_rights_of_its_token() {
    shop().await;
    let (plane, _) = plane().await;
    let kubeconfig = plane.agent("rollback-coordinator").await.unwrap();
    let cluster = Cluster::connect(&ClusterArgs {
        cluster: format!("kubeconfig:{}", kubeconfig.display())
            .parse()
            .unwrap(),
    })
    .unwrap();
    let found: Vec<Deployment> = cluster.list(Some("shop")).await.unwrap();
    assert!(
        found
            .iter()
            .any(|one| one.metadata.name.as_deref() == Some("web"))
    );
    let secrets = cluster.list::<Secret>(Some("elsewhere")).await;
    assert!(
        matches!(secrets, Err(ClusterError::Denied { .. })),
        "{secrets:?}"
    );

    let patch = cluster::Patch::Merge(json!({"metadata": {"annotations": {"seen": "once"}}}));
    let stale = cluster::Options {
        resource_version: Some("1".to_owned()),
        ..cluster::Options::default()
    };
    let lost = cluster
        .patch::<Deployment>(Some("shop"), "web", &patch, &stale)
        .await;
    assert!(
        matches!(lost, Err(ClusterError::Conflict { .. })),
        "{lost:?}"
    );
    let options = cluster::Options::default();
    let won: Deployment = cluster
        .patch(Some("shop"), "web", &patch, &options)
        .await
        .unwrap();
    assert_eq!(won.metadata.annotations.unwrap()["seen"], "once");
}
