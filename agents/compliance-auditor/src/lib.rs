#![doc = include_str!("../README.md")]

use std::time::Duration;

use manifest::{Approval, Manifest};
use shared::AgentBuilder;

pub mod clients;
pub mod domain;
pub mod metrics;
pub mod skills;

use domain::ManifestFacts;
use metrics::Metrics;
use skills::{AppendAuditRecords, AssessCompliance, QueryAuditTrail, VerifyAuditTrail};

/// Flags of the compliance-auditor.
#[derive(Debug, clap::Parser)]
#[command(
    name = "compliance-auditor",
    version,
    about = "Keeps the mesh's audit trail and judges it by SOC 2, HIPAA and GDPR"
)]
pub struct Cli {
    /// Flags that all agents have.
    #[command(flatten)]
    pub shared: shared::Args,
}

impl shared::Daemon for Cli {
    const NAME: &'static str = "compliance-auditor";

    fn shared(&self) -> &shared::Args {
        &self.shared
    }

    async fn build(self, agent: AgentBuilder) -> anyhow::Result<AgentBuilder> {
        let metrics = agent.registry(Metrics::register);
        let directory = agent.directory();
        let manifests = agent.fleet().manifests.iter().map(facts).collect();
        Ok(agent
            .skill(AppendAuditRecords {
                directory: directory.clone(),
                metrics: metrics.clone(),
            })
            .skill(QueryAuditTrail)
            .skill(VerifyAuditTrail {
                directory: directory.clone(),
                metrics: metrics.clone(),
            })
            .skill(AssessCompliance {
                directory,
                manifests,
                metrics,
            }))
    }
}

/// The compliance side of a manifest.
fn facts(manifest: &Manifest) -> ManifestFacts {
    let approvals = match &manifest.autonomy.approval_required {
        Approval::All(all) => *all,
        Approval::Actions(actions) => !actions.is_empty(),
    };
    let access = manifest.access.as_ref();
    let prohibited = access.map_or(0, |access| access.prohibited.len())
        + manifest.separation.prohibited_actions.len();
    ManifestFacts {
        agent: manifest.name.clone(),
        tier: manifest.tier().map(manifest::Tier::number),
        frameworks: manifest.compliance.frameworks.clone(),
        data_residency: manifest.data_residency().map(str::to_owned),
        audit_logging: manifest.compliance.audit_logging.clone(),
        pii_handling: manifest.compliance.pii_handling.clone(),
        requires_approval: approvals || access.is_some_and(|access| access.requires_approval),
        blocked: manifest.autonomy.blocked_actions.len() + prohibited,
        conflicting_roles: manifest.separation.conflicts_with.len(),
        rate_limited: manifest.guardrails.rate_limit.is_some(),
        traced: manifest.observability.tracing,
        retention_days: manifest.retention.map(days),
        dpia_completed: manifest
            .labels
            .get("dpia-completed")
            .is_some_and(|label| label == "true"),
    }
}

fn days(retention: Duration) -> u64 {
    retention.as_secs() / (24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_meshs_own_manifests_break_no_rule() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
        let fleet = manifest::load_dir(&folder).unwrap();
        let manifests: Vec<_> = fleet.manifests.iter().map(facts).collect();
        assert!(!manifests.is_empty());
        let rules = domain::catalog::CONTROLS
            .iter()
            .flat_map(|control| control.tests);
        for rule in rules.filter_map(|test| {
            if let domain::catalog::Test::Manifests(rule) = test {
                Some(rule)
            } else {
                None
            }
        }) {
            assert_eq!(
                rule.check(&manifests).1,
                Vec::<&str>::new(),
                "{}",
                rule.sentence()
            );
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }
}
