//! Durations as people write them: `250ms`, `1.5s`, `2m`.
//!
//! Must not: read a clock.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// `ms` before `m` and `s`, so that the longest unit that fits is taken.
const UNITS: [(&str, f64); 5] =
    [("ms", 1e-3), ("us", 1e-6), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];

/// A duration from a scenario or a flag, at most a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HumanDuration(pub(crate) Duration);

/// Parses `250ms`, `1.5s`, `2m`, `1h` or `50us`.
///
/// # Errors
/// One line that shows the syntax, when it has no unit, is negative or longer than a day.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write 250ms, 1.5s, 2m or 1h");
    let (digits, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, factor)))
        .ok_or_else(wrong)?;
    let value: f64 = digits.parse().map_err(|_| wrong())?;
    let seconds = value * factor;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// The duration as a person reads it.
pub(crate) fn show(duration: Duration) -> String {
    match duration.as_secs_f64() {
        s if s >= 120.0 => format!("{:.1} min", s / 60.0),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

/// Microseconds as a person reads them.
pub(crate) fn show_micros(micros: u64) -> String {
    show(Duration::from_micros(micros))
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Self).map_err(D::Error::custom)
    }
}

impl std::str::FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed() {
        let good = [
            ("250ms", 250_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("50us", 50),
            ("1h", 3_600_000_000),
        ];
        for (text, micros) in good {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1d", "NaNs", "1e9h", "infs"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
