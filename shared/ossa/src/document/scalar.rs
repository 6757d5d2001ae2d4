//! The core schema of YAML 1.2 (section 10.3.2): which plain scalars are more than strings.

use serde_json::{Number, Value};

/// Resolves a plain scalar; the error says why JSON cannot hold it.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Ok(Value::Number(number));
    }
    if is_float(text) {
        let number = text.parse::<f64>().ok().and_then(Number::from_f64);
        return number
            .map(Value::Number)
            .ok_or_else(|| format!("{text} is not a finite number"));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(format!("{text} is not a finite number"));
    }
    Ok(Value::String(text.to_owned()))
}

/// Resolves a scalar that carries a core tag such as `!!str`.
pub(super) fn resolve_tagged(kind: &str, text: &str) -> Result<Value, String> {
    if kind == "str" {
        return Ok(Value::String(text.to_owned()));
    }
    let value = resolve(text)?;
    let fits = match (kind, &value) {
        ("int", Value::Number(number)) => !number.is_f64(),
        ("float", Value::Number(_)) | ("bool", Value::Bool(_)) | ("null", Value::Null) => true,
        _ => false,
    };
    if fits {
        Ok(value)
    } else {
        Err(format!("{text:?} is not what the tag !!{kind} says"))
    }
}

fn integer(text: &str) -> Option<Number> {
    let parsed = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Number::from);
    if let Some(digits) = text.strip_prefix("0o") {
        return digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| parsed(digits, 8))?;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| parsed(digits, 16))?;
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let signed = text.parse::<i64>().ok().map(Number::from);
    signed.or_else(|| text.parse::<u64>().ok().map(Number::from))
}

/// `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_fits
        && all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
}
