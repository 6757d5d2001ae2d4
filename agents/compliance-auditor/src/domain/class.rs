//! Classes of audited actions: the words in which controls ask for evidence.

use audit::{Phase, Record};

/// What kind of action a record is about.
///
/// | class | actions |
/// | --- | --- |
/// | `Refusal` | any, decided `denied` |
/// | `Approval` | `decide_approval` |
/// | `AuditReview` | `query_audit_trail`, `verify_audit_trail`, `prove_audit_record`, `assess_compliance`, `generate_compliance_report`, `check_data_residency` |
/// | `SecurityScan` | `detect_secrets`, `scan_vulnerabilities`, `audit_rbac`, `update_advisories` |
/// | `Validation` | `validate_manifests`, `lint_chart`, `evaluate_policies`, `simulate_deployment`, `lint_migration`, `plan_migration`, `verify_schema` |
/// | `Recovery` | `plan_rollback`, `execute_rollback`, `rollback_status`, `abort_rollback`, `resume_gitops`, `list_revisions`, `rollback_migration`, `assess_rollback` |
/// | `Incident` | `list_incidents`, `get_incident`, `acknowledge_incident`, `incident.*` |
/// | `Monitoring` | `check_health`, `evaluate_slo`, `measure_dora` |
/// | `Capacity` | `analyze_utilization`, `recommend_*`, `assess_resize`, `allocate_costs`, `find_idle_resources` |
/// | `Change` | `apply_migration`, `complete_migration`, and every other action with an intent record |
/// | `Read` | everything else |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Somebody was refused.
    Refusal,
    /// A person approved or rejected a plan.
    Approval,
    /// Somebody looked at the audit trail or at compliance.
    AuditReview,
    /// Something was searched for weaknesses.
    SecurityScan,
    /// A change was checked before it was made.
    Validation,
    /// A change was, or was about to be, taken back.
    Recovery,
    /// An incident was seen or handled.
    Incident,
    /// Health and objectives were watched.
    Monitoring,
    /// Use of resources was measured or planned.
    Capacity,
    /// The world was changed.
    Change,
    /// Something was read.
    Read,
}

/// Actions by name; a name that ends in `*` stands for all that begin so.
const NAMES: &[(Class, &[&str])] = &[
    (Class::Approval, &["decide_approval"]),
    (
        Class::AuditReview,
        &[
            "query_audit_trail",
            "verify_audit_trail",
            "prove_audit_record",
            "assess_compliance",
            "generate_compliance_report",
            "check_data_residency",
        ],
    ),
    (
        Class::SecurityScan,
        &[
            "detect_secrets",
            "scan_vulnerabilities",
            "audit_rbac",
            "update_advisories",
        ],
    ),
    (
        Class::Validation,
        &[
            "validate_manifests",
            "lint_chart",
            "evaluate_policies",
            "simulate_deployment",
            "lint_migration",
            "plan_migration",
            "verify_schema",
        ],
    ),
    (
        Class::Recovery,
        &[
            "plan_rollback",
            "execute_rollback",
            "rollback_status",
            "abort_rollback",
            "resume_gitops",
            "list_revisions",
            "rollback_migration",
            "assess_rollback",
        ],
    ),
    (
        Class::Incident,
        &[
            "list_incidents",
            "get_incident",
            "acknowledge_incident",
            "incident.*",
        ],
    ),
    (
        Class::Monitoring,
        &["check_health", "evaluate_slo", "measure_dora"],
    ),
    (
        Class::Capacity,
        &[
            "analyze_utilization",
            "recommend_*",
            "assess_resize",
            "allocate_costs",
            "find_idle_resources",
        ],
    ),
    (Class::Change, &["apply_migration", "complete_migration"]),
];

impl Class {
    /// The class of a record.
    pub fn of(record: &Record) -> Self {
        if record.decision == "denied" {
            return Self::Refusal;
        }
        let named = NAMES
            .iter()
            .find(|(_, names)| names.iter().any(|name| matches(name, &record.action)));
        match (named, record.phase) {
            (Some((class, _)), _) => *class,
            (None, Phase::Intent) => Self::Change,
            (None, Phase::Outcome) => Self::Read,
        }
    }

    /// The class in a sentence of a report.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Refusal => "refused requests",
            Self::Approval => "approvals",
            Self::AuditReview => "reviews of the audit trail",
            Self::SecurityScan => "security scans",
            Self::Validation => "validations of changes",
            Self::Recovery => "recoveries",
            Self::Incident => "handled incidents",
            Self::Monitoring => "health and objective checks",
            Self::Capacity => "capacity measurements",
            Self::Change => "changes",
            Self::Read => "reads",
        }
    }
}

fn matches(name: &str, action: &str) -> bool {
    name.strip_suffix('*')
        .map_or(name == action, |prefix| action.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evidence::tests::record;

    #[test]
    fn actions_have_the_class_of_the_table() {
        let cases = [
            ("detect_secrets", "ok", Phase::Outcome, Class::SecurityScan),
            ("detect_secrets", "denied", Phase::Outcome, Class::Refusal),
            ("connect", "denied", Phase::Outcome, Class::Refusal),
            ("recommend_vpa", "ok", Phase::Outcome, Class::Capacity),
            ("apply_migration", "ok", Phase::Outcome, Class::Change),
            ("kubernetes.patch", "started", Phase::Intent, Class::Change),
            ("kubernetes.list", "ok", Phase::Outcome, Class::Read),
            (
                "execute_rollback",
                "started",
                Phase::Intent,
                Class::Recovery,
            ),
            (
                "decide_approval",
                "rejected",
                Phase::Outcome,
                Class::Approval,
            ),
            ("recommended", "ok", Phase::Outcome, Class::Read),
        ];
        for (action, decision, phase, expected) in cases {
            assert_eq!(
                Class::of(&record(action, decision, phase)),
                expected,
                "{action} {decision}"
            );
        }
    }

    #[test]
    fn no_action_has_two_classes() {
        let names: Vec<&str> = NAMES
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        for name in &names {
            assert_eq!(
                names.iter().filter(|other| matches(other, name)).count(),
                1,
                "{name}"
            );
        }
    }
}
