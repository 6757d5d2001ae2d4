//! The controls, and what each is judged by.
//!
//! Titles are our own short words. The choice follows OSSA's compliance profiles (v0.2.9, soc2-type2, hipaa, gdpr)
//! and the texts themselves: AICPA Trust Services Criteria 2017, 45 CFR part 164, Regulation (EU) 2016/679.
//! A control is satisfied when each of its tests is; violated when one is violated; otherwise there is no evidence.
//! The trail can only speak for what agents do: an organisation's own duties stay outside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{class::Class, manifests::ManifestRule};

/// A set of controls.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Framework {
    /// AICPA Trust Services Criteria.
    #[serde(rename = "SOC2")]
    Soc2,
    /// 45 CFR part 164 (Security Rule).
    #[serde(rename = "HIPAA")]
    Hipaa,
    /// Regulation (EU) 2016/679.
    #[serde(rename = "GDPR")]
    Gdpr,
}

impl Framework {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Soc2, Self::Hipaa, Self::Gdpr];

    /// The word in manifests and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Soc2 => "SOC2",
            Self::Hipaa => "HIPAA",
            Self::Gdpr => "GDPR",
        }
    }
}

/// How much a violation weighs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be planned.
    Low,
    /// To be mended soon.
    Medium,
    /// To be mended now.
    High,
    /// The trail itself cannot be relied on.
    Critical,
}

impl Severity {
    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// One question to the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// There is at least one successful record of this class.
    Recorded(Class),
    /// Every record names a verified caller.
    CallersIdentified,
    /// Every chain verifies, without forks.
    TrailIntact,
    /// Every agent of the mesh has records.
    EveryAgentRecords,
    /// Every announced change has an outcome.
    ChangesAccountedFor,
    /// No recovery failed for good.
    RecoveriesSucceed,
    /// What the manifests declare.
    Manifests(ManifestRule),
    /// The cluster's access rules have no severe finding; asked only when the cluster was assessed.
    ClusterAccess,
    /// No action of the mesh serves this duty: there is never evidence.
    NoAction,
}

/// One control of a framework.
#[derive(Debug, Clone, Copy)]
pub struct Control {
    /// The framework.
    pub framework: Framework,
    /// Identifier within the framework.
    pub id: &'static str,
    /// What it asks for, in our words.
    pub title: &'static str,
    /// Weight of a violation.
    pub severity: Severity,
    /// What it is judged by.
    pub tests: &'static [Test],
}

const fn control(
    framework: Framework,
    id: &'static str,
    title: &'static str,
    severity: Severity,
    tests: &'static [Test],
) -> Control {
    Control {
        framework,
        id,
        title,
        severity,
        tests,
    }
}

use Framework::{Gdpr, Hipaa, Soc2};
use ManifestRule as Rule;
use Severity::{Critical, High, Low, Medium};
use Test::{
    CallersIdentified, ChangesAccountedFor, ClusterAccess, EveryAgentRecords, Manifests, NoAction,
    Recorded, RecoveriesSucceed, TrailIntact,
};

