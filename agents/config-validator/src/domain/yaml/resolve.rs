//! What a plain scalar means to `sigs.k8s.io/yaml` (its fork of go-yaml 2).
//!
//! The rules are those of that library's `resolve.go`: a table of words, then by the first character a
//! whole number in any Go notation, a float, else text. Sexagesimal numbers and dates stay text.

use serde_json::Number;

use super::node::Value;

/// The value of an unquoted scalar. `None` for infinity and not-a-number, which JSON does not have.
pub fn resolve_plain(text: &str) -> Option<Value> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true, text.into())
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false, text.into())
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF"
        | "-.inf" | "-.Inf" | "-.INF" => return None,
        _ => number(text).map_or_else(
            || Value::String(text.into()),
            |number| Value::Number(number, text.into()),
        ),
    };
    Some(value)
}

fn number(text: &str) -> Option<Number> {
    match text.chars().next()? {
        '.' => text
            .parse::<f64>()
            .ok()
            .filter(|f| f.is_finite())
            .and_then(Number::from_f64),
        '0'..='9' | '+' | '-' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    }
}

/// Go's `strconv.ParseInt(s, 0, 64)`, then `ParseUint`: prefixes 0x, 0o, 0b, and a leading 0 for octal.
fn integer(plain: &str) -> Option<Number> {
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, lower.get(1..)?)
    } else {
        (10, lower.as_str())
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        0_i64.checked_sub_unsigned(magnitude).map(Number::from)
    } else {
        Some(magnitude.into())
    }
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`, then a finite 64-bit float.
fn float(plain: &str) -> Option<Number> {
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa
        .split_once('.')
        .map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let shaped = digits(whole)
        && fraction.is_none_or(digits)
        && (!whole.is_empty() || fraction.is_some_and(|f| !f.is_empty()))
        && exponent.is_none_or(|e| {
            let e = e.strip_prefix(['-', '+']).unwrap_or(e);
            !e.is_empty() && digits(e)
        });
    let value = shaped
        .then(|| plain.parse::<f64>().ok())
        .flatten()
        .filter(|f| f.is_finite())?;
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `testdata/go-yaml-scalars.json` was printed by sigs.k8s.io/yaml itself: scalar, then its JSON.
    #[test]
    fn reads_every_scalar_as_the_go_library_does() {
        let rows: Vec<(String, String)> =
            serde_json::from_str(include_str!("../../../testdata/go-yaml-scalars.json")).unwrap();
        assert!(rows.len() > 100);
        for (text, json) in rows {
            let expected: serde_json::Value = serde_json::from_str(&json).unwrap();
            let node = super::super::Node::new(
                resolve_plain(text.trim()).unwrap(),
                super::super::Position::START,
            );
            let got = node.to_json();
            let same = got == expected || (got.is_number() && got.as_f64() == expected.as_f64());
            assert!(same, "{text}: {got} instead of {expected}");
        }
    }

    #[test]
    fn infinity_is_not_json() {
        assert!(resolve_plain(".inf").is_none());
    }
}
