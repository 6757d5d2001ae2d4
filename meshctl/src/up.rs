//! `meshctl up`: the whole mesh as local processes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures::future::select_all;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    process::Child,
    time::{Instant, sleep},
};

use crate::{
    agents::{Resources, flags},
    ground::{Ground, fixed_ports},
    interrupt::Interrupt,
    processes::{Process, Running, await_ready, programs, spawn, stop, tail},
    program, state_flag,
    status::overview,
};

/// The embedded cluster's program.
const CLUSTER: &str = "cluster-model";
/// Longest start of the embedded cluster.
const CLUSTER_START: Duration = Duration::from_secs(10);

/// Flags of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// State folder of the mesh.
    #[arg(long, default_value = ".mesh")]
    state: PathBuf,
    /// Folder with the eight manifests and mesh.yaml.
    #[arg(long, default_value = "manifests")]
    manifests: PathBuf,
    /// Root of the file paths in requests.
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
    /// Kubeconfig of a cluster; without it an embedded one is started.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Database of db-migrator as NAME=URL[,dev], repeatable.
    #[arg(long = "database", value_name = "NAME=URL")]
    databases: Vec<String>,
    /// Folder of OSV advisories.
    #[arg(long)]
    advisories: Option<PathBuf>,
    /// Folder of Rego policies.
    #[arg(long)]
    policies: Option<PathBuf>,
    /// Folder of recorded metrics.
    #[arg(long)]
    metrics: Option<PathBuf>,
    /// A live Prometheus instead of recorded metrics.
    #[arg(long)]
    prometheus: Option<String>,
    /// `OpenSLO` objectives of monitoring-agent, a file or a folder.
    #[arg(long, requires = "prometheus")]
    objectives: Option<PathBuf>,
    /// GitLab that monitoring-agent and rollback-coordinator use.
    #[arg(long, value_name = "URL", requires = "gitlab_token_file")]
    gitlab_url: Option<String>,
    /// File with the token for it.
    #[arg(long, value_name = "FILE", requires = "gitlab_url")]
    gitlab_token_file: Option<PathBuf>,
    /// OTLP/gRPC endpoint for traces.
    #[arg(long)]
    otlp_endpoint: Option<String>,
    /// Return once all agents are ready; stop them with `meshctl down`.
    #[arg(long)]
    detach: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(running) = Running::load(&args.state) {
        crate::say(format_args!(
            "already running from {}:",
            args.state.display()
        ));
        let states = running.processes.iter().map(|p| (p, p.standing()));
        crate::say(format_args!("{}", overview(&args.state, states)));
        return Ok(ExitCode::SUCCESS);
    }
    let mut interrupt = Interrupt::listen()?;
    let fleet =
        manifest::load_dir(&args.manifests).context("cannot load the manifests (--manifests)")?;
    let ground = Ground::prepare(&args.state, &args.manifests, fixed_ports(&fleet)?)?;
    let mut mesh = start_unless(&mut interrupt, &ground, resources(&args)?, args.detach).await?;
    let running = mesh.running();
    let states = running.processes.iter().map(|process| (process, "ready"));
    crate::say(format_args!("{}", overview(&args.state, states)));
    crate::say(
        "health is at the port + 100, metrics at the port + 200: http://127.0.0.1:7301/metrics",
    );
    crate::say(format_args!(
        "all ready after {} ms; try:",
        mesh.started_in.as_millis()
    ));
    let (meshctl, state) = (program(), state_flag(&args.state));
    crate::say(format_args!(
        "  {meshctl} call{state} security-scanner detect_secrets --input '{{\"paths\": [\".\"]}}'"
    ));
    if args.detach {
        crate::say(format_args!("stop them with:\n  {meshctl} down{state}"));
        mesh.detach();
        return Ok(ExitCode::SUCCESS);
    }
    crate::say(format_args!("Ctrl-C stops them"));
    let ended = mesh.attend(&mut interrupt).await;
    eprintln!("stopping");
    mesh.stop().await;
    ended.map(|()| ExitCode::SUCCESS)
}

