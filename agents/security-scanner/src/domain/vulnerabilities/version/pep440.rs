//! Python versions; what PEP 440 does not know sorts before what it knows, as setuptools did.

use std::{cmp::Ordering, str::FromStr};

use pep440_rs::Version;

use super::semver;

/// Orders two versions.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (Version::from_str(a), Version::from_str(b)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Greater,
        (Err(_), Ok(_)) => Ordering::Less,
        (Err(_), Err(_)) => semver::compare(a, b).then_with(|| a.cmp(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PEP 440, "Summary of permitted suffixes and relative ordering".
    #[test]
    fn follows_the_order_of_pep_440() {
        let chain = [
            "1.dev0",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
        ];
        for pair in chain.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(compare("1.0-RC1", "1.0rc1"), Ordering::Equal);
        assert_eq!(compare("2004d", "0.1"), Ordering::Less);
    }
}
