//! Advisories by ecosystem and package, in little memory: descriptions are dropped, equal ranges
//! of one advisory are kept once.

use std::{collections::HashMap, sync::Arc};

use super::{
    cvss,
    osv::{Affected, Rating, RawEvent, RawRange, Record},
    purl::normalize_pypi,
};
use crate::domain::Severity;

/// Longest summary kept, in bytes.
const MAX_SUMMARY: usize = 200;

/// What is reported of an advisory.
#[derive(Debug)]
pub struct Advisory {
    /// Name.
    pub id: Box<str>,
    /// Other names.
    pub aliases: Box<[Box<str>]>,
    /// One line.
    pub summary: Box<str>,
}

/// How one advisory concerns one package.
#[derive(Debug)]
pub struct Entry {
    advisory: u32,
    /// CVSS score, when the advisory has a vector.
    pub score: Option<f64>,
    /// Rating from the score, or from the database's word.
    pub severity: Severity,
    /// Ranges of affected versions.
    pub ranges: Arc<[Range]>,
    /// Single affected versions.
    pub versions: Box<[Box<str>]>,
}

/// Affected versions between events.
#[derive(Debug, PartialEq, Eq)]
pub struct Range {
    /// Whether versions follow Semantic Versioning whatever the ecosystem.
    pub semver: bool,
    /// Events in the order of the record.
    pub events: Box<[Event]>,
}

/// A point on the line of versions.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Affected from here on.
    Introduced(Box<str>),
    /// Not affected from here on.
    Fixed(Box<str>),
    /// Affected up to and with this.
    LastAffected(Box<str>),
    /// The range says nothing from here on.
    Limit(Box<str>),
}

/// Advisories, ready to be asked.
#[derive(Debug, Default)]
pub struct AdvisoryDatabase {
    advisories: Vec<Advisory>,
    packages: HashMap<Box<str>, HashMap<Box<str>, Vec<Entry>>>,
    withdrawn: usize,
    invalid: usize,
}

impl AdvisoryDatabase {
    /// Number of advisories in force.
    pub fn len(&self) -> usize {
        self.advisories.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.advisories.is_empty()
    }

    /// Number of advisories that were taken back; they never match.
    pub fn withdrawn(&self) -> usize {
        self.withdrawn
    }

    /// Number of records that could not be read.
    pub fn invalid(&self) -> usize {
        self.invalid
    }

    /// Names of the ecosystems with advisories, sorted.
    pub fn ecosystems(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.packages.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names
    }

    /// Whether there are advisories for an ecosystem, with or without its release.
    pub fn covers(&self, ecosystem: &str) -> bool {
        self.packages.contains_key(ecosystem) || self.packages.contains_key(base(ecosystem))
    }

    /// What is known about a package, whatever its version.
    pub fn entries(
        &self,
        ecosystem: &str,
        name: &str,
    ) -> impl Iterator<Item = (&Advisory, &Entry)> {
        let whole = base(ecosystem);
        [Some(ecosystem), (whole != ecosystem).then_some(whole)]
            .into_iter()
            .flatten()
            .filter_map(move |ecosystem| self.packages.get(ecosystem)?.get(name))
            .flatten()
            .filter_map(|entry| {
                Some((
                    self.advisories.get(usize::try_from(entry.advisory).ok()?)?,
                    entry,
                ))
            })
    }
}

/// The ecosystem without its release.
fn base(ecosystem: &str) -> &str {
    ecosystem.split(':').next().unwrap_or(ecosystem)
}

/// Takes records one at a time, so that an archive never has to be in memory as a whole.
#[derive(Debug, Default)]
pub struct AdvisoryDatabaseBuilder {
    database: AdvisoryDatabase,
}

impl AdvisoryDatabaseBuilder {
    /// Adds one record.
    pub fn add(&mut self, record: Record) {
        if record.withdrawn.is_some() {
            self.database.withdrawn += 1;
            return;
        }
        let Ok(advisory) = u32::try_from(self.database.advisories.len()) else {
            return;
        };
        let mut last: Arc<[Range]> = Arc::new([]);
        for affected in &record.affected {
            let Some(package) = &affected.package else {
                continue;
            };
            let name = if package.ecosystem == "PyPI" {
                normalize_pypi(&package.name)
            } else {
                package.name.clone()
            };
            let (score, severity) = rate(&record, affected);
            last = shared_ranges(last, &affected.ranges);
            let versions = affected
                .versions
                .iter()
                .map(|v| v.as_str().into())
                .collect();
            let entry = Entry {
                advisory,
                score,
                severity,
                ranges: Arc::clone(&last),
                versions,
            };
            let packages = entry_of(&mut self.database.packages, &package.ecosystem);
            entry_of(packages, &name).push(entry);
        }
        let mut summary = record.summary.unwrap_or_default();
        summary.truncate(summary.floor_char_boundary(MAX_SUMMARY));
        let aliases = record.aliases.into_iter().map(Into::into).collect();
        self.database.advisories.push(Advisory {
            id: record.id.into(),
            aliases,
            summary: summary.into(),
        });
    }

    /// Counts a record that could not be read.
    pub fn count_invalid(&mut self) {
        self.database.invalid += 1;
    }

    /// The finished database, shrunk to its content.
    pub fn build(mut self) -> AdvisoryDatabase {
        self.database.advisories.shrink_to_fit();
        for packages in self.database.packages.values_mut() {
            packages.shrink_to_fit();
            packages.values_mut().for_each(Vec::shrink_to_fit);
        }
        self.database
    }
}

