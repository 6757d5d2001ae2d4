//! Agents as real processes that can be killed and started again.

use std::path::PathBuf;

use anyhow::Context as _;
use meshctl::{
    agents::{Resources, flags},
    client::{Caller, Target},
    ground::{Ground, free_ports},
    processes::{Process, await_ready, programs, spawn},
};
use tempfile::TempDir;
use tokio::process::Child;

use crate::tools::root;

/// Some agents of a mesh as processes.
#[derive(Debug)]
pub struct Processes {
    /// State folder.
    pub ground: Ground,
    resources: Resources,
    programs: PathBuf,
    running: Vec<(Process, Child)>,
    _folder: TempDir,
}

impl Processes {
    /// Starts the named agents and waits until they are ready.
    ///
    /// # Errors
    /// What keeps one from starting.
    pub async fn start(agents: &[&str], otlp: Option<String>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let databases = vec![format!(
            "shop=sqlite:{}",
            folder.path().join("shop.db").display()
        )];
        let resources = Resources {
            databases,
            otlp,
            ..Resources::default()
        };
        Self::start_in(folder, agents, resources).await
    }

    /// Starts the named agents on these clusters and databases and waits until they are ready.
    ///
    /// # Errors
    /// What keeps one from starting.
    pub async fn start_on(agents: &[&str], resources: Resources) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, agents, resources).await
    }

    async fn start_in(
        folder: TempDir,
        agents: &[&str],
        resources: Resources,
    ) -> anyhow::Result<Self> {
        let fleet = manifest::load_dir(&root().join("manifests"))?;
        let ground = Ground::prepare(
            &folder.path().join("mesh"),
            &root().join("manifests"),
            free_ports(&fleet)?,
        )?;
        let workspace = folder.path().join("workspace");
        std::fs::create_dir_all(&workspace)?;
        let resources = Resources {
            workspace,
            ..resources
        };
        let programs = programs(agents).await?;
        let mut mesh = Self {
            ground,
            resources,
            programs,
            running: Vec::new(),
            _folder: folder,
        };
        for agent in agents {
            mesh.launch(agent).await?;
        }
        Ok(mesh)
    }

    async fn launch(&mut self, agent: &str) -> anyhow::Result<()> {
        let log = self.ground.root.join("logs").join(format!("{agent}.log"));
        let child = spawn(
            &self.programs.join(agent),
            &flags(&self.ground, agent, &self.resources),
            &log,
            false,
        )?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .context("no process id")?;
        let process = Process {
            name: agent.into(),
            pid,
            url: self.ground.url(agent),
            ports: self.ground.ports.get(agent).copied(),
            log,
        };
        let mut one = vec![(process, child)];
        await_ready(&mut one, |_| ()).await?;
        self.running.extend(one);
        Ok(())
    }

    /// Kills an agent with SIGKILL and starts it again on the same state.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn kill_and_restart(&mut self, agent: &str) -> anyhow::Result<()> {
        let at = self
            .running
            .iter()
            .position(|(process, _)| process.name == agent)
            .context("it does not run")?;
        let (process, mut child) = self.running.remove(at);
        process.kill();
        child.wait().await?;
        self.launch(agent).await
    }

    /// Asks an agent to stop with SIGTERM; answers its exit status.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn terminate(&mut self, agent: &str) -> anyhow::Result<std::process::ExitStatus> {
        let at = self
            .running
            .iter()
            .position(|(process, _)| process.name == agent)
            .context("it does not run")?;
        let (process, mut child) = self.running.remove(at);
        process.terminate();
        Ok(child.wait().await?)
    }

    /// Where an agent is and who it has to be.
    ///
    /// # Panics
    /// When the mesh has no such agent.
    pub fn target(&self, agent: &str) -> Target {
        let id = self
            .ground
            .fleet
            .mesh
            .spiffe_id(agent)
            .expect("an agent of mesh.yaml");
        Target {
            url: self.ground.url(agent),
            id: id.parse().expect("mesh.yaml gives valid ids"),
        }
    }

    /// The operator.
    ///
    /// # Panics
    /// When the ground has no certificate of it.
    pub fn operator(&self) -> Caller {
        Caller::load(
            &self.ground.root,
            &self.ground.fleet.mesh.trust_domain,
            "operator",
        )
        .expect("the ground has the operator's certificate")
    }

    /// The log of an agent.
    pub fn log(&self, agent: &str) -> String {
        std::fs::read_to_string(self.ground.root.join("logs").join(format!("{agent}.log")))
            .unwrap_or_default()
    }
}
