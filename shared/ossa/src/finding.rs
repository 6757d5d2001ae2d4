//! One thing that a check noticed, and the verdict that many of them make.

use serde::Serialize;

use crate::{Document, Position};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look; the manifest stays valid.
    Warning,
    /// The manifest is refused.
    Error,
}

/// One thing that a check noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Code of OSSA's error catalogue (`OSSA-603`), or a word of this project where the catalogue has none.
    pub code: &'static str,
    /// JSON pointer (RFC 6901) of the value.
    pub pointer: String,
    /// What would have been accepted.
    pub expected: String,
    /// What is there instead; never a secret.
    pub got: String,
    /// Where it stands in the file.
    pub position: Option<Position>,
}

impl Finding {
    /// An error; its place is added by [`Verdict::new`].
    pub fn error(
        code: &'static str,
        pointer: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            pointer: pointer.into(),
            expected: expected.into(),
            got: String::new(),
            position: None,
        }
    }

    /// A warning; its place is added by [`Verdict::new`].
    pub fn warning(
        code: &'static str,
        pointer: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, pointer, expected)
        }
    }

    /// Says what is there instead.
    #[must_use]
    pub fn got(mut self, got: impl Into<String>) -> Self {
        self.got = got.into();
        self
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        let pointer = if self.pointer.is_empty() {
            "/"
        } else {
            &self.pointer
        };
        write!(
            f,
            "{pointer}: expected {}, got {} ({})",
            self.expected, self.got, self.code
        )
    }
}

/// What one kind of check says about one document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What was noticed, in the order of the file.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Puts findings in the order of the file, each with its place.
    pub fn new(document: &Document, mut findings: Vec<Finding>) -> Self {
        for finding in &mut findings {
            finding.position = document.position(&finding.pointer);
        }
        findings.sort_by(|a, b| (a.position, &a.pointer).cmp(&(b.position, &b.pointer)));
        Self { findings }
    }

    /// Whether there is no error; warnings do not count.
    pub fn is_valid(&self) -> bool {
        self.errors().next().is_none()
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
    }
}
