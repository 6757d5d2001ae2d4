//! `assess_compliance`: what trail, manifests and cluster say about controls.

use std::sync::Arc;

use identity::Directory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{Context, Skill, SkillError};
use tokio::time::Instant;

use super::{time_field, unavailable, verify_audit_trail::verify};
use crate::{
    clients::Trail,
    domain::{
        ChainVerdict, ClusterFindings, Evidence, Framework, FrameworkResult, ManifestFacts, assess,
    },
    metrics::Metrics,
};

/// The agent that knows the cluster's access rules.
const SCANNER: &str = "security-scanner";
/// Its skill.
const AUDIT_RBAC: &str = "audit_rbac";

/// The skill.
#[derive(Debug)]
pub struct AssessCompliance {
    /// Who signs with which key.
    pub directory: Arc<Directory>,
    /// What the agents declare.
    pub manifests: Vec<ManifestFacts>,
    /// What is measured.
    pub metrics: Metrics,
}

/// What to assess.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Frameworks; all when empty.
    #[serde(default)]
    #[schemars(length(max = 3))]
    pub frameworks: Vec<Framework>,
    /// Evidence not before this time (RFC 3339).
    pub since: Option<String>,
    /// Evidence not after this time (RFC 3339).
    pub until: Option<String>,
    /// Ask security-scanner for the cluster's access rules too.
    #[serde(default)]
    pub cluster: bool,
}

/// The assessment.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The frameworks, each with its controls.
    pub frameworks: Vec<FrameworkResult>,
    /// Records that were evidence.
    pub records: u64,
    /// Whether the chains hold that the evidence comes from.
    pub chains: Vec<ChainVerdict>,
    /// What security-scanner found, when it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterFindings>,
}

impl Skill for AssessCompliance {
    const ID: &'static str = "assess_compliance";
    const NAME: &'static str = "Assess compliance";
    const DESCRIPTION: &'static str = "Judges controls of SOC 2, HIPAA and GDPR by the mesh's verified audit trail and the agents' manifests. Answers each control with its evidence, and a score for each framework.";
    const TAGS: &'static [&'static str] = &["compliance", "SOC2", "HIPAA", "GDPR"];

    type Input = Input;
    type Output = Output;

    async fn run(&self, context: &Context, input: Input) -> Result<Output, SkillError> {
        let start = Instant::now();
        let period = (
            time_field("since", input.since.as_deref())?,
            time_field("until", input.until.as_deref())?,
        );
        let mut evidence = self.gather(context, &period).await?;
        if input.cluster {
            evidence.cluster = Some(ask_scanner(context).await?);
        }
        let mut frameworks = if input.frameworks.is_empty() {
            Framework::ALL.to_vec()
        } else {
            input.frameworks
        };
        frameworks.sort_unstable();
        frameworks.dedup();
        let frameworks: Vec<_> = frameworks
            .into_iter()
            .map(|framework| assess(framework, &evidence, &self.manifests))
            .collect();
        for result in &frameworks {
            self.metrics.assessed(result);
        }
        self.metrics.took(start.elapsed().as_secs_f64());
        Ok(Output {
            frameworks,
            records: evidence.records,
            chains: evidence.chains,
            cluster: evidence.cluster,
        })
    }
}

impl AssessCompliance {
    /// Only records that verify are evidence.
    async fn gather(
        &self,
        context: &Context,
        (since, until): &(Option<String>, Option<String>),
    ) -> Result<Evidence, SkillError> {
        let trail = Trail::new(context.store());
        let mut evidence = Evidence::default();
        for agent in trail.agents().await.map_err(unavailable)? {
            let take = |record: &audit::Record| {
                let in_period = since.as_ref().is_none_or(|since| record.time >= *since)
                    && until.as_ref().is_none_or(|until| record.time <= *until);
                if in_period {
                    evidence.add(record);
                }
            };
            let verdict = verify(context, &trail, &self.directory, &agent, take).await?;
            evidence.chains.push(verdict);
        }
        Ok(evidence)
    }
}

/// What we read of security-scanner's answer.
#[derive(Debug, Deserialize)]
struct Rbac {
    findings: Vec<RbacFinding>,
}

#[derive(Debug, Deserialize)]
struct RbacFinding {
    severity: String,
}

/// Without manifests in its input, the scanner audits the cluster.
async fn ask_scanner(context: &Context) -> Result<ClusterFindings, SkillError> {
    let answer: Rbac = context.call(SCANNER, AUDIT_RBAC, &json!({})).await?;
    let severe = |finding: &&RbacFinding| matches!(finding.severity.as_str(), "critical" | "high");
    let total = answer.findings.len() as u64;
    Ok(ClusterFindings {
        severe: answer.findings.iter().filter(severe).count() as u64,
        total,
    })
}

