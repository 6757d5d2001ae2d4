//! Amounts of resources, compared as Kubernetes does: `0.5` is `500m`.

/// Suffixes with what they multiply and divide by.
const SCALES: [(&str, i128, i128); 16] = [
    ("", 1, 1),
    ("n", 1, 1_000_000_000),
    ("u", 1, 1_000_000),
    ("m", 1, 1_000),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
];
/// Parts of one that are told apart.
const NANO: i128 = 1_000_000_000;
/// Digits after the point that are told apart.
const DIGITS: usize = 9;

/// Whether two texts are the same amount.
pub(super) fn same(a: &str, b: &str) -> bool {
    a == b || amount(a).is_some_and(|amount_a| amount(b) == Some(amount_a))
}

/// An amount in billionths.
fn amount(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (times, over) = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = format!("0{whole}").parse().ok()?;
    let fraction: i128 = format!("{fraction:0<DIGITS$.DIGITS$}").parse().ok()?;
    let billionths = whole.checked_mul(NANO)?.checked_add(fraction)?;
    Some(billionths.checked_mul(times)? / over)
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    let known = SCALES.iter().find(|(known, _, _)| *known == suffix);
    if let Some((_, times, over)) = known {
        return Some((*times, *over));
    }
    let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((10_i128.checked_pow(exponent)?, 1))
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn an_amount_is_the_same_in_other_words() {
        for (a, b) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1024Mi", "1Gi"),
            ("1e3", "1k"),
            ("1536Mi", "1.5Gi"),
            (".5", "500m"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [("1", "1m"), ("1Gi", "1G"), ("fast", "1"), ("fast", "slow")] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
