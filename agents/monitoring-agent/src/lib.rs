#![doc = include_str!("../README.md")]

pub mod archive;
mod checkup;
pub mod clients;
pub mod domain;
pub mod dora;
pub mod ledger;
mod metrics;
pub mod notices;
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
pub use metrics::Metrics;

use crate::{
    archive::{Archive, Intake},
    clients::{Inventory, KubernetesInventory},
    domain::{Thresholds, thresholds},
    ledger::Ledger,
    notices::{NoticeArgs, Notices},
    skills::{CheckHealth, GetIncident, ListAlerts, ListIncidents, MeasureDora},
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
    /// Where webhooks come in.
    #[command(flatten)]
    pub webhooks: WebhookArgs,
    /// Where incidents are told.
    #[command(flatten)]
    pub notices: NoticeArgs,
}

/// The numbers behind triggers.
#[derive(Debug, Clone, clap::Args)]
pub struct TriggerArgs {
    /// More restarts of one pod than this within --restart-window open an incident.
    #[arg(long, env = "MONITORING_AGENT_MAX_RESTARTS", default_value_t = thresholds::MAX_RESTARTS)]
    pub max_restarts: u32,
    /// The window in which restarts are counted.
    #[arg(long, env = "MONITORING_AGENT_RESTART_WINDOW", default_value = "5m", value_parser = humantime::parse_duration)]
    pub restart_window: Duration,
    /// A larger share of unready pods than this for --unready-for opens an incident, in percent.
    #[arg(long, env = "MONITORING_AGENT_MAX_UNREADY_PERCENT", default_value_t = thresholds::MAX_UNREADY_PERCENT, value_parser = clap::value_parser!(u32).range(0..100))]
    pub max_unready_percent: u32,
    /// How long that share may last.
    #[arg(long, env = "MONITORING_AGENT_UNREADY_FOR", default_value = "3m", value_parser = humantime::parse_duration)]
    pub unready_for: Duration,
    /// How long a pod that has passed its startup probe, or was ready before, may fail its readiness probe.
    #[arg(long, env = "MONITORING_AGENT_UNREADY_AFTER", default_value = "1500ms", value_parser = humantime::parse_duration)]
    pub unready_after: Duration,
    /// How long after a change its revision can be the cause of what goes wrong.
    #[arg(long, env = "MONITORING_AGENT_RELEASE_WINDOW", default_value = "30m", value_parser = humantime::parse_duration)]
    pub release_window: Duration,
    /// How long a workload has to stay healthy before an incident that nobody acted on is over.
    #[arg(long, env = "MONITORING_AGENT_RECOVER_AFTER", default_value = "30s", value_parser = humantime::parse_duration)]
    pub recover_after: Duration,
}

impl TriggerArgs {
    fn thresholds(&self) -> Thresholds {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4);
        Thresholds {
            max_restarts: self.max_restarts,
            restart_window_ms: millis(self.restart_window),
            max_unready_percent: self.max_unready_percent,
            unready_for_ms: millis(self.unready_for),
            unready_after_ms: millis(self.unready_after),
            release_window_ms: millis(self.release_window),
            recover_after_ms: millis(self.recover_after),
        }
    }
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
        let ledger = Ledger(agent.store());
        let thresholds = self.triggers.thresholds();
        let namespaces = agent.fleet().mesh.targets(Self::NAME).to_vec();
        let live = !cluster.is_snapshot();
        let watch = Watch {
            cluster,
            namespaces,
            ledger: ledger.clone(),
            inventory: inventory.clone(),
            thresholds,
            metrics: metrics.clone(),
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
            .skill(GetIncident(ledger));
        // A snapshot does not change, and nothing in it can be rolled back.
        Ok(if live {
            agent
                .background("watch-workloads", looped(watch))
                .background("watch-rollouts", rollouts)
                .background("send-notices", move |context, shutdown| {
                    notices::run(notices.clone(), context, shutdown)
                })
        } else {
            agent
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

    #[test]
    fn the_flags_are_consistent_and_default_to_the_documented_numbers() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["monitoring-agent"]);
        assert_eq!(cli.triggers.thresholds(), Thresholds::default());
    }
}
