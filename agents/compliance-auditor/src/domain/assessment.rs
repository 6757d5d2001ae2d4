//! The judgement: controls against evidence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    catalog::{CONTROLS, Control, Framework, Severity, Test},
    class::Class,
    evidence::{Evidence, Reference, Tally},
    manifests::{ManifestFacts, ManifestRule},
};

/// Whether a control is met.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything that it is judged by holds.
    Satisfied,
    /// Something that it asks for is in neither trail nor manifests.
    NoEvidence,
    /// Something speaks against it.
    Violated,
}

/// Judgement of one control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlResult {
    /// Identifier within the framework, for example `CC6.1`.
    pub id: String,
    /// What it asks for.
    pub title: String,
    /// Whether it is met.
    pub status: Status,
    /// Weight of a violation.
    pub severity: Severity,
    /// One sentence for each thing it was judged by.
    pub findings: Vec<String>,
    /// Records that speak for it, or against it when it is violated; at most 10 for each finding.
    pub evidence: Vec<Reference>,
}

/// Judgement of one framework.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FrameworkResult {
    /// The framework.
    pub framework: Framework,
    /// Share of satisfied controls, 0 to 100; a control without evidence counts as not satisfied.
    pub score: f64,
    /// Number of satisfied controls.
    pub satisfied: u32,
    /// Number of violated controls.
    pub violated: u32,
    /// Number of controls without evidence.
    pub no_evidence: u32,
    /// The controls, in the framework's order.
    pub controls: Vec<ControlResult>,
}

struct Finding {
    status: Status,
    sentence: String,
    evidence: Vec<Reference>,
}

/// Judges every control of a framework.
pub fn assess(
    framework: Framework,
    evidence: &Evidence,
    manifests: &[ManifestFacts],
) -> FrameworkResult {
    let of_framework = CONTROLS
        .iter()
        .filter(|control| control.framework == framework);
    let controls: Vec<_> = of_framework
        .map(|control| judge(control, evidence, manifests))
        .collect();
    let count = |status| {
        u32::try_from(
            controls
                .iter()
                .filter(|control| control.status == status)
                .count(),
        )
        .unwrap_or(u32::MAX)
    };
    let (satisfied, violated, no_evidence) = (
        count(Status::Satisfied),
        count(Status::Violated),
        count(Status::NoEvidence),
    );
    let all = f64::from((satisfied + violated + no_evidence).max(1));
    let score = (f64::from(satisfied) / all * 1000.0).round() / 10.0;
    FrameworkResult {
        framework,
        score,
        satisfied,
        violated,
        no_evidence,
        controls,
    }
}

fn judge(control: &Control, evidence: &Evidence, manifests: &[ManifestFacts]) -> ControlResult {
    let findings: Vec<Finding> = control
        .tests
        .iter()
        .filter_map(|test| answer(*test, evidence, manifests))
        .collect();
    let status = findings
        .iter()
        .map(|finding| finding.status)
        .max()
        .unwrap_or(Status::NoEvidence);
    let speaking = findings
        .iter()
        .filter(|finding| status != Status::Violated || finding.status == Status::Violated);
    ControlResult {
        id: control.id.to_owned(),
        title: control.title.to_owned(),
        status,
        severity: control.severity,
        evidence: speaking
            .flat_map(|finding| finding.evidence.clone())
            .collect(),
        findings: findings
            .into_iter()
            .map(|finding| finding.sentence)
            .collect(),
    }
}

/// What the evidence says to one question; nothing when the question was not to be asked.
fn answer(test: Test, evidence: &Evidence, manifests: &[ManifestFacts]) -> Option<Finding> {
    Some(match test {
        Test::Recorded(class) => recorded(class, evidence),
        Test::CallersIdentified => callers(evidence),
        Test::TrailIntact => trail(evidence),
        Test::EveryAgentRecords => coverage(evidence, manifests),
        Test::ChangesAccountedFor => {
            let (open, closed) = (evidence.open_changes(), &evidence.closed);
            against_or_for(
                &open,
                "changes without a known outcome",
                closed,
                "changes with intent and outcome",
                Status::Satisfied,
            )
        }
        Test::RecoveriesSucceed => {
            let done = evidence
                .by_class
                .get(&Class::Recovery)
                .cloned()
                .unwrap_or_default();
            against_or_for(
                &evidence.failed_recoveries(),
                "recoveries failed for good",
                &done,
                "recoveries succeeded",
                Status::Satisfied,
            )
        }
        Test::Manifests(rule) => declared(rule, manifests),
        Test::ClusterAccess => {
            let cluster = evidence.cluster.as_ref()?;
            let status = if cluster.severe > 0 {
                Status::Violated
            } else {
                Status::Satisfied
            };
            let sentence = format!(
                "{} of {} findings in the cluster's access rules are critical or high",
                cluster.severe, cluster.total
            );
            Finding {
                status,
                sentence,
                evidence: Vec::new(),
            }
        }
        Test::NoAction => Finding {
            status: Status::NoEvidence,
            sentence: "no action of the mesh serves this duty".into(),
            evidence: Vec::new(),
        },
    })
}

