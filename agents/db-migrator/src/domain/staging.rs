//! Destructive steps that keep what they take away until the end of a retention window, so that a rollback loses no row.
//!
//! PostgreSQL: a dropped table moves to a schema of its own (hide), a dropped column gets a reserved name (rename), rows
//! that are deleted, truncated or overwritten are copied (side table). SQLite: a dropped column is renamed, everything
//! else is a side table. No catalog shows what is retained, so that fingerprints equal those of the plain statements.

pub mod compose;
pub mod pieces;
pub mod postgres;
pub mod sqlite;
pub mod target;
pub mod updated;
pub mod values;

pub use target::{Taken, taken};

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Assessment, Entry, assess::Answer};

/// What every retained object is called like. No migration may name it.
pub const RESERVED: &str = "db_migrator_retained";
/// The retention window unless a request names another: seven days.
const DEFAULT_SECONDS: u64 = 7 * 24 * 3600;
/// The longest window: one year.
const MAX_SECONDS: u64 = 366 * 24 * 3600;

/// The entries that are not retained, with columns ranked among themselves.
pub fn visible(mut entries: Vec<Entry>) -> Vec<Entry> {
    let hides = |entry: &Entry| entry.name.contains(RESERVED);
    let tables = entries
        .iter()
        .filter(|entry| hides(entry) && entry.position.is_some())
        .filter_map(|entry| {
            entry
                .name
                .rsplit_once('.')
                .map(|(table, _)| table.to_owned())
        })
        .collect::<BTreeSet<_>>();
    entries.retain(|entry| !hides(entry));
    for table in tables {
        let mut columns = entries
            .iter_mut()
            .filter(|entry| {
                entry.position.is_some()
                    && entry
                        .name
                        .rsplit_once('.')
                        .is_some_and(|(of, _)| of == table)
            })
            .collect::<Vec<_>>();
        columns.sort_by_key(|entry| entry.position);
        for (rank, column) in (1..).zip(columns) {
            column.position = Some(rank);
        }
    }
    entries
}

/// How something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// A table out of sight.
    Table,
    /// A column under a reserved name.
    Column,
    /// Rows in a side table.
    Rows,
}

/// What a migration keeps of what it takes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// `table orders`, `column orders.note`, `rows of orders`.
    pub what: String,
    /// How.
    pub kind: Kept,
    /// Statements that drop it for good.
    pub purge: Vec<String>,
    /// Counts the rows that a rollback could not restore.
    pub lost: Option<String>,
    /// What is wrong with them: `3 rows ...`.
    pub since: String,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention(Option<u64>);

impl Default for Retention {
    fn default() -> Self {
        Self(Some(DEFAULT_SECONDS))
    }
}

impl Retention {
    /// Nothing is kept.
    pub const NONE: Self = Self(None);

    /// Reads `none` or an ISO 8601 duration of days, hours, minutes and seconds such as `P7D` or `PT12H`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::NONE);
        }
        let rest = text.strip_prefix('P')?;
        let (days, time) = rest
            .split_once('T')
            .map_or((rest, None), |(days, time)| (days, Some(time)));
        if time.is_some_and(str::is_empty) || (days.is_empty() && time.is_none()) {
            return None;
        }
        let seconds = amounts(days, &[('D', 86_400)])?.checked_add(amounts(
            time.unwrap_or_default(),
            &[('H', 3_600), ('M', 60), ('S', 1)],
        )?)?;
        (1..=MAX_SECONDS)
            .contains(&seconds)
            .then_some(Self(Some(seconds)))
    }

    /// Its length; absent when nothing is kept.
    pub const fn seconds(self) -> Option<u64> {
        self.0
    }
}

/// `1H30M` with units in this order, each at most once.
fn amounts(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0_u64;
    for (unit, length) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*length)?)?;
            text = rest;
        }
    }
    text.is_empty().then_some(sum)
}

/// A part of a name from a version and the number of a statement: unique among what is in force.
pub fn tag(version: &str, ordinal: usize) -> String {
    format!("{}_{ordinal}", plain(version))
}

/// The reserved name of a column.
pub fn retained_column(version: &str, column: &str) -> String {
    let name = format!("{RESERVED}_{}_{}", plain(version), plain(column));
    if name.len() <= 63 {
        return name;
    }
    let hash = super::sha256_hex(&name);
    let kept = name.chars().take(54).collect::<String>();
    format!("{kept}_{}", hash.get(..8).unwrap_or_default())
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect()
}

/// A destructive statement in its staged form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// What it takes.
    pub taken: Taken,
    /// What runs instead of it.
    pub up: Vec<String>,
    /// What the way back begins with, before any of its statements.
    pub first: Vec<String>,
    /// What brings it back.
    pub down: Vec<String>,
    /// Foreign keys, which need that everything else is back.
    pub last: Vec<String>,
    /// Names of indexes, constraints and triggers that come back with it, in lower case.
    pub brings: Vec<String>,
    /// What is kept.
    pub retained: Retained,
}

