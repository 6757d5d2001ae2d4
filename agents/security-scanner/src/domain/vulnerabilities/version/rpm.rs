//! RPM versions. Source: the manual page rpm-version(7), which describes `rpmvercmp`.

use std::cmp::Ordering;

use super::{compare_numbers, split_while};

/// Orders `[epoch:]version[-release]`; a side without a release matches any release.
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((epoch_a, version_a, release_a), (epoch_b, version_b, release_b)) = (parse(a), parse(b));
    compare_numbers(epoch_a, epoch_b)
        .then_with(|| compare_part(version_a, version_b))
        .then_with(|| match (release_a, release_b) {
            (Some(a), Some(b)) => compare_part(a, b),
            _ => Ordering::Equal,
        })
}

fn parse(version: &str) -> (&str, &str, Option<&str>) {
    let version = version.trim();
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    rest.rsplit_once('-')
        .map_or((epoch, rest, None), |(version, release)| {
            (epoch, version, Some(release))
        })
}

fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    loop {
        a = skip_separators(a);
        b = skip_separators(b);
        // A tilde sorts before everything, even the end.
        match (a.strip_prefix('~'), b.strip_prefix('~')) {
            (Some(next_a), Some(next_b)) => {
                (a, b) = (next_a, next_b);
                continue;
            }
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        // A caret sorts after the end, but before everything else.
        match (a.strip_prefix('^'), b.strip_prefix('^')) {
            (Some(next_a), Some(next_b)) => {
                (a, b) = (next_a, next_b);
                continue;
            }
            (Some(_), None) => {
                return if b.is_empty() {
                    Ordering::Greater
                } else {
                    Ordering::Less
                };
            }
            (None, Some(_)) => {
                return if a.is_empty() {
                    Ordering::Less
                } else {
                    Ordering::Greater
                };
            }
            (None, None) => {}
        }
        if a.is_empty() || b.is_empty() {
            return b.is_empty().cmp(&a.is_empty());
        }
        let (order, next_a, next_b) = compare_segment(a, b);
        if order.is_ne() {
            return order;
        }
        (a, b) = (next_a, next_b);
    }
}

fn skip_separators(text: &str) -> &str {
    text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && c != '~' && c != '^')
}

/// One run of digits or letters of each side; digits are newer than letters.
fn compare_segment<'a, 'b>(a: &'a str, b: &'b str) -> (Ordering, &'a str, &'b str) {
    let digits = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    match (digits(a), digits(b)) {
        (true, true) => {
            let ((x, next_a), (y, next_b)) = (
                split_while(a, |c| c.is_ascii_digit()),
                split_while(b, |c| c.is_ascii_digit()),
            );
            (compare_numbers(x, y), next_a, next_b)
        }
        (false, false) => {
            let ((x, next_a), (y, next_b)) = (
                split_while(a, |c| c.is_ascii_alphabetic()),
                split_while(b, |c| c.is_ascii_alphabetic()),
            );
            (x.cmp(y), next_a, next_b)
        }
        (true, false) => (Ordering::Greater, a, b),
        (false, true) => (Ordering::Less, a, b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases of rpm's own test suite (`tests/rpmvercmp.at`).
    #[test]
    fn agrees_with_the_cases_of_rpm_itself() {
        for (a, b, sign) in [
            ("1.0", "1.0", 0),
            ("1.0", "2.0", -1),
            ("2.0.1", "2.0.1a", -1),
            ("5.5p1", "5.5p2", -1),
            ("5.5p10", "5.5p1", 1),
            ("10xyz", "10.1xyz", -1),
            ("xyz10", "xyz10.1", -1),
            ("xyz.4", "8", -1),
            ("5.5p2", "5.6p1", -1),
            ("5.6p1", "6.5p1", -1),
            ("6.0.rc1", "6.0", 1),
            ("10b2", "10a1", 1),
            ("7.4.052", "7.4.52", 0),
            ("1.0aa", "1.0a", 1),
            ("10.0001", "10.0039", -1),
            ("20101121", "20101122", -1),
            ("2_0", "2.0", 0),
            ("a+", "a_", 0),
            ("+", "_", 0),
            ("1.0~rc1", "1.0", -1),
            ("1.0~rc1", "1.0~rc2", -1),
            ("1.0~rc1~git123", "1.0~rc1", -1),
            ("1.0^", "1.0", 1),
            ("1.0^git1", "1.0^git2", -1),
            ("1.0^git1", "1.01", -1),
            ("1.0^20160101", "1.0.1", -1),
            ("1.0^20160101^git1", "1.0^20160102", -1),
            ("1.0~rc1^git1", "1.0~rc1", 1),
            ("1.0^git1~pre", "1.0^git1", -1),
        ] {
            assert_eq!(compare_part(a, b), sign.cmp(&0), "{a} {b}");
            assert_eq!(compare_part(b, a), 0.cmp(&sign), "{b} {a}");
        }
    }

    #[test]
    fn the_epoch_counts_first_and_the_release_last() {
        assert_eq!(compare("1:1.0-1.el9", "2.0-1.el9"), Ordering::Greater);
        assert_eq!(compare("0:1.0-1.el9", "1.0-1.el9"), Ordering::Equal);
        assert_eq!(
            compare("3.12.12-4.el8_10", "3.12.12-3.el8_10"),
            Ordering::Greater
        );
        assert_eq!(compare("1.0", "1.0-7.el8"), Ordering::Equal);
    }
}
