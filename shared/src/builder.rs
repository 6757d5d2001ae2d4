//! What an agent adds to the skeleton: skills, metrics, loops, a webhook listener.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use axum::Router;
use futures::future::BoxFuture;
use identity::Directory;
use manifest::{Fleet, Manifest};
use prometheus_client::registry::Registry as MetricsRegistry;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Skill,
    converse::Converse,
    readiness::{Guard, Readiness},
    registry::Registry,
    telemetry::metrics::SharedRegistry,
};

/// A background loop: gets a context of its own and ends when the token is cancelled.
pub(crate) type Loop =
    Box<dyn Fn(Context, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// Collects what makes an agent this agent.
pub struct AgentBuilder {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) skills: Registry,
    pub(crate) metrics: SharedRegistry,
    pub(crate) readiness: Readiness,
    pub(crate) loops: Vec<(&'static str, Loop)>,
    pub(crate) webhooks: Option<(SocketAddr, Router)>,
    pub(crate) converse: Option<Box<dyn Converse>>,
}

impl std::fmt::Debug for AgentBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentBuilder")
            .field("agent", &self.manifest.name)
            .field("skills", &self.skills)
            .finish_non_exhaustive()
    }
}

impl AgentBuilder {
    /// Registers a skill.
    #[must_use]
    pub fn skill<S: Skill>(mut self, skill: S) -> Self {
        self.skills.add(skill);
        self
    }

    /// Answers messages that name no skill; by default the agent asks which one is meant.
    #[must_use]
    pub fn converse(mut self, converse: impl Converse) -> Self {
        self.converse = Some(Box::new(converse));
        self
    }

    /// Registers the agent's own metrics.
    pub fn registry<T>(&self, register: impl FnOnce(&mut MetricsRegistry) -> T) -> T {
        register(&mut self.metrics.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` for as long as the agent serves; it is started again when it ends early.
    #[must_use]
    pub fn background<F>(
        mut self,
        name: &'static str,
        work: impl Fn(Context, CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.loops.push((
            name,
            Box::new(move |context, shutdown| Box::pin(work(context, shutdown))),
        ));
        self
    }

    /// Runs `work` every `period`. It takes no input, so a run that was lost is made good by the next.
    #[must_use]
    pub fn every<F>(
        self,
        name: &'static str,
        period: Duration,
        work: impl Fn(Context) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let work = Arc::new(work);
        self.background(name, move |context, shutdown| {
            let work = work.clone();
            async move {
                let mut ticks = tokio::time::interval(period);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    tokio::select! {
                        _ = ticks.tick() => work(context.clone()).await?,
                        () = shutdown.cancelled() => return Ok(()),
                    }
                }
            }
        })
    }

    /// Serves plain-HTTP webhooks (which check a token or signature) on a listener of their own.
    #[must_use]
    pub fn webhooks(mut self, listen: SocketAddr, router: Router) -> Self {
        self.webhooks = Some((listen, router));
        self
    }

    /// Holds readiness back until the guard is dropped, for example until a cache is warm.
    pub fn wait_for(&self, what: &'static str) -> Guard {
        self.readiness.wait_for(what)
    }

    /// The agent's own durable state.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// All manifests and mesh.yaml.
    pub fn fleet(&self) -> Arc<Fleet> {
        self.fleet.clone()
    }

    /// The agent's manifest.
    pub fn manifest(&self) -> Arc<Manifest> {
        self.manifest.clone()
    }

    /// Who signs with which key.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.clone()
    }
}
