//! security-scanner, along the edge that the manifest declares.

use serde::{Deserialize, Serialize};
use shared::{Context, SkillError};

use crate::domain::{
    finding::{Finding, Severity},
    object::SourceFile,
    rules,
    yaml::Position,
};

/// The callee.
const AGENT: &str = "security-scanner";
/// Its skill.
const SKILL: &str = "detect_secrets";

/// Bytes of text in one call. JSON makes control characters six times as long, and the callee takes 8 MiB.
const BATCH_BYTES: usize = 1024 * 1024;

/// What the scanner is asked.
#[derive(Debug, Serialize)]
struct Question<'a> {
    content: Vec<Content<'a>>,
}

#[derive(Debug, Serialize)]
struct Content<'a> {
    name: &'a str,
    content: &'a str,
}

/// The fields of its answer that are read here.
#[derive(Debug, Deserialize)]
struct Answer {
    findings: Vec<Secret>,
    scanned: Scanned,
}

#[derive(Debug, Deserialize)]
struct Scanned {
    files: usize,
}

#[derive(Debug, Deserialize)]
struct Secret {
    rule: String,
    title: String,
    confidence: String,
    file: String,
    line: usize,
    column: usize,
    remediation: String,
}

/// The scanner answered, but not about every file.
#[derive(Debug, thiserror::Error)]
#[error("it looked at {scanned} of {asked} files")]
struct Partial {
    scanned: usize,
    asked: usize,
}

/// Asks for secrets in the files. The scanner's answer names rule and place, never the secret.
///
/// # Errors
/// `Unavailable` whenever there is no answer to trust, so that manifests are never accepted unscanned.
pub async fn detect_secrets(
    context: &Context,
    files: &[SourceFile],
) -> Result<Vec<Finding>, SkillError> {
    let mut findings = Vec::new();
    for batch in batches(files) {
        let texts: Vec<_> = batch
            .iter()
            .map(|f| Content {
                name: &f.name,
                content: &f.content,
            })
            .collect();
        let asked = texts.len();
        let answer: Answer = context
            .call(AGENT, SKILL, &Question { content: texts })
            .await
            .map_err(fail_closed)?;
        let scanned = answer.scanned.files;
        if scanned != asked {
            return Err(SkillError::unavailable(AGENT, Partial { scanned, asked }));
        }
        findings.extend(answer.findings.into_iter().map(finding));
    }
    Ok(findings)
}

/// Files in groups that fit one call.
fn batches(files: &[SourceFile]) -> Vec<&[SourceFile]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, file) in files.iter().enumerate() {
        if bytes > 0 && bytes + file.content.len() > BATCH_BYTES {
            batches.extend(files.get(start..i));
            (start, bytes) = (i, 0);
        }
        bytes += file.content.len();
    }
    batches.extend(files.get(start..).filter(|rest| !rest.is_empty()));
    batches
}

/// What the scanner refuses or fails at is not the caller's mistake: to the caller the scan is missing.
fn fail_closed(error: SkillError) -> SkillError {
    match error {
        SkillError::Canceled
        | SkillError::DeadlineExceeded
        | SkillError::Denied(_)
        | SkillError::Unavailable { .. } => error,
        other => SkillError::unavailable(AGENT, other),
    }
}

/// A detection of low confidence (a broken checksum) is a warning.
fn finding(secret: Secret) -> Finding {
    let at = Position {
        line: secret.line,
        column: secret.column,
    };
    let severity = if secret.confidence == "low" {
        Severity::Warning
    } else {
        Severity::Error
    };
    let message = format!("{} in plain text ({})", secret.title, secret.rule);
    Finding::in_file(&rules::SECRET_DETECTED, &secret.file, at, message)
        .severity(severity)
        .expected(secret.remediation)
}
