//! `meshctl up`: the whole mesh as local processes.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};

use crate::{
    agents::{Resources, flags},
    ground::{Ground, fixed_ports},
    processes::{Process, Running, await_ready, programs, spawn, stop, tail},
    status::overview,
};

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
    /// OTLP/gRPC endpoint for traces.
    #[arg(long)]
    otlp_endpoint: Option<String>,
    /// Return once all agents are ready; stop them with `meshctl down`.
    #[arg(long)]
    detach: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(running) = Running::load(&args.state) {
        println!("already running from {}:", args.state.display());
        println!(
            "{}",
            overview(
                running
                    .processes
                    .iter()
                    .map(|p| (p, if p.is_alive() { "running" } else { "ended" }))
            )
        );
        return Ok(ExitCode::SUCCESS);
    }
    let fleet =
        manifest::load_dir(&args.manifests).context("cannot load the manifests (--manifests)")?;
    let ground = Ground::prepare(&args.state, &args.manifests, fixed_ports(&fleet)?)?;
    let mesh = start(&ground, resources(&args)?, args.detach).await?;
    println!(
        "{}",
        overview(mesh.children.iter().map(|(process, _)| (process, "ready")))
    );
    println!(
        "ready in {} ms; call one with: meshctl call security-scanner detect_secrets --input '{{\"paths\": [\".\"]}}'",
        mesh.started_in.as_millis()
    );
    if args.detach {
        println!(
            "stop them with: meshctl down --state {}",
            args.state.display()
        );
        mesh.detach();
        return Ok(ExitCode::SUCCESS);
    }
    println!("Ctrl-C stops them");
    let ended = mesh.attend().await;
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
        advisories: optional(&args.advisories)?,
        policies: optional(&args.policies)?,
        databases: args.databases.clone(),
        metrics: optional(&args.metrics)?,
        prometheus: args.prometheus.clone(),
        otlp: args.otlp_endpoint.clone(),
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
///
/// # Errors
/// What could not be started, with the end of its log.
pub async fn start(
    ground: &Ground,
    mut resources: Resources,
    detached: bool,
) -> anyhow::Result<Mesh> {
    let mut names: Vec<&str> = ground.ports.keys().map(String::as_str).collect();
    names.push("cluster-model");
    let folder = programs(&names).await?;
    let began = Instant::now();
    let mut cluster = None;
    if resources.kubeconfig.is_none() {
        let (process, child, kubeconfig) = start_cluster(&folder, &ground.root, detached).await?;
        cluster = Some((process, child));
        resources.kubeconfig = Some(kubeconfig);
    }
    let mut children = Vec::new();
    for (agent, ports) in &ground.ports {
        let log = ground.root.join("logs").join(format!("{agent}.log"));
        let child = spawn(
            &folder.join(agent),
            &flags(ground, agent, &resources),
            &log,
            detached,
        )?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .context("the process has no id")?;
        children.push((
            Process {
                name: agent.clone(),
                pid,
                url: ground.url(agent),
                ports: Some(*ports),
                log,
            },
            child,
        ));
    }
    let mut mesh = Mesh {
        root: ground.root.clone(),
        children,
        cluster,
        kubeconfig: resources.kubeconfig,
        started_in: Duration::ZERO,
    };
    mesh.running().save(&ground.root)?;
    if let Err(error) = await_all(&mut mesh).await {
        mesh.stop().await;
        return Err(error);
    }
    mesh.started_in = began.elapsed();
    Ok(mesh)
}

async fn await_all(mesh: &mut Mesh) -> anyhow::Result<()> {
    let bar = ProgressBar::new(mesh.children.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} ready  {msg}") {
        bar.set_style(style);
    }
    let result = await_ready(&mut mesh.children, |process| {
        bar.set_message(process.name.clone());
        bar.inc(1);
    })
    .await;
    bar.finish_and_clear();
    result
}

async fn start_cluster(
    folder: &Path,
    root: &Path,
    detached: bool,
) -> anyhow::Result<(Process, Child, PathBuf)> {
    let kubeconfig = root.join("kubeconfig");
    let _gone_is_fine = std::fs::remove_file(&kubeconfig);
    let log = root.join("logs").join("cluster-model.log");
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--kubeconfig-out",
        &kubeconfig.display().to_string(),
    ]
    .map(str::to_owned);
    let mut child = spawn(&folder.join("cluster-model"), &arguments, &log, detached)?;
    let deadline = Instant::now() + CLUSTER_START;
    while !kubeconfig.exists() {
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            bail!("the embedded cluster did not start:\n{}", tail(&log));
        }
        sleep(Duration::from_millis(5)).await;
    }
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .context("the process has no id")?;
    let url = std::fs::read_to_string(&kubeconfig)?
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("server:")
                .map(|url| url.trim().to_owned())
        });
    let process = Process {
        name: "cluster-model".into(),
        pid,
        url: url.unwrap_or_default(),
        ports: None,
        log,
    };
    Ok((process, child, kubeconfig))
}

impl Mesh {
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

    /// Waits for Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// When an agent ends by itself.
    async fn attend(&self) -> anyhow::Result<()> {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        let ended = async {
            loop {
                if let Some((process, _)) = self
                    .children
                    .iter()
                    .find(|(process, _)| !process.is_alive())
                {
                    return process;
                }
                sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            process = ended => bail!("{} ended:\n{}", process.name, tail(&process.log)),
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
