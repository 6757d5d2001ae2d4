//! What the agents' manifests declare, as far as controls ask for it.

/// The compliance side of one manifest.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent declarations, not a state"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestFacts {
    /// The agent.
    pub agent: String,
    /// OSSA access tier, 1 to 4.
    pub tier: Option<u8>,
    /// `spec.compliance.frameworks`.
    pub frameworks: Vec<String>,
    /// Region that its data stays in.
    pub data_residency: Option<String>,
    /// `spec.compliance.audit_logging`.
    pub audit_logging: Option<String>,
    /// `spec.compliance.pii_handling`.
    pub pii_handling: Option<String>,
    /// Whether some or all actions need an approval.
    pub requires_approval: bool,
    /// Actions that are blocked or prohibited.
    pub blocked: usize,
    /// Roles that it must not also have.
    pub conflicting_roles: usize,
    /// Whether callers are limited in rate.
    pub rate_limited: bool,
    /// Whether traces are made.
    pub traced: bool,
    /// Days that it keeps its state.
    pub retention_days: Option<u64>,
    /// Whether a data protection impact assessment is declared (label `dpia-completed: "true"`).
    pub dpia_completed: bool,
}

/// A condition on manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestRule {
    /// Every agent declares a tier and what it must never do.
    LeastPrivilege,
    /// Every agent that may write to production (tier 3) needs approvals.
    ElevatedNeedsApproval,
    /// Every agent with a tier above reading declares roles that it must not also have.
    SeparationOfDuties,
    /// Every agent declares `audit_logging: required`.
    AuditLogging,
    /// Every agent declares how it handles personal data; `none` says that it has none.
    PersonalData,
    /// Every agent is limited in rate.
    RateLimits,
    /// Every agent makes traces.
    Tracing,
    /// Agents keep their state for at least this many days, as far as they declare the framework.
    Retention(&'static str, u64),
    /// Every agent declares how long it keeps its state.
    RetentionDeclared,
    /// Every agent declares one and the same region, and it lies in the European Union.
    EuropeanResidency,
    /// A data protection impact assessment is declared.
    ImpactAssessment,
}

/// Regions of the European Union begin so, at the clouds that name them by continent or country.
const EU_REGIONS: &[&str] = &[
    "eu-",
    "europe-",
    "eu_",
    "westeurope",
    "northeurope",
    "germany",
    "france",
    "sweden",
    "italy",
    "poland",
    "spain",
];

impl ManifestRule {
    /// What the rule asks for.
    pub fn sentence(self) -> String {
        match self {
            Self::LeastPrivilege => {
                "every agent declares its access tier and blocked actions".into()
            }
            Self::ElevatedNeedsApproval => "every tier 3 agent requires approvals".into(),
            Self::SeparationOfDuties => {
                "every agent above tier 1 declares conflicting roles".into()
            }
            Self::AuditLogging => "every agent declares audit_logging required".into(),
            Self::PersonalData => "every agent declares how it handles personal data".into(),
            Self::RateLimits => "every agent limits the rate of its callers".into(),
            Self::Tracing => "every agent makes traces".into(),
            Self::Retention(framework, days) => {
                format!("every agent under {framework} keeps its state for at least {days} days")
            }
            Self::RetentionDeclared => "every agent declares how long it keeps its state".into(),
            Self::EuropeanResidency => {
                "every agent declares the same region within the European Union".into()
            }
            Self::ImpactAssessment => "a data protection impact assessment is declared".into(),
        }
    }

    /// Agents that the rule is about, and those of them that break it.
    pub fn check(self, manifests: &[ManifestFacts]) -> (usize, Vec<&str>) {
        let first_region = manifests.iter().find_map(|m| m.data_residency.as_deref());
        let concerned = manifests.iter().filter(|m| self.concerns(m));
        let (mut count, mut broken) = (0, Vec::new());
        for manifest in concerned {
            count += 1;
            if !self.holds(manifest, first_region) {
                broken.push(manifest.agent.as_str());
            }
        }
        (count, broken)
    }

