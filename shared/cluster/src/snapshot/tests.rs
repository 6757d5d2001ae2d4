use std::fs;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::ResourceExt;
use kube::core::{ApiResource, GroupVersionKind, Selector};
use serde_json::json;
use tempfile::TempDir;

use crate::{Cluster, ClusterArgs, ClusterError, ClusterSource, Event, Options, Patch};

const SHOP: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web:1}]}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
";
const LIST: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "shop", "labels": {"tier": "web"}}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}},
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:node"},
     "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}]}"#;
const TYPED_LIST: &str = "
apiVersion: v1
kind: PodList
items: [{metadata: {name: c, namespace: shop}}]
";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn cluster(folder: &TempDir) -> Cluster {
    Cluster::connect(&ClusterArgs {
        cluster: ClusterSource::Snapshot(folder.path().to_owned()),
    })
    .unwrap()
}

fn shop() -> TempDir {
    folder(&[
        ("shop/app.yaml", SHOP),
        ("dump.json", LIST),
        ("deep/er/pods.yml", TYPED_LIST),
        ("chart/values.yaml", "replicas: 3\nimage: {tag: '1'}\n"),
        ("notes.txt", "not an object: ["),
        (".git/config.yaml", "not: [an object"),
    ])
}

fn names<K: ResourceExt>(objects: &[K]) -> Vec<String> {
    let mut names: Vec<_> = objects.iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}

#[tokio::test]
async fn lists_objects_of_documents_lists_and_typed_lists() {
    let (folder, everywhere) = (shop(), None);
    let cluster = cluster(&folder);
    let pods: Vec<Pod> = cluster.list(everywhere).await.unwrap();
    assert_eq!(names(&pods), ["a", "b", "c"]);
    let pods: Vec<Pod> = cluster.list(Some("shop")).await.unwrap();
    assert_eq!(names(&pods), ["a", "c"]);
    let pods: Vec<Pod> = cluster.list(Some("default")).await.unwrap();
    assert_eq!(names(&pods), ["b"]);
    let selector: Selector = [("tier".to_owned(), "web".to_owned())]
        .into_iter()
        .collect();
    let pods: Vec<Pod> = cluster.list_matching(None, &selector).await.unwrap();
    assert_eq!(names(&pods), ["a"]);
}

#[tokio::test]
async fn gets_namespaced_and_cluster_scoped_objects() {
    let folder = shop();
    let cluster = cluster(&folder);
    let web: Deployment = cluster.get(Some("shop"), "web").await.unwrap().unwrap();
    assert_eq!(web.labels()["app"], "web");
    let elsewhere: Option<Deployment> = cluster.get(Some("other"), "web").await.unwrap();
    assert!(elsewhere.is_none());
    let role: ClusterRole = cluster.get(None, "system:node").await.unwrap().unwrap();
    assert_eq!(role.rules.unwrap().len(), 1);
    let namespace: Option<Namespace> = cluster.get(None, "shop").await.unwrap();
    assert!(namespace.is_some());
    assert_eq!(cluster.version().await.unwrap(), "snapshot");
}

#[tokio::test]
async fn lists_a_kind_that_is_known_at_run_time_only() {
    let folder = shop();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
    let found = cluster(&folder).list_dynamic(&kind, None).await.unwrap();
    assert_eq!(names(&found), ["web"]);
    assert_eq!(
        found[0].data["spec"]["selector"]["matchLabels"]["app"],
        "web"
    );
}

#[tokio::test]
async fn refuses_every_write() {
    let folder = shop();
    let cluster = cluster(&folder);
    let options = Options::default();
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    let patched = cluster
        .patch::<Deployment>(Some("shop"), "web", &patch, &options)
        .await;
    let deleted = cluster.delete::<Pod>(Some("shop"), "a", &options).await;
    let created = cluster
        .create::<Namespace>(None, &json!({"metadata": {"name": "x"}}), &options)
        .await;
    let errors = [patched.err(), deleted.err(), created.err()];
    for error in errors {
        assert!(
            matches!(error, Some(ClusterError::ReadOnly { .. })),
            "{error:?}"
        );
    }
    assert!(matches!(
        cluster.client().await,
        Err(ClusterError::ReadOnly { .. })
    ));
}

#[tokio::test]
async fn watches_as_one_list() {
    let folder = shop();
    let mut events = cluster(&folder).watch::<Pod>(Some("shop"), None);
    let Some(Ok(Event::Listed(pods))) = events.next().await else {
        panic!("no list");
    };
    assert_eq!(names(&pods), ["a", "c"]);
}

#[tokio::test]
async fn names_a_broken_file_and_its_line_without_quoting_it() {
    let secret = "apiVersion: v1\nkind: Secret\nstringData: {password: hunter2\n";
    let folder = folder(&[("secret.yaml", secret)]);
    let error = cluster(&folder).list::<Secret>(None).await.unwrap_err();
    let text = format!("{error:?}");
    assert!(matches!(error, ClusterError::Snapshot(_)));
    assert!(
        text.contains("secret.yaml") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test]
async fn does_not_quote_an_object_of_the_wrong_shape() {
    let folder = folder(&[(
        "secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: hunter2\n",
    )]);
    let error = cluster(&folder).list::<Secret>(None).await.unwrap_err();
    assert_eq!(error.kind(), "decode");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn refuses_names_that_would_change_the_path() {
    let folder = shop();
    let cluster = cluster(&folder);
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "a?b",
        "a%2fb",
        "a b",
        "ä",
        &"a".repeat(254),
    ] {
        let by_name = cluster.get::<Pod>(Some("shop"), name).await.unwrap_err();
        let by_namespace = cluster.list::<Pod>(Some(name)).await.unwrap_err();
        assert_eq!(
            (by_name.kind(), by_namespace.kind()),
            ("invalid", "invalid"),
            "{name}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn follows_links_to_files_inside_and_nowhere_else() {
    use std::os::unix::fs::symlink;
    let outside = folder(&[(
        "pod.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: z}\n",
    )]);
    let folder = shop();
    let root = folder.path();
    symlink(outside.path().join("pod.yaml"), root.join("outside.yaml")).unwrap();
    symlink(root, root.join("loop")).unwrap();
    fs::create_dir(root.join("..data")).unwrap();
    fs::write(
        root.join("..data/pod.yaml"),
        "apiVersion: v1\nkind: Pod\nmetadata: {name: mounted}\n",
    )
    .unwrap();
    symlink("..data/pod.yaml", root.join("pod.yaml")).unwrap();
    let pods: Vec<Pod> = cluster(&folder).list(None).await.unwrap();
    assert_eq!(names(&pods), ["a", "b", "c", "mounted"]);
}

#[test]
fn refuses_a_folder_that_is_not_there() {
    let missing = ClusterArgs {
        cluster: "snapshot:no-such-folder".parse().unwrap(),
    };
    assert_eq!(Cluster::connect(&missing).unwrap_err().kind(), "snapshot");
}
