//! The life of an agent: bind, serve, drain.

use std::{
    collections::HashMap, future::Future, net::SocketAddr, process::ExitCode, sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use audit::record::timestamp;
use axum::Router;
use identity::{Directory, Limits, Mode, SigningKey, SpiffeId, TlsFiles, TlsIdentity};
use manifest::{Fleet, Manifest, Tier};
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Args, Effect,
    a2a::{
        card,
        client::{Connector, MtlsConnector, Peer, Peers, ProxyConnector},
        endpoint::{self, Endpoint},
    },
    access::{Access, RateLimits},
    args::TransportKind,
    backplane::Plane,
    builder::{AgentBuilder, Loop},
    delivery,
    engine::Engine,
    listeners, loops,
    readiness::{Guard, Readiness},
    registry::Registry,
    shutdown,
    tasks::Tasks,
    telemetry::{self, Traces, metrics::Metrics},
    trail::Trail,
};

/// How often ended tasks past their retention are removed, and how many at a time.
const EVICTION: (Duration, usize) = (Duration::from_secs(60), 1_000);

/// An agent: its flags and what it registers.
pub trait Daemon: clap::Parser + Send + 'static {
    /// The agent's name everywhere.
    const NAME: &'static str;

    /// The flags that all agents have.
    fn shared(&self) -> &Args;

    /// Registers skills, metrics and loops.
    fn build(
        self,
        agent: AgentBuilder,
    ) -> impl Future<Output = anyhow::Result<AgentBuilder>> + Send;
}

/// `main` of an agent.
pub fn main<D: Daemon>() -> ExitCode {
    let cli = D::parse();
    let args = cli.shared().clone();
    let traces = match Traces::new(
        D::NAME,
        "agent-mesh",
        args.otlp_endpoint.as_deref(),
        args.trace_ratio,
    ) {
        Ok(traces) => traces,
        Err(error) => return give_up(&error.into()),
    };
    telemetry::install(args.log_format, &args.log_filter, &traces);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime
        .context("cannot start the runtime")
        .and_then(|runtime| {
            let result = runtime.block_on(run::<D>(cli));
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        });
    traces.shutdown();
    result.map_or_else(|error| give_up(&error), |()| ExitCode::SUCCESS)
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a process that cannot start"
)]
fn give_up(error: &anyhow::Error) -> ExitCode {
    tracing::error!(error = format!("{error:#}"), "the agent stops");
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

async fn run<D: Daemon>(cli: D) -> anyhow::Result<()> {
    let (drain, abort) = shutdown::on_signal().context("cannot handle signals")?;
    let bound = bind(cli).await?;
    tokio::select! {
        result = bound.serve(drain) => result,
        () = abort.cancelled() => bail!("aborted by a second signal"),
    }
}

/// Addresses in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// A2A over mTLS.
    pub a2a: SocketAddr,
    /// Health.
    pub health: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
}

/// An agent that has its ports, store and identity, and serves next.
#[derive(Debug)]
#[must_use = "an agent answers only once it serves"]
pub struct Bound {
    engine: Arc<Engine>,
    args: Args,
    addresses: Addresses,
    sockets: [TcpListener; 3],
    mode: Mode,
    metrics: crate::telemetry::metrics::SharedRegistry,
    loops: Loops,
    webhooks: Option<(TcpListener, Router)>,
    starting: Guard,
}

