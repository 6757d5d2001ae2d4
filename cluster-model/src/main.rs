//! Serves an in-memory Kubernetes API on loopback until SIGTERM or SIGINT.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use clap::Parser;
use cluster_model::{Cli, Model};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let cli = Cli::parse();
    let model = Model::bind(cli.listen, cli.settings()).await?;
    match &cli.kubeconfig_out {
        Some(path) => model
            .write_kubeconfig(path)
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => std::io::stdout().write_all(model.kubeconfig().as_bytes())?,
    }
    tracing::info!(url = model.url(), "serving");
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    model
        .serve(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
        .context("cannot serve")
}
