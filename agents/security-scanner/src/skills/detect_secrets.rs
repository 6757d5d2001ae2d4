//! `detect_secrets`: credentials in texts, files and folders.

use std::{collections::BTreeSet, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Skill, SkillError};

use super::sources::{InlineFile, Scanned, Skipped, Sources, require_some};
use crate::{
    clients::workspace::SourceTree,
    domain::{
        Severity, SeverityCounts,
        secrets::{Confidence, Detection, Detector},
    },
    metrics::Metrics,
};

/// Most findings in one answer.
const MAX_FINDINGS: usize = 10_000;
/// Most fingerprints of a baseline.
const MAX_BASELINE: usize = 100_000;

/// Finds credentials.
#[derive(Debug)]
pub struct DetectSecrets {
    /// The rules.
    pub detector: Arc<Detector>,
    /// Where paths lead.
    pub tree: Arc<dyn SourceTree>,
    /// What is counted.
    pub metrics: Metrics,
}

/// What to scan: at least one of `content` and `paths`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DetectSecretsInput {
    /// Texts given inline.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub content: Vec<InlineFile>,
    /// Files and folders, relative to the agent's `--workspace`. `.gitignore` is not honoured.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub paths: Vec<String>,
    /// Fingerprints of findings that were judged before and are not reported again.
    #[serde(default)]
    #[schemars(length(max = 100_000))]
    pub baseline: Vec<String>,
    /// Leaves out less sure findings. `low` includes tokens whose checksum is wrong.
    #[serde(default)]
    pub min_confidence: Confidence,
}

/// A credential was found. It is not in here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SecretFinding {
    /// The rule, for example `gitlab-pat`.
    pub rule: String,
    /// What it is.
    pub title: String,
    /// How bad it is to lose it.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// Name of the text, or path of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Stable name of this secret in this file, for `baseline`. It stays when the line moves.
    pub fingerprint: String,
    /// The provider's public prefix, then `****`.
    pub preview: String,
    /// What to do about it.
    pub remediation: String,
}

/// The findings, and what they cover.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DetectSecretsOutput {
    /// Findings by file and line.
    pub findings: Vec<SecretFinding>,
    /// Findings of each severity.
    pub summary: SeverityCounts,
    /// What was scanned.
    pub scanned: Scanned,
    /// What was not.
    pub skipped: Skipped,
    /// Findings that the baseline held back.
    pub suppressed: usize,
    /// Fingerprints of the baseline that matched nothing: take them out.
    pub unused_baseline: Vec<String>,
    /// Whether there were more than 10,000 findings.
    pub truncated: bool,
}

impl Skill for DetectSecrets {
    const ID: &'static str = "detect_secrets";
    const NAME: &'static str = "Detect secrets";
    const DESCRIPTION: &'static str = "Finds tokens, keys and passwords in texts, files and folders. Answers with rule, place, \
        fingerprint and a redacted preview, never with the secret.";
    const TAGS: &'static [&'static str] = &["security", "secrets", "credentials", "gitlab"];
    const SENSITIVE_INPUT: bool = true;

    type Input = DetectSecretsInput;
    type Output = DetectSecretsOutput;

    async fn run(
        &self,
        context: &Context,
        input: DetectSecretsInput,
    ) -> Result<DetectSecretsOutput, SkillError> {
        let DetectSecretsInput {
            content,
            paths,
            baseline,
            min_confidence,
        } = input;
        require_some(&content, &paths)?;
        let baseline = check_baseline(baseline)?;
        let _timer = self.metrics.scan("secrets");
        let sources = Sources::open(context, &self.tree, content, paths).await?;
        let detector = Arc::clone(&self.detector);
        let visited = sources
            .visit(context, move |name, text| {
                (name.to_owned(), detector.scan(name, text))
            })
            .await?;
        let found = visited.results.into_iter().flat_map(|(file, found)| {
            found
                .into_iter()
                .map(move |detection| finding(&file, detection))
        });
        let (suppressed, mut findings): (Vec<_>, Vec<_>) = found
            .filter(|finding| finding.confidence >= min_confidence)
            .partition(|finding| baseline.contains(&finding.fingerprint));
        let used: BTreeSet<&String> = suppressed
            .iter()
            .map(|finding| &finding.fingerprint)
            .collect();
        let summary = findings.iter().map(|finding| finding.severity).collect();
        let truncated = findings.len() > MAX_FINDINGS;
        findings.truncate(MAX_FINDINGS);
        Ok(DetectSecretsOutput {
            findings,
            summary,
            scanned: visited.scanned,
            skipped: visited.skipped,
            suppressed: suppressed.len(),
            unused_baseline: baseline
                .iter()
                .filter(|fingerprint| !used.contains(fingerprint))
                .cloned()
                .collect(),
            truncated,
        })
    }
}

fn finding(file: &str, detection: Detection) -> SecretFinding {
    let Detection {
        rule,
        confidence,
        line,
        column,
        fingerprint,
        preview,
    } = detection;
    SecretFinding {
        rule: rule.id.to_owned(),
        title: rule.title.to_owned(),
        severity: rule.severity,
        confidence,
        file: file.to_owned(),
        line,
        column,
        fingerprint,
        preview,
        remediation: rule.remediation.to_owned(),
    }
}

fn check_baseline(baseline: Vec<String>) -> Result<BTreeSet<String>, SkillError> {
    if baseline.len() > MAX_BASELINE {
        return Err(SkillError::rejected(
            "baseline",
            format!("at most {MAX_BASELINE} fingerprints"),
            baseline.len().to_string(),
        ));
    }
    // Whatever else stands here could be the secret itself, so it is not repeated.
    let wrong = baseline
        .iter()
        .position(|text| text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()));
    match wrong {
        Some(index) => Err(SkillError::rejected(
            format!("baseline[{index}]"),
            "a fingerprint of 32 hex digits",
            "something else",
        )),
        None => Ok(baseline.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests;
