//! SARIF 2.1.0: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use serde_json::{Value, json};

use super::{
    Finding,
    table::{self, Rule, Severity},
};

/// The log of one run, with the rules that it names.
pub fn log(findings: &[Finding]) -> Value {
    let mut rules = table::all()
        .iter()
        .filter(|rule| findings.iter().any(|finding| finding.rule == rule.id))
        .collect::<Vec<_>>();
    rules.sort_by_key(|rule| rule.id);
    let results = findings.iter().map(|finding| result(finding, &rules));
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "columnKind": "unicodeCodePoints",
            "tool": {"driver": {
                "name": "db-migrator",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| descriptor(rule)).collect::<Value>(),
            }},
            "results": results.collect::<Value>(),
        }],
    })
}

fn descriptor(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.why},
        "help": {"text": rule.instead},
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {"category": rule.category, "severity": rule.severity.name()},
    })
}

fn result(finding: &Finding, rules: &[&Rule]) -> Value {
    let index = rules.iter().position(|rule| rule.id == finding.rule);
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level(finding.severity),
        "message": {"text": format!("{}. {}", finding.message.trim_end_matches('.'), finding.help)},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&finding.file)},
            "region": region(finding.start, finding.end),
        }}],
        "partialFingerprints": {"statement/v1": finding.fingerprint},
    });
    if let Some(index) = index {
        add(&mut result, "ruleIndex", json!(index));
    }
    if !finding.fixes.is_empty() {
        let replacements = finding.fixes.iter().map(|fix| {
            json!({
                "deletedRegion": region(fix.start, fix.end),
                "insertedContent": {"text": fix.text},
            })
        });
        let change = json!({
            "artifactLocation": {"uri": uri(&finding.file)},
            "replacements": replacements.collect::<Value>(),
        });
        add(&mut result, "fixes", json!([{"artifactChanges": [change]}]));
    }
    result
}

fn add(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn region(start: super::Place, end: super::Place) -> Value {
    json!({
        "startLine": start.line,
        "startColumn": start.column,
        "endLine": end.line,
        "endColumn": end.column,
    })
}

/// A relative URI reference: what may not stand in one is written as `%XX`.
fn uri(file: &str) -> String {
    use std::fmt::Write as _;
    let mut uri = String::new();
    for byte in file.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(uri, "%{byte:02X}").unwrap_or_default();
        }
    }
    uri
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Minor | Severity::Major => "warning",
        Severity::Critical | Severity::Blocker => "error",
    }
}