/// Every control that is assessed.
#[rustfmt::skip]
pub const CONTROLS: &[Control] = &[
    control(Soc2, "CC6.1", "Access needs a verified identity", High, &[CallersIdentified, Manifests(Rule::LeastPrivilege)]),
    control(Soc2, "CC6.2", "Privileged access is approved", High, &[Manifests(Rule::ElevatedNeedsApproval)]),
    control(Soc2, "CC6.3", "Least privilege and separation of duties", High, &[Manifests(Rule::LeastPrivilege), Manifests(Rule::SeparationOfDuties), ClusterAccess]),
    control(Soc2, "CC6.6", "Requests from outside the boundary are refused", Medium, &[Recorded(Class::Refusal)]),
    control(Soc2, "CC7.1", "Weaknesses are searched for", Medium, &[Recorded(Class::SecurityScan)]),
    control(Soc2, "CC7.2", "Operation is monitored on a trail that holds", Critical, &[TrailIntact, Recorded(Class::Monitoring)]),
    control(Soc2, "CC7.3", "Incidents are evaluated", Medium, &[Recorded(Class::Incident)]),
    control(Soc2, "CC7.4", "Incidents are responded to", High, &[Recorded(Class::Recovery), RecoveriesSucceed]),
    control(Soc2, "CC7.5", "Operation is recovered", High, &[Recorded(Class::Recovery), RecoveriesSucceed]),
    control(Soc2, "CC8.1", "Changes are validated and accounted for", High, &[Recorded(Class::Validation), Recorded(Class::Change), ChangesAccountedFor]),
    control(Soc2, "A1.1", "Capacity is measured and limited", Low, &[Recorded(Class::Capacity), Manifests(Rule::RateLimits)]),
    control(Soc2, "A1.2", "Recovery is prepared", Medium, &[Recorded(Class::Recovery)]),
    control(Soc2, "C1.1", "Confidential information is identified and protected", High, &[Recorded(Class::SecurityScan), Manifests(Rule::PersonalData)]),
    control(Soc2, "C1.2", "Information is kept for a defined time", Medium, &[Manifests(Rule::Retention("SOC2", 365))]),
    control(Soc2, "P1.1", "Handling of personal data is declared", Medium, &[Manifests(Rule::PersonalData)]),
    control(Hipaa, "164.308(a)(1)(ii)(A)", "Risks are analysed", Medium, &[Recorded(Class::SecurityScan)]),
    control(Hipaa, "164.308(a)(1)(ii)(D)", "Records of activity are reviewed", Medium, &[Recorded(Class::AuditReview)]),
    control(Hipaa, "164.308(a)(3)", "Only the authorised have access", High, &[Manifests(Rule::LeastPrivilege), Recorded(Class::Refusal)]),
    control(Hipaa, "164.308(a)(4)", "Access is granted by rule", High, &[Manifests(Rule::LeastPrivilege), ClusterAccess]),
    control(Hipaa, "164.308(a)(6)", "Incidents are identified and responded to", High, &[Recorded(Class::Incident), RecoveriesSucceed]),
    control(Hipaa, "164.308(a)(7)", "A contingency plan exists and works", High, &[Recorded(Class::Recovery), RecoveriesSucceed]),
    control(Hipaa, "164.312(a)(1)", "Every user has an identity of its own", High, &[CallersIdentified]),
    control(Hipaa, "164.312(b)", "Activity is recorded and can be examined", Critical, &[EveryAgentRecords, TrailIntact, Manifests(Rule::AuditLogging)]),
    control(Hipaa, "164.312(c)(1)", "Data is protected from improper alteration", High, &[TrailIntact, ChangesAccountedFor]),
    control(Hipaa, "164.312(d)", "Who seeks access is authenticated", High, &[CallersIdentified]),
    control(Hipaa, "164.312(e)(1)", "Transmission is protected", High, &[CallersIdentified]),
    control(Hipaa, "164.316(b)(2)(i)", "Documentation is kept for six years", High, &[Manifests(Rule::Retention("HIPAA", 2190))]),
    control(Gdpr, "Art. 5(2)", "Compliance can be demonstrated", Critical, &[TrailIntact, EveryAgentRecords]),
    control(Gdpr, "Art. 6", "Processing is lawful", High, &[NoAction]),
    control(Gdpr, "Art. 15", "Persons may see their data", Medium, &[NoAction]),
    control(Gdpr, "Art. 17", "Persons may have their data erased", Medium, &[NoAction]),
    control(Gdpr, "Art. 20", "Persons may take their data with them", Low, &[NoAction]),
    control(Gdpr, "Art. 25", "Protection by design and by default", High, &[Manifests(Rule::LeastPrivilege), Manifests(Rule::PersonalData)]),
    control(Gdpr, "Art. 30", "Processing is recorded", High, &[EveryAgentRecords, Manifests(Rule::AuditLogging)]),
    control(Gdpr, "Art. 32(1)(b)", "Systems are confidential, sound and resilient", High, &[CallersIdentified, Recorded(Class::Monitoring), Manifests(Rule::Tracing)]),
    control(Gdpr, "Art. 32(1)(c)", "Availability is restored in time", High, &[Recorded(Class::Recovery), RecoveriesSucceed]),
    control(Gdpr, "Art. 32(1)(d)", "Security is tested regularly", Medium, &[Recorded(Class::SecurityScan), Recorded(Class::AuditReview)]),
    control(Gdpr, "Art. 33", "Breaches are noticed and documented", High, &[Recorded(Class::Incident), TrailIntact]),
    control(Gdpr, "Art. 35", "Impact is assessed beforehand", Medium, &[Manifests(Rule::ImpactAssessment)]),
    control(Gdpr, "Art. 44", "Data stays in the Union", High, &[Manifests(Rule::EuropeanResidency)]),
    control(Gdpr, "Art. 5(1)(e)", "Data is kept for a defined time", Medium, &[Manifests(Rule::RetentionDeclared)]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_control_occurs_once_and_is_judged_by_something() {
        let names: BTreeSet<_> = CONTROLS
            .iter()
            .map(|control| (control.framework, control.id))
            .collect();
        assert_eq!(names.len(), CONTROLS.len());
        assert!(CONTROLS.iter().all(|control| !control.tests.is_empty()));
        for framework in Framework::ALL {
            assert!(
                CONTROLS
                    .iter()
                    .filter(|control| control.framework == framework)
                    .count()
                    >= 12,
                "{framework:?}"
            );
        }
    }

    #[test]
    fn every_class_but_reads_and_approvals_speaks_for_a_control() {
        let asked: BTreeSet<Class> = CONTROLS
            .iter()
            .flat_map(|control| control.tests)
            .filter_map(|test| {
                if let Recorded(class) = test {
                    Some(*class)
                } else {
                    None
                }
            })
            .collect();
        let all = [
            Class::Refusal,
            Class::AuditReview,
            Class::SecurityScan,
            Class::Validation,
            Class::Recovery,
            Class::Incident,
            Class::Monitoring,
            Class::Capacity,
            Class::Change,
        ];
        assert_eq!(asked, BTreeSet::from(all));
    }
}
