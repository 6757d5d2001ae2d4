#![doc = include_str!("../README.md")]

pub mod archive;
pub mod board;
mod checkup;
pub mod clients;
pub mod domain;
pub mod dora;
mod flags;
pub mod ledger;
pub mod metrics;
pub mod notices;
pub mod objectives;
pub mod response;
pub mod rollouts;
pub mod skills;
pub mod watch;
pub mod webhooks;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use cluster::{Cluster, ClusterArgs};
use futures::{FutureExt, future::BoxFuture};
use shared::{AgentBuilder, Args, Context, Daemon};
use tokio_util::sync::CancellationToken;

pub use checkup::checkup;
pub use flags::TriggerArgs;
pub use metrics::Metrics;

use crate::{
    archive::{Archive, Intake},
    board::Board,
    clients::{Inventory, KubernetesInventory},
    ledger::Ledger,
    notices::{NoticeArgs, Notices},
    objectives::{Meter, ObjectiveArgs},
    skills::{
        AcknowledgeIncident, CheckHealth, DraftPostmortem, EvaluateSlo, FollowIncident,
        GetIncident, ListAlerts, ListIncidents, MeasureDora,
    },
    watch::Watch,
    webhooks::{AlertLog, Secrets, WebhookArgs, Webhooks},
};

/// How often the secrets of webhooks are read again.
const SECRETS_EVERY: Duration = Duration::from_secs(30);

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
    /// Where webhooks come in.
    #[command(flatten)]
    pub webhooks: WebhookArgs,
    /// Where incidents are told.
    #[command(flatten)]
    pub notices: NoticeArgs,
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
        let agent = delivery(agent, &self.webhooks, &metrics)?;
        let notices = Notices::new(&self.notices, agent.store())?;
        let rollouts = recorded(&watch, agent.store());
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
        if !live {
            return Ok(agent);
        }
        let agent = agent
            .background("watch-workloads", looped(watch))
            .background("watch-rollouts", rollouts)
            .background("send-notices", move |context, shutdown| {
                notices::run(notices.clone(), context, shutdown)
            });
        Ok(match meter {
            Some(meter) => {
                let every = self.objectives.objectives_every;
                agent.background("measure-objectives", move |context, shutdown| {
                    let (meter, metrics) = (meter.clone(), metrics.clone());
                    objectives::run(meter, every, metrics, (context, shutdown))
                })
            }
            None => agent,
        })
    }
}

/// The loop that records rollouts.
fn recorded(
    watch: &Watch,
    store: Arc<dyn store::Store>,
) -> impl Fn(Context, CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> + use<> {
    let (cluster, namespaces) = (watch.cluster.clone(), watch.namespaces.clone());
    move |_, shutdown| {
        let archive = Archive(store.clone());
        rollouts::run(cluster.clone(), namespaces.clone(), archive, shutdown).boxed()
    }
}

/// What is known of deliveries: webhooks, their log and what it is measured by.
fn delivery(
    agent: AgentBuilder,
    args: &WebhookArgs,
    metrics: &Metrics,
) -> anyhow::Result<AgentBuilder> {
    let archive = Archive(agent.store());
    let alerts = AlertLog(agent.store());
    let (retention, log) = (args.event_retention, archive.clone());
    let (shown, gauges) = (archive.clone(), metrics.dora.clone());
    let mut agent = agent
        .skill(MeasureDora(archive.clone()))
        .skill(ListAlerts(alerts.clone()))
        .background("keep-up-events", move |_, shutdown| {
            dora::keep_up(log.clone(), retention, shutdown)
        })
        .every("show-dora", dora::gauges_every(), move |_| {
            dora::show(shown.clone(), gauges.clone())
        });
    if let Some(folder) = &args.webhook_secrets {
        let secrets = Secrets::read(folder).context("cannot use --webhook-secrets")?;
        let fresh = secrets.clone();
        let intake = Intake::open(archive);
        let state = Webhooks::new(secrets, intake, Arc::new(alerts), metrics.webhooks.clone());
        agent = agent.webhooks(args.webhook_listen, state.router()).every(
            "read-webhook-secrets",
            SECRETS_EVERY,
            move |_| {
                let fresh = fresh.clone();
                async move { Ok(fresh.refresh()?) }
            },
        );
    }
    Ok(agent)
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
