#![doc = include_str!("../README.md")]

use std::sync::Arc;

pub mod domain;
pub mod metrics;
pub mod skills;

use metrics::Metrics;
use skills::{AnalyzeUtilization, AssessResize, RecommendHpa, RecommendVpa, Tools};

/// Flags of the performance-optimizer.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    version,
    about = "Compares what workloads use with what they request, and advises"
)]
pub struct Cli {
    /// Flags of all agents.
    #[command(flatten)]
    pub shared: shared::Args,
    /// Where usage and prices come from.
    #[command(flatten)]
    pub usage: usage::UsageArgs,
}

impl shared::Daemon for Cli {
    const NAME: &'static str = "performance-optimizer";

    fn shared(&self) -> &shared::Args {
        &self.shared
    }

    async fn build(self, agent: shared::AgentBuilder) -> anyhow::Result<shared::AgentBuilder> {
        let tools = Tools {
            usage: self.usage.source(),
            prices: Arc::new(self.usage.prices()?),
            metrics: agent.registry(Metrics::register),
        };
        Ok(agent
            .skill(AnalyzeUtilization(tools.clone()))
            .skill(RecommendVpa(tools.clone()))
            .skill(RecommendHpa(tools.clone()))
            .skill(AssessResize(tools)))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
