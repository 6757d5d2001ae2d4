//! The flags behind triggers.

use std::time::Duration;

use crate::domain::{Thresholds, thresholds};

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
    /// How long the scheduler may look for a node.
    #[arg(long, env = "MONITORING_AGENT_UNSCHEDULABLE_AFTER", default_value = "30s", value_parser = humantime::parse_duration)]
    pub unschedulable_after: Duration,
    /// How long volumes may fail to mount, sandboxes to be made and admission webhooks to answer.
    #[arg(long, env = "MONITORING_AGENT_UNMOUNTED_AFTER", default_value = "30s", value_parser = humantime::parse_duration)]
    pub unmounted_after: Duration,
    /// How long volumes and controllers may wait for an object that is missing.
    #[arg(long, env = "MONITORING_AGENT_MISSING_AFTER", default_value = "5s", value_parser = humantime::parse_duration)]
    pub missing_after: Duration,
    /// How long a quota may keep pods from being made.
    #[arg(long, env = "MONITORING_AGENT_QUOTA_AFTER", default_value = "30s", value_parser = humantime::parse_duration)]
    pub quota_after: Duration,
    /// How long a controller may leave the newest spec unseen.
    #[arg(long, env = "MONITORING_AGENT_LAG_AFTER", default_value = "2m", value_parser = humantime::parse_duration)]
    pub lag_after: Duration,
    /// How long an autoscaler may be at its limit.
    #[arg(long, env = "MONITORING_AGENT_LIMITED_AFTER", default_value = "15m", value_parser = humantime::parse_duration)]
    pub limited_after: Duration,
    /// How long unhealthy pods may exhaust a disruption budget.
    #[arg(long, env = "MONITORING_AGENT_EXHAUSTED_AFTER", default_value = "15m", value_parser = humantime::parse_duration)]
    pub exhausted_after: Duration,
    /// How long a claim may wait for its volume.
    #[arg(long, env = "MONITORING_AGENT_PENDING_AFTER", default_value = "5m", value_parser = humantime::parse_duration)]
    pub pending_after: Duration,
    /// A larger share of failing requests than this over 5 minutes opens an incident, in percent.
    #[arg(long, env = "MONITORING_AGENT_MAX_ERROR_PERCENT", default_value_t = thresholds::MAX_ERROR_PERCENT)]
    pub max_error_percent: f64,
    /// A 95th percentile of latency above this multiple of its baseline over 10 minutes opens an incident.
    #[arg(long, env = "MONITORING_AGENT_MAX_LATENCY_RATIO", default_value_t = thresholds::MAX_LATENCY_RATIO)]
    pub max_latency_ratio: f64,
}

impl TriggerArgs {
    /// The numbers in use.
    pub(crate) fn thresholds(&self) -> Thresholds {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4);
        Thresholds {
            max_restarts: self.max_restarts,
            restart_window_ms: millis(self.restart_window),
            max_unready_percent: self.max_unready_percent,
            unready_for_ms: millis(self.unready_for),
            unready_after_ms: millis(self.unready_after),
            release_window_ms: millis(self.release_window),
            recover_after_ms: millis(self.recover_after),
            unschedulable_after_ms: millis(self.unschedulable_after),
            unmounted_after_ms: millis(self.unmounted_after),
            missing_after_ms: millis(self.missing_after),
            quota_after_ms: millis(self.quota_after),
            lag_after_ms: millis(self.lag_after),
            limited_after_ms: millis(self.limited_after),
            exhausted_after_ms: millis(self.exhausted_after),
            pending_after_ms: millis(self.pending_after),
            max_error_percent: self.max_error_percent,
            max_latency_ratio: self.max_latency_ratio,
        }
    }
}