fn resources(args: &Args) -> anyhow::Result<Resources> {
    let full = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("cannot use {}", path.display()))
    };
    let optional = |path: &Option<PathBuf>| path.as_deref().map(full).transpose();
    Ok(Resources {
        workspace: full(&args.workspace)?,
        kubeconfig: optional(&args.kubeconfig)?,
        own_kubeconfigs: BTreeMap::new(),
        advisories: optional(&args.advisories)?,
        policies: optional(&args.policies)?,
        databases: args.databases.clone(),
        metrics: optional(&args.metrics)?,
        prometheus: args.prometheus.clone(),
        objectives: optional(&args.objectives)?,
        otlp: args.otlp_endpoint.clone(),
        gitlab: args
            .gitlab_url
            .clone()
            .zip(optional(&args.gitlab_token_file)?),
    })
}

/// A started mesh.
#[derive(Debug)]
pub struct Mesh {
    /// State folder.
    pub root: PathBuf,
    /// Agents, ready.
    pub children: Vec<(Process, Child)>,
    cluster: Option<(Process, Child)>,
    /// Kubeconfig in use.
    pub kubeconfig: Option<PathBuf>,
    /// From the first process to the last readiness.
    pub started_in: Duration,
}

/// Starts the embedded cluster (unless there is another) and the eight agents, and waits until all are ready.
/// What is already started when something fails is stopped again.
///
/// # Errors
/// What could not be started, with the end of its log.
pub async fn start(ground: &Ground, resources: Resources, detached: bool) -> anyhow::Result<Mesh> {
    let mut names: Vec<&str> = ground.ports.keys().map(String::as_str).collect();
    names.push(CLUSTER);
    let folder = programs(&names).await?;
    let mut mesh = Mesh {
        root: ground.root.clone(),
        children: Vec::new(),
        cluster: None,
        kubeconfig: resources.kubeconfig.clone(),
        started_in: Duration::ZERO,
    };
    match mesh.launch(ground, resources, (&folder, detached)).await {
        Ok(()) => Ok(mesh),
        Err(error) => {
            mesh.stop().await;
            Err(error)
        }
    }
}

/// Starts the mesh unless the user stops it meanwhile.
///
/// # Errors
/// Like [`start`], or that it was stopped. Nothing is left running then.
pub(crate) async fn start_unless(
    interrupt: &mut Interrupt,
    ground: &Ground,
    resources: Resources,
    detached: bool,
) -> anyhow::Result<Mesh> {
    tokio::select! {
        mesh = start(ground, resources, detached) => mesh,
        () = interrupt.received() => {
            if let Some(running) = Running::load(&ground.root) {
                stop(&running.processes).await;
            }
            Running::forget(&ground.root);
            bail!("stopped while starting")
        }
    }
}

fn started(name: &str, child: &Child, log: PathBuf) -> anyhow::Result<Process> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    Ok(Process {
        name: name.to_owned(),
        pid: pid.context("the process has no id")?,
        url: String::new(),
        ports: None,
        log,
    })
}

impl Mesh {
    /// The state file knows every process from its start, so that `down` finds it whatever happens to this one.
    async fn launch(
        &mut self,
        ground: &Ground,
        mut resources: Resources,
        (folder, detached): (&Path, bool),
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        if self.kubeconfig.is_none() {
            self.launch_cluster(folder, detached).await?;
        }
        resources.kubeconfig.clone_from(&self.kubeconfig);
        for (agent, ports) in &ground.ports {
            let log = self.log(agent);
            let flags = flags(ground, agent, &resources);
            let child = spawn(&folder.join(agent), &flags, &log, detached)?;
            let process = Process {
                url: ground.url(agent),
                ports: Some(*ports),
                ..started(agent, &child, log)?
            };
            self.children.push((process, child));
            self.running().save(&self.root)?;
        }
        self.await_all().await?;
        self.started_in = began.elapsed();
        Ok(())
    }