    fn concerns(self, manifest: &ManifestFacts) -> bool {
        match self {
            Self::ElevatedNeedsApproval => manifest.tier == Some(3),
            Self::SeparationOfDuties => manifest.tier.is_some_and(|tier| tier > 1),
            Self::Retention(framework, _) => manifest
                .frameworks
                .iter()
                .any(|f| same_framework(f, framework)),
            // Absent is not wrong, it is no evidence.
            Self::ImpactAssessment => manifest.dpia_completed,
            _ => true,
        }
    }

    fn holds(self, m: &ManifestFacts, first_region: Option<&str>) -> bool {
        match self {
            Self::LeastPrivilege => m.tier.is_some() && m.blocked > 0,
            Self::ElevatedNeedsApproval => m.requires_approval,
            Self::SeparationOfDuties => m.conflicting_roles > 0,
            Self::AuditLogging => m.audit_logging.as_deref() == Some("required"),
            Self::PersonalData => m.pii_handling.is_some(),
            Self::RateLimits => m.rate_limited,
            Self::Tracing => m.traced,
            Self::Retention(_, days) => m.retention_days.is_some_and(|kept| kept >= days),
            Self::RetentionDeclared => m.retention_days.is_some(),
            Self::EuropeanResidency => {
                m.data_residency.is_some()
                    && m.data_residency.as_deref() == first_region
                    && first_region.is_some_and(is_european)
            }
            Self::ImpactAssessment => m.dpia_completed,
        }
    }
}

fn is_european(region: &str) -> bool {
    let region = region.to_ascii_lowercase();
    region == "eu" || EU_REGIONS.iter().any(|prefix| region.starts_with(prefix))
}

/// `SOC 2`, `soc2` and `SOC2-TYPE2` are one framework.
fn same_framework(declared: &str, framework: &str) -> bool {
    let plain = |text: &str| {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase()
    };
    plain(declared).starts_with(&plain(framework))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str) -> ManifestFacts {
        ManifestFacts {
            agent: name.into(),
            ..ManifestFacts::default()
        }
    }

    fn broken(rule: ManifestRule, manifests: &[ManifestFacts]) -> (usize, String) {
        let (count, broken) = rule.check(manifests);
        (count, broken.join(" "))
    }

    #[test]
    fn approvals_are_asked_of_tier_three_only() {
        let manifests = [
            ManifestFacts {
                tier: Some(3),
                requires_approval: true,
                ..agent("a")
            },
            ManifestFacts {
                tier: Some(3),
                ..agent("b")
            },
            ManifestFacts {
                tier: Some(1),
                ..agent("c")
            },
        ];
        assert_eq!(
            broken(ManifestRule::ElevatedNeedsApproval, &manifests),
            (2, "b".into())
        );
    }

    #[test]
    fn regions_must_agree_and_be_european() {
        let in_region = |name: &str, region: &str| ManifestFacts {
            data_residency: Some(region.into()),
            ..agent(name)
        };
        let rule = ManifestRule::EuropeanResidency;
        assert_eq!(
            broken(
                rule,
                &[in_region("a", "eu-west-1"), in_region("b", "eu-west-1")]
            ),
            (2, String::new())
        );
        assert_eq!(
            broken(
                rule,
                &[
                    in_region("a", "eu-west-1"),
                    in_region("b", "eu-north-1"),
                    agent("c")
                ]
            ),
            (3, "b c".into())
        );
        assert_eq!(
            broken(rule, &[in_region("a", "us-east-1")]),
            (1, "a".into())
        );
    }

    #[test]
    fn retention_is_asked_of_agents_under_the_framework() {
        let kept = |name: &str, framework: &str, days| ManifestFacts {
            frameworks: vec![framework.into()],
            retention_days: days,
            ..agent(name)
        };
        let manifests = [
            kept("a", "HIPAA", Some(2190)),
            kept("b", "hipaa", Some(2189)),
            kept("c", "HIPAA", None),
            kept("d", "SOC2-TYPE2", None),
        ];
        assert_eq!(
            broken(ManifestRule::Retention("HIPAA", 2190), &manifests),
            (3, "b c".into())
        );
        assert_eq!(
            broken(ManifestRule::Retention("SOC 2", 365), &manifests),
            (1, "d".into())
        );
    }
}