fn entry_of<'m, V: Default>(map: &'m mut HashMap<Box<str>, V>, key: &str) -> &'m mut V {
    if !map.contains_key(key) {
        map.insert(key.into(), V::default());
    }
    map.entry(key.into()).or_default()
}

fn shared_ranges(last: Arc<[Range]>, raw: &[RawRange]) -> Arc<[Range]> {
    let ranges: Vec<Range> = raw
        .iter()
        .filter(|range| range.kind != "GIT")
        .map(|range| Range {
            semver: range.kind == "SEMVER",
            events: range.events.iter().filter_map(event).collect(),
        })
        .collect();
    if *last == *ranges {
        last
    } else {
        ranges.into()
    }
}

fn event(raw: &RawEvent) -> Option<Event> {
    let RawEvent {
        introduced,
        fixed,
        last_affected,
        limit,
    } = raw;
    let boxed = |text: &String| Box::<str>::from(text.as_str());
    introduced
        .as_ref()
        .map(|v| Event::Introduced(boxed(v)))
        .or_else(|| fixed.as_ref().map(|v| Event::Fixed(boxed(v))))
        .or_else(|| {
            last_affected
                .as_ref()
                .map(|v| Event::LastAffected(boxed(v)))
        })
        .or_else(|| limit.as_ref().map(|v| Event::Limit(boxed(v))))
}

/// The highest CVSS score of the package or the advisory; without one the database's word.
fn rate(record: &Record, affected: &Affected) -> (Option<f64>, Severity) {
    let ratings = if affected.severity.is_empty() {
        &record.severity
    } else {
        &affected.severity
    };
    let score = ratings
        .iter()
        .filter_map(|Rating { kind, score }| {
            kind.starts_with("CVSS")
                .then(|| cvss::score(score))
                .flatten()
        })
        .reduce(f64::max);
    let severity = score
        .map(Severity::of_score)
        .or_else(|| word(record, affected))
        .unwrap_or(Severity::Unknown);
    (score, severity)
}

fn word(record: &Record, affected: &Affected) -> Option<Severity> {
    let specific = [
        &affected.ecosystem_specific,
        &affected.database_specific,
        &record.database_specific,
    ];
    let given = specific
        .into_iter()
        .flatten()
        .find_map(|value| Severity::of_word(value.get("severity")?.as_str()?));
    // RustSec: "unmaintained" and "notice" are no vulnerabilities; "unsound" is one under conditions.
    let informational = || match affected
        .database_specific
        .as_ref()?
        .get("informational")?
        .as_str()?
    {
        "unsound" => Some(Severity::Low),
        _ => Some(Severity::Info),
    };
    // Red Hat and AlmaLinux begin their summaries with the rating.
    let in_summary = || Severity::of_word(record.summary.as_ref()?.split_once(':')?.0);
    given.or_else(informational).or_else(in_summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(records: &[&str]) -> AdvisoryDatabase {
        let mut builder = AdvisoryDatabaseBuilder::default();
        for record in records {
            builder.add(serde_json::from_str(record).unwrap());
        }
        builder.build()
    }

    fn severity_of(record: &str) -> (Option<f64>, Severity) {
        let database = database(&[record]);
        let (_, entry) = database.entries("npm", "a").next().unwrap();
        (entry.score, entry.severity)
    }

    #[test]
    fn the_vector_decides_before_the_word_and_the_word_before_nothing() {
        let vector =
            r#"[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]"#;
        let package = r#"{"package":{"ecosystem":"npm","name":"a"}}"#;
        assert_eq!(
            severity_of(&format!(
                r#"{{"id":"X","severity":{vector},"affected":[{package}],"database_specific":{{"severity":"LOW"}}}}"#
            )),
            (Some(9.8), Severity::Critical)
        );
        assert_eq!(
            severity_of(&format!(
                r#"{{"id":"X","affected":[{package}],"database_specific":{{"severity":"MODERATE"}}}}"#
            )),
            (None, Severity::Medium)
        );
        assert_eq!(
            severity_of(&format!(
                r#"{{"id":"X","summary":"Important: a security update","affected":[{package}]}}"#
            )),
            (None, Severity::High)
        );
        assert_eq!(
            severity_of(
                r#"{"id":"X","affected":[{"package":{"ecosystem":"npm","name":"a"},"database_specific":{"informational":"unmaintained"}}]}"#
            ),
            (None, Severity::Info)
        );
        assert_eq!(
            severity_of(&format!(r#"{{"id":"X","affected":[{package}]}}"#)),
            (None, Severity::Unknown)
        );
    }

    #[test]
    fn withdrawn_advisories_are_counted_and_never_found() {
        let database = database(&[
            r#"{"id":"X","withdrawn":"2024-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"a"}}]}"#,
        ]);
        assert_eq!((database.len(), database.withdrawn()), (0, 1));
        assert_eq!(database.entries("npm", "a").count(), 0);
    }

    #[test]
    fn a_release_of_a_distribution_sees_its_own_advisories_and_the_general_ones() {
        let of = |id: &str, ecosystem: &str| {
            format!(
                r#"{{"id":"{id}","affected":[{{"package":{{"ecosystem":"{ecosystem}","name":"a"}}}}]}}"#
            )
        };
        let database = database(&[
            &of("A", "Debian:12"),
            &of("B", "Debian:11"),
            &of("C", "Debian"),
        ]);
        let ids: Vec<&str> = database
            .entries("Debian:12", "a")
            .map(|(advisory, _)| &*advisory.id)
            .collect();
        assert_eq!(ids, ["A", "C"]);
        assert!(database.covers("Debian:13") && !database.covers("npm"));
    }
}
