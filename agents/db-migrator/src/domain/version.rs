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

/// What a contract's version ends with. Its part has no digit, so it sorts directly after its migration.
const CONTRACT: &str = ".contract";

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

    /// Reads a version that a caller named.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(of) = text.strip_suffix(CONTRACT) {
            return Self::parse(of).map(|version| version.contract());
        }
        Self::split_stem(text)
            .filter(|(version, name)| name.is_empty() && version.0 == text && text.len() <= 64)
            .map(|(version, _)| version)
    }

    /// A version as the ledger wrote it.
    pub fn recorded(text: String) -> Self {
        Self(text)
    }

    /// The version as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> Vec<String> {
        let digits = |part: &str| {
            part.chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
        };
        self.0.split('.').map(digits).collect()
    }
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
        let (left, right) = (self.parts(), other.parts());
        // A missing part is zero: 1 is 1.0.
        let part = |parts: &[String], at: usize| parts.get(at).cloned().unwrap_or_default();
        (0..left.len().max(right.len()))
            .map(|at| compare_digits(&part(&left, at), &part(&right, at)))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
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
    fn refuses_versions_that_are_none() {
        assert!(Version::parse("0003").is_some());
        for bad in ["", "latest", "3; drop table x", "V3", "1."] {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }
}
