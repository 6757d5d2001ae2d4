//! From flags to an agent that has its ports, store and identity.

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
