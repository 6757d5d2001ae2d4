//! A control plane with the mesh on it, each agent with its rendered rights.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use control_plane::{
    ControlPlane,
    simulation::{self, Behaviour},
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
    runtime::wait::await_condition,
};
use meshctl::agents::Resources;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Fault, Source, observe::is_complete};
use crate::Mesh;

/// The namespace that mesh.yaml gives the agents.
const NAMESPACE: &str = "shop";
/// Agents that read or write the cluster.
const AGENTS: [&str; 3] = [
    "monitoring-agent",
    "rollback-coordinator",
    "security-scanner",
];
/// Longest wait for anything: 4 minutes, for a machine that does much else.
const PATIENCE: Duration = Duration::from_mins(4);
/// Pause between questions to an agent.
const LOOK: Duration = Duration::from_millis(50);

/// A Deployment of the scene.
#[derive(Debug, Clone)]
pub struct App {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its pods.
    pub replicas: u32,
    /// Where it comes from, when GitLab deploys it.
    pub source: Option<Source>,
}

/// The control plane and the mesh.
#[derive(Debug)]
pub struct Scene {
    /// The control plane.
    pub plane: ControlPlane,
    /// The mesh.
    pub mesh: Mesh,
}

impl Scene {
    /// Starts both.
    ///
    /// # Errors
    /// What keeps one of them from starting.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on(Resources::default()).await
    }

    /// Starts both; the mesh has these things to work on.
    ///
    /// # Errors
    /// What keeps one of them from starting.
    pub async fn start_on(resources: Resources) -> anyhow::Result<Self> {
        let plane = ControlPlane::start().await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
        plane.apply(&namespace.to_string()).await?;
        let mut own_kubeconfigs = BTreeMap::new();
        for agent in AGENTS {
            own_kubeconfigs.insert(agent.to_owned(), plane.agent(agent).await?);
        }
        let mesh = Mesh::start_on(Resources {
            own_kubeconfigs,
            ..resources
        })
        .await?;
        Ok(Self { plane, mesh })
    }

    /// A client of the administrator.
    ///
    /// # Errors
    /// When its kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.plane.client().await
    }

    /// Deploys the good version of an app and waits until the coordinator would go back to it.
    ///
    /// # Errors
    /// When the API server refuses it, or it does not become healthy in time.
    pub async fn deploy(&self, name: &str, replicas: u32) -> anyhow::Result<App> {
        self.deploy_from(name, replicas, None).await
    }

    /// The same of an app that GitLab deploys.
    ///
    /// # Errors
    /// As [`Scene::deploy`].
    pub async fn deploy_from(
        &self,
        name: &str,
        replicas: u32,
        source: Option<Source>,
    ) -> anyhow::Result<App> {
        let app = App {
            namespace: NAMESPACE.into(),
            name: name.into(),
            replicas,
            source,
        };
        self.plane.apply(&app.manifest("1", None)).await?;
        let deployments: Api<Deployment> = Api::namespaced(self.client().await?, NAMESPACE);
        let input = json!({"namespace": NAMESPACE, "deployment": name});
        let healthy = async {
            loop {
                // Unknown to the API until the controller has seen it.
                let all = deployments
                    .get(name)
                    .await?
                    .status
                    .and_then(|status| status.available_replicas);
                if all.and_then(|count| u32::try_from(count).ok()) == Some(replicas) {
                    let listed = self
                        .ask("rollback-coordinator", "list_revisions", &input)
                        .await?;
                    if listed.pointer("/revisions/0/health") == Some(&json!("healthy")) {
                        return anyhow::Ok(());
                    }
                }
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, healthy)
            .await
            .with_context(|| format!("{name} never became healthy"))??;
        Ok(app)
    }

    /// Releases the second version of an app, which fails in this way or is fine.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn release(&self, app: &App, fault: Option<Fault>) -> anyhow::Result<()> {
        self.plane.apply(&app.manifest("2", fault)).await.map(drop)
    }

    /// Releases a second version that is fine and takes its time, as its startup probe allows.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn release_slowly(&self, app: &App) -> anyhow::Result<()> {
        let behaviour = Behaviour::failing(simulation::Fault::SlowStart).after(8.0);
        let probe = json!({"httpGet": {"path": "/started", "port": 8080}, "periodSeconds": 2, "failureThreshold": 30});
        let slow = |_: &mut Value, container: &mut Value| container["startupProbe"] = probe;
        let manifest = app.manifest_of("2", &behaviour, slow);
        self.plane.apply(&manifest).await.map(drop)
    }

    /// Waits until a rollout is complete and so many pods are available.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn settled(&self, app: &App, replicas: u32) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client().await?, &app.namespace);
        let wanted = i32::try_from(replicas)?;
        let complete = |found: Option<&Deployment>| {
            found.is_some_and(|one| one.spec.replicas == Some(wanted) && is_complete(one))
        };
        let settled = await_condition(deployments.clone(), &app.name, complete);
        if let Ok(settled) = timeout(PATIENCE, settled).await {
            settled?;
            return Ok(());
        }
        let status = deployments.get(&app.name).await?.status;
        bail!("{} never had {replicas} pods: {status:#?}", app.name)
    }

    /// Takes an app away.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn remove(&self, app: &App) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client().await?, &app.namespace);
        deployments
            .delete(&app.name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// The newest incident of an app.
    ///
    /// # Errors
    /// When monitoring-agent does not answer.
    pub async fn incident(&self, app: &App) -> anyhow::Result<Option<Value>> {
        let all = json!({"namespace": app.namespace, "limit": 500});
        let listed = self.ask("monitoring-agent", "list_incidents", &all).await?;
        let mut incidents = listed["incidents"]
            .as_array()
            .cloned()
            .unwrap_or_default()
            .into_iter();
        Ok(incidents.find(|incident| incident["workload"]["name"] == app.name))
    }

    /// Everything that stands about an app, for the message of a test that did not see what it waited for.
    ///
    /// # Errors
    /// When an agent or the API server does not answer.
    pub async fn picture(&self, app: &App) -> anyhow::Result<Value> {
        let client = self.client().await?;
        let own = ListParams::default().labels(&format!("app={}", app.name));
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &app.namespace);
        let pods: Api<Pod> = Api::namespaced(client, &app.namespace);
        let rollbacks = self
            .ask("rollback-coordinator", "rollback_status", &json!({}))
            .await?;
        let rollbacks = rollbacks["rollbacks"].as_array().into_iter().flatten();
        let of_app = |one: &&Value| one.to_string().contains(&format!("\"{}\"", app.name));
        Ok(json!({
            "incident": self.incident(app).await?,
            "rollbacks": rollbacks.filter(of_app).collect::<Vec<_>>(),
            "deployment": deployments.get(&app.name).await?,
            "pods": pods.list(&own).await?.items,
        }))
    }

    /// Calls a skill as the operator.
    ///
    /// # Errors
    /// When the answer is an error.
    pub async fn ask(&self, agent: &str, skill: &str, input: &Value) -> anyhow::Result<Value> {
        self.mesh.call(agent, skill, input).await?.ok()
    }
}

