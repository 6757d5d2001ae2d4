//! Serving, and the drain at the end.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, Response, header},
    middleware::map_response,
};
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
        card::{Cards, Profile},
        endpoint::{self, Endpoint, MeshCallers},
    },
    delivery,
    engine::Engine,
    listeners, loops, upkeep,
};

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
        let profile = Profile::of(engine.access.manifest(), &url);
        let cards = Cards::new(profile, &engine.registry, Some(self.key.clone()));
        let router = endpoint::router(Endpoint {
            engine: engine.clone(),
            cards: Arc::new(cards),
            callers: Arc::new(MeshCallers),
        });
        match self.mode {
            Mode::Mtls(_) => router.layer(map_response(only_https)),
            Mode::Mesh { .. } | Mode::PlainWithoutIdentity => router,
        }
    }

    /// Serves until `shutdown`, then drains: unready first, running tasks next, then the outbox.
    ///
    /// # Errors
    /// When a listener breaks, or the store cannot be read.
    pub async fn serve(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let engine = self.engine.clone();
        // Read before anybody can call: a call that comes in now is running, not left behind.
        if engine.tasks.has_replicas() {
            engine.tasks.beat().await?;
        }
        let unfinished = engine.tasks.left_behind().await?;
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
        parts.spawn(upkeep::evict(
            engine.clone(),
            self.args.retention(),
            stop.clone(),
        ));
        parts.spawn(engine.push.clone().run(stop.clone()));
        if engine.tasks.has_replicas() {
            parts.spawn(upkeep::replicate(engine.clone(), stop.clone()));
        }
        let (limit, addresses) = (self.args.drain(), self.addresses);
        let starting = self.listen(&mut parts, &stop);
        upkeep::take_up(&engine, unfinished).await?;
        tracing::info!(agent = engine.name, a2a = %addresses.a2a, health = %addresses.health, metrics = %addresses.metrics, "ready");
        drop(starting);
        let broken = tokio::select! {
            () = shutdown.cancelled() => None,
            Some(ended) = parts.join_next() => Some(ended),
        };
        engine.readiness.drain();
        drain(&engine, limit).await;
        engine.closing.cancel();
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

/// Tells clients that this host is never to be asked without TLS.
async fn only_https<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    );
    response
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

async fn drain(engine: &Engine, limit: Duration) {
    let deadline = Instant::now() + limit;
    while engine.tasks.running() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
