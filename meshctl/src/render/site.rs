//! What a cluster has around the mesh, which no manifest says.

/// Things outside the mesh, as flags.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Site {
    /// What image names start with: PREFIX/<agent>:<version>.
    #[arg(long, value_name = "PREFIX", default_value = "agent-mesh")]
    pub(crate) image_prefix: String,
    /// Namespace with the Services `prometheus` (9090) and `otel-collector` (4317).
    #[arg(long, value_name = "NAMESPACE", default_value = "monitoring")]
    pub(crate) monitoring_namespace: String,
    /// Service account of Prometheus in that namespace, which may scrape the agents through Istio.
    #[arg(long, value_name = "NAME", default_value = "prometheus")]
    pub(crate) prometheus_account: String,
    /// Network of the Kubernetes API server, for agents that use it.
    #[arg(long, value_name = "CIDR", default_value = "0.0.0.0/0")]
    pub(crate) api_server_cidr: String,
    /// Network of the databases that db-migrator works on.
    #[arg(long, value_name = "CIDR", default_value = "0.0.0.0/0")]
    pub(crate) database_cidr: String,
    /// GitLab that monitoring-agent and rollback-coordinator use, for example <https://gitlab.example.com>; their tokens
    /// are in the Secrets <agent>-gitlab under the key `token`.
    #[arg(long, value_name = "URL")]
    pub(crate) gitlab_url: Option<reqwest::Url>,
    /// Network of that GitLab.
    #[arg(long, value_name = "CIDR", default_value = "0.0.0.0/0")]
    pub(crate) gitlab_cidr: String,
    /// Alertmanager that monitoring-agent tells of incidents, for example <http://alertmanager.monitoring.svc:9093>; it has
    /// to be in the monitoring namespace.
    #[arg(long, value_name = "URL")]
    pub(crate) alertmanager_url: Option<reqwest::Url>,
}

impl Site {
    /// Where Prometheus answers queries.
    pub(crate) fn prometheus_url(&self) -> String {
        format!("http://prometheus.{}.svc:9090", self.monitoring_namespace)
    }

    /// Where traces go, over gRPC.
    pub(crate) fn otlp_url(&self) -> String {
        format!(
            "http://otel-collector.{}.svc:4317",
            self.monitoring_namespace
        )
    }

    /// The image of an agent.
    pub(crate) fn image(&self, agent: &str, version: Option<&str>) -> String {
        let version = version.unwrap_or(env!("CARGO_PKG_VERSION"));
        format!("{}/{agent}:{version}", self.image_prefix)
    }
}
