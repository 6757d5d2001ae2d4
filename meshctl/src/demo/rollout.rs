//! What a pipeline does to the cluster: apply manifests, stamp the trace, wait for a rollout.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client, Config,
    api::{DynamicObject, Patch, PatchParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
    discovery::pinned_kind,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Namespace of the shop.
pub(super) const NAMESPACE: &str = "shop";
/// Its one Deployment.
pub(super) const DEPLOYMENT: &str = "web";
/// Deployment annotation by which an incident joins the trace of its release.
const TRACE_ANNOTATION: &str = "ossa.io/traceparent";

/// The cluster as the pipeline sees it.
#[derive(Clone)]
pub(super) struct Rollouts(Client);

impl std::fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rollouts")
    }
}

impl Rollouts {
    /// Connects by kubeconfig.
    pub(super) async fn connect(kubeconfig: &Path) -> anyhow::Result<Self> {
        let config = Config::from_custom_kubeconfig(
            Kubeconfig::read_from(kubeconfig)?,
            &KubeConfigOptions::default(),
        )
        .await?;
        Ok(Self(Client::try_from(config)?))
    }

    /// Applies every object of a folder; Deployments carry the trace of their release.
    pub(super) async fn apply(&self, folder: &Path, traceparent: &str) -> anyhow::Result<usize> {
        let mut files: Vec<_> = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        self.apply_one(namespace, traceparent)
            .await
            .context("cannot make the namespace")?;
        let mut count = 0;
        for file in files {
            let text = std::fs::read_to_string(&file)?;
            for object in serde_saphyr::from_multiple::<Value>(&text)
                .with_context(|| format!("{} is no YAML", file.display()))?
            {
                self.apply_one(object, traceparent)
                    .await
                    .with_context(|| format!("cannot apply {}", file.display()))?;
                count += 1;
            }
        }
        Ok(count)
    }

    async fn apply_one(&self, mut object: Value, traceparent: &str) -> anyhow::Result<()> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let (version, kind, name) = (
            text("/apiVersion").unwrap_or_default(),
            text("/kind").unwrap_or_default(),
            text("/metadata/name").unwrap_or_default(),
        );
        let namespace = text("/metadata/namespace").unwrap_or_else(|| NAMESPACE.into());
        if kind == "Deployment"
            && let Some(metadata) = object.pointer_mut("/metadata")
        {
            metadata.as_object_mut().and_then(|metadata| {
                let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
                annotations
                    .as_object_mut()?
                    .insert(TRACE_ANNOTATION.into(), traceparent.into())
            });
        }
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let (resource, capabilities) =
            pinned_kind(&self.0, &GroupVersionKind::gvk(group, version, &kind)).await?;
        let api: Api<DynamicObject> = match capabilities.scope {
            kube::discovery::Scope::Namespaced => {
                Api::namespaced_with(self.0.clone(), &namespace, &resource)
            }
            kube::discovery::Scope::Cluster => Api::all_with(self.0.clone(), &resource),
        };
        api.patch(
            &name,
            &PatchParams::apply("gitlab-pipeline").force(),
            &Patch::Apply(&object),
        )
        .await?;
        Ok(())
    }

    /// The image of the Deployment's template.
    pub(super) async fn image(&self) -> anyhow::Result<String> {
        let deployment = Api::<Deployment>::namespaced(self.0.clone(), NAMESPACE)
            .get(DEPLOYMENT)
            .await?;
        let containers = json!(deployment.spec.template);
        Ok(containers
            .pointer("/spec/containers/0/image")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned())
    }

    /// Waits until the rollout is complete, by the rule of `kubectl rollout status`.
    pub(super) async fn await_complete(
        &self,
        image: &str,
        limit: Duration,
    ) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let api = Api::<Deployment>::namespaced(self.0.clone(), NAMESPACE);
        let complete = async {
            loop {
                let mut events = api.watch(&WatchParams::default(), "0").await?.boxed();
                while let Ok(Some(event)) = events.try_next().await {
                    if let WatchEvent::Added(deployment) | WatchEvent::Modified(deployment) = event
                        && is_complete(&deployment, image)
                    {
                        return anyhow::Ok(());
                    }
                }
            }
        };
        match timeout(limit, complete).await {
            Ok(result) => result.map(|()| began.elapsed()),
            Err(_) => bail!(
                "the rollout of {image} is not complete after {} s",
                limit.as_secs()
            ),
        }
    }

    /// Resolves when a container of the given image runs and is not ready, or fails.
    pub(super) async fn await_failing(
        &self,
        image: &str,
        limit: Duration,
    ) -> anyhow::Result<Instant> {
        let api = Api::<Pod>::namespaced(self.0.clone(), NAMESPACE);
        let failing = async {
            loop {
                let mut events = api.watch(&WatchParams::default(), "0").await?.boxed();
                while let Ok(Some(event)) = events.try_next().await {
                    if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event
                        && is_failing(&json!(pod), image)
                    {
                        return anyhow::Ok(Instant::now());
                    }
                }
            }
        };
        timeout(limit, failing)
            .await
            .context("no pod of the new release came up")?
    }
}

fn is_complete(deployment: &Deployment, image: &str) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let template = json!(deployment.spec.template);
    let Some(status) = &deployment.status else {
        return false;
    };
    let count = |number: Option<i32>| number.unwrap_or(0);
    template
        .pointer("/spec/containers/0/image")
        .and_then(Value::as_str)
        == Some(image)
        && status.observed_generation >= deployment.metadata.generation
        && count(status.updated_replicas) >= wanted
        && count(status.replicas) <= count(status.updated_replicas)
        && count(status.ready_replicas) >= wanted
}

fn is_failing(pod: &Value, image: &str) -> bool {
    let statuses = pod
        .pointer("/status/containerStatuses")
        .and_then(Value::as_array);
    statuses.into_iter().flatten().any(|status| {
        let running = status.pointer("/state/running").is_some()
            && status.get("ready") == Some(&Value::Bool(false));
        status.get("image").and_then(Value::as_str) == Some(image)
            && (running
                || status
                    .pointer("/state/waiting/reason")
                    .is_some_and(|reason| reason != "ContainerCreating"))
    })
}
