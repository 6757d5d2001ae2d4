//! Order of migrations: digits decide, not the alphabet.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

/// A migration's version as written in its file name, for example `0003`, `20240131120000`, `2024-01-31-120000` or `1.2`.
///
/// Versions compare by their digits only: projects mix `20161115...` and `2017-08-31-...`, which a lexical order
/// gets wrong. Dotted parts compare one by one, dates (8 digits and more) from the left, other numbers by value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(String);

/// What a contract's version ends with.
const CONTRACT: &str = ".contract";
/// What the version of a baseline migration ends with: it stands for everything up to its version.
const BASELINE: &str = ".baseline";
/// What the version of a repeatable migration begins with in a source, before it has a place in the order.
const REPEATABLE: &str = "R.";
/// Longest version and longest name of a repeatable migration that a caller may name.
const MAX_TEXT: usize = 64;
const MAX_NAME: usize = 200;

/// The parts of a version, in the order in which they decide: `3`, `3.baseline`, `3.contract`, `3.R1.views`.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    /// What its migration's digits say.
    base: &'a str,
    baseline: bool,
    /// Which run after its version a repeatable is, and its name; 0 in a source.
    repeat: Option<(u64, &'a str)>,
    contract: bool,
}

impl Version {
    /// Splits a file or folder stem such as `0001_create_orders` into version and name.
    pub fn split_stem(stem: &str) -> Option<(Self, String)> {
        let bare = stem.strip_prefix(['V', 'v']).unwrap_or(stem);
        let end = bare
            .find(|c: char| !(c.is_ascii_digit() || c == '-' || c == '.'))
            .unwrap_or(bare.len());
        let (version, rest) = bare.split_at(end);
        let version = version.trim_end_matches(['-', '.']);
        let name = rest.trim_start_matches(['_', '-']);
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| (Self(version.to_owned()), name.to_owned()))
    }

    /// The version before the first migration: rolling back to it reverts everything.
    pub fn zero() -> Self {
        Self("0".into())
    }

    /// The version of a migration's contract: above the migration, below everything after it.
    #[must_use]
    pub fn contract(&self) -> Self {
        Self(format!("{}{CONTRACT}", self.0))
    }

    /// The migration that this is the contract of.
    pub fn contracted(&self) -> Option<Self> {
        self.0
            .strip_suffix(CONTRACT)
            .map(|version| Self(version.to_owned()))
    }

    /// The version of a repeatable migration in a source: after everything else, by its name.
    pub fn repeatable(name: &str) -> Self {
        Self(format!("{REPEATABLE}{name}"))
    }

    /// The version of a baseline migration.
    #[must_use]
    pub fn baseline(&self) -> Self {
        Self(format!("{}{BASELINE}", self.0))
    }

    /// The name of the repeatable migration that this is a run of.
    pub fn repeats(&self) -> Option<&str> {
        self.cut().repeat.map(|(_, name)| name)
    }

    /// Whether it is a repeatable migration of a source, without a place in the order.
    pub fn is_unplaced(&self) -> bool {
        self.cut().repeat.is_some_and(|(run, _)| run == 0)
    }

    /// Whether this is a repeatable of a source that the version in the text is a run of.
    pub fn has_run(&self, text: &str) -> bool {
        let run = Self(text.to_owned());
        self.is_unplaced() && run.repeats() == self.repeats()
    }

    /// The version of what a baseline migration stands for.
    pub fn baselined(&self) -> Option<Self> {
        let parts = self.cut();
        parts.baseline.then(|| Self(parts.base.to_owned()))
    }

    /// The place of a repeatable migration that runs now: after this head, in the same run as others of `run`.
    #[must_use]
    pub fn placed_after(&self, head: Option<&Self>, run: u64) -> Self {
        let base = head.map_or("0", |head| head.cut().base);
        let name = self.repeats().unwrap_or_default();
        Self(format!("{base}.R{run}.{name}"))
    }

    /// Which run of repeatables after the version that its digits say; 0 when it is none.
    pub fn run_after(&self) -> u64 {
        self.cut().repeat.map_or(0, |(run, _)| run)
    }

    /// Whether the digits of both say the same.
    pub fn has_base_of(&self, other: &Self) -> bool {
        compare_parts(self.cut().base, other.cut().base).is_eq()
    }

    /// Reads a version that a caller named.
    pub fn parse(text: &str) -> Option<Self> {
        let version = Self(text.to_owned());
        let parts = version.cut();
        let name_fits = |name: &str| {
            !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control)
        };
        match parts.repeat {
            Some((0, name)) if parts.base.is_empty() => name_fits(name).then_some(version),
            Some((_, name)) => (name_fits(name) && is_digits(parts.base)).then_some(version),
            None => is_digits(parts.base).then_some(version),
        }
    }

    /// A version as the ledger wrote it.
    pub fn recorded(text: String) -> Self {
        Self(text)
    }

    /// The version as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn cut(&self) -> Parts<'_> {
        let (text, contract) = match self.0.strip_suffix(CONTRACT) {
            Some(of) => (of, true),
            None => (self.0.as_str(), false),
        };
        let plain = Parts {
            base: text,
            baseline: false,
            repeat: None,
            contract,
        };
        if let Some(name) = text.strip_prefix(REPEATABLE) {
            return Parts {
                base: "",
                repeat: Some((0, name)),
                ..plain
            };
        }
        if let Some((base, rest)) = text.split_once(".R")
            && let Some((run, name)) = rest.split_once('.')
            && let Ok(run) = run.parse()
        {
            return Parts {
                base,
                repeat: Some((run, name)),
                ..plain
            };
        }
        match text.strip_suffix(BASELINE) {
            Some(base) => Parts {
                base,
                baseline: true,
                ..plain
            },
            None => plain,
        }
    }
}