fn recorded(class: Class, evidence: &Evidence) -> Finding {
    match evidence.by_class.get(&class) {
        Some(tally) => Finding {
            status: Status::Satisfied,
            sentence: format!("{} {}", tally.count, class.noun()),
            evidence: tally.first.clone(),
        },
        None => Finding {
            status: Status::NoEvidence,
            sentence: format!("no {}", class.noun()),
            evidence: Vec::new(),
        },
    }
}

fn callers(evidence: &Evidence) -> Finding {
    against_or_for(
        &evidence.unidentified,
        "records without a verified caller",
        &evidence.identified,
        "records with a verified caller",
        Status::NoEvidence,
    )
}

/// Violated when something speaks against; else satisfied when something speaks for; else `silence`.
fn against_or_for(
    against: &Tally,
    wrong: &str,
    in_favour: &Tally,
    right: &str,
    silence: Status,
) -> Finding {
    let (status, tally, noun) = match (against.count, in_favour.count) {
        (0, 0) => (silence, in_favour, right),
        (0, _) => (Status::Satisfied, in_favour, right),
        _ => (Status::Violated, against, wrong),
    };
    Finding {
        status,
        sentence: format!("{} {noun}", tally.count),
        evidence: tally.first.clone(),
    }
}

fn trail(evidence: &Evidence) -> Finding {
    let broken: Vec<_> = evidence
        .chains
        .iter()
        .filter(|chain| !chain.holds())
        .map(|chain| chain.agent.as_str())
        .collect();
    let verified: u64 = evidence.chains.iter().map(|chain| chain.verified).sum();
    let (status, sentence) = match (broken.is_empty(), verified) {
        (false, _) => (
            Status::Violated,
            format!("the chain does not hold for {}", broken.join(", ")),
        ),
        (true, 0) => (Status::NoEvidence, String::from("the trail is empty")),
        (true, _) => (
            Status::Satisfied,
            format!(
                "{verified} records verified in {} chains",
                evidence.chains.len()
            ),
        ),
    };
    Finding {
        status,
        sentence,
        evidence: Vec::new(),
    }
}

fn coverage(evidence: &Evidence, manifests: &[ManifestFacts]) -> Finding {
    let silent: Vec<_> = manifests
        .iter()
        .map(|m| m.agent.as_str())
        .filter(|agent| !evidence.by_agent.contains_key(*agent))
        .collect();
    if silent.is_empty() && !manifests.is_empty() {
        let sentence = format!("all {} agents have records", manifests.len());
        return Finding {
            status: Status::Satisfied,
            sentence,
            evidence: Vec::new(),
        };
    }
    Finding {
        status: Status::NoEvidence,
        sentence: format!("no records of {}", silent.join(", ")),
        evidence: Vec::new(),
    }
}

