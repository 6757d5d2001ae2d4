//! Retention and residency against declared frameworks.

use std::time::Duration;

use serde_json::Value;

use crate::{Document, Finding, Manifest, decode::parse_retention};

/// Days that a framework demands audit records to be kept: OSSA v0.2.9 compliance profiles; PCI DSS 4.0
/// requirement 10.5.1 (twelve months). ISO 27001 names no figure.
const RETENTION_DAYS: [(&str, u64); 5] = [
    ("SOC2", 365),
    ("HIPAA", 2190),
    ("GDPR", 365),
    ("FEDRAMP", 2555),
    ("PCI-DSS", 365),
];

/// Where audit retention is declared; what is for audits alone wins over the agent's state.
const PLACES: [&str; 5] = [
    "/spec/security/audit/retention_days",
    "/spec/extensions/kagent/guardrails/auditLog/retention",
    "/extensions/kagent/guardrails/auditLog/retention",
    "/spec/observability/logging/auditLog/retention",
    "/spec/state/storage/retention",
];

/// Frameworks that bind data to a region, and how its name begins.
const REGIONS: [(&str, &str); 2] = [("GDPR", "eu"), ("FEDRAMP", "us")];

pub(super) fn check(manifest: &Manifest, document: &Document, findings: &mut Vec<Finding>) {
    let frameworks = frameworks(manifest, document.root());
    retention(manifest, &frameworks, document.root(), findings);
    residency(manifest, &frameworks, document.root(), findings);
}

/// All declared frameworks in capitals, also where the reference manifests spell them.
fn frameworks(manifest: &Manifest, root: &Value) -> Vec<String> {
    let own = manifest.compliance.frameworks.iter().map(String::as_str);
    let other = root
        .pointer("/spec/security/compliance/frameworks")
        .and_then(Value::as_array);
    let other = other.into_iter().flatten().filter_map(Value::as_str);
    own.chain(other).map(str::to_uppercase).collect()
}

fn retention(
    manifest: &Manifest,
    frameworks: &[String],
    root: &Value,
    findings: &mut Vec<Finding>,
) {
    let demands = RETENTION_DAYS
        .iter()
        .filter(|(name, _)| frameworks.iter().any(|declared| declared == name));
    let Some((framework, days)) = demands.max_by_key(|(_, days)| *days) else {
        return;
    };
    if manifest.compliance.audit_logging.as_deref() == Some("disabled") {
        let expected = format!("audit logging, because {framework} is declared");
        findings.push(
            Finding::error("retention", "/spec/compliance/audit_logging", expected).got("disabled"),
        );
    }
    let expected = format!("at least {days} days, because {framework} is declared");
    let declared = PLACES
        .iter()
        .find_map(|place| root.pointer(place).map(|value| (*place, value)));
    let Some((place, value)) = declared else {
        findings.push(
            Finding::error("retention", "/spec/state/storage/retention", expected).got("nothing"),
        );
        return;
    };
    let kept = match value {
        Value::Number(number) => number
            .as_u64()
            .and_then(|d| d.checked_mul(86_400))
            .map(Duration::from_secs),
        Value::String(text) => parse_retention(text),
        _ => None,
    };
    let got = match kept {
        Some(kept) if kept.as_secs() / 86_400 >= *days => return,
        Some(kept) => format!("{} days", kept.as_secs() / 86_400),
        None => "a duration that cannot be read".into(),
    };
    findings.push(Finding::error("retention", place, expected).got(got));
}

fn residency(
    manifest: &Manifest,
    frameworks: &[String],
    root: &Value,
    findings: &mut Vec<Finding>,
) {
    let label = manifest.labels.get("data-residency").map(String::as_str);
    let declared = manifest.compliance.data_residency.as_deref();
    if let (Some(label), Some(declared)) = (label, declared)
        && !label.eq_ignore_ascii_case(declared)
    {
        let pointer = "/metadata/labels/data-residency";
        let expected = format!("{declared}, as spec.compliance.data_residency says");
        findings.push(Finding::error("data-residency", pointer, expected).got(label));
    }
    let listed = root
        .pointer("/spec/security/compliance/data_residency")
        .and_then(Value::as_array);
    let listed = listed.into_iter().flatten().find_map(Value::as_str);
    let region = label.or(declared).or(listed);
    for (framework, begin) in REGIONS
        .iter()
        .filter(|(name, _)| frameworks.iter().any(|declared| declared == name))
    {
        let fits = region.is_some_and(|region| region.to_lowercase().starts_with(begin));
        if !fits {
            let expected = format!("a region {begin}-*, because {framework} is declared");
            let pointer = "/spec/compliance/data_residency";
            findings.push(
                Finding::error("data-residency", pointer, expected)
                    .got(region.unwrap_or("nothing")),
            );
        }
    }
}
