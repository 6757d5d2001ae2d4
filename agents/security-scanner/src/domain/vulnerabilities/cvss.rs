//! Scores from CVSS vectors.

use cvss::Cvss;

/// The score of a CVSS v2, v3.0, v3.1 or v4.0 vector, from 0 to 10; none when it is no valid vector.
///
/// Formulas: CVSS v3.1 specification section 7.1 (base score: impact and exploitability sub-scores,
/// rounded up to one decimal by appendix A), CVSS v4.0 specification section 8 (macro vector lookup
/// with interpolation by severity distance). Temporal and threat metrics count when they are given.
pub fn score(vector: &str) -> Option<f64> {
    let vector = vector.trim();
    let parsed: Cvss = vector.parse().ok()?;
    // Missing metrics would count as harmless.
    let complete = mandatory(&parsed).iter().all(|metric| {
        vector
            .split('/')
            .any(|part| part.split(':').next() == Some(metric))
    });
    complete.then(|| parsed.score())
}

fn mandatory(vector: &Cvss) -> &'static [&'static str] {
    match vector {
        Cvss::CvssV20(_) => &["AV", "AC", "Au", "C", "I", "A"],
        Cvss::CvssV30(_) | Cvss::CvssV31(_) => &["AV", "AC", "PR", "UI", "S", "C", "I", "A"],
        _ => &[
            "AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores published by FIRST in "CVSS v3.1 Examples" and "CVSS v4.0 Examples".
    #[test]
    fn agrees_with_the_published_examples() {
        for (vector, expected) in [
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
            (
                "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
                9.3,
            ),
            (
                "CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
                7.3,
            ),
        ] {
            assert_eq!(score(vector), Some(expected), "{vector}");
        }
        assert_eq!(score("CVSS:3.1/AV:N"), None);
        assert_eq!(score("very bad"), None);
    }

    /// CVSS v3.1 base score from the specification's section 7.1, written down a second time.
    fn naive_base_score(vector: &str) -> f64 {
        let value = |metric: &str| {
            vector
                .split('/')
                .find_map(|part| part.strip_prefix(metric)?.strip_prefix(':'))
                .unwrap()
        };
        let weight = |metric: &str| match value(metric) {
            "H" => 0.56,
            "L" => 0.22,
            _ => 0.0,
        };
        let changed = value("S") == "C";
        let iss = 1.0 - (1.0 - weight("C")) * (1.0 - weight("I")) * (1.0 - weight("A"));
        let impact: f64 = if changed {
            7.52 * (iss - 0.029) - 3.25 * f64::powi(iss - 0.02, 15)
        } else {
            6.42 * iss
        };
        let av = match value("AV") {
            "N" => 0.85,
            "A" => 0.62,
            "L" => 0.55,
            _ => 0.2,
        };
        let ac = if value("AC") == "L" { 0.77 } else { 0.44 };
        let pr = match (value("PR"), changed) {
            ("N", _) => 0.85,
            ("L", false) => 0.62,
            ("L", true) => 0.68,
            (_, false) => 0.27,
            (_, true) => 0.5,
        };
        let ui = if value("UI") == "N" { 0.85 } else { 0.62 };
        let sum = impact + 8.22 * av * ac * pr * ui;
        let score = if changed { 1.08 * sum } else { sum };
        if impact <= 0.0 {
            0.0
        } else {
            (score.min(10.0) * 10.0 - 1e-4).ceil() / 10.0
        }
    }

    #[test]
    fn agrees_with_a_second_implementation_on_every_base_vector() {
        let mut vectors = vec![String::from("CVSS:3.1")];
        for (metric, values) in [
            ("AV", "NALP"),
            ("AC", "LH"),
            ("PR", "NLH"),
            ("UI", "NR"),
            ("S", "UC"),
            ("C", "HLN"),
            ("I", "HLN"),
            ("A", "HLN"),
        ] {
            vectors = vectors
                .iter()
                .flat_map(|v| values.chars().map(move |c| format!("{v}/{metric}:{c}")))
                .collect();
        }
        assert_eq!(vectors.len(), 4 * 2 * 3 * 2 * 2 * 27);
        for vector in vectors {
            let (ours, naive) = (score(&vector).unwrap(), naive_base_score(&vector));
            assert!((ours - naive).abs() < 0.05, "{vector}: {ours} and {naive}");
        }
    }
}