    async fn launch_cluster(&mut self, folder: &Path, detached: bool) -> anyhow::Result<()> {
        let (kubeconfig, log) = (self.root.join("kubeconfig"), self.log(CLUSTER));
        let _gone_is_fine = std::fs::remove_file(&kubeconfig);
        let place = kubeconfig.display().to_string();
        let flags = ["--listen", "127.0.0.1:0", "--kubeconfig-out", &place].map(str::to_owned);
        let child = spawn(&folder.join(CLUSTER), &flags, &log, detached)?;
        let process = started(CLUSTER, &child, log)?;
        let (process, child) = self.cluster.insert((process, child));
        let state = Running {
            processes: vec![process.clone()],
            kubeconfig: None,
        };
        state.save(&self.root)?;
        let deadline = Instant::now() + CLUSTER_START;
        while !kubeconfig.exists() {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                let end = tail(&process.log);
                bail!("the embedded cluster did not start:\n{end}");
            }
            sleep(Duration::from_millis(5)).await;
        }
        let text = std::fs::read_to_string(&kubeconfig)?;
        let url = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("server:"));
        url.unwrap_or_default().trim().clone_into(&mut process.url);
        self.kubeconfig = Some(kubeconfig);
        Ok(())
    }

    async fn await_all(&mut self) -> anyhow::Result<()> {
        let mut names: Vec<String> = self.children.iter().map(|(p, _)| p.name.clone()).collect();
        let bar = ProgressBar::new(names.len() as u64).with_message(names.join(", "));
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {bar:16} {pos}/{len} ready  {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(80));
        let result = await_ready(&mut self.children, |process| {
            names.retain(|name| *name != process.name);
            bar.set_message(names.join(", "));
            bar.inc(1);
        })
        .await;
        bar.finish_and_clear();
        result
    }

    fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    fn processes(&self) -> Vec<Process> {
        self.cluster
            .iter()
            .chain(&self.children)
            .map(|(process, _)| process.clone())
            .collect()
    }

    /// What the state file says of it.
    pub fn running(&self) -> Running {
        Running {
            processes: self.processes(),
            kubeconfig: self.kubeconfig.clone(),
        }
    }

    /// Lets the processes go on without this one.
    pub fn detach(self) {
        drop(self);
    }

    /// Waits until the user stops the mesh.
    ///
    /// # Errors
    /// When a process ends by itself.
    async fn attend(&mut self, interrupt: &mut Interrupt) -> anyhow::Result<()> {
        let all = self.cluster.iter_mut().chain(&mut self.children);
        let ends =
            all.map(|(process, child)| Box::pin(async move { (&*process, child.wait().await) }));
        tokio::select! {
            () = interrupt.received() => Ok(()),
            ((process, status), ..) = select_all(ends) => {
                let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                bail!("{} ended ({how}); the others were stopped. The end of {}:\n{}", process.name, process.log.display(), tail(&process.log))
            }
        }
    }

    /// Stops agents first, the embedded cluster last.
    pub async fn stop(self) {
        let agents: Vec<Process> = self
            .children
            .iter()
            .map(|(process, _)| process.clone())
            .collect();
        reap(self.children, &agents).await;
        if let Some((process, child)) = self.cluster {
            reap(vec![(process.clone(), child)], &[process]).await;
        }
        Running::forget(&self.root);
    }
}

/// Stops processes and collects their exit, so that none stays as a zombie.
async fn reap(children: Vec<(Process, Child)>, processes: &[Process]) {
    let waits = children
        .into_iter()
        .map(|(_, mut child)| async move { child.wait().await });
    let exits = futures::future::join_all(waits);
    let ((), _exits) = tokio::join!(stop(processes), exits);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_gitlab_needs_its_token() {
        let token = ["--gitlab-token-file", "/run/token"];
        let url = ["--gitlab-url", "https://gitlab.example.com"];
        let read = |flags: &[&str]| Line::try_parse_from([&["up"], flags].concat());
        assert!(read(&token).is_err());
        assert!(read(&url).is_err());
        let both = read(&[url, token].concat()).unwrap();
        let (address, file) = resources(&both.args).unwrap().gitlab.unwrap();
        assert_eq!(address, "https://gitlab.example.com");
        assert_eq!(file, Path::new("/run/token"));
    }
}