struct Loops(Vec<(&'static str, Loop)>);

impl std::fmt::Debug for Loops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Loads manifest, identity and state, builds the agent and binds its ports (0 is allowed).
///
/// # Errors
/// What is missing or contradictory, with the path or flag that names it.
pub async fn bind<D: Daemon>(cli: D) -> anyhow::Result<Bound> {
    let args = cli.shared().clone();
    let fleet =
        manifest::load_dir(&args.manifests).context("cannot load the manifests (--manifests)")?;
    let manifest = fleet
        .manifest(D::NAME)
        .with_context(|| format!("no manifest of {} in {}", D::NAME, args.manifests.display()))?
        .clone();
    let (fleet, manifest) = (Arc::new(fleet), Arc::new(manifest));
    let own: SpiffeId = fleet
        .mesh
        .spiffe_id(D::NAME)
        .with_context(|| format!("mesh.yaml has no agent {}", D::NAME))?
        .parse()?;
    let key = SigningKey::load_or_generate(&args.signing_key)
        .with_context(|| format!("cannot use {} (--signing-key)", args.signing_key.display()))?;
    let directory = Directory::load(&args.directory)
        .with_context(|| format!("cannot use {} (--directory)", args.directory.display()))?;
    let listed = directory.by_spiffe_id(&own).is_some_and(|entry| {
        entry
            .signing_keys
            .iter()
            .any(|listed| listed.public_key == key.public())
    });
    ensure!(
        listed,
        "the signing key {} is not listed for {own} in {}",
        args.signing_key.display(),
        args.directory.display()
    );
    let store = store::open(&args.store)
        .await
        .context("cannot open the store (--store)")?;
    let (mode, connector) = transport(&args, &own).await?;
    let readiness = Readiness::default();
    let starting = readiness.wait_for("start-up");
    let builder = AgentBuilder {
        fleet,
        manifest,
        directory: Arc::new(directory),
        store,
        skills: Registry::default(),
        metrics: Arc::new(std::sync::Mutex::new(MetricsRegistry::default())),
        readiness,
        loops: Vec::new(),
        webhooks: None,
    };
    let metrics = builder.registry(Metrics::register);
    let builder = cli
        .build(builder)
        .await
        .with_context(|| format!("cannot build {}", D::NAME))?;
    check_skills(&builder.skills, &builder.manifest)?;
    assemble(Parts {
        args,
        own,
        key,
        mode,
        connector,
        metrics,
        builder,
        starting,
    })
    .await
}

struct Parts {
    args: Args,
    own: SpiffeId,
    key: SigningKey,
    mode: Mode,
    connector: Box<dyn Connector>,
    metrics: Metrics,
    builder: AgentBuilder,
    starting: Guard,
}

async fn assemble(parts: Parts) -> anyhow::Result<Bound> {
    let Parts {
        args,
        own,
        key,
        mode,
        connector,
        metrics,
        builder,
        starting,
    } = parts;
    let AgentBuilder {
        fleet,
        manifest,
        store,
        skills,
        metrics: registry,
        readiness,
        loops,
        webhooks,
        ..
    } = builder;
    let sockets = [
        listen(args.listen, "--listen").await?,
        listen(args.health_listen, "--health-listen").await?,
        listen(args.metrics_listen, "--metrics-listen").await?,
    ];
    let [a2a, health, metrics_socket] = &sockets;
    let addresses = Addresses {
        a2a: a2a.local_addr()?,
        health: health.local_addr()?,
        metrics: metrics_socket.local_addr()?,
    };
    let webhooks = match webhooks {
        Some((address, router)) => Some((listen(address, "the webhook listener").await?, router)),
        None => None,
    };
    let access = Access::new(fleet.clone(), manifest.clone())?;
    let trail = Trail::open(
        store.clone(),
        key,
        &own,
        args.max_outbox,
        metrics.outbox_depth.clone(),
    )
    .await?;
    let tasks = Tasks::new(store.clone());
    let peers = Peers::new(
        &manifest.name,
        peers_of(&fleet, &args)?,
        connector,
        metrics.clone(),
    );
    let plane = Plane {
        access: access.clone(),
        peers,
        trail: trail.clone(),
        metrics: metrics.clone(),
        tasks: tasks.clone(),
        store,
    };
    let timeouts = skills
        .iter()
        .filter_map(|skill| Some((skill.id.to_owned(), manifest.skill(skill.id)?.timeout?)))
        .collect();
    let engine = Engine {
        name: manifest.name.clone(),
        registry: skills,
        tasks,
        access,
        rates: RateLimits::of(&manifest),
        trail,
        metrics,
        readiness,
        slots: Arc::new(Semaphore::new(args.max_concurrency)),
        timeouts,
        plane: Arc::new(plane),
    };
    Ok(Bound {
        engine: Arc::new(engine),
        args,
        addresses,
        sockets,
        mode,
        metrics: registry,
        loops: Loops(loops),
        webhooks,
        starting,
    })
}

async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({flag})"))
}

/// How this process is reached, and how it reaches others.
async fn transport(args: &Args, own: &SpiffeId) -> anyhow::Result<(Mode, Box<dyn Connector>)> {
    match (args.transport, args.peer_identity) {
        (TransportKind::Mtls, _) => {
            let tls = match &args.workload_api {
                Some(socket) => TlsIdentity::from_workload_api(Some(socket), own)
                    .await
                    .context("cannot get an identity from the Workload API (--workload-api)")?,
                None => TlsIdentity::from_files(TlsFiles::in_folder(&args.tls_dir), own)
                    .with_context(|| {
                        format!(
                            "cannot use the certificate in {} (--tls-dir)",
                            args.tls_dir.display()
                        )
                    })?,
            };
            Ok((Mode::Mtls(tls.clone()), Box::new(MtlsConnector(tls))))
        }
        (TransportKind::Mesh, Some(family)) => {
            ensure!(
                !args.trusted_proxy.is_empty(),
                "--transport mesh needs --trusted-proxy"
            );
            Ok((
                Mode::Mesh {
                    family,
                    trusted: args.trusted_proxy.clone(),
                    own: own.clone(),
                },
                Box::new(ProxyConnector),
            ))
        }
        (TransportKind::Mesh, None) => bail!("--transport mesh needs --peer-identity"),
    }
}

fn peers_of(fleet: &Fleet, args: &Args) -> anyhow::Result<HashMap<String, Peer>> {
    let mut peers = HashMap::new();
    for (name, member) in &fleet.mesh.agents {
        let named = args
            .peers
            .iter()
            .find(|peer| peer.name == *name)
            .map(|peer| peer.url.clone());
        let scheme = if args.transport == TransportKind::Mtls {
            "https"
        } else {
            "http"
        };
        let url =
            named.unwrap_or_else(|| format!("{scheme}://{name}.{}.svc:8080", member.namespace));
        let id = fleet.mesh.spiffe_id(name).unwrap_or_default().parse()?;
        peers.insert(name.clone(), Peer { url, id });
    }
    if let Some(stranger) = args
        .peers
        .iter()
        .find(|peer| !peers.contains_key(&peer.name))
    {
        bail!("--peer {}: mesh.yaml has no such agent", stranger.name);
    }
    Ok(peers)
}

/// The manifest and the code must name the same skills, and only a writing tier may have skills that write.
fn check_skills(skills: &Registry, manifest: &Manifest) -> anyhow::Result<()> {
    let missing: Vec<&str> = manifest
        .skills
        .iter()
        .map(|skill| skill.name.as_str())
        .filter(|name| skills.get(name).is_none())
        .collect();
    ensure!(
        missing.is_empty(),
        "the manifest of {} declares skills that do not exist: {}",
        manifest.name,
        missing.join(", ")
    );
    for skill in skills.iter() {
        ensure!(
            manifest.skill(skill.id).is_some(),
            "skill {} is not declared in the manifest of {}",
            skill.id,
            manifest.name
        );
        ensure!(
            manifest.permits(skill.id),
            "skill {} is not allowed by the manifest of {}",
            skill.id,
            manifest.name
        );
        let writes = matches!(
            manifest.tier(),
            Some(Tier::WriteLimited | Tier::WriteElevated)
        );
        ensure!(
            skill.effect == Effect::Read || writes,
            "skill {} writes, but {} has a reading tier",
            skill.id,
            manifest.name
        );
    }
    Ok(())
}

impl Bound {
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Says where another agent is; for meshes whose ports are known only after binding.
    pub fn connect(&self, agent: &str, url: &str) {
        self.engine.plane.peers.relocate(agent, url);
    }

    /// Serves until `shutdown`, then drains: unready first, running tasks next, then the outbox.
    ///
    /// # Errors
    /// When a listener breaks.
    pub async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            engine,
            args,
            addresses,
            sockets: [a2a, health, metrics_socket],
            mode,
            metrics,
            loops,
            webhooks,
            starting,
        } = self;
        let stop = CancellationToken::new();
        let card = card::agent_card(
            &engine.registry,
            engine.access.manifest(),
            &advertised(&args, &engine, addresses),
        );
        let router = endpoint::router(Endpoint {
            engine: engine.clone(),
            card: Arc::new(card),
        });
        let manifest: Arc<str> = engine.access.manifest().source().into();
        let mut tasks = JoinSet::new();
        let limits = Limits::default();
        let plain = || Mode::PlainWithoutIdentity;
        let mut listeners = vec![
            (a2a, mode.clone(), router),
            (health, plain(), listeners::health(engine.readiness.clone())),
            (
                metrics_socket,
                plain(),
                listeners::metrics(metrics, manifest),
            ),
        ];
        listeners.extend(webhooks.map(|(socket, router)| (socket, plain(), router)));
        for (socket, mode, router) in listeners {
            let stop = stop.clone();
            tasks.spawn(async move {
                identity::serve(socket, mode, router, stop, limits)
                    .await
                    .map_err(anyhow::Error::from)
            });
        }
        if let Mode::Mtls(tls) = mode {
            let stop = stop.clone();
            tasks.spawn(async move {
                tls.watch(stop).await;
                Ok(())
            });
        }
        for (name, work) in loops.0 {
            let (plane, stop) = (engine.plane.clone(), shutdown.clone());
            tasks.spawn(async move {
                loops::supervise(name, work, plane, stop).await;
                Ok(())
            });
        }
        tasks.spawn(delivery::run(engine.clone(), stop.clone()));
        tasks.spawn(evict(
            engine.clone(),
            args.task_retention_days,
            stop.clone(),
        ));
        recover(&engine).await?;
        tracing::info!(agent = engine.name, a2a = %addresses.a2a, health = %addresses.health, metrics = %addresses.metrics, "ready");
        drop(starting);
        let broken = tokio::select! {
            () = shutdown.cancelled() => None,
            Some(ended) = tasks.join_next() => Some(ended),
        };
        engine.readiness.drain();
        drain(&engine, args.drain()).await;
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::warn!(error = format!("{error:#}"), "did not drain in time");
            }
        }
        broken.map_or(Ok(()), |ended| ended?)
    }
}

