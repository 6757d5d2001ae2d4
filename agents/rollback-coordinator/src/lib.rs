#![doc = include_str!("../README.md")]

pub mod clients;
pub mod domain;
#[cfg(test)]
mod fake;
pub mod history;
pub mod learn;
pub mod metrics;
pub mod saga;
pub mod skills;

use std::sync::Arc;

use cluster::{Cluster, ClusterArgs};
use shared::{AgentBuilder, Args, Daemon};

use crate::{
    clients::{Kubernetes, RolloutControl},
    history::History,
    metrics::Metrics,
    saga::Saga,
    skills::{ExecuteRollback, ListRevisions, PlanRollback, Planner, RollbackStatus},
};

/// Orchestrates automated rollbacks from health signals.
#[derive(Debug, clap::Parser)]
#[command(name = "rollback-coordinator", version)]
pub struct Cli {
    /// Flags that all agents have.
    #[command(flatten)]
    pub shared: Args,
    /// The cluster whose workloads are rolled back.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl Daemon for Cli {
    const NAME: &'static str = "rollback-coordinator";

    fn shared(&self) -> &Args {
        &self.shared
    }

    async fn build(self, agent: AgentBuilder) -> anyhow::Result<AgentBuilder> {
        let metrics = agent.registry(Metrics::register);
        let cluster = Cluster::connect(&self.cluster)?;
        let control: Arc<dyn RolloutControl> = Arc::new(Kubernetes(cluster.clone()));
        let history = History(agent.store());
        let planner = Planner {
            control: control.clone(),
            history: history.clone(),
        };
        let saga = Saga {
            control: control.clone(),
            history: history.clone(),
        };
        let namespaces = agent.fleet().mesh.targets(Self::NAME).to_vec();
        let memory = history.clone();
        Ok(agent
            .skill(ListRevisions(planner.clone()))
            .skill(PlanRollback(planner.clone()))
            .skill(ExecuteRollback {
                planner,
                saga,
                metrics,
            })
            .skill(RollbackStatus(history))
            .background("learn-healthy-revisions", move |_, shutdown| {
                let (cluster, namespaces, control, memory) = (
                    cluster.clone(),
                    namespaces.clone(),
                    control.clone(),
                    memory.clone(),
                );
                async move { learn::watch(cluster, namespaces, &*control, &memory, shutdown).await }
            }))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
