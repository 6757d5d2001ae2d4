//! Which of two versions is newer, by the rules of their ecosystem.

pub mod dpkg;
pub mod pep440;
pub mod rpm;
pub mod semver;

use std::cmp::Ordering;

/// A rule for ordering versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Semantic Versioning 2.0.0, read leniently.
    SemVer,
    /// Python's PEP 440.
    Pep440,
    /// Debian's `dpkg`.
    Dpkg,
    /// `rpm`'s epoch, version, release.
    Rpm,
}

impl Scheme {
    /// The scheme of an OSV ecosystem such as `npm` or `AlmaLinux:9`; none for those whose order
    /// this agent does not know.
    pub fn of(ecosystem: &str) -> Option<Self> {
        match ecosystem.split(':').next().unwrap_or_default() {
            "crates.io" | "npm" | "Go" | "Hex" | "SwiftURL" | "Pub" => Some(Self::SemVer),
            "PyPI" => Some(Self::Pep440),
            "Debian" | "Ubuntu" => Some(Self::Dpkg),
            "AlmaLinux" | "Rocky Linux" | "Red Hat" | "openSUSE" | "SUSE" | "Photon OS"
            | "Mageia" | "openEuler" | "Azure Linux" => Some(Self::Rpm),
            _ => None,
        }
    }

    /// Orders two versions. Total: what cannot be read sorts before what can.
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::SemVer => semver::compare(a, b),
            Self::Pep440 => pep440::compare(a, b),
            Self::Dpkg => dpkg::compare(a, b),
            Self::Rpm => rpm::compare(a, b),
        }
    }

    /// Orders versions as OSV events do: `0` is before everything.
    pub fn compare_event(self, version: &str, event: &str) -> Ordering {
        if event == "0" {
            Ordering::Greater
        } else {
            self.compare(version, event)
        }
    }
}

/// Orders two texts of digits by their number, whatever their length.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Splits off the leading characters that fit.
fn split_while(text: &str, fits: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !fits(c)).unwrap_or(text.len()))
}
