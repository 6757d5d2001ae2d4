#![doc = include_str!("../README.md")]

pub mod clients;
pub mod configuration;
pub mod delivery;
pub mod domain;
pub mod escort;
#[cfg(test)]
mod fake;
pub mod guard;
pub mod handover;
pub mod history;
pub mod learn;
pub mod metrics;
pub mod release;
pub mod saga;
pub mod skills;
pub mod traffic;

use std::sync::Arc;

use cluster::{Cluster, ClusterArgs};
use futures::{FutureExt, future::BoxFuture};
use shared::{AgentBuilder, Args, Context, Daemon};
use tokio_util::sync::CancellationToken;

use crate::{
    clients::{Kubernetes, KubernetesObjects, PipelineArgs, Pipelines, RolloutControl},
    guard::{Guard, GuardArgs, Settings, sweep},
    history::History,
    learn::Learning,
    metrics::Metrics,
    saga::Saga,
    skills::{
        AbortRollback, ExecuteRollback, ListRevisions, PlanRollback, Planner, ResumeGitops,
        RollbackStatus,
    },
    traffic::Gradual,
};

/// Orchestrates automated rollbacks from health signals.
#[derive(Debug, clap::Parser)]
#[command(name = "rollback-coordinator", version)]
pub struct Cli {
    /// Flags that all agents have.
    #[command(flatten)]
    pub shared: Args,
    /// Shares of its traffic that a gradual rollback leaves to the bad version, in percent, one step each; the last step
    /// leaves none.
    #[arg(long, env = "ROLLBACK_COORDINATOR_TRAFFIC_SHARES", value_delimiter = ',', default_values_t = traffic::SHARES, value_parser = clap::value_parser!(u32).range(0..100))]
    pub traffic_shares: Vec<u32>,
    /// Pause between two of those steps, for example 10s.
    #[arg(long, env = "ROLLBACK_COORDINATOR_TRAFFIC_PAUSE", default_value = traffic::PAUSE)]
    pub traffic_pause: humantime::Duration,
    /// The cluster whose workloads are rolled back.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Limits of the guards.
    #[command(flatten)]
    pub guard: GuardArgs,
    /// Where deployments are known.
    #[command(flatten)]
    pub pipelines: PipelineArgs,
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
        let namespaces = agent.fleet().mesh.targets(Self::NAME).to_vec();
        let guard = Guard::new(
            Arc::new(KubernetesObjects(cluster.clone())),
            namespaces.clone(),
            Settings::from(&self.guard),
        )
        .with_pipelines(Pipelines::new(&self.pipelines)?);
        let gradual = Gradual {
            shares: self.traffic_shares,
            pause: self.traffic_pause.into(),
        };
        let planner = Planner {
            control: control.clone(),
            history: history.clone(),
            guard: guard.clone(),
            gradual,
        };
        let saga = Saga {
            control: control.clone(),
            history: history.clone(),
            guard: guard.clone(),
        };
        let sweep = sweep::Sweep {
            control: control.clone(),
            history: history.clone(),
            guard: guard.clone(),
            metrics: metrics.clone(),
        };
        let memory = history.clone();
        Ok(agent
            .skill(ListRevisions(planner.clone()))
            .skill(PlanRollback(planner.clone()))
            .skill(ExecuteRollback {
                planner,
                saga,
                metrics,
            })
            .skill(AbortRollback(history.clone()))
            .skill(ResumeGitops {
                history: history.clone(),
                guard,
            })
            .skill(RollbackStatus(history))
            .every("resume-gitops", sweep::PERIOD, move |context| {
                let sweep = sweep.clone();
                async move { Ok(sweep.run(&context).await?) }
            })
            .background(
                "learn-healthy-revisions",
                learn(cluster, namespaces, (control, memory)),
            ))
    }
}

/// The loop that remembers healthy revisions.
fn learn(
    cluster: Cluster,
    namespaces: Vec<String>,
    (control, memory): (Arc<dyn RolloutControl>, History),
) -> impl Fn(Context, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
    move |context, shutdown| {
        let (cluster, namespaces) = (cluster.clone(), namespaces.clone());
        let (control, memory) = (control.clone(), memory.clone());
        async move {
            let learning = Learning {
                control: &*control,
                history: &memory,
                context: Some(&context),
            };
            learning.watch(cluster, namespaces, shutdown).await
        }
        .boxed()
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
