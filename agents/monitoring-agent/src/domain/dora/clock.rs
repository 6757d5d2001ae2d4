//! The forms in which GitLab writes a time.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// Milliseconds since the Unix epoch.
pub type Ms = i64;

/// Milliseconds of a day.
pub const DAY: Ms = 86_400_000;

/// Reads a time as GitLab writes it: `2021-04-28 21:50:00 +0200` (deployments), `2016-08-12 15:23:28 UTC`
/// (pipelines, changes), `2013-12-03T17:15:43Z` and `2012-01-03T23:36:29.123+02:00` (issues, commits).
pub fn parse(text: &str) -> Option<Ms> {
    let bytes = text.as_bytes();
    let separator = |at: usize, one_of: &[u8]| one_of.contains(bytes.get(at)?).then_some(());
    separator(4, b"-")?;
    separator(7, b"-")?;
    separator(10, b" T")?;
    separator(13, b":")?;
    separator(16, b":")?;
    let number = |from: usize, to: usize| digits(bytes.get(from..to)?);
    let year = i32::try_from(number(0, 4)?).ok()?;
    let month = Month::try_from(u8::try_from(number(5, 7)?).ok()?).ok()?;
    let day = u8::try_from(number(8, 10)?).ok()?;
    let part = |from| u8::try_from(number(from, from + 2)?).ok();
    let (millis, rest) = fraction(bytes.get(19..)?)?;
    let time = Time::from_hms_milli(part(11)?, part(14)?, part(17)?, millis).ok()?;
    let date = Date::from_calendar_date(year, month, day).ok()?;
    let time = PrimitiveDateTime::new(date, time).assume_offset(offset(rest)?);
    Ms::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0_u32, |sum, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// The milliseconds behind a point, and what follows.
fn fraction(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let Some(rest) = bytes.strip_prefix(b".") else {
        return Some((0, bytes));
    };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, rest) = rest.split_at_checked(length)?;
    let mut millis = 0;
    for at in 0..3 {
        let digit = fraction.get(at).map_or(0, |byte| u16::from(byte - b'0'));
        millis = millis * 10 + digit;
    }
    (length > 0).then_some((millis, rest))
}

fn offset(bytes: &[u8]) -> Option<UtcOffset> {
    let text = std::str::from_utf8(bytes).ok()?.trim_start();
    if matches!(text, "Z" | "z" | "UTC") {
        return Some(UtcOffset::UTC);
    }
    let sign: i8 = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    let part = |from| digits.get(from..from + 2)?.parse::<i8>().ok();
    if digits.len() != 4 {
        return None;
    }
    UtcOffset::from_hms(sign * part(0)?, sign * part(2)?, 0).ok()
}

/// The first moment (UTC) of the day that a moment lies in.
pub fn day_of(at: Ms) -> Ms {
    at.div_euclid(DAY) * DAY
}

/// The first moment (UTC) of the week, from Monday, that a moment lies in.
pub fn week_of(at: Ms) -> Ms {
    // The epoch was a Thursday, three days after a Monday.
    (at.div_euclid(DAY) + 3).div_euclid(7) * 7 * DAY - 3 * DAY
}

/// The first moment (UTC) of the month that a moment lies in.
pub fn month_of(at: Ms) -> Ms {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(at.div_euclid(1_000)) else {
        return day_of(at);
    };
    day_of(at) - Ms::from(time.day() - 1) * DAY
}

/// The first moment (UTC) of the month after the one that begins at `start`.
pub fn next_month(start: Ms) -> Ms {
    month_of(start + 32 * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_gitlab_is_the_same_moment() {
        let same = [
            "2021-04-28 21:50:00 +0200",
            "2021-04-28 19:50:00 UTC",
            "2021-04-28T19:50:00Z",
            "2021-04-28T21:50:00+02:00",
            "2021-04-28T19:50:00.000Z",
            "2021-04-28 14:20:00 -0530",
        ];
        for text in same {
            assert_eq!(parse(text), Some(1_619_639_400_000), "{text}");
        }
        assert_eq!(parse("2021-04-28T19:50:00.7Z"), Some(1_619_639_400_700));
        assert_eq!(
            parse("2021-04-28T19:50:00.123456Z"),
            Some(1_619_639_400_123)
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2021-04-28",
            "2021-04-28 21:50:00",
            "2021-13-28 21:50:00 UTC",
            "2021-02-30 21:50:00 UTC",
            "2021-04-28 21:50:00 CEST",
            "2021-04-28 21:50:00.Z",
            "2021-04-28T25:50:00Z",
            "2021-04-28 21:50:00 +99",
            "aaaa-bb-cc dd:ee:ff UTC",
            "2021-04-28é21:50:00 UTC",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_weeks_and_months_begin_where_the_calendar_says() {
        let at = parse("2026-11-22T17:31:18Z").unwrap();
        assert_eq!(day_of(at), parse("2026-11-22T00:00:00Z").unwrap());
        assert_eq!(week_of(at), parse("2026-11-16T00:00:00Z").unwrap());
        assert_eq!(month_of(at), parse("2026-11-01T00:00:00Z").unwrap());
        assert_eq!(
            next_month(month_of(at)),
            parse("2026-12-01T00:00:00Z").unwrap()
        );
        let leap = parse("2024-02-01T00:00:00Z").unwrap();
        assert_eq!(next_month(leap), parse("2024-03-01T00:00:00Z").unwrap());
    }
}
