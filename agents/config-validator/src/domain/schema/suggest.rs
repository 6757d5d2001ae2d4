//! The name that was probably meant.

/// The candidate nearest to `given`: the same but for case, or at most a third of its letters changed,
/// added, left out or swapped (optimal string alignment distance).
pub fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = given.chars().count().div_ceil(3).min(4);
    candidates
        .filter(|c| c.len().abs_diff(given.len()) <= allowed)
        .map(|c| {
            (
                if c.eq_ignore_ascii_case(given) {
                    0
                } else {
                    distance(given, c)
                },
                c,
            )
        })
        .filter(|(d, _)| *d <= allowed)
        .min()
        .map(|(_, c)| c)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |r: &[usize], k: usize| r.get(k).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&last, j) + usize::from(ca != *cb))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = j > 0 && previous == Some(*cb) && b.get(j - 1) == Some(&ca);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
        previous = Some(ca);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let names = ["replicas", "resources", "restartPolicy", "readinessProbe"];
        for (given, expected) in [
            ("replica", Some("replicas")),
            ("Replicas", Some("replicas")),
            ("resuorces", Some("resources")),
            ("readyProbe", None),
            ("x", None),
        ] {
            assert_eq!(nearest(given, names.into_iter()), expected, "{given}");
        }
    }

    /// Distances from the literature: Levenshtein's example, and a swap that counts one.
    #[test]
    fn counts_edits_and_swaps() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("ca", "abc"), 3);
    }
}