#[cfg(test)]
mod tests {
    use shared::testing::FakeAgent;

    use super::*;
    use crate::{domain::Status, skills::fixture::Mesh};

    fn skill(mesh: &Mesh) -> AssessCompliance {
        let manifest = ManifestFacts {
            agent: "db-migrator".into(),
            tier: Some(3),
            blocked: 1,
            conflicting_roles: 1,
            ..ManifestFacts::default()
        };
        AssessCompliance {
            directory: mesh.directory.clone(),
            manifests: vec![manifest],
            metrics: mesh.metrics.clone(),
        }
    }

    fn status(output: &Output, framework: Framework, id: &str) -> Status {
        let framework = output
            .frameworks
            .iter()
            .find(|result| result.framework == framework)
            .unwrap();
        framework
            .controls
            .iter()
            .find(|control| control.id == id)
            .unwrap()
            .status
    }

    #[tokio::test]
    async fn judges_by_the_stored_records_of_the_period() {
        let mesh = Mesh::new();
        let chain = mesh.chain_with(3, |record| {
            let action = match record.counter {
                1 => "detect_secrets",
                2 => "check_health",
                _ => "plan_rollback",
            };
            record.action = action.into();
        });
        mesh.append(&chain).await.unwrap();
        let all = skill(&mesh)
            .run(&mesh.context(), Input::default())
            .await
            .unwrap();
        assert_eq!((all.frameworks.len(), all.records), (3, 3));
        assert_eq!(status(&all, Framework::Soc2, "CC7.1"), Status::Satisfied);
        assert_eq!(status(&all, Framework::Soc2, "CC7.2"), Status::Satisfied);
        assert_eq!(
            status(&all, Framework::Soc2, "CC6.2"),
            Status::Violated,
            "tier 3 without approvals"
        );
        let evidence = &all.frameworks[0]
            .controls
            .iter()
            .find(|control| control.id == "CC7.1")
            .unwrap()
            .evidence;
        assert_eq!(
            (evidence.len(), evidence[0].record_id.as_str()),
            (1, "record-1")
        );

        let later = Input {
            frameworks: vec![Framework::Soc2, Framework::Soc2],
            since: Some("2026-11-22T10:00:02Z".into()),
            ..Input::default()
        };
        let later = skill(&mesh).run(&mesh.context(), later).await.unwrap();
        assert_eq!((later.frameworks.len(), later.records), (1, 2));
        assert_eq!(status(&later, Framework::Soc2, "CC7.1"), Status::NoEvidence);
    }

    #[tokio::test]
    async fn asks_the_scanner_along_the_declared_edge_only_when_told_to() {
        let mesh = Mesh::new();
        let findings = json!({"findings": [{"severity": "high", "rule": "x"}, {"severity": "low"}], "objects": 3});
        let agent =
            FakeAgent::default()
                .store(mesh.store.clone())
                .peer(SCANNER, AUDIT_RBAC, move |_| Ok(findings.clone()));
        let (context, agent) = agent.context();
        let input = Input {
            cluster: true,
            ..Input::default()
        };
        let output = skill(&mesh).run(&context, input).await.unwrap();
        assert_eq!(
            output.cluster,
            Some(ClusterFindings {
                severe: 1,
                total: 2
            })
        );
        assert_eq!(status(&output, Framework::Soc2, "CC6.3"), Status::Violated);
        skill(&mesh).run(&context, Input::default()).await.unwrap();
        assert_eq!(agent.trail(), ["call security-scanner/audit_rbac"]);
    }

    #[tokio::test]
    async fn scores_and_violations_are_measured() {
        let mesh = Mesh::new();
        mesh.append(&mesh.chain(1)).await.unwrap();
        let output = skill(&mesh)
            .run(&mesh.context(), Input::default())
            .await
            .unwrap();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &mesh.registry).unwrap();
        let soc2 = &output.frameworks[0];
        assert!(
            text.contains(&format!(
                "compliance_score{{framework=\"SOC2\"}} {:?}",
                soc2.score
            )),
            "{text}"
        );
        assert!(text.contains("compliance_violations_total{framework=\"SOC2\",severity=\"high\",control_id=\"CC6.2\"} 1"), "{text}");
        assert!(text.contains("audit_duration_seconds_count 1"), "{text}");
    }
}
