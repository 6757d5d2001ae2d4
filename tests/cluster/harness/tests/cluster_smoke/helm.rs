//! Helm, as the yardstick of a rollback.

use std::path::Path;

use control_plane::simulation::{Behaviour, Fault};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};
use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::time::Instant;

use crate::support::{is_ready, plane, pods};

/// Revisions of a release with their status, as Helm's own records say.
async fn revisions(secrets: &Api<Secret>) -> Vec<(String, String)> {
    let list = ListParams::default().labels("owner=helm,name=web");
    let mut found: Vec<(String, String)> = secrets
        .list(&list)
        .await
        .unwrap()
        .iter()
        .map(|record| {
            assert_eq!(record.type_.as_deref(), Some("helm.sh/release.v1"));
            (
                record.labels()["version"].clone(),
                record.labels()["status"].clone(),
            )
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn helm_rolls_a_failed_upgrade_back_when_its_time_is_over() {
    let (plane, client) = plane().await;
    plane.namespace("helm").await.unwrap();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster_smoke/chart");
    let chart = chart.to_str().unwrap();
    let helm = plane.helm();
    let install = [
        "install",
        "web",
        chart,
        "-n",
        "helm",
        "--wait",
        "--timeout",
        "100s",
    ];
    let (succeeded, printed) = helm.run(&install).await.unwrap();
    assert!(succeeded, "{printed}");

    let values = serde_json::json!(Behaviour::failing(Fault::CrashLoop).annotations());
    let values = format!("annotations={values}");
    let since = Instant::now();
    let upgrade = [
        "upgrade",
        "web",
        chart,
        "-n",
        "helm",
        "--set-json",
        &values,
        "--rollback-on-failure",
        "--timeout",
        "15s",
    ];
    let (succeeded, printed) = helm.run(&upgrade).await.unwrap();
    assert!(!succeeded, "{printed}");
    println!(
        "helm upgrade --rollback-on-failure --timeout 15s took {:?}",
        since.elapsed()
    );

    let secrets: Api<Secret> = Api::namespaced(client.clone(), "helm");
    let expected = [("1", "superseded"), ("2", "failed"), ("3", "deployed")];
    assert_eq!(
        revisions(&secrets).await,
        expected.map(|(version, status)| (version.to_owned(), status.to_owned()))
    );
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "helm");
    let web = deployments.get("web").await.unwrap();
    assert_eq!(web.status.unwrap().available_replicas, Some(2));
    let alive = pods(&client, "helm", "web").await;
    let alive: Vec<_> = alive
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect();
    assert!(alive.len() == 2 && alive.iter().all(|pod| is_ready(pod)));
}