fn advertised(args: &Args, engine: &Engine, addresses: Addresses) -> String {
    let manifest = engine.access.manifest();
    match &args.advertise {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if addresses.a2a.ip().is_loopback() => format!("https://{}", addresses.a2a),
        None => format!("https://{}.{}.svc:8080", manifest.name, manifest.namespace),
    }
}

/// Takes up what a crash left: runs again what was running.
async fn recover(engine: &Arc<Engine>) -> anyhow::Result<()> {
    for record in engine.tasks.unfinished().await? {
        tracing::info!(
            task_id = record.task.id,
            skill = record.skill.as_deref(),
            "resuming a task after a restart"
        );
        engine.resume(record);
    }
    Ok(())
}

async fn drain(engine: &Engine, limit: Duration) {
    let deadline = Instant::now() + limit;
    while engine.tasks.running() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn evict(engine: Arc<Engine>, days: u32, stop: CancellationToken) -> anyhow::Result<()> {
    let (period, limit) = EVICTION;
    while stop
        .run_until_cancelled(tokio::time::sleep(period))
        .await
        .is_some()
    {
        let before = timestamp(time::OffsetDateTime::now_utc() - time::Duration::days(days.into()));
        if let Err(error) = engine.tasks.evict(&before, limit).await {
            tracing::warn!(%error, "cannot remove old tasks");
        }
    }
    Ok(())
}
