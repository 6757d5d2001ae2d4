//! Serving, and the drain at the end.

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
