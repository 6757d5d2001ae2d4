//! Advisories against components: the evaluation algorithm of the OSV format, then one finding for
//! advisories that are aliases of each other.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Component,
    database::{Advisory, AdvisoryDatabase, Entry, Event, Range},
    version::{Scheme, semver},
};
use crate::domain::Severity;

/// How much work the fix is likely to be, from the distance to the fixed version.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// A patch release, or an update of the same distribution.
    Low,
    /// A minor release: new features, compatible by its promise.
    Medium,
    /// A major release, or the next 0.x: expect to change code.
    High,
    /// No fixed version is known: replace the component, or mitigate.
    NoFix,
}

/// A known vulnerability in an installed component.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The advisory, for example `RUSTSEC-2021-0003`.
    pub id: String,
    /// Its other names, sorted.
    pub aliases: Vec<String>,
    /// What it is about.
    pub summary: String,
    /// Rating from the score, or from the advisory database's own word.
    pub severity: Severity,
    /// CVSS score, 0 to 10; absent when the advisory has no vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Package name.
    pub component: String,
    /// OSV ecosystem, for example `crates.io`.
    pub ecosystem: String,
    /// Package URL, as the SBOM gives it.
    pub purl: String,
    /// Installed version.
    pub installed: String,
    /// Lowest version that is not affected and newer than the installed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// Likely work of the fix.
    pub effort: Effort,
    /// Whether the component serves development only.
    pub dev: bool,
}

/// Components about which nothing can be said. Not the same as "no vulnerabilities".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct NotEvaluated {
    /// OSV ecosystem, or `unknown`.
    pub ecosystem: String,
    /// Why not.
    pub reason: String,
    /// How many components.
    pub components: usize,
}

/// The answer for a set of components.
#[derive(Debug)]
pub struct Evaluation {
    /// Findings, worst first, then by component.
    pub findings: Vec<Finding>,
    /// What was left open.
    pub not_evaluated: Vec<NotEvaluated>,
}

/// Finds the advisories that apply to the components.
pub fn evaluate(database: &AdvisoryDatabase, components: &[Component]) -> Evaluation {
    let mut findings = Vec::new();
    let mut open: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for component in components {
        match evaluate_component(database, component) {
            Ok(found) => findings.extend(found),
            Err(reason) => {
                *open
                    .entry((
                        component
                            .ecosystem
                            .clone()
                            .unwrap_or_else(|| String::from("unknown")),
                        reason,
                    ))
                    .or_default() += 1;
            }
        }
    }
    findings.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| b.score.unwrap_or(0.0).total_cmp(&a.score.unwrap_or(0.0)))
            .then_with(|| (&a.component, &a.id).cmp(&(&b.component, &b.id)))
    });
    let not_evaluated = open
        .into_iter()
        .map(|((ecosystem, reason), components)| NotEvaluated {
            ecosystem,
            reason: reason.to_owned(),
            components,
        })
        .collect();
    Evaluation {
        findings,
        not_evaluated,
    }
}

struct Hit<'d> {
    advisory: &'d Advisory,
    entry: &'d Entry,
    fixed: Option<&'d str>,
}

fn evaluate_component(
    database: &AdvisoryDatabase,
    component: &Component,
) -> Result<Vec<Finding>, &'static str> {
    let ecosystem = component
        .ecosystem
        .as_deref()
        .ok_or("no OSV ecosystem for this kind of package, or no package URL")?;
    let version = component.version.as_deref().ok_or("no version")?;
    if !database.covers(ecosystem) {
        return Err("no advisories loaded for this ecosystem");
    }
    let scheme = Scheme::of(ecosystem);
    let mut unordered = false;
    let mut hits = Vec::new();
    for (advisory, entry) in database.entries(ecosystem, &component.name) {
        match applies(entry, version, scheme) {
            Affected::Yes(fixed) => hits.push(Hit {
                advisory,
                entry,
                fixed,
            }),
            Affected::No => {}
            Affected::Unordered => unordered = true,
        }
    }
    if hits.is_empty() && unordered {
        return Err("the order of versions of this ecosystem is not known");
    }
    let scheme = scheme.unwrap_or(Scheme::SemVer);
    Ok(by_alias(hits)
        .into_iter()
        .filter_map(|group| finding(component, ecosystem, version, scheme, &group))
        .collect())
}

enum Affected<'d> {
    Yes(Option<&'d str>),
    No,
    /// Ranges were given, but the versions cannot be ordered.
    Unordered,
}

fn applies<'d>(entry: &'d Entry, version: &str, scheme: Option<Scheme>) -> Affected<'d> {
    let mut unordered = false;
    for range in entry.ranges.iter() {
        match if range.semver {
            Some(Scheme::SemVer)
        } else {
            scheme
        } {
            Some(scheme) => {
                if in_range(range, version, scheme) {
                    return Affected::Yes(first_fix(entry, version, scheme));
                }
            }
            None => unordered = true,
        }
    }
    let same = |listed: &str| {
        listed == version || scheme.is_some_and(|scheme| scheme.compare(listed, version).is_eq())
    };
    if entry.versions.iter().any(|listed| same(listed)) {
        return Affected::Yes(scheme.and_then(|scheme| first_fix(entry, version, scheme)));
    }
    // Neither a range nor a version: the record names every version.
    if entry.ranges.is_empty() && entry.versions.is_empty() {
        return Affected::Yes(None);
    }
    if unordered && entry.versions.is_empty() {
        Affected::Unordered
    } else {
        Affected::No
    }
}

