//! Starts the control plane.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::bail;
use http::Request;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    certificates::{Authority, Pair, token_key},
    flags::{self, Ports},
    helm::Helm,
    keeper::Keeper,
    nodes, programs, stages, volumes,
};

/// Longest start: 3 minutes, for a machine that does much else.
const START_LIMIT: Duration = Duration::from_mins(3);
/// How often a condition is looked at while starting.
const CHECK_PERIOD: Duration = Duration::from_millis(50);
/// How often the start is tried when another process takes one of the ports meanwhile.
const ATTEMPTS: usize = 3;
/// Nodes of a control plane that is told no other number.
const NODES: usize = 4;

/// A running control plane with nodes. Its programs end and its files go when this value is dropped or the process ends,
/// however it ends.
#[derive(Debug)]
pub struct ControlPlane {
    keeper: Keeper,
    programs: PathBuf,
    url: String,
    took: Duration,
}

impl ControlPlane {
    /// Starts a control plane of four nodes and waits until it can run pods.
    ///
    /// # Errors
    /// When its programs are not built, or with what the one that failed has printed.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(NODES).await
    }

    /// Starts a control plane of so many nodes.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_with(nodes: usize) -> anyhow::Result<Self> {
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match Self::attempt(nodes).await {
                // Another process took one of the ports meanwhile.
                Err(error) if attempts > 0 && error.to_string().contains(flags::PORT_CONFLICT) => {}
                outcome => return outcome,
            }
        }
    }

    async fn attempt(nodes: usize) -> anyhow::Result<Self> {
        let since = Instant::now();
        let ports = Ports::free()?;
        let mut plane = Self {
            keeper: Keeper::start()?,
            programs: programs::folder()?,
            url: format!("https://127.0.0.1:{}", ports.api),
            took: Duration::ZERO,
        };
        let authority = Authority::generate(plane.folder())?;
        let server = authority.server("server")?;
        let tokens = token_key(plane.folder())?;
        let folder = plane.folder().to_owned();
        plane.run("etcd", &flags::etcd(&folder, &ports, &server))?;
        let api_server = flags::api_server(&folder, &ports, &server, &tokens);
        plane.run("kube-apiserver", &api_server)?;
        plane.user(&authority, "admin", "admin", Some("system:masters"))?;
        plane.until_serving().await?;
        plane.run_controllers(&authority, &tokens)?;
        let client = plane.client().await?;
        volumes::create_class(&client).await?;
        nodes::create(&client, nodes).await?;
        plane
            .until("the nodes are ready", "kwok", || {
                nodes::ready(&client, nodes)
            })
            .await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        plane
            .until(
                "the namespace default has its service account",
                "kube-controller-manager",
                || async { Ok(accounts.get_opt("default").await?.is_some()) },
            )
            .await?;
        plane.took = since.elapsed();
        Ok(plane)
    }

    /// Starts everything that talks to the API server.
    fn run_controllers(&mut self, authority: &Authority, tokens: &Pair) -> anyhow::Result<()> {
        let user = |name: &str, group| self.user(authority, name, &format!("system:{name}"), group);
        let manager = user("kube-controller-manager", None)?;
        let scheduler = user("kube-scheduler", None)?;
        let kubelets = user("kwok", Some("system:masters"))?;
        let stages = self.folder().join("stages.yaml");
        std::fs::write(&stages, stages::render()?)?;
        let manager = flags::controller_manager(&manager, &authority.certificate(), tokens);
        self.run("kube-controller-manager", &manager)?;
        self.run("kube-scheduler", &flags::scheduler(&scheduler))?;
        self.run("kwok", &flags::kwok(&kubelets, &stages))
    }

    /// How long the start took, from nothing to ready nodes.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Where the API server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A file that names the API server and makes its reader the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin")
    }

    /// A client of the administrator, for the runtime that calls.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.client_of(&self.kubeconfig()).await
    }

    /// A client with the rights of a kubeconfig, for the runtime that calls.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn client_of(&self, kubeconfig: &Path) -> anyhow::Result<Client> {
        let file = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Helm with the rights of the administrator.
    pub fn helm(&self) -> Helm<'_> {
        Helm::new(self, self.programs.join("helm"))
    }

    /// What `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler` or `kwok` has printed.
    pub fn log(&self, program: &str) -> String {
        self.keeper.log(program)
    }

    /// A folder for files that go when the control plane ends.
    pub fn folder(&self) -> &Path {
        self.keeper.folder()
    }

    fn run(&mut self, program: &str, flags: &[String]) -> anyhow::Result<()> {
        self.keeper.run(&self.programs.join(program), flags)
    }

    fn kubeconfig_of(&self, file: &str) -> PathBuf {
        self.folder().join(format!("{file}.kubeconfig"))
    }

    /// Certifies a user of the API and writes its kubeconfig.
    fn user(
        &self,
        authority: &Authority,
        file: &str,
        name: &str,
        group: Option<&str>,
    ) -> anyhow::Result<PathBuf> {
        let pair = authority.user(file, name, group)?;
        self.write_kubeconfig(
            file,
            &json!({"client-certificate": pair.certificate, "client-key": pair.key}),
        )
    }

    /// Writes a kubeconfig with these credentials and returns its path.
    pub(crate) fn write_kubeconfig(
        &self,
        file: &str,
        credentials: &Value,
    ) -> anyhow::Result<PathBuf> {
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url,
                "certificate-authority": self.folder().join("ca.pem"),
            }}],
            "users": [{"name": file, "user": credentials}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": file}}],
            "current-context": "test",
        });
        let path = self.kubeconfig_of(file);
        std::fs::write(&path, text.to_string())?;
        Ok(path)
    }

    /// Waits for the API server's own word that it is ready.
    async fn until_serving(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        let serving = || async {
            let request = Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await.is_ok())
        };
        self.until("the API server is ready", "kube-apiserver", serving)
            .await
    }

    /// Looks until a condition holds; `program` is whose log says why it does not.
    async fn until<F: Future<Output = anyhow::Result<bool>>>(
        &self,
        what: &str,
        program: &str,
        condition: impl Fn() -> F,
    ) -> anyhow::Result<()> {
        let since = Instant::now();
        while !condition().await? {
            let late = since.elapsed() > START_LIMIT;
            let logs = format!("{}{}", self.log("etcd"), self.log(program));
            if late || logs.contains(flags::PORT_CONFLICT) {
                bail!("never came true: {what}; etcd and {program} say:\n{logs}");
            }
            sleep(CHECK_PERIOD).await;
        }
        Ok(())
    }
}
