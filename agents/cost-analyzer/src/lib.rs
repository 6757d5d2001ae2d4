#![doc = include_str!("../README.md")]

use std::sync::Arc;

pub mod domain;
pub mod metrics;
pub mod skills;

use domain::{
    idle::{IDLE_DAYS, IDLE_SHARE, IdleRule},
    rightsizing::{CutRule, HEADROOM, MAX_REDUCTION, MIN_REDUCTION},
};
use metrics::Metrics;
use skills::{FindIdleResources, RecommendRightsizing, Tools};

/// Flags of the cost-analyzer.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    version,
    about = "Finds what could be switched off or made smaller, and what that saves"
)]
pub struct Cli {
    /// Flags of all agents.
    #[command(flatten)]
    pub shared: shared::Args,
    /// Where usage and prices come from.
    #[command(flatten)]
    pub usage: usage::UsageArgs,

    /// Share of the requests below which a workload is idle
    #[arg(long, env = "COST_ANALYZER_IDLE_SHARE", default_value_t = IDLE_SHARE, value_parser = share)]
    pub idle_share: f64,

    /// Days for which it has to be
    #[arg(long, env = "COST_ANALYZER_IDLE_DAYS", default_value_t = IDLE_DAYS, value_parser = clap::value_parser!(u32).range(1..=92))]
    pub idle_days: u32,

    /// Smallest cut of a request that is recommended, as a share
    #[arg(long, env = "COST_ANALYZER_MIN_REDUCTION", default_value_t = MIN_REDUCTION, value_parser = share)]
    pub min_reduction: f64,

    /// Largest cut of a request in one step, as a share
    #[arg(long, env = "COST_ANALYZER_MAX_REDUCTION", default_value_t = MAX_REDUCTION, value_parser = share)]
    pub max_reduction: f64,

    /// Room above p99 of CPU and the largest memory peak, as a share
    #[arg(long, env = "COST_ANALYZER_HEADROOM", default_value_t = HEADROOM, value_parser = share)]
    pub headroom: f64,
}

/// A share between 0 and 1.
fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| String::from("expected a share from 0 to 1"))
}

impl Cli {
    /// What counts as idle.
    pub fn idle(&self) -> IdleRule {
        IdleRule {
            share: self.idle_share,
            days: self.idle_days,
        }
    }

    /// How far to cut.
    pub fn cut(&self) -> CutRule {
        CutRule {
            min: self.min_reduction,
            max: self.max_reduction,
            headroom: self.headroom,
        }
    }
}

impl shared::Daemon for Cli {
    const NAME: &'static str = "cost-analyzer";

    fn shared(&self) -> &shared::Args {
        &self.shared
    }

    async fn build(self, agent: shared::AgentBuilder) -> anyhow::Result<shared::AgentBuilder> {
        anyhow::ensure!(
            self.min_reduction <= self.max_reduction,
            "--min-reduction is above --max-reduction"
        );
        let tools = Tools {
            usage: self.usage.source(),
            prices: Arc::new(self.usage.prices()?),
            idle: self.idle(),
            cut: self.cut(),
            metrics: agent.registry(Metrics::register),
        };
        Ok(agent
            .skill(FindIdleResources(tools.clone()))
            .skill(RecommendRightsizing(tools)))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_share_lies_between_0_and_1() {
        let parse = |value| {
            Cli::try_parse_from(["cost-analyzer", "--idle-share", value])
                .map(|cli| cli.idle().share)
        };
        assert_eq!(parse("0.1").ok(), Some(0.1));
        for wrong in ["-0.1", "1.1", "NaN", "a"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