/// Source: OSV schema, section "affected[].ranges[].events", evaluation algorithm: walk the events
/// in the order of versions; the last one passed decides.
fn in_range(range: &Range, version: &str, scheme: Scheme) -> bool {
    let mut limits = range
        .events
        .iter()
        .filter_map(|event| {
            if let Event::Limit(limit) = event {
                Some(limit)
            } else {
                None
            }
        })
        .peekable();
    if limits.peek().is_some()
        && !limits.any(|limit| &**limit == "*" || scheme.compare(version, limit).is_lt())
    {
        return false;
    }
    let mut events: Vec<(&str, bool, &Event)> = range
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Introduced(at) => Some((&**at, true, event)),
            Event::Fixed(at) | Event::LastAffected(at) => Some((&**at, false, event)),
            Event::Limit(_) => None,
        })
        .collect();
    // At the same version an end comes before a new beginning.
    events.sort_by(|(a, begins_a, _), (b, begins_b, _)| {
        let order = match (*a == "0", *b == "0") {
            (true, true) => std::cmp::Ordering::Equal,
            (true, false) => std::cmp::Ordering::Less,
            (false, true) => std::cmp::Ordering::Greater,
            (false, false) => scheme.compare(a, b),
        };
        order.then(begins_a.cmp(begins_b))
    });
    events
        .iter()
        .fold(false, |affected, (at, _, event)| match event {
            Event::Introduced(_) if scheme.compare_event(version, at).is_ge() => true,
            Event::Fixed(_) if scheme.compare_event(version, at).is_ge() => false,
            Event::LastAffected(_) if scheme.compare_event(version, at).is_gt() => false,
            _ => affected,
        })
}

/// The lowest fix above the installed version that no range of this entry covers again.
fn first_fix<'d>(entry: &'d Entry, version: &str, scheme: Scheme) -> Option<&'d str> {
    let fixes = entry
        .ranges
        .iter()
        .flat_map(|range| range.events.iter())
        .filter_map(|event| {
            if let Event::Fixed(at) = event {
                Some(&**at)
            } else {
                None
            }
        });
    fixes
        .filter(|fix| scheme.compare(fix, version).is_gt())
        .filter(|fix| {
            !entry
                .ranges
                .iter()
                .any(|range| in_range(range, fix, scheme))
        })
        .min_by(|a, b| scheme.compare(a, b))
}

/// Groups advisories that name each other, directly or through a common alias.
fn by_alias(hits: Vec<Hit<'_>>) -> Vec<Vec<Hit<'_>>> {
    let mut groups: Vec<(BTreeSet<String>, Vec<Hit<'_>>)> = Vec::new();
    for hit in hits {
        let mut names: BTreeSet<String> = hit
            .advisory
            .aliases
            .iter()
            .map(ToString::to_string)
            .chain([hit.advisory.id.to_string()])
            .collect();
        let (related, rest): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|(known, _)| !known.is_disjoint(&names));
        let mut members = Vec::new();
        for (known, hits) in related {
            names.extend(known);
            members.extend(hits);
        }
        members.push(hit);
        groups = rest;
        groups.push((names, members));
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

fn finding(
    component: &Component,
    ecosystem: &str,
    version: &str,
    scheme: Scheme,
    group: &[Hit<'_>],
) -> Option<Finding> {
    let worst = group.iter().max_by(|a, b| {
        a.entry
            .severity
            .cmp(&b.entry.severity)
            .then(
                a.entry
                    .score
                    .unwrap_or(0.0)
                    .total_cmp(&b.entry.score.unwrap_or(0.0)),
            )
            .then_with(|| b.advisory.id.cmp(&a.advisory.id))
    })?;
    let aliases: BTreeSet<String> = group
        .iter()
        .flat_map(|hit| hit.advisory.aliases.iter().chain([&hit.advisory.id]))
        .filter(|name| **name != worst.advisory.id)
        .map(ToString::to_string)
        .collect();
    // A fix must end every advisory of the group.
    let fixed = group
        .iter()
        .filter_map(|hit| hit.fixed)
        .max_by(|a, b| scheme.compare(a, b));
    Some(Finding {
        id: worst.advisory.id.to_string(),
        aliases: aliases.into_iter().collect(),
        summary: worst.advisory.summary.to_string(),
        severity: worst.entry.severity,
        score: group
            .iter()
            .filter_map(|hit| hit.entry.score)
            .reduce(f64::max),
        component: component.name.clone(),
        ecosystem: ecosystem.to_owned(),
        purl: component.purl.clone(),
        installed: version.to_owned(),
        effort: effort(version, fixed, scheme),
        fixed: fixed.map(str::to_owned),
        dev: component.dev,
    })
}

fn effort(installed: &str, fixed: Option<&str>, scheme: Scheme) -> Effort {
    let Some(fixed) = fixed else {
        return Effort::NoFix;
    };
    if matches!(scheme, Scheme::Dpkg | Scheme::Rpm) {
        return Effort::Low;
    }
    let number = |version: &str, at: usize| {
        semver::parse(version).0.get(at).map_or_else(
            || String::from("0"),
            |n| n.trim_start_matches('0').to_owned(),
        )
    };
    let same = |at: usize| number(installed, at) == number(fixed, at);
    let initial = number(installed, 0).is_empty();
    match (same(0), same(1)) {
        (false, _) => Effort::High,
        (true, false) if initial => Effort::High,
        (true, false) => Effort::Medium,
        (true, true) => Effort::Low,
    }
}

#[cfg(test)]
mod tests;
