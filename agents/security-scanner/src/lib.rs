#![doc = include_str!("../README.md")]

pub mod clients;
pub mod domain;
mod metrics;
pub mod skills;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use cluster::{Cluster, ClusterArgs};
use shared::{AgentBuilder, Daemon};

pub use metrics::Metrics;

use clients::{
    advisories::{AdvisoryFolder, AdvisorySource as _},
    rbac::ClusterRbac,
    workspace::{SourceTree, Workspace},
};
use domain::secrets::{Detector, Fingerprints};
use skills::{AuditRbac, DetectSecrets, ScanVulnerabilities};

/// How often the advisories are looked at, so that a scan seldom waits for their reading.
const ADVISORY_PERIOD: Duration = Duration::from_mins(1);
/// Least length of a fingerprint key, in bytes. Source: RFC 2104 section 3, which discourages keys
/// shorter than the hash's output, 32 bytes for SHA-256.
const MIN_KEY_BYTES: usize = 32;

/// Finds secrets, known vulnerabilities and dangerous access rules.
#[derive(Debug, Parser)]
#[command(name = "security-scanner", version)]
pub struct Cli {
    #[command(flatten)]
    shared: shared::Args,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Folder that `paths` of requests are relative to; without one, requests must bring their content.
    #[arg(long, env = "SECURITY_SCANNER_WORKSPACE", value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Folder with advisories in OSV format: JSON files and zip archives, read again when they change.
    #[arg(long, env = "SECURITY_SCANNER_ADVISORIES", value_name = "DIR")]
    advisories: Option<PathBuf>,
    /// File with the key of fingerprints, 32 bytes or more; without one, short passwords can be guessed from their fingerprints.
    #[arg(long, env = "SECURITY_SCANNER_FINGERPRINT_KEY", value_name = "FILE")]
    fingerprint_key: Option<PathBuf>,
}

impl Daemon for Cli {
    const NAME: &'static str = "security-scanner";

    fn shared(&self) -> &shared::Args {
        &self.shared
    }

    async fn build(self, agent: AgentBuilder) -> anyhow::Result<AgentBuilder> {
        let Self {
            shared: _,
            cluster,
            workspace,
            advisories,
            fingerprint_key,
        } = self;
        let metrics = agent.registry(Metrics::register);
        let tree: Arc<dyn SourceTree> = Arc::new(open_workspace(workspace)?);
        let detector = Arc::new(Detector::new(fingerprints(fingerprint_key)?));
        let advisories = Arc::new(AdvisoryFolder::new(advisories));
        let cluster = Arc::new(ClusterRbac::new(Cluster::connect(&cluster)?));
        let targets = agent.fleet().mesh.targets(Self::NAME).to_vec();
        let agent = agent
            .skill(DetectSecrets {
                detector,
                tree: Arc::clone(&tree),
                metrics: metrics.clone(),
            })
            .skill(ScanVulnerabilities {
                advisories: advisories.clone(),
                tree: Arc::clone(&tree),
                metrics: metrics.clone(),
            })
            .skill(AuditRbac {
                targets,
                cluster,
                tree,
                metrics,
            });
        Ok(if advisories.is_configured() {
            reload(agent, advisories)
        } else {
            agent
        })
    }
}

fn reload(agent: AgentBuilder, advisories: Arc<AdvisoryFolder>) -> AgentBuilder {
    agent.every("reload_advisories", ADVISORY_PERIOD, move |_| {
        let advisories = Arc::clone(&advisories);
        async move {
            tokio::task::spawn_blocking(move || advisories.load()).await??;
            Ok(())
        }
    })
}

fn open_workspace(folder: Option<PathBuf>) -> anyhow::Result<Workspace> {
    match folder {
        Some(folder) => Workspace::open(&folder)
            .with_context(|| format!("cannot open the workspace {}", folder.display())),
        None => Ok(Workspace::default()),
    }
}

fn fingerprints(file: Option<PathBuf>) -> anyhow::Result<Fingerprints> {
    let Some(file) = file else {
        return Ok(Fingerprints::default());
    };
    let key = std::fs::read(&file)
        .with_context(|| format!("cannot read the fingerprint key {}", file.display()))?;
    anyhow::ensure!(
        key.len() >= MIN_KEY_BYTES,
        "the fingerprint key {} has {} bytes, and needs {MIN_KEY_BYTES}",
        file.display(),
        key.len()
    );
    Ok(Fingerprints::keyed(&key))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_short_or_missing_fingerprint_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        assert!(fingerprints(Some(file.clone())).is_err());
        std::fs::write(&file, "short").unwrap();
        assert!(fingerprints(Some(file.clone())).is_err());
        std::fs::write(&file, [7; 32]).unwrap();
        assert!(fingerprints(Some(file)).is_ok());
        assert!(fingerprints(None).is_ok());
    }
}
