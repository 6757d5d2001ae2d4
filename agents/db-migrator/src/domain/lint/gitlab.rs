//! GitLab's Code Quality report: <https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format>.

use serde_json::{Value, json};

use super::{Finding, table};

/// The report, one entry a finding.
pub fn report(findings: &[Finding]) -> Value {
    findings.iter().map(entry).collect()
}

fn entry(finding: &Finding) -> Value {
    let why = table::find(&finding.rule).map_or("", |rule| rule.why);
    json!({
        "description": format!("{}. {why}", finding.message.trim_end_matches('.')),
        "check_name": finding.rule,
        "fingerprint": finding.fingerprint,
        "severity": finding.severity.name(),
        "location": {
            "path": finding.file,
            "positions": {
                "begin": {"line": finding.start.line, "column": finding.start.column},
                "end": {"line": finding.end.line, "column": finding.end.column},
            },
            "lines": {"begin": finding.start.line, "end": finding.end.line},
        },
    })
}