/// Whether a text is a version of digits and separators, and nothing else.
fn is_digits(text: &str) -> bool {
    text.len() <= MAX_TEXT
        && Version::split_stem(text)
            .is_some_and(|(version, name)| name.is_empty() && version.0 == text)
}

/// Dotted parts one by one; a missing part is zero: 1 is 1.0.
fn compare_parts(left: &str, right: &str) -> Ordering {
    let digits = |part: &str| {
        part.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let parts = |text: &str| text.split('.').map(digits).collect::<Vec<_>>();
    let (left, right) = (parts(left), parts(right));
    let part = |parts: &[String], at: usize| parts.get(at).cloned().unwrap_or_default();
    (0..left.len().max(right.len()))
        .map(|at| compare_digits(&part(&left, at), &part(&right, at)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn compare_digits(left: &str, right: &str) -> Ordering {
    if left.len() >= 8 && right.len() >= 8 {
        let width = left.len().max(right.len());
        return format!("{left:0<width$}").cmp(&format!("{right:0<width$}"));
    }
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (self.cut(), other.cut());
        // What has no place yet comes after everything that has one.
        let unplaced = |parts: &Parts<'_>| matches!(parts.repeat, Some((0, _)));
        let place = |parts: &Parts<'_>| (parts.repeat.map(|(run, _)| run), parts.baseline);
        let name = |parts: &Parts<'_>| parts.repeat.map(|(_, name)| name.to_owned());
        unplaced(&left)
            .cmp(&unplaced(&right))
            .then_with(|| compare_parts(left.base, right.base))
            .then_with(|| place(&left).cmp(&place(&right)))
            .then_with(|| name(&left).cmp(&name(&right)))
            .then_with(|| left.contract.cmp(&right.contract))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(stem: &str) -> Version {
        Version::split_stem(stem).unwrap().0
    }

    #[test]
    fn splits_stems_of_the_usual_layouts() {
        for (stem, expected, name) in [
            ("0001_create_orders", "0001", "create_orders"),
            ("20161115110541_init", "20161115110541", "init"),
            ("2017-08-31-150000_add_x", "2017-08-31-150000", "add_x"),
            ("V1.2__add", "1.2", "add"),
            ("7", "7", ""),
        ] {
            assert_eq!(
                Version::split_stem(stem).map(|(v, n)| (v.0, n)),
                Some((expected.into(), name.into())),
                "{stem}"
            );
        }
        assert!(Version::split_stem("readme").is_none());
    }

    #[test]
    fn orders_by_digits_where_the_alphabet_would_be_wrong() {
        let mut stems = [
            "2017-08-31-150000_b",
            "20161115110541_a",
            "20180102000000_c",
            "2018-01-01-000000_d",
        ];
        stems.sort_by_key(|stem| version(stem));
        assert_eq!(
            stems,
            [
                "20161115110541_a",
                "2017-08-31-150000_b",
                "2018-01-01-000000_d",
                "20180102000000_c"
            ]
        );
        assert!(version("9_a") < version("10_b"));
        assert!(version("1.9") < version("1.10") && version("1.10") < version("2.1"));
        assert_eq!(version("0003"), version("3"));
        assert_eq!(version("1"), version("1.0"));
        assert!(version("1") < version("1.0.1"));
        assert!(Version::zero() < version("0001"));
        let contract = version("5").contract();
        assert!(version("5") < contract && contract < version("5.1") && contract < version("6"));
        assert_eq!(
            Version::parse("5.contract").and_then(|v| v.contracted()),
            Some(version("5"))
        );
    }

    #[test]
    fn puts_baselines_and_repeatables_in_their_places() {
        let text = |text: &str| Version::parse(text).unwrap();
        let template = Version::repeatable("order_views");
        let order = [
            "3",
            "3.baseline",
            "3.R1.a",
            "3.R1.b",
            "3.R1.b.contract",
            "3.R2.a",
            "3.1",
            "4",
            "R.a",
            "R.b",
        ];
        for (at, one) in order.iter().enumerate() {
            assert_eq!(text(one).as_str(), *one);
            for (other_at, other) in order.iter().enumerate() {
                assert_eq!(
                    text(one).cmp(&text(other)),
                    at.cmp(&other_at),
                    "{one} {other}"
                );
            }
        }
        assert!(text("3").contract() < text("3.R1.a"));
        let placed = template.placed_after(Some(&text("3.R1.a")), 2);
        assert_eq!(
            (placed.as_str(), placed.repeats()),
            ("3.R2.order_views", Some("order_views"))
        );
        assert!(template.is_unplaced() && !placed.is_unplaced());
        assert_eq!(template.placed_after(None, 1).as_str(), "0.R1.order_views");
        assert_eq!(text("3").baseline().baselined(), Some(text("3")));
        assert_eq!(text("03.baseline"), text("3.baseline"));
        assert!(text("3.R2.x").has_base_of(&text("3.contract")));
        for bad in ["R.", "3.R1.", "x.R1.a", "3.baseline.baseline", "3.R1.a\nb"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn refuses_versions_that_are_none() {
        assert!(Version::parse("0003").is_some());
        for bad in ["", "latest", "3; drop table x", "V3", "1."] {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }
}
