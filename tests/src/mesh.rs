//! Eight agents in one process: real listeners, certificates, stores and audit, free ports.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context as _;
use identity::SpiffeId;
use meshctl::{
    agents::{Resources, flags},
    client::{Answer, Caller, Target},
    ground::{Ground, Ports},
};
use serde_json::Value;
use shared::{Bound, Daemon};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::tools::root;

/// What GitLab's webhooks have to say, where there is a GitLab.
pub const HOOK_TOKEN: &str = "hook-secret";

/// A running mesh; stops when dropped or stopped.
#[derive(Debug)]
pub struct Mesh {
    /// State folder with certificates.
    pub ground: Ground,
    /// Root of file paths in requests.
    pub workspace: PathBuf,
    shutdown: CancellationToken,
    running: Vec<JoinHandle<anyhow::Result<()>>>,
    _folder: TempDir,
}

/// An embedded cluster in this process: its kubeconfig.
///
/// # Errors
/// When it cannot listen.
pub async fn embedded_cluster(
    folder: &std::path::Path,
    stop: CancellationToken,
) -> anyhow::Result<PathBuf> {
    let model =
        cluster_model::Model::bind("127.0.0.1:0".parse()?, cluster_model::Settings::default())
            .await?;
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, model.kubeconfig())?;
    tokio::spawn(model.serve(stop.cancelled_owned()));
    Ok(kubeconfig)
}

impl Mesh {
    /// Starts all eight on an embedded cluster and one SQLite database called `shop` (not a `dev` one).
    ///
    /// # Errors
    /// Whatever keeps an agent from starting.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let shutdown = CancellationToken::new();
        let resources = Resources {
            kubeconfig: Some(embedded_cluster(folder.path(), shutdown.clone()).await?),
            databases: vec![format!(
                "shop=sqlite:{}",
                folder.path().join("shop.db").display()
            )],
            ..Resources::default()
        };
        Self::start_with(folder, resources, shutdown).await
    }

    /// Starts all eight on these clusters, databases and receivers.
    ///
    /// # Errors
    /// Whatever keeps an agent from starting.
    pub async fn start_on(resources: Resources) -> anyhow::Result<Self> {
        Self::start_with(tempfile::tempdir()?, resources, CancellationToken::new()).await
    }

    async fn start_with(
        folder: TempDir,
        resources: Resources,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let workspace = folder.path().join("workspace");
        std::fs::create_dir_all(&workspace)?;
        let fleet = manifest::load_dir(&root().join("manifests"))?;
        let ports = fleet
            .mesh
            .agents
            .keys()
            .map(|agent| (agent.clone(), ANY))
            .collect();
        let mut ground = Ground::prepare(
            &folder.path().join("mesh"),
            &root().join("manifests"),
            ports,
        )?;
        if resources.gitlab.is_some() {
            let secrets = ground.agent_dir("monitoring-agent").join("webhooks");
            std::fs::create_dir_all(&secrets)?;
            std::fs::write(secrets.join("gitlab-token"), HOOK_TOKEN)?;
        }
        let resources = Resources {
            workspace: workspace.clone(),
            advisories: Some(root().join("examples/shop/advisories")),
            policies: Some(root().join("examples/shop/policies")),
            metrics: Some(root().join("examples/shop/metrics")),
            ..resources
        };
        let running = start_all(&mut ground, &resources, &shutdown).await?;
        Ok(Self {
            ground,
            workspace,
            shutdown,
            running,
            _folder: folder,
        })
    }

    /// Where an agent is and who it has to be.
    ///
    /// # Panics
    /// When the mesh has no such agent.
    pub fn target(&self, agent: &str) -> Target {
        let id = self.ground.fleet.mesh.spiffe_id(agent).unwrap_or_default();
        Target {
            url: self.ground.url(agent),
            id: id.parse().expect("mesh.yaml gives valid ids"),
        }
    }

    /// An external caller of mesh.yaml.
    ///
    /// # Panics
    /// When mesh.yaml has no such caller.
    pub fn caller(&self, name: &str) -> Caller {
        Caller::load(
            &self.ground.root,
            &self.ground.fleet.mesh.trust_domain,
            name,
        )
        .expect("the ground has a certificate for every caller")
    }

    /// Calls a skill as the operator.
    ///
    /// # Errors
    /// When there is no JSON-RPC answer.
    pub async fn call(&self, agent: &str, skill: &str, input: &Value) -> anyhow::Result<Answer> {
        self.caller("operator")
            .call(&self.target(agent), skill, input, None)
            .await
    }

    /// A client with the certificate of any id in the trust domain, declared or not.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn client_as(&self, id: &SpiffeId, to: &str) -> anyhow::Result<reqwest::Client> {
        let folder = self.ground.root.join("extra").join(identity_folder(id));
        let files = self.ground.certificate(&folder, id)?;
        let tls = identity::TlsIdentity::from_files(files, id)?;
        let config = rustls::ClientConfig::clone(&tls.client_config(self.target(to).id));
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .build()?)
    }

    /// A client with the certificate of an agent.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub fn client_of(&self, agent: &str, to: &str) -> anyhow::Result<reqwest::Client> {
        let files = identity::TlsFiles::in_folder(&self.ground.agent_dir(agent).join("tls"));
        let tls = identity::TlsIdentity::from_files(files, &self.target(agent).id)?;
        let config = rustls::ClientConfig::clone(&tls.client_config(self.target(to).id));
        Ok(reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .build()?)
    }

    /// Drains and stops all agents.
    ///
    /// # Errors
    /// What an agent said at its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        for agent in std::mem::take(&mut self.running) {
            agent.await??;
        }
        Ok(())
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn identity_folder(id: &SpiffeId) -> String {
    id.as_str().replace(['/', ':'], "_")
}

