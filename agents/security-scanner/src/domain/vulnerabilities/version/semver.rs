//! Semantic Versioning 2.0.0 section 11, read leniently: a leading `v`, missing or further numbers,
//! numbers of any size.

use std::cmp::Ordering;

use super::{compare_numbers, split_while};

/// Orders two versions; build metadata does not count.
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((numbers_a, pre_a), (numbers_b, pre_b)) = (parse(a), parse(b));
    compare_release(&numbers_a, &numbers_b).then_with(|| compare_prerelease(pre_a, pre_b))
}

/// Numbers of the release, and the pre-release after them.
pub(in super::super) fn parse(version: &str) -> (Vec<&str>, &str) {
    let version = version.trim().trim_start_matches(['v', 'V', '=']);
    let version = version.split('+').next().unwrap_or_default();
    let mut numbers = Vec::new();
    let mut rest = version;
    loop {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit());
        if number.is_empty() {
            break;
        }
        numbers.push(number);
        rest = after;
        match after.strip_prefix('.') {
            Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
            _ => break,
        }
    }
    (numbers, rest.strip_prefix(['-', '.']).unwrap_or(rest))
}

fn compare_release(a: &[&str], b: &[&str]) -> Ordering {
    (0..a.len().max(b.len()))
        .map(|at| {
            compare_numbers(
                a.get(at).copied().unwrap_or("0"),
                b.get(at).copied().unwrap_or("0"),
            )
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn compare_prerelease(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match compare_identifiers(a, b) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
}

fn compare_identifiers(a: &str, b: &str) -> Ordering {
    let numeric = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match (numeric(a), numeric(b)) {
        (true, true) => compare_numbers(a, b),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example chain of Semantic Versioning 2.0.0 section 11.
    const CHAIN: [&str; 8] = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
    ];

    #[test]
    fn follows_the_chain_of_the_specification() {
        for (at, a) in CHAIN.iter().enumerate() {
            for (bt, b) in CHAIN.iter().enumerate() {
                assert_eq!(compare(a, b), at.cmp(&bt), "{a} {b}");
            }
        }
    }

    #[test]
    fn agrees_with_the_semver_crate_on_strict_versions() {
        let versions = [
            "0.0.0",
            "0.0.1",
            "0.1.0",
            "0.9.0",
            "0.10.0",
            "1.0.0-0",
            "1.0.0-a",
            "1.0.0-a.b",
            "1.0.0-1.a",
            "1.0.0--",
            "1.0.0-a-b",
            "1.0.0",
            "1.2.3",
            "1.10.0",
            "2.0.0-rc.1",
            "2.0.0",
            "10.0.0",
            "18446744073709551615.0.0",
        ];
        for a in versions {
            for b in versions {
                let strict = semver::Version::parse(a)
                    .unwrap()
                    .cmp_precedence(&semver::Version::parse(b).unwrap());
                assert_eq!(compare(a, b), strict, "{a} {b}");
            }
        }
    }

    #[test]
    fn reads_what_is_not_quite_semantic() {
        for (a, b, order) in [
            ("v1.2.3", "1.2.3", Ordering::Equal),
            ("1.2", "1.2.0", Ordering::Equal),
            ("1.2.3.4", "1.2.3", Ordering::Greater),
            ("1.0.0+incompatible", "1.0.0", Ordering::Equal),
            (
                "0.0.0-20200622213623-75b288015ac9",
                "0.0.0-20211202192323-5770296d904e",
                Ordering::Less,
            ),
            (
                "99999999999999999999.0.0",
                "99999999999999999998.0.0",
                Ordering::Greater,
            ),
            ("1.0rc1", "1.0", Ordering::Less),
            ("", "0.0.1", Ordering::Less),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }
}
