//! A finding: what is wrong, where, and what would have been right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    limits::MAX_FINDINGS,
    object::Object,
    rules::Rule,
    yaml::{Cursor, Position},
};

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Should be fixed; does not refuse the manifests.
    Warning,
    /// Refuses the manifests.
    Error,
}

impl Severity {
    /// The word in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One problem at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable id of the rule, for example `schema-unknown-field`.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// File as named in the request.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// JSON pointer (RFC 6901) into the YAML document, empty for its root.
    pub pointer: String,
    /// The object, as `Kind namespace/name`, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What would have been accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was there: its type, and its text where that cannot be a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<String>,
    /// The document that the rule comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Finding {
    /// A finding of a file as a whole, or before objects are known.
    pub fn in_file(rule: &Rule, file: &str, at: Position, message: impl Into<String>) -> Self {
        Self {
            rule: rule.id.to_owned(),
            severity: rule.severity,
            message: message.into(),
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            pointer: String::new(),
            object: None,
            expected: None,
            got: None,
            source: rule.source.map(str::to_owned),
        }
    }

    /// A finding at a node of an object.
    pub fn at(
        rule: &Rule,
        object: &Object<'_>,
        place: &Cursor<'_>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            pointer: place.pointer().to_owned(),
            object: Some(object.title()),
            ..Self::in_file(rule, object.file, place.node().at, message)
        }
    }

    /// Says what would have been accepted.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Says what was there. Never give it a value that may be a secret.
    #[must_use]
    pub fn got(mut self, got: impl Into<String>) -> Self {
        self.got = Some(got.into());
        self
    }

    /// Replaces the rule's own severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

/// Findings so far. Counts everything, keeps the first [`MAX_FINDINGS`].
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    counts: Counts,
}

/// How many findings of each severity there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Findings that refuse the manifests.
    pub error: usize,
    /// Findings that should be fixed.
    pub warning: usize,
    /// Findings worth knowing.
    pub info: usize,
}

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Error => self.counts.error += 1,
            Severity::Warning => self.counts.warning += 1,
            Severity::Info => self.counts.info += 1,
        }
        if self.kept.len() < MAX_FINDINGS {
            self.kept.push(finding);
        }
    }

    /// Counts of all findings, kept or not.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is kept, without order.
    pub fn kept(&self) -> &[Finding] {
        &self.kept
    }

    /// The findings by file, line and column, and whether some were left out.
    pub fn into_sorted(mut self) -> (Vec<Finding>, Counts, bool) {
        self.kept.sort_by(|a, b| {
            (&a.file, a.line, a.column, &a.rule).cmp(&(&b.file, b.line, b.column, &b.rule))
        });
        let Counts {
            error,
            warning,
            info,
        } = self.counts;
        let left_out = error + warning + info > self.kept.len();
        (self.kept, self.counts, left_out)
    }
}

impl Extend<Finding> for Findings {
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, findings: T) {
        for finding in findings {
            self.push(finding);
        }
    }
}
