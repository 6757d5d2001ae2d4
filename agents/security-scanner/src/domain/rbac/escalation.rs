//! Detours to full power: subjects that are not administrators but can become one, step by step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Access, Finding, Grant, Subject,
    checks::{is_system, starts_pods},
    objects::Rule,
};
use crate::domain::Severity;

/// Beyond this many subjects the search is not run: each is a start.
const MAX_SUBJECTS: usize = 2_000;
const RBAC: &str = "rbac.authorization.k8s.io";

/// How a subject has full power by itself, if it has.
fn own_power(grant: &Grant) -> Option<&'static str> {
    if grant.namespace.is_some() {
        return None;
    }
    let unlimited = |fires: &dyn Fn(&Rule) -> bool| {
        grant
            .rules
            .iter()
            .any(|rule| rule.resource_names.is_empty() && fires(rule))
    };
    if grant.rules.iter().any(Rule::allows_everything) {
        Some("may do everything")
    } else if unlimited(&|rule| rule.allows("", "groups", &["impersonate"])) {
        Some("impersonates group system:masters")
    } else if unlimited(&|rule| {
        rule.allows(RBAC, "clusterroles", &["escalate"])
            && rule.allows(RBAC, "clusterroles", &["update", "patch"])
    }) {
        Some("writes more rights into its own role")
    } else if unlimited(&|rule| rule.allows(RBAC, "clusterroles", &["bind"]))
        && unlimited(&|rule| {
            rule.allows(RBAC, "clusterrolebindings", &["create", "update", "patch"])
        })
    {
        Some("binds itself to cluster-admin")
    } else {
        None
    }
}

/// How a grant lets its holder become a service account, if it does.
fn becomes(grant: &Grant, namespace: &str, name: &str) -> Option<&'static str> {
    if !grant.reaches(Some(namespace)) {
        return None;
    }
    let named = |rule: &Rule| {
        rule.resource_names.is_empty() || rule.resource_names.iter().any(|n| n == name)
    };
    let any = |fires: &dyn Fn(&Rule) -> bool| grant.rules.iter().any(fires);
    if any(&|rule| named(rule) && rule.allows("", "serviceaccounts", &["impersonate"])) {
        Some("impersonates")
    } else if any(&|rule| named(rule) && rule.allows("", "serviceaccounts/token", &["create"])) {
        Some("issues a token for")
    } else if any(&|rule| rule.resource_names.is_empty() && starts_pods(rule)) {
        Some("starts a pod as")
    } else {
        None
    }
}

/// A finding for each subject that reaches full power through others, with the shortest path.
pub(super) fn paths(access: &Access, include_system: bool) -> Vec<Finding> {
    let subjects = access.subjects();
    if subjects.len() > MAX_SUBJECTS {
        return Vec::new();
    }
    let grants: BTreeMap<&Subject, Vec<&Grant>> = subjects
        .iter()
        .map(|subject| (*subject, access.of(subject).collect()))
        .collect();
    let powers: BTreeMap<&Subject, &'static str> = grants
        .iter()
        .filter_map(|(subject, grants)| {
            Some((*subject, grants.iter().find_map(|grant| own_power(grant))?))
        })
        .collect();
    subjects
        .iter()
        .filter(|subject| !powers.contains_key(*subject))
        .filter(|subject| include_system || !subject.is_system())
        .filter_map(|subject| {
            let path = shortest(subject, &grants, &powers)?;
            let first = grants.get(subject)?.iter().find(|grant| include_system || !is_system(grant))?;
            Some(Finding {
                check: String::from("escalation-path"),
                severity: Severity::Critical,
                subject: Some(subject.to_string()),
                role: first.role.clone(),
                binding: Some(first.binding.clone()),
                scope: String::from("cluster"),
                rule: path,
                reason: String::from("is no administrator but can become one with the rights it has"),
                remediation: String::from("cut the path at its first step, or take the power from the service account at its end"),
            })
        })
        .collect()
}

fn shortest(
    start: &Subject,
    grants: &BTreeMap<&Subject, Vec<&Grant>>,
    powers: &BTreeMap<&Subject, &'static str>,
) -> Option<String> {
    let mut seen: BTreeSet<&Subject> = BTreeSet::new();
    let mut queue = VecDeque::from([(start, start.to_string())]);
    while let Some((subject, path)) = queue.pop_front() {
        if let Some(power) = powers.get(subject) {
            return Some(format!("{path}, which {power}"));
        }
        for target in grants.keys().copied() {
            let Subject::ServiceAccount { namespace, name } = target else {
                continue;
            };
            if target == start || seen.contains(target) {
                continue;
            }
            if let Some(how) = grants
                .get(subject)
                .into_iter()
                .flatten()
                .find_map(|grant| becomes(grant, namespace, name))
            {
                seen.insert(target);
                queue.push_back((target, format!("{path} {how} {target}")));
            }
        }
    }
    None
}