impl Staged {
    /// What brings it back when nothing else is to come.
    pub fn back(&self) -> String {
        let all = self.down.iter().chain(&self.last).map(String::as_str);
        all.collect::<Vec<_>>().join(";\n")
    }
}

/// What a retained thing is like at the moment of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The version that took it away.
    pub version: String,
    /// `table orders`, `column orders.note`, `rows of orders`.
    pub what: String,
    /// End of its window, by the database's clock.
    pub until: String,
    /// Whether the window is over.
    pub over: bool,
    /// Whether it was dropped for good, and when.
    pub purged: Option<String>,
    /// Rows that a rollback could not restore.
    pub lost: u64,
    /// What is wrong with them.
    pub since: String,
}

/// Adds to an assessment what the retained objects of its migrations mean for it.
pub fn weigh(assessment: &mut Assessment, standings: &[Standing]) {
    let mut against = Vec::new();
    let mut notes = Vec::new();
    let reverted = |standing: &&Standing| {
        assessment
            .reverts
            .iter()
            .any(|revert| revert.version == standing.version)
    };
    for standing in standings.iter().filter(reverted) {
        let Standing {
            version,
            what,
            until,
            ..
        } = standing;
        match &standing.purged {
            Some(at) => {
                let gone =
                    format!("{what}, which {version} took away, was dropped for good at {at}");
                let way = format!("{gone}: restore a backup or migrate forward");
                assessment.impossible.get_or_insert(way);
                against.push(gone);
            }
            None if standing.over => against.push(format!(
                "the retention of {what}, which {version} took away, ended at {until}"
            )),
            None => notes.push(format!(
                "{what}, which {version} took away, is retained until {until}"
            )),
        }
        if standing.lost > 0 && standing.purged.is_none() {
            let rows = if standing.lost == 1 {
                "1 row".to_owned()
            } else {
                format!("{} rows", standing.lost)
            };
            against.push(format!("{rows} {}", standing.since));
            assessment.rows_at_risk += standing.lost;
        }
    }
    if !against.is_empty() {
        if assessment.answer != Answer::PointOfNoReturn {
            assessment.evidence.clear();
        }
        assessment.answer = Answer::PointOfNoReturn;
        assessment.evidence.extend(against);
    }
    assessment.evidence.extend(notes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Catalog, catalog::tests::column};

    #[test]
    fn reads_windows_and_refuses_what_is_none() {
        let seconds = |text: &str| Retention::parse(text).map(Retention::seconds);
        assert_eq!(seconds("P7D"), Some(Some(604_800)));
        assert_eq!(seconds("P1DT2H30M"), Some(Some(95_400)));
        assert_eq!(seconds("PT5S"), Some(Some(5)));
        assert_eq!(seconds("none"), Some(None));
        for bad in [
            "", "P", "PT", "7D", "P0D", "P400D", "P1H", "PT1D", "P-1D", "P7DX",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn hides_what_is_retained_and_the_gap_it_leaves() {
        let plain = Catalog::new(vec![column("t", "a", "int", 1), column("t", "c", "int", 2)]);
        let staged = Catalog::new(vec![
            column("t", "a", "int", 1),
            column("t", "db_migrator_retained_5_b", "int", 2),
            column("t", "c", "int", 3),
        ]);
        assert_eq!(plain.ordered_fingerprint(), staged.ordered_fingerprint());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one story, told in order")]
    fn says_when_the_window_is_over_and_what_cannot_come_back() {
        let assessment = |standing: Standing| {
            let mut assessment = Assessment {
                answer: Answer::Reversible,
                to_version: "4".into(),
                reverts: vec![crate::domain::assess::Revert {
                    version: "5".into(),
                    name: String::new(),
                    verdict: crate::domain::Verdict::Reversible,
                    statements: 1,
                    lock: crate::domain::statement::Lock::None,
                    down_hash: String::new(),
                    rows_at_risk: vec![],
                }],
                rows_at_risk: 0,
                additive_only: false,
                impossible: None,
                plan_digest: String::new(),
                evidence: vec!["good".into()],
                halfway: None,
            };
            weigh(&mut assessment, &[standing]);
            assessment
        };
        let kept = Standing {
            version: "5".into(),
            what: "column t.b".into(),
            until: "2026-01-08".into(),
            over: false,
            purged: None,
            lost: 0,
            since: "were inserted".into(),
        };
        let good = assessment(kept.clone());
        assert_eq!(good.answer, Answer::Reversible);
        assert_eq!(
            good.evidence[1],
            "column t.b, which 5 took away, is retained until 2026-01-08"
        );
        for bad in [
            Standing {
                over: true,
                ..kept.clone()
            },
            Standing {
                purged: Some("x".into()),
                ..kept.clone()
            },
            Standing {
                lost: 2,
                ..kept.clone()
            },
        ] {
            assert_eq!(assessment(bad).answer, Answer::PointOfNoReturn);
        }
        assert_eq!(
            assessment(Standing {
                version: "9".into(),
                over: true,
                ..kept
            })
            .answer,
            Answer::Reversible
        );
    }
}
