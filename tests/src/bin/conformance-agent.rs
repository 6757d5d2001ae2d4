//! An agent for conformance kits: no manifest, no mTLS, no audit, all in memory. Never for production.

use std::net::SocketAddr;

use ::tests::conformance;
use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use shared::testing::OpenAgent;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Capability {
    Streaming,
    Push,
    ExtendedCard,
}

#[derive(Debug, Parser)]
#[command(about = "An agent that does what A2A conformance kits ask of it")]
struct Cli {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// Webhooks on this machine are allowed.
    #[arg(long)]
    loopback_webhooks: bool,
    /// Capabilities that it does not have.
    #[arg(long, value_delimiter = ',')]
    without: Vec<Capability>,
    /// An extension that callers have to know.
    #[arg(long)]
    require_extension: Option<String>,
    /// A bearer token that it knows, and whether it suffices: `TOKEN=allowed` or `TOKEN=denied`.
    #[arg(long)]
    bearer: Vec<String>,
}

impl Cli {
    fn agent(&self) -> anyhow::Result<OpenAgent> {
        let mut agent = conformance::agent().loopback_webhooks(self.loopback_webhooks);
        for capability in &self.without {
            agent = match capability {
                Capability::Streaming => agent.without_streaming(),
                Capability::Push => agent.without_push(),
                Capability::ExtendedCard => agent.without_extended_card(),
            };
        }
        if let Some(uri) = &self.require_extension {
            agent = agent.require_extension(uri);
        }
        for bearer in &self.bearer {
            let (token, allowed) = token(bearer)?;
            agent = agent.bearer(token, allowed);
        }
        Ok(agent)
    }
}

fn token(flag: &str) -> anyhow::Result<(&str, bool)> {
    match flag.rsplit_once('=') {
        Some((token, "allowed")) => Ok((token, true)),
        Some((token, "denied")) => Ok((token, false)),
        _ => bail!("--bearer wants TOKEN=allowed or TOKEN=denied"),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let agent = cli.agent()?;
    let listener = TcpListener::bind(cli.listen)
        .await
        .with_context(|| format!("cannot listen on {}", cli.listen))?;
    let stop = CancellationToken::new();
    tokio::select! {
        served = agent.serve(listener, stop.clone()) => served,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_suffice_or_do_not() {
        assert_eq!(token("a=b=allowed").unwrap(), ("a=b", true));
        assert_eq!(token("a=denied").unwrap(), ("a", false));
        assert!(token("a").is_err());
    }
}
