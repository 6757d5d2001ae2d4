//! The table of rules: `rules.md` is documentation and data at once.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad it is, in GitLab's words.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A matter of taste.
    Info,
    /// Costs something some day.
    Minor,
    /// Stops readers or writers for as long as a table is large.
    Major,
    /// Loses data, or breaks the release that runs.
    Critical,
    /// Fails for certain.
    Blocker,
}

impl Severity {
    /// All, from the mildest.
    pub const ALL: [Self; 5] = [
        Self::Info,
        Self::Minor,
        Self::Major,
        Self::Critical,
        Self::Blocker,
    ];

    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
            Self::Blocker => "blocker",
        }
    }
}

/// Whether a rule reports when nobody says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// It does.
    On,
    /// Only when it is enabled by name.
    Off,
    /// Never: the runner takes care of it.
    Runner,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its stable name.
    pub id: &'static str,
    /// Whether it reports.
    pub default: Reports,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub category: &'static str,
    /// `postgres`, `sqlite` or `both`.
    pub dialect: &'static str,
    /// Whether it is quiet on new and small tables.
    pub quiet_when_small: bool,
    /// Who else has it.
    pub source: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do instead.
    pub instead: &'static str,
}

impl Rule {
    /// Whether down scripts are asked, too: there, dropping is the purpose.
    pub fn asks_downs(&self) -> bool {
        !matches!(self.category, "compatibility" | "data-loss" | "style")
    }
}

static RULES: LazyLock<Vec<Rule>> =
    LazyLock::new(|| include_str!("rules.md").lines().filter_map(row).collect());

/// All rules, in the order of the page.
pub fn all() -> &'static [Rule] {
    &RULES
}

/// The rule of this name.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// A line of the table; `None` for any other line.
fn row(line: &'static str) -> Option<Rule> {
    let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells = cells.split(" | ").collect::<Vec<_>>();
    let [
        id,
        default,
        severity,
        category,
        dialect,
        small,
        source,
        why,
        instead,
    ] = cells.as_slice()
    else {
        return None;
    };
    Some(Rule {
        id,
        default: match *default {
            "on" => Reports::On,
            "off" => Reports::Off,
            "runner" => Reports::Runner,
            _ => return None,
        },
        severity: Severity::ALL
            .into_iter()
            .find(|known| known.name() == *severity)?,
        category,
        dialect,
        quiet_when_small: *small == "quiet",
        source,
        why,
        instead,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_line_of_the_page_is_a_rule() {
        let lines = include_str!("rules.md")
            .lines()
            .filter(|line| line.starts_with("| "))
            .count();
        assert_eq!(lines, all().len() + 2, "head and rule");
        let ids = all().iter().map(|rule| rule.id).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), all().len());
        let categories = [
            "locking",
            "compatibility",
            "data-loss",
            "data-dependent",
            "correctness",
            "rollback",
            "security",
            "style",
        ];
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&format!("by {} [rules]", all().len())));
        for rule in all() {
            assert!(categories.contains(&rule.category), "{rule:?}");
            assert!(
                ["both", "postgres", "sqlite"].contains(&rule.dialect),
                "{rule:?}"
            );
            assert!(
                rule.why.ends_with('.') && rule.instead.ends_with('.'),
                "{rule:?}"
            );
        }
    }

    #[test]
    fn knows_every_rule_of_squawk() {
        use squawk_linter::{Linter, Rule as Squawk};
        let known = all()
            .iter()
            .filter(|rule| rule.id.parse::<Squawk>().is_ok())
            .count();
        // The page has each by name; the default ones are a subset of them.
        for rule in Linter::with_default_rules().rules {
            assert!(find(&rule.to_string()).is_some(), "{rule}");
        }
        assert_eq!(known, 77);
    }
}
