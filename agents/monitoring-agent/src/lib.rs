#![doc = include_str!("../README.md")]

pub mod board;
mod checkup;
pub mod clients;
pub mod domain;
mod flags;
pub mod ledger;
mod metrics;
pub mod objectives;
pub mod response;
pub mod skills;
pub mod watch;

use std::sync::Arc;

use cluster::{Cluster, ClusterArgs};
use futures::{FutureExt, future::BoxFuture};
use shared::{AgentBuilder, Args, Context, Daemon};
use tokio_util::sync::CancellationToken;

pub use checkup::checkup;
pub use flags::TriggerArgs;
pub use metrics::Metrics;

use crate::{
    board::Board,
    clients::{Inventory, KubernetesInventory},
    ledger::Ledger,
    objectives::{Meter, ObjectiveArgs},
    skills::{
        AcknowledgeIncident, CheckHealth, DraftPostmortem, EvaluateSlo, FollowIncident,
        GetIncident, ListIncidents,
    },
    watch::Watch,
};

/// Watches workloads, opens incidents and asks for a rollback when a release fails.
#[derive(Debug, clap::Parser)]
#[command(name = "monitoring-agent", version)]
pub struct Cli {
    /// Flags that all agents have.
    #[command(flatten)]
    pub shared: Args,
    /// The cluster that is watched.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// When incidents are opened.
    #[command(flatten)]
    pub triggers: TriggerArgs,
    /// What is promised of the requests to workloads.
    #[command(flatten)]
    pub objectives: ObjectiveArgs,
}

impl Daemon for Cli {
    const NAME: &'static str = "monitoring-agent";

    fn shared(&self) -> &Args {
        &self.shared
    }

    async fn build(self, agent: AgentBuilder) -> anyhow::Result<AgentBuilder> {
        let metrics = agent.registry(Metrics::register);
        let cluster = Cluster::connect(&self.cluster)?;
        let inventory: Arc<dyn Inventory> = Arc::new(KubernetesInventory(cluster.clone()));
        let ledger = Ledger::new(agent.store());
        let thresholds = self.triggers.thresholds();
        let namespaces = agent.fleet().mesh.targets(Self::NAME).to_vec();
        let live = !cluster.is_snapshot();
        let loaded = self.objectives.load()?;
        let measured = loaded.iter().flat_map(|(objectives, _)| objectives);
        let board = Board::new(measured.map(|objective| objective.workload.clone()));
        let meter = loaded.map(|(objectives, source)| Meter {
            objectives: objectives.into(),
            source,
            board: board.clone(),
            thresholds,
        });
        let watch = Watch {
            cluster,
            namespaces,
            ledger: ledger.clone(),
            inventory: inventory.clone(),
            thresholds,
            metrics: metrics.clone(),
            board,
        };
        let agent = agent
            .skill(CheckHealth {
                inventory,
                thresholds,
            })
            .skill(ListIncidents(ledger.clone()))
            .skill(GetIncident(ledger.clone()))
            .skill(AcknowledgeIncident(ledger.clone()))
            .skill(FollowIncident(ledger.clone()))
            .skill(DraftPostmortem(ledger))
            .skill(EvaluateSlo(meter.clone()));
        // A snapshot does not change, and nothing in it can be rolled back.
        Ok(if live {
            let agent = agent.background("watch-workloads", looped(watch));
            match meter {
                Some(meter) => {
                    let every = self.objectives.objectives_every;
                    agent.background("measure-objectives", move |context, shutdown| {
                        let (meter, metrics) = (meter.clone(), metrics.clone());
                        objectives::run(meter, every, metrics, (context, shutdown))
                    })
                }
                None => agent,
            }
        } else {
            agent
        })
    }
}

fn looped(
    watch: Watch,
) -> impl Fn(Context, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
    move |context, shutdown| watch::run(watch.clone(), context, shutdown).boxed()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::domain::Thresholds;

    #[test]
    fn the_flags_are_consistent_and_default_to_the_documented_numbers() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["monitoring-agent"]);
        assert_eq!(cli.triggers.thresholds(), Thresholds::default());
    }
}
