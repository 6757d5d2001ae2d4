//! Where usage and prices come from, as flags.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use reqwest::Url;

use crate::{
    LoadPricesError, Prices, UsageSource,
    prometheus::Prometheus,
    recorded::Recorded,
    source::{NoSource, Reader},
};

/// Flags of an agent that reads usage.
#[derive(Debug, Clone, Args)]
pub struct UsageArgs {
    /// Prometheus server that has the metrics of cAdvisor, the kubelet and kube-state-metrics
    #[arg(
        long,
        env = "AGENT_PROMETHEUS",
        value_name = "URL",
        conflicts_with = "metrics"
    )]
    pub prometheus: Option<Url>,

    /// File with a bearer token for Prometheus, read again for every query
    #[arg(
        long,
        env = "AGENT_PROMETHEUS_TOKEN_FILE",
        value_name = "FILE",
        requires = "prometheus"
    )]
    pub prometheus_token_file: Option<PathBuf>,

    /// Seconds until a query is given up
    #[arg(
        long,
        env = "AGENT_PROMETHEUS_TIMEOUT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 20
    )]
    pub prometheus_timeout_seconds: u64,

    /// Folder of recorded metrics (OpenMetrics text with timestamps, *.om or *.om.gz) in place of Prometheus
    #[arg(long, env = "AGENT_METRICS", value_name = "DIR")]
    pub metrics: Option<PathBuf>,

    /// Price table (TOML); default: a built-in table, see the README
    #[arg(long, env = "AGENT_PRICES", value_name = "FILE")]
    pub prices: Option<PathBuf>,
}

impl UsageArgs {
    /// The source that the flags name. Without one, questions are answered with an error that says so.
    pub fn source(&self) -> Arc<dyn UsageSource> {
        match (&self.prometheus, &self.metrics) {
            (Some(url), _) => {
                let timeout = Duration::from_secs(self.prometheus_timeout_seconds);
                Arc::new(Reader(Prometheus::new(
                    url,
                    self.prometheus_token_file.clone(),
                    timeout,
                )))
            }
            (None, Some(folder)) => Arc::new(Reader(Recorded::new(folder.clone()))),
            (None, None) => Arc::new(NoSource),
        }
    }

    /// The price table that the flags name.
    ///
    /// # Errors
    /// A file that is not a price table.
    pub fn prices(&self) -> Result<Prices, LoadPricesError> {
        Prices::load(self.prices.as_deref())
    }
}
