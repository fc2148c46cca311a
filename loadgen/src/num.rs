//! Conversions between the kinds of number, saturating and in one place.
//!
//! Must not: hide a loss that matters; what does not fit is clamped to the nearest value that does.

use std::time::Duration;

/// A count as an index of 32 bits.
pub(crate) fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A fraction as a whole number, rounded; zero below zero and when it is no number.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, which is what is wanted")]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A fraction as an index into a list of that size or larger.
pub(crate) fn position(value: f64) -> usize {
    usize::try_from(whole(value)).unwrap_or(usize::MAX)
}

/// Microseconds of a span.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
