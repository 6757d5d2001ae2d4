//! The table of rules, most specific first: where two rules claim the same text, the earlier wins.

mod cloud;
mod generic;
mod platforms;
mod services;

use crate::domain::Severity;

use super::{
    Confidence,
    candidate::{Candidate, Verdict},
};

/// How much text around a keyword the rule's pattern gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The keyword's line.
    Line,
    /// From the keyword's line on, this many bytes.
    Block(usize),
}

/// One kind of credential.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Stable name, for example `gitlab-pat`.
    pub id: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// How bad it is to lose it.
    pub severity: Severity,
    /// How sure a match is before its checksum was looked at.
    pub confidence: Confidence,
    /// Lower-case words of which one must be near: the pattern is not tried without.
    pub keywords: &'static [&'static str],
    /// The regular expression; the secret is the group `quoted`, else the first
    /// group but `name` that took part, else the whole match.
    pub pattern: &'static str,
    /// Least Shannon entropy of the secret, in bits a character.
    pub min_entropy: f64,
    /// How many leading characters are public (a provider's prefix) and may be shown.
    pub public_prefix: usize,
    /// How much text the pattern sees.
    pub reach: Reach,
    /// Looks at the matched secret more closely: checksum, structure, placeholders.
    pub verify: fn(&Candidate<'_>) -> Verdict,
    /// What to do about it.
    pub remediation: &'static str,
}

impl Rule {
    /// The usual rule: a provider's token with a fixed form on one line.
    const fn token(
        id: &'static str,
        title: &'static str,
        keywords: &'static [&'static str],
        pattern: &'static str,
    ) -> Self {
        Self {
            id,
            title,
            severity: Severity::High,
            confidence: Confidence::High,
            keywords,
            pattern,
            min_entropy: 3.0,
            public_prefix: 0,
            reach: Reach::Line,
            verify: super::guard::token,
            remediation: "revoke the credential at its provider, issue a new one, and keep it in a secret store outside the repository",
        }
    }

    const fn severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    const fn confidence(self, confidence: Confidence) -> Self {
        Self { confidence, ..self }
    }

    const fn entropy(self, min_entropy: f64) -> Self {
        Self {
            min_entropy,
            ..self
        }
    }

    const fn prefix(self, public_prefix: usize) -> Self {
        Self {
            public_prefix,
            ..self
        }
    }

    const fn reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    const fn verify(self, verify: fn(&Candidate<'_>) -> Verdict) -> Self {
        Self { verify, ..self }
    }

    const fn remediation(self, remediation: &'static str) -> Self {
        Self {
            remediation,
            ..self
        }
    }
}

/// Every rule, most specific first.
pub fn all_rules() -> impl Iterator<Item = &'static Rule> {
    platforms::RULES
        .iter()
        .chain(cloud::RULES)
        .chain(services::RULES)
        .chain(generic::RULES)
}

/// The rule for a value of a Kubernetes Secret that no other rule knows.
pub(super) static KUBERNETES_SECRET: Rule = Rule::token(
    "kubernetes-secret-data",
    "Value in a Kubernetes Secret manifest",
    &[],
    "",
)
.severity(Severity::High)
.confidence(Confidence::Medium)
.remediation("base64 is no protection: take the Secret out of the repository (sealed or external secrets), and change the value");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;

    use super::*;

    #[test]
    fn every_rule_has_a_unique_id_and_a_pattern_that_compiles() {
        let mut ids = BTreeSet::new();
        for rule in all_rules() {
            assert!(ids.insert(rule.id), "{} is there twice", rule.id);
            assert!(
                Regex::new(rule.pattern).is_ok(),
                "{} does not compile",
                rule.id
            );
            assert!(
                !rule.title.is_empty() && !rule.remediation.is_empty(),
                "{}",
                rule.id
            );
        }
        assert!(ids.len() >= 80, "{} rules", ids.len());
    }

    #[test]
    fn every_keyword_is_lower_case_and_no_rule_is_without() {
        for rule in all_rules() {
            assert!(!rule.keywords.is_empty(), "{}", rule.id);
            for keyword in rule.keywords {
                assert_eq!(*keyword, keyword.to_ascii_lowercase(), "{}", rule.id);
                assert!(keyword.len() >= 3, "{}", rule.id);
            }
        }
    }
}
