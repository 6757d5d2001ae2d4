//! Kubernetes quantities: `100m`, `0.5`, `1Gi`, `2e3`.

/// An amount in billionths, rounded towards zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// Reads `<sign><digits>[.<digits>]<suffix>` as `k8s.io/apimachinery/pkg/api/resource` defines it:
    /// suffixes `n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei`, or a decimal exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 19 {
            return None;
        }
        let (times, over) = scale(suffix)?;
        let digits: i128 = format!("0{whole}{}", fraction.get(..fraction.len().min(9))?)
            .parse()
            .ok()?;
        let shift = 10_i128.checked_pow(u32::try_from(fraction.len().min(9)).ok()?)?;
        let amount = digits.checked_mul(NANO)?.checked_mul(times)? / shift / over;
        Some(Self(if negative { -amount } else { amount }))
    }

    /// A whole amount.
    pub fn whole(amount: i64) -> Self {
        Self(i128::from(amount) * NANO)
    }
}

/// What a suffix multiplies and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let pair = match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANO, 1),
        "T" => (NANO * 1_000, 1),
        "P" => (NANO * 1_000_000, 1),
        "E" => (NANO * NANO, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128
                .checked_pow(exponent.unsigned_abs())
                .filter(|_| exponent.abs() <= 18)?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    };
    Some(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal pairs from the documentation of the Quantity type.
    #[test]
    fn equal_amounts_in_other_words() {
        for (a, b) in [
            ("1500m", "1.5"),
            ("1536Mi", "1.5Gi"),
            ("1e3", "1k"),
            ("1E", "1000P"),
            ("0.1", "100m"),
            ("5.", "5"),
            (".5", "500m"),
            ("+1", "1"),
        ] {
            assert_eq!(
                Quantity::parse(a).unwrap(),
                Quantity::parse(b).unwrap(),
                "{a} {b}"
            );
        }
        assert!(Quantity::parse("128Mi") < Quantity::parse("1Gi"));
        assert!(Quantity::parse("-1") < Quantity::parse("0"));
    }

    #[test]
    fn refuses_what_the_api_server_refuses() {
        for bad in [
            "", "Gi", "1GB", "1gi", "1 Gi", "1.2.3", "ten", "1e", "--1", "0x10", "1K", "\u{0661}",
        ] {
            assert!(Quantity::parse(bad).is_none(), "{bad}");
        }
    }
}
