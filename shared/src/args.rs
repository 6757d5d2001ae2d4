//! Flags that every agent has. The manifest says who the agent is; flags say where things are.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use identity::{Cidr, HeaderFamily};

use crate::{
    push::Policy,
    telemetry::{LogFilter, LogFormat},
    upkeep::Keep,
};

/// Flags of all agents, with their environment names.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address of the A2A listener.
    #[arg(long, env = "AGENT_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of the health listener (/livez, /readyz).
    #[arg(long, env = "AGENT_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Address of the metrics listener (/metrics, /manifest).
    #[arg(long, env = "AGENT_METRICS_LISTEN", default_value = "0.0.0.0:9090")]
    pub metrics_listen: SocketAddr,
    /// Base URL in the agent card [default: https://<agent>.<namespace>.svc:8080, or the listener when it is on loopback].
    #[arg(long, env = "AGENT_ADVERTISE")]
    pub advertise: Option<String>,
    /// Folder with all manifests and mesh.yaml.
    #[arg(long, env = "AGENT_MANIFESTS", default_value = "manifests")]
    pub manifests: PathBuf,
    /// Who does mTLS: this process, or a mesh proxy in front of it.
    #[arg(long, env = "AGENT_TRANSPORT", value_enum, default_value_t = TransportKind::Mtls)]
    pub transport: TransportKind,
    /// Folder with cert.pem, key.pem and ca.pem; watched for rotation.
    #[arg(long, env = "AGENT_TLS_DIR", default_value = "tls")]
    pub tls_dir: PathBuf,
    /// SPIFFE Workload API socket (<unix:///path> or tcp://ip:port) instead of --tls-dir.
    #[arg(long, env = "AGENT_WORKLOAD_API")]
    pub workload_api: Option<String>,
    /// Header family in which the trusted proxy names the peer (with --transport mesh).
    #[arg(
        long,
        env = "AGENT_PEER_IDENTITY",
        value_name = "xfcc|l5d",
        required_if_eq("transport", "mesh")
    )]
    pub peer_identity: Option<HeaderFamily>,
    /// Network of the trusted proxy, repeatable (with --transport mesh).
    #[arg(
        long,
        env = "AGENT_TRUSTED_PROXY",
        value_delimiter = ',',
        required_if_eq("transport", "mesh")
    )]
    pub trusted_proxy: Vec<Cidr>,
    /// Ed25519 key (PKCS#8 PEM) that signs audit records; made when missing.
    #[arg(long, env = "AGENT_SIGNING_KEY", default_value = "signing-key.pem")]
    pub signing_key: PathBuf,
    /// directory.json: agents, SPIFFE ids, DIDs and signing keys.
    #[arg(long, env = "AGENT_DIRECTORY", default_value = "directory.json")]
    pub directory: PathBuf,
    /// Where the agent keeps its state: sqlite:PATH or <postgres://USER@HOST/DATABASE>, with sslmode, sslrootcert,
    /// sslcert and sslkey as libpq means them.
    #[arg(long, env = "AGENT_STORE", default_value = "sqlite:agent.db")]
    pub store: String,
    /// Base URL of another agent, repeatable [default: https://<agent>.<namespace>.svc:8080].
    #[arg(
        long = "peer",
        env = "AGENT_PEERS",
        value_name = "NAME=URL",
        value_delimiter = ','
    )]
    pub peers: Vec<PeerUrl>,
    /// OTLP/gRPC endpoint for traces, for example <http://127.0.0.1:4317>; none exports nothing.
    #[arg(long, env = "AGENT_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Share of traces that start here and are kept, 0 to 1.
    #[arg(long, env = "AGENT_TRACE_RATIO", default_value_t = 1.0)]
    pub trace_ratio: f64,
    /// Form of log lines (on stderr).
    #[arg(long, env = "AGENT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// Which log lines are written.
    #[arg(
        long,
        env = "AGENT_LOG",
        default_value = "info,kube=warn,hyper=warn,h2=warn"
    )]
    pub log_filter: LogFilter,
    /// Seconds that running tasks get to finish after SIGTERM.
    #[arg(long, env = "AGENT_DRAIN_SECONDS", default_value_t = 20)]
    pub drain_seconds: u64,
    /// Skill runs at the same time.
    #[arg(long, env = "AGENT_MAX_CONCURRENCY", default_value_t = 64)]
    pub max_concurrency: usize,
    /// Audit records that may wait for delivery; mutating work is refused when they are this many.
    #[arg(long, env = "AGENT_MAX_OUTBOX", default_value_t = 100_000)]
    pub max_outbox: u64,
    /// Days that ended tasks are kept.
    #[arg(long, env = "AGENT_TASK_RETENTION_DAYS", default_value_t = 7)]
    pub task_retention_days: u32,
    /// Ended tasks that are kept; beyond that the oldest go.
    #[arg(long, env = "AGENT_MAX_TASKS", default_value_t = 100_000)]
    pub max_tasks: u64,
    /// Network in which webhooks of push notifications may be although it is not public, repeatable.
    #[arg(
        long,
        env = "AGENT_PUSH_ALLOW",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub push_allow: Vec<Cidr>,
    /// Allow webhooks on loopback and over plain HTTP; for tests.
    #[arg(long, env = "AGENT_PUSH_ALLOW_LOOPBACK", default_value_t = false)]
    pub push_allow_loopback: bool,
}

impl Args {
    /// What of ended tasks is kept.
    pub(crate) fn retention(&self) -> Keep {
        Keep {
            age: time::Duration::days(self.task_retention_days.into()),
            tasks: self.max_tasks,
        }
    }

    /// Where webhooks may be.
    pub(crate) fn push_policy(&self) -> Policy {
        Policy {
            loopback: self.push_allow_loopback,
            allow: self.push_allow.clone(),
        }
    }

    /// Time to drain.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

/// Who does mTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TransportKind {
    /// This process (TLS 1.3).
    Mtls,
    /// A proxy of the service mesh.
    Mesh,
}

/// `NAME=URL` of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrl {
    /// The agent.
    pub name: String,
    /// Its base URL, without a slash at the end.
    pub url: String,
}

/// A `--peer` that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected NAME=URL with an http or https URL")]
pub struct PeerUrlError;

impl FromStr for PeerUrl {
    type Err = PeerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, url) = text.split_once('=').ok_or(PeerUrlError)?;
        if name.is_empty() || !(url.starts_with("https://") || url.starts_with("http://")) {
            return Err(PeerUrlError);
        }
        Ok(Self {
            name: name.to_owned(),
            url: url.trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_needs_a_name_and_a_url() {
        let peer: PeerUrl = "db-migrator=https://127.0.0.1:7105/".parse().unwrap();
        assert_eq!(
            (peer.name.as_str(), peer.url.as_str()),
            ("db-migrator", "https://127.0.0.1:7105")
        );
        for wrong in ["", "x", "=https://a", "a=ftp://b"] {
            assert_eq!(wrong.parse::<PeerUrl>(), Err(PeerUrlError), "{wrong}");
        }
    }
}