/// Any port, decided when the agent binds.
const ANY: Ports = Ports {
    a2a: 0,
    health: 0,
    metrics: 0,
    webhooks: 0,
};

/// Binds all eight, then tells each where the others are.
async fn start_all(
    ground: &mut Ground,
    resources: &Resources,
    shutdown: &CancellationToken,
) -> anyhow::Result<Vec<JoinHandle<anyhow::Result<()>>>> {
    let bound = BTreeMap::from([
        bind::<compliance_auditor::Cli>(ground, resources).await?,
        bind::<security_scanner::Cli>(ground, resources).await?,
        bind::<performance_optimizer::Cli>(ground, resources).await?,
        bind::<cost_analyzer::Cli>(ground, resources).await?,
        bind::<db_migrator::Cli>(ground, resources).await?,
        bind::<config_validator::Cli>(ground, resources).await?,
        bind::<monitoring_agent::Cli>(ground, resources).await?,
        bind::<rollback_coordinator::Cli>(ground, resources).await?,
    ]);
    for (name, agent) in &bound {
        let addresses = agent.addresses();
        let ports = Ports {
            a2a: addresses.a2a.port(),
            health: addresses.health.port(),
            metrics: addresses.metrics.port(),
            webhooks: addresses.webhooks.map_or(0, |address| address.port()),
        };
        ground.ports.insert((*name).to_owned(), ports);
    }
    for agent in bound.values() {
        for name in bound.keys() {
            agent.connect(name, &ground.url(name));
        }
    }
    Ok(bound
        .into_values()
        .map(|agent| tokio::spawn(agent.serve(shutdown.clone())))
        .collect())
}

async fn bind<D: Daemon>(
    ground: &Ground,
    resources: &Resources,
) -> anyhow::Result<(&'static str, Bound)> {
    let arguments = std::iter::once(D::NAME.to_owned()).chain(flags(ground, D::NAME, resources));
    let cli = D::try_parse_from(arguments).with_context(|| format!("flags of {}", D::NAME))?;
    let bound = shared::bind(cli)
        .await
        .with_context(|| format!("cannot bind {}", D::NAME))?;
    Ok((D::NAME, bound))
}

/// Code, reason and field of an answer's error.
///
/// # Panics
/// When the answer is no error.
pub fn call_error(answer: &Answer) -> (i64, String, String) {
    let error = answer.result.as_ref().expect_err("an error was expected");
    let code = error
        .get("code")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    (
        code,
        answer.reason().unwrap_or_default().to_owned(),
        answer.metadata("field").unwrap_or_default().to_owned(),
    )
}

/// Posts a JSON-RPC request; answers HTTP status and body.
///
/// # Errors
/// When there is no answer.
pub async fn post(
    client: &reqwest::Client,
    url: &str,
    method: &str,
    params: &Value,
) -> anyhow::Result<(u16, Value)> {
    let request =
        serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let response = client
        .post(format!("{url}/a2a"))
        .header("A2A-Version", "1.0")
        .json(&request)
        .send()
        .await?;
    Ok((response.status().as_u16(), response.json().await?))
}
