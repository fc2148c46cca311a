//! Thresholds in the style of k6: `lookup.p99<5ms`, `missing<1`, `vanished.max<3s`; and `complete<30s`,
//! the time within which a fleet that starts or reconnects must have registered all its topics.
//!
//! Must not: decide an exit code.

use std::time::Duration;

use serde::Serialize;

use super::interval::{Interval, Micros};
use super::ops::{Count, Delay, Op};
use super::recovery::Recovery;
use crate::input::human_duration;
use crate::input::{Error, fail};

/// One threshold: the value must be below the bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slo {
    text: String,
    measure: Measure,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    /// A latency in microseconds, corrected unless `raw`.
    Latency(Op, Stat, bool),
    Delay(Delay, Stat),
    Count(Count),
    /// The time until the fleet had registered all its topics.
    Complete,
}

/// The name of [`Measure::Complete`].
const COMPLETE: &str = "complete";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stat {
    Mean,
    Quantile(f64),
}

/// A threshold, the measured value, and whether it was met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) slo: String,
    /// Microseconds, or a count; infinite for what did not happen by the end.
    pub(crate) value: f64,
    pub(crate) met: bool,
}

impl Slo {
    /// Parses `OP.STAT<DURATION` (`lookup.p99<5ms`, `raw.lookup.max<1s`) or `COUNT<NUMBER`.
    ///
    /// # Errors
    /// One line with all valid names.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let ops = Op::ALL.iter().map(|op| op.name());
            let delays = Delay::ALL.iter().map(|delay| delay.name());
            let counts = Count::ALL.iter().map(|count| count.name());
            let join = |names: Vec<&str>| names.join(" ");
            fail(format!(
                "slo `{text}`: write lookup.p99<5ms (p50 … p99.9, mean, max; raw.lookup.p99 for the service time) or missing<1, or complete<30s; operations: {}; counts: {}",
                join(ops.chain(delays).collect()),
                join(counts.collect())
            ))
        };
        let Some((left, right)) = text.split_once('<') else { return wrong() };
        let (left, right) = (left.trim(), right.trim());
        if let Some(count) = Count::ALL.iter().find(|count| count.name() == left) {
            let Ok(bound) = right.parse() else { return wrong() };
            return Ok(Self { text: text.to_owned(), measure: Measure::Count(*count), bound });
        }
        if let (COMPLETE, Ok(bound)) = (left, human_duration::parse(right)) {
            let bound = bound.as_secs_f64() * 1e6;
            return Ok(Self { text: text.to_owned(), measure: Measure::Complete, bound });
        }
        let raw = left.strip_prefix("raw.");
        let (name, stat) = raw.unwrap_or(left).split_once('.').unwrap_or_default();
        let op = Op::ALL.iter().find(|op| op.name() == name);
        let delay = Delay::ALL.iter().find(|delay| delay.name() == name);
        let (Some(stat), Ok(bound)) = (Stat::parse(stat), human_duration::parse(right)) else {
            return wrong();
        };
        let measure = match (op, delay) {
            (Some(op), _) => Measure::Latency(*op, stat, raw.is_some()),
            (_, Some(delay)) if raw.is_none() => Measure::Delay(*delay, stat),
            _ => return wrong(),
        };
        Ok(Self { text: text.to_owned(), measure, bound: bound.as_secs_f64() * 1e6 })
    }

    /// Compares it with what was measured. What never happened meets every threshold, except that a
    /// fleet that had to become complete and did not misses it.
    pub(crate) fn check(&self, total: &Interval, recovery: Option<&Recovery>) -> Outcome {
        let value = match self.measure {
            Measure::Latency(op, stat, raw) => total.latencies.get(&op).map_or(0.0, |latency| {
                stat.of(if raw { &latency.raw } else { &latency.corrected })
            }),
            Measure::Delay(delay, stat) => total.delays.get(&delay).map_or(0.0, |got| stat.of(got)),
            Measure::Count(count) => total.counted(count) as f64,
            Measure::Complete => recovery
                .map_or(0.0, |recovery| recovery.registered.map_or(f64::INFINITY, |s| s * 1e6)),
        };
        Outcome { slo: self.text.clone(), value, met: value < self.bound }
    }
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "mean" => Some(Self::Mean),
            "max" => Some(Self::Quantile(1.0)),
            _ => {
                let percent: f64 = text.strip_prefix('p')?.parse().ok()?;
                (0.0..=100.0).contains(&percent).then_some(Self::Quantile(percent / 100.0))
            }
        }
    }

    fn of(self, histogram: &Micros) -> f64 {
        match self {
            Self::Mean => histogram.mean(),
            Self::Quantile(quantile) if quantile >= 1.0 => histogram.max() as f64,
            Self::Quantile(quantile) => histogram.value_at_quantile(quantile) as f64,
        }
    }
}

/// Microseconds as a person reads them; infinite means that it did not happen.
pub(crate) fn show_value(micros: f64) -> String {
    match Duration::try_from_secs_f64(micros.max(0.0) / 1e6) {
        Ok(duration) => human_duration::show(duration),
        Err(_) => "not by the end".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::measure::interval::RequestTimes;

    #[test]
    fn thresholds_are_compared_with_the_measurements() {
        let mut total = Interval::default();
        let at = |millis: i64| Timestamp::from_unix_nanos(millis * 1_000_000);
        let times = RequestTimes { intended: at(0), sent: at(6) };
        total.record_answer(Op::Lookup, times, at(8));
        total.count(Count::Missing, 1);
        total.delay(Delay::Vanished, Duration::from_secs(2));
        let cases = [
            ("lookup.p99<5ms", false),
            ("lookup.p99<9ms", true),
            ("raw.lookup.max<5ms", true),
            ("lookup.mean < 1s", true),
            ("missing<1", false),
            ("missing<2", true),
            ("vanished.max<1s", false),
            ("ping.p50<1us", true),
            ("complete<2s", true),
        ];
        for (text, met) in cases {
            assert_eq!(Slo::parse(text).expect(text).check(&total, None).met, met, "{text}");
        }
        let slo = Slo::parse("complete<2s").expect("a threshold");
        for (registered, met) in [(Some(1.0), true), (Some(3.0), false), (None, false)] {
            let recovery = Recovery { registered, ..Recovery::default() };
            assert_eq!(slo.check(&total, Some(&recovery)).met, met, "{registered:?}");
        }
        assert_eq!(show_value(f64::INFINITY), "not by the end");
    }

    #[test]
    fn invalid_threshold_is_one_line_with_the_syntax() {
        for text in [
            "",
            "lookup<5ms",
            "lookup.p99",
            "lookup.p101<1s",
            "lookup.p99<5",
            "nope.p99<1s",
            "missing<x",
            "raw.lag.p50<1s",
        ] {
            let error = Slo::parse(text).expect_err(text).to_string();
            assert!(error.contains("write lookup.p99<5ms") && !error.contains('\n'), "{error}");
        }
    }
}
