//! Saturating conversions between number types: a value that does not fit becomes the nearest one
//! that does.
//!
//! Must not: be used where that loss matters.

use std::time::Duration;

/// A count as a 32-bit index.
pub(crate) fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Rounded to an integer; zero for negative values and NaN.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, as intended")]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Rounded to an index.
pub(crate) fn position(value: f64) -> usize {
    usize::try_from(whole(value)).unwrap_or(usize::MAX)
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
