//! Go's `time.Duration` as text: `1h2m3.5s`, `100ms`, `-1.5h`.
//!
//! Must not: decide which durations make sense for a flag; its row in the table says so.
//! Runs on the main thread, at start.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::logging::Quoted;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// A duration in nanoseconds, signed as in Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(i64);

impl GoDuration {
    /// No time at all.
    pub(super) const ZERO: Self = Self(0);

    /// The duration in nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The duration, unless it is negative.
    #[must_use]
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

/// There is no number where one must be, or the sum exceeds 292 years.
fn invalid(text: &str) -> String {
    format!("time: invalid duration {}", Quoted(text))
}

impl FromStr for GoDuration {
    /// In the words of Go's `time.ParseDuration`.
    type Err = String;

    /// Reads an optional sign, then numbers with a unit each (`h`, `m`, `s`, `ms`, `us`, `ns`);
    /// only 0 may have no unit. Fractions of a nanosecond are cut off.
    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || invalid(text);
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total = 0_u64;
        while !rest.is_empty() {
            let (span, after) = term(text, rest)?;
            // The sum may reach 2^63, which only a minus sign makes a duration.
            total = total.checked_add(span).filter(|&t| t <= 1 << 63).ok_or_else(invalid)?;
            rest = after;
        }
        let signed =
            if negative { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() };
        signed.map(Self).ok_or_else(invalid)
    }
}

/// Reads one number with its unit off the front of `rest`: its nanoseconds, and what follows.
fn term<'a>(text: &str, rest: &'a str) -> Result<(u64, &'a str), String> {
    let invalid = || invalid(text);
    let (whole, rest) = split_while(rest, |c| c.is_ascii_digit());
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => split_while(after, |c| c.is_ascii_digit()),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let (unit, after) = split_while(rest, |c| c != '.' && !c.is_ascii_digit());
    if unit.is_empty() {
        return Err(format!("time: missing unit in duration {}", Quoted(text)));
    }
    let unknown = || format!("time: unknown unit {} in duration {}", Quoted(unit), Quoted(text));
    let scale = unit_nanos(unit).ok_or_else(unknown)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let span =
        whole.checked_mul(scale).and_then(|n| n.checked_add(fraction_nanos(fraction, scale)));
    Ok((span.ok_or_else(invalid)?, after))
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // U+00B5, the micro sign, and U+03BC, the Greek letter.
        "us" | "µs" | "μs" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// The nanoseconds of the decimals `digits` of a unit. Computed in floating point because Go does:
/// an exact result would differ from its own in the last nanosecond.
#[expect(clippy::cast_possible_truncation, reason = "below one hour; decimals are cut off")]
#[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "as Go computes it")]
fn fraction_nanos(digits: &str, scale: u64) -> u64 {
    let (mut value, mut divisor) = (0_u64, 1.0_f64);
    for digit in digits.bytes().map(|b| u64::from(b - b'0')) {
        // Digits past what 63 bits hold cannot matter.
        match value.checked_mul(10).and_then(|v| v.checked_add(digit)) {
            Some(next) if next <= 1 << 63 => value = next,
            _ => break,
        }
        divisor *= 10.0;
    }
    (value as f64 * (scale as f64 / divisor)) as u64
}

impl fmt::Display for GoDuration {
    /// As Go prints it: `5m0s`, `1.5µs`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        match nanos {
            0 => f.write_str("0s"),
            1..MICROSECOND => write!(f, "{nanos}ns"),
            MICROSECOND..MILLISECOND => decimal(f, nanos, MICROSECOND, "µs"),
            MILLISECOND..SECOND => decimal(f, nanos, MILLISECOND, "ms"),
            SECOND..MINUTE => decimal(f, nanos, SECOND, "s"),
            _ => {
                if nanos >= HOUR {
                    write!(f, "{}h", nanos / HOUR)?;
                }
                write!(f, "{}m", nanos % HOUR / MINUTE)?;
                decimal(f, nanos % MINUTE, SECOND, "s")
            }
        }
    }
}

