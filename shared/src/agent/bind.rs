//! From flags to an agent that has its ports, store and identity.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, bail, ensure};
use identity::{Directory, Mode, SigningKey, SpiffeId, TlsFiles, TlsIdentity};
use manifest::{Fleet, Manifest, Tier};
use prometheus_client::registry::Registry as MetricsRegistry;
use store::Store;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Addresses, Bound, Daemon, Loops};
use crate::{
    Args, Effect,
    a2a::client::{Connector, MtlsConnector, Peer, Peers, ProxyConnector},
    access::{Access, RateLimits},
    args::TransportKind,
    backplane::Plane,
    builder::AgentBuilder,
    converse::AskForSkill,
    engine::Engine,
    push::{Outcomes, Push, Setup},
    readiness::{Guard, Readiness},
    registry::Registry,
    streams::Streams,
    tasks::Tasks,
    telemetry::metrics::Metrics,
    trail::Trail,
};

/// Loads manifest, identity and state, builds the agent and binds its ports (0 is allowed).
///
/// # Errors
/// What is missing or contradictory, with the path or flag that names it.
pub async fn bind<D: Daemon>(cli: D) -> anyhow::Result<Bound> {
    let store = store::open(&cli.shared().store)
        .await
        .context("cannot open the store (--store)")?;
    bind_on(cli, store).await
}

/// The same on a store that is open already, whatever `--store` says; for tests and benchmarks.
///
/// # Errors
/// As [`bind`].
pub async fn bind_on<D: Daemon>(cli: D, store: Arc<dyn Store>) -> anyhow::Result<Bound> {
    let args = cli.shared().clone();
    let fleet =
        manifest::load_dir(&args.manifests).context("cannot load the manifests (--manifests)")?;
    let manifest = fleet
        .manifest(D::NAME)
        .with_context(|| format!("no manifest of {} in {}", D::NAME, args.manifests.display()))?
        .clone();
    let own: SpiffeId = fleet
        .mesh
        .spiffe_id(D::NAME)
        .with_context(|| format!("mesh.yaml has no agent {}", D::NAME))?
        .parse()?;
    let (key, directory) = signer(&args, &own)?;
    let transport = transport(&args, &own).await?;
    let readiness = Readiness::default();
    let starting = readiness.wait_for("start-up");
    let builder = AgentBuilder {
        fleet: Arc::new(fleet),
        manifest: Arc::new(manifest),
        directory: Arc::new(directory),
        store,
        skills: Registry::default(),
        metrics: Arc::new(std::sync::Mutex::new(MetricsRegistry::default())),
        readiness,
        loops: Vec::new(),
        webhooks: None,
        converse: None,
    };
    let metrics = builder.registry(Metrics::register);
    let builder = cli
        .build(builder)
        .await
        .with_context(|| format!("cannot build {}", D::NAME))?;
    check_skills(&builder.skills, &builder.manifest)?;
    let parts = Parts {
        args,
        own,
        key,
        transport,
        metrics,
    };
    assemble(parts, builder, starting).await
}

/// The agent's signing key, which the directory has to list, and the directory.
fn signer(args: &Args, own: &SpiffeId) -> anyhow::Result<(SigningKey, Directory)> {
    let key = SigningKey::load_or_generate(&args.signing_key)
        .with_context(|| format!("cannot use {} (--signing-key)", args.signing_key.display()))?;
    let directory = Directory::load(&args.directory)
        .with_context(|| format!("cannot use {} (--directory)", args.directory.display()))?;
    let listed = directory.by_spiffe_id(own).is_some_and(|entry| {
        let mut keys = entry.signing_keys.iter();
        keys.any(|listed| listed.public_key == key.public())
    });
    ensure!(
        listed,
        "the signing key {} is not listed for {own} in {}",
        args.signing_key.display(),
        args.directory.display()
    );
    Ok((key, directory))
}

struct Parts {
    args: Args,
    own: SpiffeId,
    key: SigningKey,
    transport: (Mode, Box<dyn Connector>),
    metrics: Metrics,
}

async fn assemble(
    parts: Parts,
    mut builder: AgentBuilder,
    starting: Guard,
) -> anyhow::Result<Bound> {
    let args = parts.args.clone();
    let sockets = [
        listen(args.listen, "--listen").await?,
        listen(args.health_listen, "--health-listen").await?,
        listen(args.metrics_listen, "--metrics-listen").await?,
    ];
    let [a2a, health, metrics_socket] = &sockets;
    let webhooks = match builder.webhooks.take() {
        Some((address, router)) => Some((listen(address, "the webhook listener").await?, router)),
        None => None,
    };
    let taken = webhooks.as_ref().map(|(socket, _)| socket.local_addr());
    let addresses = Addresses {
        a2a: a2a.local_addr()?,
        health: health.local_addr()?,
        metrics: metrics_socket.local_addr()?,
        webhooks: taken.transpose()?,
    };
    let loops = Loops(std::mem::take(&mut builder.loops));
    let metrics = builder.metrics.clone();
    let mode = parts.transport.0.clone();
    let key = parts.key.clone();
    let engine = engine(parts, builder).await?;
    Ok(Bound {
        engine: Arc::new(engine),
        key,
        args,
        addresses,
        sockets,
        mode,
        metrics,
        loops,
        webhooks,
        starting,
    })
}

/// Puts together what runs the skills.
async fn engine(parts: Parts, builder: AgentBuilder) -> anyhow::Result<Engine> {
    let Parts {
        args,
        own,
        key,
        transport,
        metrics,
    } = parts;
    let tasks = Tasks::new(builder.store.clone());
    let push = push(&args, &builder, (&tasks, &key))?;
    let AgentBuilder {
        fleet,
        manifest,
        store,
        skills,
        readiness,
        converse,
        ..
    } = builder;
    let converse = converse.unwrap_or_else(|| {
        let skills = skills.iter().map(|skill| skill.id);
        Box::new(AskForSkill(skills.collect()))
    });
    let access = Access::new(fleet.clone(), manifest.clone())?;
    let depth = metrics.outbox_depth.clone();
    let trail = Trail::open(store.clone(), key, &own, args.max_outbox, depth).await?;
    let known = peers_of(&fleet, &args)?;
    let plane = Plane {
        access: access.clone(),
        peers: Peers::new(&manifest.name, known, transport.1, metrics.clone()),
        trail: trail.clone(),
        metrics: metrics.clone(),
        tasks: tasks.clone(),
        store,
    };
    let timeouts = skills
        .iter()
        .filter_map(|skill| Some((skill.id.to_owned(), manifest.skill(skill.id)?.timeout?)))
        .collect();
    Ok(Engine {
        name: manifest.name.clone(),
        registry: skills,
        converse,
        always_idempotent: true,
        push,
        tasks,
        access,
        rates: RateLimits::of(&manifest),
        trail,
        metrics,
        readiness,
        slots: Arc::new(Semaphore::new(args.max_concurrency)),
        timeouts,
        plane: Arc::new(plane),
        streams: Streams::default(),
        closing: CancellationToken::new(),
    })
}

fn push(
    args: &Args,
    builder: &AgentBuilder,
    (tasks, key): (&Tasks, &SigningKey),
) -> anyhow::Result<Push> {
    let setup = Setup {
        store: builder.store.clone(),
        tasks: tasks.clone(),
        key,
        policy: args.push_policy(),
        outcomes: builder.registry(Outcomes::register),
    };
    Ok(Push::open(setup)?)
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
