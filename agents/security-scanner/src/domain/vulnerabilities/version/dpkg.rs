//! Debian versions. Source: Debian Policy Manual section 5.6.12.

use std::cmp::Ordering;

use super::{compare_numbers, split_while};

/// Orders `[epoch:]upstream[-revision]`.
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((epoch_a, upstream_a, revision_a), (epoch_b, upstream_b, revision_b)) =
        (parse(a), parse(b));
    compare_numbers(epoch_a, epoch_b)
        .then_with(|| compare_part(upstream_a, upstream_b))
        .then_with(|| compare_part(revision_a, revision_b))
}

fn parse(version: &str) -> (&str, &str, &str) {
    let version = version.trim();
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Alternates between text without digits and numbers, from the left.
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let ((text_a, rest_a), (text_b, rest_b)) = (
            split_while(a, |c| !c.is_ascii_digit()),
            split_while(b, |c| !c.is_ascii_digit()),
        );
        let ((number_a, next_a), (number_b, next_b)) = (
            split_while(rest_a, |c| c.is_ascii_digit()),
            split_while(rest_b, |c| c.is_ascii_digit()),
        );
        let order = compare_text(text_a, text_b).then_with(|| compare_numbers(number_a, number_b));
        if order.is_ne() {
            return order;
        }
        (a, b) = (next_a, next_b);
    }
    Ordering::Equal
}

/// `~` before the end, the end before letters, letters before the rest.
fn compare_text(a: &str, b: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => (0, '\0'),
        None => (1, '\0'),
        Some(c) if c.is_ascii_alphabetic() => (2, c),
        Some(c) => (3, c),
    };
    let (mut a, mut b) = (a.chars(), b.chars());
    loop {
        let (x, y) = (a.next(), b.next());
        let order = weight(x).cmp(&weight(y));
        if order.is_ne() || x.is_none() && y.is_none() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const VERSIONS: &[&str] = &[
        "0",
        "1.0",
        "1.0-1",
        "1.0-1+b1",
        "1.0-1~bpo11+1",
        "1.0~rc1-1",
        "1.0~~",
        "1.0~",
        "1.0~~a",
        "1.0a",
        "1.0+dfsg-2",
        "1:0.9-1",
        "2:1.0",
        "1.0-10",
        "1.0-9",
        "1.0.1",
        "1.1.1n-0+deb11u3",
        "1.1.1n-0+deb11u5",
        "3.0.15-1~deb12u1",
        "7.88.1-10+deb12u5",
        "1.0-1ubuntu2",
        "1.00",
        "0.0.0-1",
        "1.0-a~",
        "a",
    ];

    #[test]
    fn follows_the_examples_of_the_policy_manual() {
        let chain = ["~~", "~~a", "~", "", "a"];
        for pair in chain.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(compare("1:0.9", "2.0"), Ordering::Greater);
        assert_eq!(compare("1.0-1", "1.0-1"), Ordering::Equal);
        assert_eq!(
            compare("1.1.1n-0+deb11u3", "1.1.1n-0+deb11u5"),
            Ordering::Less
        );
    }

    #[test]
    fn agrees_with_dpkg_where_it_is_installed() {
        let answer = |a: &str, relation: &str, b: &str| {
            Command::new("dpkg")
                .args(["--compare-versions", a, relation, b])
                .output()
                .map(|o| o.status.success())
        };
        if answer("1", "lt", "2").is_err() {
            println!("skipped: dpkg is not installed");
            return;
        }
        for a in VERSIONS
            .iter()
            .filter(|v| v.starts_with(|c: char| c.is_ascii_digit()))
        {
            for b in VERSIONS
                .iter()
                .filter(|v| v.starts_with(|c: char| c.is_ascii_digit()))
            {
                let relation = match compare(a, b) {
                    Ordering::Less => "lt",
                    Ordering::Equal => "eq",
                    Ordering::Greater => "gt",
                };
                assert!(
                    answer(a, relation, b).unwrap(),
                    "dpkg denies that {a} {relation} {b}"
                );
            }
        }
    }
}
