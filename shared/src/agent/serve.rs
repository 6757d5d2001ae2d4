//! Serving, and the drain at the end.

use std::{sync::Arc, time::Duration};

use audit::record::timestamp;
use axum::Router;
use identity::{Limits, Mode};
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Addresses, Bound, Loops};
use crate::{
    Args,
    a2a::{
        card,
        endpoint::{self, Endpoint},
    },
    delivery,
    engine::Engine,
    listeners, loops,
    tasks::Record,
};

/// How often ended tasks past their retention are removed, and how many at a time.
const EVICTION: (Duration, usize) = (Duration::from_mins(1), 1_000);

type Parts = JoinSet<anyhow::Result<()>>;

impl Bound {
    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Says where another agent is; for meshes whose ports are known only after binding.
    pub fn connect(&self, agent: &str, url: &str) {
        self.engine.plane.peers.relocate(agent, url);
    }

    /// The routes of the A2A port. A request's extension [`identity::PeerIdentity`] says who calls; in `serve` the
    /// listener puts it there, and whoever mounts the routes elsewhere (a benchmark, say) has to.
    pub fn router(&self) -> Router {
        let engine = &self.engine;
        let url = advertised(&self.args, engine, self.addresses);
        let card = card::agent_card(&engine.registry, engine.access.manifest(), &url);
        endpoint::router(Endpoint {
            engine: engine.clone(),
            card: Arc::new(card),
        })
    }

    /// Serves until `shutdown`, then drains: unready first, running tasks next, then the outbox.
    ///
    /// # Errors
    /// When a listener breaks, or the store cannot be read.
    pub async fn serve(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let engine = self.engine.clone();
        // Read before anybody can call: a call that comes in now is running, not left behind.
        let unfinished = engine.tasks.unfinished().await?;
        let stop = CancellationToken::new();
        let mut parts = Parts::new();
        for (name, work) in std::mem::replace(&mut self.loops, Loops(Vec::new())).0 {
            let (plane, stop) = (engine.plane.clone(), shutdown.clone());
            parts.spawn(async move {
                loops::supervise(name, work, plane, stop).await;
                Ok(())
            });
        }
        parts.spawn(delivery::run(engine.clone(), stop.clone()));
        let days = self.args.task_retention_days;
        parts.spawn(evict(engine.clone(), days, stop.clone()));
        let (limit, addresses) = (self.args.drain(), self.addresses);
        let starting = self.listen(&mut parts, &stop);
        recover(&engine, unfinished);
        tracing::info!(agent = engine.name, a2a = %addresses.a2a, health = %addresses.health, metrics = %addresses.metrics, "ready");
        drop(starting);
        let broken = tokio::select! {
            () = shutdown.cancelled() => None,
            Some(ended) = parts.join_next() => Some(ended),
        };
        engine.readiness.drain();
        drain(&engine, limit).await;
        stop.cancel();
        end(parts, broken).await
    }

    /// Starts the listeners; what comes back holds readiness back.
    fn listen(self, parts: &mut Parts, stop: &CancellationToken) -> crate::readiness::Guard {
        let router = self.router();
        let Self {
            engine,
            sockets: [a2a, health, metrics_socket],
            mode,
            metrics,
            webhooks,
            starting,
            ..
        } = self;
        let manifest: Arc<str> = engine.access.manifest().source().into();
        let health_router = listeners::health(engine.readiness.clone());
        let mut plain = vec![
            (health, health_router),
            (metrics_socket, listeners::metrics(metrics, manifest)),
        ];
        plain.extend(webhooks);
        serve_on(parts, (a2a, router), mode.clone(), stop);
        for listener in plain {
            serve_on(parts, listener, Mode::PlainWithoutIdentity, stop);
        }
        if let Mode::Mtls(tls) = mode {
            let stop = stop.clone();
            parts.spawn(async move {
                tls.watch(stop).await;
                Ok(())
            });
        }
        starting
    }
}

fn serve_on(
    parts: &mut Parts,
    (socket, router): (TcpListener, Router),
    mode: Mode,
    stop: &CancellationToken,
) {
    let serve = identity::serve(socket, mode, router, stop.clone(), Limits::default());
    parts.spawn(async move { serve.await.map_err(anyhow::Error::from) });
}

/// Waits for everything to end; what broke first is the result.
async fn end(
    mut parts: Parts,
    broken: Option<Result<anyhow::Result<()>, JoinError>>,
) -> anyhow::Result<()> {
    while let Some(ended) = parts.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::warn!(error = format!("{error:#}"), "did not drain in time");
        }
    }
    broken.map_or(Ok(()), |ended| ended?)
}

fn advertised(args: &Args, engine: &Engine, addresses: Addresses) -> String {
    let manifest = engine.access.manifest();
    match &args.advertise {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None if addresses.a2a.ip().is_loopback() => format!("https://{}", addresses.a2a),
        None => format!("https://{}.{}.svc:8080", manifest.name, manifest.namespace),
    }
}

/// Takes up what a crash left: runs again what was running. Whoever called has gone, and with them their deadline:
/// half of a change is worse than a late one.
fn recover(engine: &Arc<Engine>, unfinished: Vec<Record>) {
    for record in unfinished {
        tracing::info!(
            task_id = record.task.id,
            skill = record.skill.as_deref(),
            "resuming a task after a restart"
        );
        let deadline = record.deadline.clone().filter(|_| !record.mutates);
        engine.resume(Record { deadline, ..record });
    }
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
