//! How bad a finding is, in the words of the CVSS qualitative rating scale.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a finding is. Ordered from least to worst.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The source gives no rating: treat it as at least medium until somebody has looked.
    Unknown,
    /// A notice, such as an unmaintained package.
    Info,
    /// CVSS above 0, under 4.
    Low,
    /// CVSS from 4, under 7.
    Medium,
    /// CVSS from 7, under 9.
    High,
    /// CVSS from 9.
    Critical,
}

impl Severity {
    /// All of them, worst first.
    pub const ALL: [Self; 6] = [
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Low,
        Self::Info,
        Self::Unknown,
    ];

    /// Rates a CVSS score.
    ///
    /// Source: CVSS v3.1 specification section 5 and CVSS v4.0 specification section 6,
    /// qualitative severity rating scale (none 0, low 0.1-3.9, medium 4.0-6.9, high 7.0-8.9,
    /// critical 9.0-10.0).
    pub fn of_score(score: f64) -> Self {
        match score {
            s if s >= 9.0 => Self::Critical,
            s if s >= 7.0 => Self::High,
            s if s >= 4.0 => Self::Medium,
            s if s > 0.0 => Self::Low,
            _ => Self::Info,
        }
    }

    /// Reads the rating words that advisory databases use.
    pub fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "critical" => Some(Self::Critical),
            "high" | "important" => Some(Self::High),
            "medium" | "moderate" => Some(Self::Medium),
            "low" | "minor" => Some(Self::Low),
            "info" | "informational" | "none" => Some(Self::Info),
            _ => None,
        }
    }

    /// The word in artifacts and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Info => "info",
            Self::Unknown => "unknown",
        }
    }
}

/// Number of findings of each severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeverityCounts {
    /// Critical findings.
    pub critical: usize,
    /// High findings.
    pub high: usize,
    /// Medium findings.
    pub medium: usize,
    /// Low findings.
    pub low: usize,
    /// Notices.
    pub info: usize,
    /// Findings whose source gives no rating.
    pub unknown: usize,
}

impl SeverityCounts {
    /// The count of one severity.
    pub fn get(&self, severity: Severity) -> usize {
        match severity {
            Severity::Critical => self.critical,
            Severity::High => self.high,
            Severity::Medium => self.medium,
            Severity::Low => self.low,
            Severity::Info => self.info,
            Severity::Unknown => self.unknown,
        }
    }
}

impl FromIterator<Severity> for SeverityCounts {
    fn from_iter<I: IntoIterator<Item = Severity>>(severities: I) -> Self {
        let mut counts = Self::default();
        for severity in severities {
            let count = match severity {
                Severity::Critical => &mut counts.critical,
                Severity::High => &mut counts.high,
                Severity::Medium => &mut counts.medium,
                Severity::Low => &mut counts.low,
                Severity::Info => &mut counts.info,
                Severity::Unknown => &mut counts.unknown,
            };
            *count += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_scores_at_the_borders_of_the_scale() {
        for (score, severity) in [
            (10.0, Severity::Critical),
            (9.0, Severity::Critical),
            (8.9, Severity::High),
            (7.0, Severity::High),
            (6.9, Severity::Medium),
            (4.0, Severity::Medium),
            (3.9, Severity::Low),
            (0.1, Severity::Low),
            (0.0, Severity::Info),
        ] {
            assert_eq!(Severity::of_score(score), severity, "{score}");
        }
    }

    #[test]
    fn counts_every_severity_once() {
        let counts: SeverityCounts = Severity::ALL.into_iter().collect();
        assert!(Severity::ALL.into_iter().all(|s| counts.get(s) == 1));
    }

    #[test]
    fn reads_the_words_of_github_and_red_hat() {
        assert_eq!(Severity::of_word("MODERATE"), Some(Severity::Medium));
        assert_eq!(Severity::of_word("Important"), Some(Severity::High));
        assert_eq!(Severity::of_word("terrible"), None);
    }
}