/// Prints `nanos` in units of `scale` (a power of ten), without trailing zeros.
fn decimal(f: &mut fmt::Formatter<'_>, nanos: u64, scale: u64, unit: &str) -> fmt::Result {
    write!(f, "{}", nanos / scale)?;
    let fraction = nanos % scale;
    if fraction > 0 {
        let width = scale.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        write!(f, ".{}", digits.trim_end_matches('0'))?;
    }
    f.write_str(unit)
}

impl<'de> Deserialize<'de> for GoDuration {
    /// Text is Go's; a whole number counts milliseconds, as in NSQ's configuration files.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"1m30s\", or a whole number of milliseconds")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, millis: i64) -> Result<GoDuration, E> {
        let nanos = millis.checked_mul(1_000_000);
        nanos
            .map(GoDuration)
            .ok_or_else(|| E::custom(format!("{millis} ms is too long a duration")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Go's own answers: the text, then its nanoseconds and how Go prints them, or its error.
    type Case = (&'static str, Result<(i64, &'static str), &'static str>);
    const CASES: &[Case] = &[
        ("0", Ok((0, "0s"))),
        ("-0", Ok((0, "0s"))),
        ("+0", Ok((0, "0s"))),
        ("", Err("time: invalid duration \"\"")),
        ("5", Err("time: missing unit in duration \"5\"")),
        ("5s", Ok((5_000_000_000, "5s"))),
        ("-5s", Ok((-5_000_000_000, "-5s"))),
        ("+5s", Ok((5_000_000_000, "5s"))),
        ("1h2m3.5s", Ok((3_723_500_000_000, "1h2m3.5s"))),
        ("100ms", Ok((100_000_000, "100ms"))),
        ("1.5h", Ok((5_400_000_000_000, "1h30m0s"))),
        ("10us", Ok((10_000, "10µs"))),
        ("10µs", Ok((10_000, "10µs"))),
        ("10μs", Ok((10_000, "10µs"))),
        ("1ns", Ok((1, "1ns"))),
        ("1.s", Ok((1_000_000_000, "1s"))),
        (".5s", Ok((500_000_000, "500ms"))),
        (".s", Err("time: invalid duration \".s\"")),
        ("-.s", Err("time: invalid duration \"-.s\"")),
        ("-", Err("time: invalid duration \"-\"")),
        ("+", Err("time: invalid duration \"+\"")),
        ("s", Err("time: invalid duration \"s\"")),
        ("1", Err("time: missing unit in duration \"1\"")),
        ("1.", Err("time: missing unit in duration \"1.\"")),
        ("1.5", Err("time: missing unit in duration \"1.5\"")),
        ("3000000h", Err("time: invalid duration \"3000000h\"")),
        ("2562047h47m16.854775807s", Ok((i64::MAX, "2562047h47m16.854775807s"))),
        ("2562047h47m16.854775808s", Err("time: invalid duration \"2562047h47m16.854775808s\"")),
        ("-2562047h47m16.854775808s", Ok((i64::MIN, "-2562047h47m16.854775808s"))),
        ("-2562047h47m16.854775809s", Err("time: invalid duration \"-2562047h47m16.854775809s\"")),
        ("9223372036854775807ns", Ok((i64::MAX, "2562047h47m16.854775807s"))),
        ("9223372036854775808ns", Err("time: invalid duration \"9223372036854775808ns\"")),
        ("-9223372036854775808ns", Ok((i64::MIN, "-2562047h47m16.854775808s"))),
        ("0.9223372036854775807h", Ok((3_320_413_933_267, "55m20.413933267s"))),
        ("0.100000000000000000000h", Ok((360_000_000_000, "6m0s"))),
        ("0.3333333333333333333h", Ok((1_200_000_000_000, "20m0s"))),
        ("1x", Err("time: unknown unit \"x\" in duration \"1x\"")),
        ("1 s", Err("time: unknown unit \" s\" in duration \"1 s\"")),
        (" 1s", Err("time: invalid duration \" 1s\"")),
        ("1s ", Err("time: unknown unit \"s \" in duration \"1s \"")),
        ("1h-2m", Err("time: unknown unit \"h-\" in duration \"1h-2m\"")),
        ("1m1h", Ok((3_660_000_000_000, "1h1m0s"))),
        ("1h1h", Ok((7_200_000_000_000, "2h0m0s"))),
        ("1d", Err("time: unknown unit \"d\" in duration \"1d\"")),
        ("1S", Err("time: unknown unit \"S\" in duration \"1S\"")),
        ("1MS", Err("time: unknown unit \"MS\" in duration \"1MS\"")),
        ("1.2.3s", Err("time: missing unit in duration \"1.2.3s\"")),
        ("1e3s", Err("time: unknown unit \"e\" in duration \"1e3s\"")),
        ("0.000000001s", Ok((1, "1ns"))),
        ("0.0000000001s", Ok((0, "0s"))),
        ("0.9999999999ns", Ok((0, "0s"))),
        ("1.9ns", Ok((1, "1ns"))),
        ("1000ns", Ok((1_000, "1µs"))),
        ("1500ns", Ok((1_500, "1.5µs"))),
        ("1500us", Ok((1_500_000, "1.5ms"))),
        ("999ms", Ok((999_000_000, "999ms"))),
        ("1001ms", Ok((1_001_000_000, "1.001s"))),
        ("60s", Ok((60_000_000_000, "1m0s"))),
        ("3600s", Ok((3_600_000_000_000, "1h0m0s"))),
        ("3661s", Ok((3_661_000_000_000, "1h1m1s"))),
        ("100000h", Ok((360_000_000_000_000_000, "100000h0m0s"))),
        ("1m0.5s", Ok((60_500_000_000, "1m0.5s"))),
        ("39h9m14.425s", Ok((140_954_425_000_000, "39h9m14.425s"))),
        ("52763797000ns", Ok((52_763_797_000, "52.763797s"))),
        ("9999999999999999999h", Err("time: invalid duration \"9999999999999999999h\"")),
        ("99999999999999999999s", Err("time: invalid duration \"99999999999999999999s\"")),
        ("1h2", Err("time: missing unit in duration \"1h2\"")),
        ("1h 2m", Err("time: unknown unit \"h \" in duration \"1h 2m\"")),
        ("1\"s", Err("time: unknown unit \"\\\"s\" in duration \"1\\\"s\"")),
        ("5m0s", Ok((300_000_000_000, "5m0s"))),
        ("300s", Ok((300_000_000_000, "5m0s"))),
        ("45s", Ok((45_000_000_000, "45s"))),
        ("--5s", Err("time: invalid duration \"--5s\"")),
        ("+-5s", Err("time: invalid duration \"+-5s\"")),
        ("0.830103483285477580700h", Ok((2_988_372_539_827, "49m48.372539827s"))),
        ("0x10s", Err("time: unknown unit \"x\" in duration \"0x10s\"")),
        ("1_000s", Err("time: unknown unit \"_\" in duration \"1_000s\"")),
        ("2540400h10m10.000000000s", Ok((9_145_440_610_000_000_000, "2540400h10m10s"))),
        ("-1us", Ok((-1_000, "-1µs"))),
        ("-1.5us", Ok((-1_500, "-1.5µs"))),
        ("-1ms", Ok((-1_000_000, "-1ms"))),
        ("-1m", Ok((-60_000_000_000, "-1m0s"))),
        ("1ms1us1ns", Ok((1_001_001, "1.001001ms"))),
    ];

    #[test]
    fn reads_and_prints_as_go_does() {
        for (text, want) in CASES {
            let got: Result<GoDuration, _> = text.parse();
            let got = got.map(|d| (d.nanos(), d.to_string())).map_err(|e| e.to_string());
            let want = want.map(|(n, s)| (n, s.to_owned())).map_err(str::to_owned);
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[test]
    fn a_negative_duration_is_not_converted() {
        assert_eq!(GoDuration(-1).to_std(), None);
        assert_eq!(GoDuration(7).to_std(), Some(Duration::from_nanos(7)));
    }

    proptest! {
        #[test]
        fn a_printed_duration_is_read_back(nanos: i64) {
            let text = GoDuration(nanos).to_string();
            // Above 2^53 ns per unit Go's own floating point loses nothing either: the fraction
            // never exceeds one second.
            prop_assert_eq!(text.parse(), Ok(GoDuration(nanos)));
        }

        #[test]
        fn no_text_panics(text in "[-+.0-9hmsnuµ ]{0,24}") {
            let _: Result<GoDuration, _> = text.parse();
        }
    }
}
