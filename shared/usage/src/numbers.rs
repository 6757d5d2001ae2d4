//! The three conversions between whole numbers and `f64` that statistics need, each in one place.

/// A count as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, and no slice is that long"
)]
pub fn count(items: usize) -> f64 {
    items as f64
}

/// Seconds (or bytes) as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53 seconds or bytes"
)]
pub fn seconds(seconds: i64) -> f64 {
    seconds as f64
}

/// The whole part of a number that is not negative; NaN and negative numbers give 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what the doc promises"
)]
pub fn whole(value: f64) -> u64 {
    value as u64
}
