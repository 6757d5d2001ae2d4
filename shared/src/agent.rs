//! The life of an agent: bind, serve, drain.

mod bind;
mod serve;

use std::{future::Future, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use axum::Router;
use identity::{Mode, SigningKey};
use tokio::net::TcpListener;

pub use bind::{bind, bind_on};

use crate::{
    Args,
    builder::{AgentBuilder, Loop},
    engine::Engine,
    readiness::Guard,
    shutdown,
    telemetry::{self, Traces, metrics::SharedRegistry},
};

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
    /// Webhooks, of an agent that takes some.
    pub webhooks: Option<SocketAddr>,
}

/// An agent that has its ports, store and identity, and serves next.
#[derive(Debug)]
#[must_use = "an agent answers only once it serves"]
pub struct Bound {
    engine: Arc<Engine>,
    /// Signs the card.
    key: SigningKey,
    args: Args,
    addresses: Addresses,
    sockets: [TcpListener; 3],
    mode: Mode,
    metrics: SharedRegistry,
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