impl App {
    /// Tag of the image of a version.
    fn tag(&self, version: &str) -> String {
        let number: usize = version.parse().unwrap_or(1);
        let commit = self.source.as_ref();
        let commit = commit.and_then(|source| source.commits.get(number - 1));
        commit.map_or_else(|| version.to_owned(), Clone::clone)
    }

    /// What a deploy job writes on the workload.
    fn marks(&self) -> Value {
        match &self.source {
            Some(Source { app, env, .. }) => {
                json!({"app.gitlab.com/app": app, "app.gitlab.com/env": env})
            }
            None => json!({}),
        }
    }

    /// The Deployment of a version.
    pub fn manifest(&self, version: &str, fault: Option<Fault>) -> String {
        let behaviour = fault.map_or_else(Behaviour::healthy, Fault::behaviour);
        self.manifest_of(version, &behaviour, |pod, container| {
            if let Some(fault) = fault {
                fault.spoil(pod, container);
            }
        })
    }

    /// The Deployment of a version with changes of its pod and its first container.
    fn manifest_of(
        &self,
        version: &str,
        behaviour: &Behaviour,
        spoil: impl FnOnce(&mut Value, &mut Value),
    ) -> String {
        let mut annotations = behaviour.annotations();
        annotations.insert("version".into(), version.into());
        if let Some(database) = self.source.as_ref().and_then(|one| one.database.clone()) {
            annotations.insert("ossa.io/database".into(), database);
            annotations.insert("ossa.io/schema-version".into(), format!("000{version}"));
        }
        let mut container = json!({
            "name": "app",
            "image": format!("example/{}:{}", self.name, self.tag(version)),
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1},
        });
        let mut spec = json!({"terminationGracePeriodSeconds": 1});
        spoil(&mut spec, &mut container);
        spec["containers"] = json!([container, {"name": "sidecar", "image": "example/sidecar:1"}]);
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {"app": self.name}, "annotations": self.marks()},
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {"metadata": {"labels": {"app": self.name}, "annotations": annotations}, "spec": spec},
            },
        })
        .to_string()
    }
}
