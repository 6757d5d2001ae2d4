//! Kubernetes quantities of CPU and memory, such as `250m` and `256Mi`.

/// Not a Kubernetes quantity of this resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Kubernetes quantity such as 250m, 1.5 or 256Mi")]
pub struct ParseQuantityError(pub String);

/// Suffixes with their factor, longest first where one contains another.
const SUFFIXES: [(&str, f64); 13] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("Pi", 1_125_899_906_842_624.0),
    ("P", 1e15),
];

/// Reads a quantity into its base unit: cores or bytes.
///
/// # Errors
/// Anything but a number that is not negative with a suffix of the Kubernetes API.
pub fn parse(text: &str) -> Result<f64, ParseQuantityError> {
    let refuse = || ParseQuantityError(text.chars().take(40).collect());
    let (digits, factor) = SUFFIXES
        .iter()
        .find_map(|(s, f)| text.strip_suffix(s).map(|d| (d, *f)))
        .unwrap_or((text, 1.0));
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(refuse());
    }
    let number: f64 = digits.parse().map_err(|_| refuse())?;
    Ok(number * factor)
}

/// Cores as a quantity, rounded up to a millicore: 0.25 is `250m`.
pub fn cpu(cores: f64) -> String {
    let milli = crate::whole((cores * 1000.0 - 1e-9).ceil());
    if milli > 0 && milli.is_multiple_of(1000) {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    }
}

/// Bytes as a quantity, rounded up to a mebibyte: 268,435,456 is `256Mi`.
pub fn memory(bytes: f64) -> String {
    format!("{}Mi", crate::whole((bytes / 1_048_576.0 - 1e-9).ceil()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        // From the Kubernetes documentation, "Resource units in Kubernetes".
        for (text, value) in [
            ("0.1", 0.1),
            ("100m", 0.1),
            ("128974848", 128_974_848.0),
            ("129M", 129e6),
            ("128974848000m", 128_974_848.0),
            ("123Mi", 123.0 * 1_048_576.0),
        ] {
            assert!(
                (parse(text).unwrap() - value).abs() <= 1e-9 * value,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_kubernetes_would_refuse() {
        for text in [
            "", "m", "-1", "1 Gi", "1gi", "1.2.3", "NaN", "inf", "1e400x", "0x10",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_are_rounded_up_and_read_back() {
        assert_eq!(
            (cpu(0.25), cpu(2.0), cpu(0.0001), cpu(1.5), cpu(0.0)),
            (
                "250m".into(),
                "2".into(),
                "1m".into(),
                "1500m".into(),
                "0m".into()
            )
        );
        assert_eq!(
            (memory(268_435_456.0), memory(268_435_457.0)),
            ("256Mi".into(), "257Mi".into())
        );
        for milli in 1..3000 {
            let cores = f64::from(milli) / 1000.0;
            assert!(
                (parse(&cpu(cores)).unwrap() - cores).abs() < 1e-9,
                "{milli}"
            );
        }
    }
}