fn declared(rule: ManifestRule, manifests: &[ManifestFacts]) -> Finding {
    let (concerned, broken) = rule.check(manifests);
    let (status, verdict) = match (concerned, broken.as_slice()) {
        (0, _) => (
            Status::NoEvidence,
            String::from("no manifest that this is about"),
        ),
        (_, []) => (
            Status::Satisfied,
            format!("holds for {concerned} manifests"),
        ),
        (_, agents) => (Status::Violated, format!("not {}", agents.join(", "))),
    };
    Finding {
        status,
        sentence: format!("{}: {verdict}", rule.sentence()),
        evidence: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use audit::{Phase, Record};

    use super::*;
    use crate::domain::evidence::{ChainBreak, ChainVerdict, ClusterFindings, tests::record};

    fn chain(first_break: Option<ChainBreak>, forks: u64) -> ChainVerdict {
        ChainVerdict {
            agent: "db-migrator".into(),
            verified: 3,
            forks,
            first_break,
        }
    }

    fn sound() -> (Evidence, Vec<ManifestFacts>) {
        let mut evidence = Evidence::default();
        evidence.chains.push(chain(None, 0));
        let outcomes = [
            "detect_secrets",
            "query_audit_trail",
            "validate_manifests",
            "execute_rollback",
            "get_incident",
            "check_health",
            "recommend_vpa",
        ];
        for action in outcomes {
            evidence.add(&record(action, "ok", Phase::Outcome));
        }
        evidence.add(&record("connect", "denied", Phase::Outcome));
        evidence.add(&record("kubernetes.patch", "started", Phase::Intent));
        evidence.add(&record("kubernetes.patch", "ok", Phase::Outcome));
        let manifest = ManifestFacts {
            agent: "db-migrator".into(),
            tier: Some(3),
            frameworks: vec!["SOC2".into(), "HIPAA".into(), "GDPR".into()],
            data_residency: Some("eu-central-1".into()),
            audit_logging: Some("required".into()),
            pii_handling: Some("redact".into()),
            requires_approval: true,
            blocked: 1,
            conflicting_roles: 1,
            rate_limited: true,
            traced: true,
            retention_days: Some(2555),
            dpia_completed: true,
        };
        (evidence, vec![manifest])
    }

    fn status(
        framework: Framework,
        id: &str,
        evidence: &Evidence,
        manifests: &[ManifestFacts],
    ) -> Status {
        assess(framework, evidence, manifests)
            .controls
            .iter()
            .find(|control| control.id == id)
            .unwrap()
            .status
    }

    #[test]
    fn a_sound_mesh_satisfies_all_but_the_duties_that_no_action_serves() {
        let (evidence, manifests) = sound();
        for (framework, unserved) in [
            (Framework::Soc2, 0),
            (Framework::Hipaa, 0),
            (Framework::Gdpr, 4),
        ] {
            let result = assess(framework, &evidence, &manifests);
            let rest: Vec<_> = result
                .controls
                .iter()
                .filter(|control| control.status != Status::Satisfied)
                .collect();
            assert_eq!(
                (result.violated, result.no_evidence),
                (0, unserved),
                "{rest:?}"
            );
        }
        assert_eq!(
            assess(Framework::Soc2, &evidence, &manifests)
                .score
                .to_string(),
            "100"
        );
        assert_eq!(
            assess(Framework::Gdpr, &evidence, &manifests)
                .score
                .to_string(),
            "71.4",
            "10 of 14"
        );
    }

    #[test]
    fn without_records_and_manifests_nothing_is_satisfied_and_nothing_violated() {
        for framework in Framework::ALL {
            let result = assess(framework, &Evidence::default(), &[]);
            assert_eq!(
                (result.satisfied, result.violated, result.score.to_string()),
                (0, 0, "0".into())
            );
        }
    }

    #[test]
    fn a_broken_or_forked_chain_violates_what_rests_on_it() {
        for broken in [
            chain(
                Some(ChainBreak {
                    counter: 2,
                    reason: "gap".into(),
                }),
                0,
            ),
            chain(None, 1),
        ] {
            let (mut evidence, manifests) = sound();
            evidence.chains.push(broken);
            for (framework, id) in [
                (Framework::Soc2, "CC7.2"),
                (Framework::Hipaa, "164.312(b)"),
                (Framework::Gdpr, "Art. 5(2)"),
            ] {
                assert_eq!(
                    status(framework, id, &evidence, &manifests),
                    Status::Violated,
                    "{id}"
                );
            }
            assert_eq!(
                status(Framework::Soc2, "CC7.1", &evidence, &manifests),
                Status::Satisfied
            );
        }
    }

    #[test]
    fn a_violation_shows_the_records_that_speak_against() {
        let (mut evidence, manifests) = sound();
        evidence.add(&Record {
            call_id: "open".into(),
            id: "the open one".into(),
            ..record("kubernetes.patch", "started", Phase::Intent)
        });
        evidence.add(&Record {
            time: "2026-11-22T11:00:00.000Z".into(),
            ..record("check_health", "ok", Phase::Outcome)
        });
        let result = assess(Framework::Soc2, &evidence, &manifests);
        let control = result
            .controls
            .iter()
            .find(|control| control.id == "CC8.1")
            .unwrap();
        assert_eq!(
            (control.status, control.evidence.len()),
            (Status::Violated, 1)
        );
        assert_eq!(control.evidence[0].record_id, "the open one");
    }

    #[test]
    fn the_cluster_counts_only_when_it_was_asked() {
        let (mut evidence, manifests) = sound();
        let id = "CC6.3";
        assert_eq!(
            status(Framework::Soc2, id, &evidence, &manifests),
            Status::Satisfied
        );
        evidence.cluster = Some(ClusterFindings {
            severe: 0,
            total: 4,
        });
        assert_eq!(
            status(Framework::Soc2, id, &evidence, &manifests),
            Status::Satisfied
        );
        evidence.cluster = Some(ClusterFindings {
            severe: 1,
            total: 4,
        });
        assert_eq!(
            status(Framework::Soc2, id, &evidence, &manifests),
            Status::Violated
        );
    }

    #[test]
    fn a_silent_agent_is_missing_evidence() {
        let (evidence, mut manifests) = sound();
        manifests.push(ManifestFacts {
            agent: "silent".into(),
            ..manifests[0].clone()
        });
        assert_eq!(
            status(Framework::Gdpr, "Art. 30", &evidence, &manifests),
            Status::NoEvidence
        );
    }
}
