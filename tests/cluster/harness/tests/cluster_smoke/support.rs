//! What the tests share.

use std::{fmt::Debug, time::Duration};

use control_plane::{ControlPlane, simulation::Behaviour};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client, Resource, api::ListParams, runtime::wait::await_condition};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{sync::OnceCell, time::timeout};

/// Longest wait for anything: 2 minutes, for a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The control plane and a client for the runtime of the calling test.
pub(crate) async fn plane() -> (&'static ControlPlane, Client) {
    // Never dropped: its programs end with the process.
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    let plane = PLANE
        .get_or_init(|| async {
            let plane = ControlPlane::start().await.unwrap();
            println!("the control plane was ready after {:?}", plane.took());
            plane
        })
        .await;
    (plane, plane.client().await.unwrap())
}

/// A pod template of two containers, the second a sidecar that is always well.
pub(crate) fn template(app: &str, behaviour: &Behaviour) -> Value {
    json!({
        "metadata": {"labels": {"app": app}, "annotations": behaviour.annotations()},
        "spec": {"containers": [
            {
                "name": "app",
                "image": "example/app:1",
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}},
            },
            {"name": "sidecar", "image": "example/sidecar:1"},
        ]},
    })
}

/// A pod of that template.
pub(crate) fn pod(namespace: &str, name: &str, behaviour: &Behaviour) -> String {
    let mut pod = template(name, behaviour);
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["namespace"] = namespace.into();
    pod.to_string()
}

/// A Deployment or a `StatefulSet` of that template.
pub(crate) fn workload(
    kind: &str,
    (namespace, name): (&str, &str),
    replicas: u32,
    template: &Value,
) -> String {
    let mut spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": template,
    });
    if kind == "StatefulSet" {
        spec["serviceName"] = name.into();
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
    .to_string()
}

/// Waits until an object is as wanted; fails with what it is instead.
pub(crate) async fn until<K>(api: &Api<K>, name: &str, wanted: impl Fn(&K) -> bool) -> K
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let condition = |object: Option<&K>| object.is_some_and(&wanted);
    match timeout(PATIENCE, await_condition(api.clone(), name, condition)).await {
        Ok(found) => found.unwrap().unwrap(),
        Err(late) => panic!("{late}: {name} stays {:#?}", api.get(name).await),
    }
}

/// Whether all containers of a pod are ready, as its condition says.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready") == Some("True")
}

/// Status of a pod's condition.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|one| one.type_ == kind)?;
    Some(&found.status)
}

/// Status of the container `app`.
pub(crate) fn app(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|one| one.name == "app")
}

/// One word for the state of the container `app`: why it waits, `running`, or why it ended.
pub(crate) fn state(pod: &Pod) -> String {
    let Some(state) = app(pod).and_then(|app| app.state.clone()) else {
        return "none".to_owned();
    };
    let waiting = state.waiting.and_then(|waiting| waiting.reason);
    let ended = state.terminated.and_then(|ended| ended.reason);
    waiting.or(ended).unwrap_or_else(|| "running".to_owned())
}

/// The pods of an app, by name.
pub(crate) async fn pods(client: &Client, namespace: &str, app: &str) -> Vec<Pod> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = ListParams::default().labels(&format!("app={app}"));
    api.list(&list).await.unwrap().items
}
