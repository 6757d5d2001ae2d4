//! The formats that the standard's schemas assert. (`uuid` is no format of draft-07, so it is text.)

use super::rule::Format;

pub(super) fn holds(format: Format, text: &str) -> bool {
    match format {
        Format::DateTime => is_date_time(text),
        Format::Email => is_email(text),
        Format::Uri => is_uri(text),
    }
}

/// RFC 3339 `date-time`: `2026-01-07T10:00:00Z`, with a fraction and an offset where wanted.
fn is_date_time(text: &str) -> bool {
    let Some((date, time)) = text.split_once(['T', 't']) else {
        return false;
    };
    let (clock, offset_fits) = if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        (clock, true)
    } else if let Some((clock, offset)) = time.rsplit_once(['+', '-']) {
        (
            clock,
            matches!(numbers(offset, ':').as_deref(), Some([0..=23, 0..=59])),
        )
    } else {
        return false;
    };
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let fraction_fits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    // A leap second is always the last one of a UTC day, which an offset may move.
    let clock_fits = match numbers(whole, ':').as_deref() {
        Some([0..=23, 0..=59, 0..=59]) => true,
        Some([23, 59, 60]) => time.ends_with(['Z', 'z']),
        _ => false,
    };
    offset_fits && fraction_fits && clock_fits && is_date(date)
}

fn is_date(text: &str) -> bool {
    let Some((year, rest)) = text.split_once('-') else {
        return false;
    };
    let year = if year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) {
        year.parse::<u32>().ok()
    } else {
        None
    };
    let month_day = numbers(rest, '-');
    let (Some(year), Some([month, day])) = (year, month_day.as_deref()) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(day)
}

/// Numbers of exactly two digits.
fn numbers(text: &str, separator: char) -> Option<Vec<u32>> {
    let two = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    text.split(separator)
        .map(|part| if two(part) { part.parse().ok() } else { None })
        .collect()
}

/// RFC 5321 `Mailbox` without quoted local parts and address literals.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let atom = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
    };
    let label = |part: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(inner)
    };
    local.len() <= 64
        && domain.len() <= 254
        && local.split('.').all(atom)
        && domain.split('.').all(label)
}

/// RFC 3986 `URI`: a scheme, then only characters that a URI may have.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let bare = rest.replace('%', "");
    let accepted = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=".contains(c);
    let escapes_fit = rest.split('%').skip(1).all(|part| {
        part.get(..2)
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    scheme_fits
        && escapes_fit
        && bare.chars().all(accepted)
        && rest.matches('#').count() <= 1
        && authority_fits(rest)
}

/// Brackets stand only around an IP literal, and a port is a number.
fn authority_fits(rest: &str) -> bool {
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let host_port = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host_port)| host_port);
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (host_port, ""),
    };
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_fits = match literal {
        Some(inside) => inside.contains(':') && !inside.contains(['[', ']']),
        None => !host.contains(['[', ']', ':', '@']),
    };
    host_fits && port.bytes().all(|b| b.is_ascii_digit()) && !path.contains(['[', ']'])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn agrees_with_the_json_schema_validator() {
        let uris = [
            "https://a.example/x?y#z",
            "urn:a:b",
            "file:///tmp",
            "a b:c",
            "/no/scheme",
            "1a:b",
            "http://[::1]:80/",
            "http://a:b/",
            "x:%zz",
            "x:%4a",
            "x:a#b#c",
            "x:a[b]",
            "",
        ];
        let times = [
            "2026-01-07T10:00:00Z",
            "2026-01-07T10:00:00.5+02:00",
            "2026-02-30T10:00:00Z",
            "2024-02-29T23:59:60Z",
            "2026-01-07",
            "2026-01-07T10:00Z",
            "2026-1-7T10:00:00Z",
            "2026-01-07T24:00:00Z",
            "x",
        ];
        let mails = [
            "a@b.example",
            "a.b+c@d",
            "@b",
            "a@",
            "a b@c",
            "a..b@c",
            "a@-b",
            "ab",
        ];
        check("uri", Format::Uri, &uris);
        check("date-time", Format::DateTime, &times);
        check("email", Format::Email, &mails);
    }

    fn check(name: &str, format: Format, samples: &[&str]) {
        let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "format": name});
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        for sample in samples {
            assert_eq!(
                holds(format, sample),
                validator.is_valid(&json!(sample)),
                "{name} {sample:?}"
            );
        }
    }
}
