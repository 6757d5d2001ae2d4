#![doc = include_str!("../README.md")]

pub mod clients;
pub mod domain;
mod metrics;
pub mod skills;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser;

use crate::{
    clients::{rego::Regorus, schema::LazySchema, workspace::Workspace},
    skills::{EvaluatePolicies, ValidateManifests},
};
pub use metrics::Metrics;

/// Flags of this agent.
#[derive(Debug, Parser)]
#[command(
    name = "config-validator",
    version,
    about = "Validates Kubernetes manifests and evaluates policies about them"
)]
pub struct Cli {
    /// Flags that every agent has.
    #[command(flatten)]
    pub shared: shared::Args,
    /// Folder that `paths` in requests are relative to; without it requests bring their files along.
    #[arg(long, env = "CONFIG_VALIDATOR_WORKSPACE", value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Folder of Rego policies: what `policy_paths` in requests are relative to, and the policies of requests that name none.
    #[arg(long, env = "CONFIG_VALIDATOR_POLICIES", value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// OpenAPI 2 document to use instead of the built-in Kubernetes schema (`kubectl get --raw /openapi/v2`), plain or zlib.
    #[arg(long, env = "CONFIG_VALIDATOR_KUBERNETES_SCHEMA", value_name = "FILE")]
    pub kubernetes_schema: Option<PathBuf>,
    /// Milliseconds that one rule may take for one object.
    #[arg(long, env = "CONFIG_VALIDATOR_POLICY_TIME_LIMIT_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub policy_time_limit_ms: u64,
    /// MiB of memory of the whole process at which policy evaluations stop.
    #[arg(long, env = "CONFIG_VALIDATOR_POLICY_MEMORY_LIMIT_MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(64..=65_536))]
    pub policy_memory_limit_mib: u64,
}

impl shared::Daemon for Cli {
    const NAME: &'static str = "config-validator";

    fn shared(&self) -> &shared::Args {
        &self.shared
    }

    async fn build(self, agent: shared::AgentBuilder) -> anyhow::Result<shared::AgentBuilder> {
        let metrics = agent.registry(Metrics::register);
        let workspace = open(self.workspace)?;
        let policies = open(self.policies)?;
        let schema = Arc::new(LazySchema::new(self.kubernetes_schema));
        let engine = Arc::new(Regorus::new(
            Duration::from_millis(self.policy_time_limit_ms),
            self.policy_memory_limit_mib * 1024 * 1024,
        ));
        Ok(agent
            .skill(ValidateManifests {
                schema,
                workspace: workspace.clone(),
                metrics: metrics.clone(),
            })
            .skill(EvaluatePolicies {
                engine,
                workspace,
                policies,
                metrics,
            }))
    }
}

fn open(folder: Option<PathBuf>) -> anyhow::Result<Option<Arc<Workspace>>> {
    let opened = folder.map(|path| {
        Workspace::open(&path).with_context(|| format!("cannot open the folder {}", path.display()))
    });
    Ok(opened.transpose()?.map(Arc::new))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn verify_cli() {
        Cli::command().debug_assert();
    }
}
