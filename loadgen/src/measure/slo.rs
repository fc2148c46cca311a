//! Thresholds as k6 has them: `lookup.p99<5ms`, `missing<1`, `vanished.max<3s`; and `complete<30s`,
//! within which a fleet that arrives or comes back must have registered all it has.
//!
//! Must not: decide an exit code.

use std::time::Duration;

use serde::Serialize;

use super::interval::{Interval, Micros};
use super::ops::{Count, Op, Span};
use super::results::Recovery;
use crate::input::span;
use crate::input::{Refused, refuse};

/// One threshold: the value must stay below the bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slo {
    text: String,
    what: What,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    /// A latency in microseconds, corrected unless `raw`.
    Latency(Op, Stat, bool),
    Length(Span, Stat),
    Number(Count),
    /// Until the fleet had registered all it has.
    Complete,
}

/// The name of [`What::Complete`].
const COMPLETE: &str = "complete";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stat {
    Mean,
    Quantile(f64),
}

/// A threshold with what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Outcome {
    pub(crate) slo: String,
    /// Microseconds, or a count; no number for what did not happen by the end.
    pub(crate) value: f64,
    pub(crate) met: bool,
}

impl Slo {
    /// Reads `OP.STAT<SPAN` (`lookup.p99<5ms`, `raw.lookup.max<1s`) or `COUNT<NUMBER`.
    ///
    /// # Errors
    /// One line with the names there are.
    pub(crate) fn parse(text: &str) -> Result<Self, Refused> {
        let wrong = || {
            let ops = Op::ALL.iter().map(|op| op.name());
            let spans = Span::ALL.iter().map(|span| span.name());
            let counts = Count::ALL.iter().map(|count| count.name());
            let join = |names: Vec<&str>| names.join(" ");
            refuse(format!(
                "slo `{text}`: write lookup.p99<5ms (p50 … p99.9, mean, max; raw.lookup.p99 for the service time) or missing<1, or complete<30s; operations: {}; counts: {}",
                join(ops.chain(spans).collect()),
                join(counts.collect())
            ))
        };
        let Some((left, right)) = text.split_once('<') else { return wrong() };
        let (left, right) = (left.trim(), right.trim());
        if let Some(count) = Count::ALL.iter().find(|count| count.name() == left) {
            let Ok(bound) = right.parse() else { return wrong() };
            return Ok(Self { text: text.to_owned(), what: What::Number(*count), bound });
        }
        if let (COMPLETE, Ok(bound)) = (left, span::parse(right)) {
            let bound = bound.as_secs_f64() * 1e6;
            return Ok(Self { text: text.to_owned(), what: What::Complete, bound });
        }
        let raw = left.strip_prefix("raw.");
        let (name, stat) = raw.unwrap_or(left).split_once('.').unwrap_or_default();
        let op = Op::ALL.iter().find(|op| op.name() == name);
        let length = Span::ALL.iter().find(|span| span.name() == name);
        let (Some(stat), Ok(bound)) = (Stat::parse(stat), span::parse(right)) else {
            return wrong();
        };
        let what = match (op, length) {
            (Some(op), _) => What::Latency(*op, stat, raw.is_some()),
            (_, Some(length)) if raw.is_none() => What::Length(*length, stat),
            _ => return wrong(),
        };
        Ok(Self { text: text.to_owned(), what, bound: bound.as_secs_f64() * 1e6 })
    }

    /// Holds it against what was measured; what never happened is below every bound, but for a
    /// fleet that was to be complete again and is not.
    pub(crate) fn check(&self, total: &Interval, recovery: Option<&Recovery>) -> Outcome {
        let value = match self.what {
            What::Latency(op, stat, raw) => total.latencies.get(&op).map_or(0.0, |latency| {
                stat.of(if raw { &latency.raw } else { &latency.corrected })
            }),
            What::Length(length, stat) => total.spans.get(&length).map_or(0.0, |got| stat.of(got)),
            What::Number(count) => total.counted(count) as f64,
            What::Complete => recovery
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

/// How a quantile is taken of lengths in a row of numbers, for those who have no histogram.
pub(crate) fn as_span(micros: f64) -> String {
    match Duration::try_from_secs_f64(micros.max(0.0) / 1e6) {
        Ok(span) => span::show(span),
        Err(_) => "not by the end".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::interval::Asked;
    use musterd::clock::Timestamp;

    #[test]
    fn thresholds_are_held_against_what_was_measured() {
        let mut total = Interval::default();
        let at = |millis: i64| Timestamp::from_unix_nanos(millis * 1_000_000);
        let asked = Asked { intended: at(0), sent: at(6) };
        total.answered(Op::Lookup, asked, at(8));
        total.count(Count::Missing, 1);
        total.span(Span::Vanished, Duration::from_secs(2));
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
        assert_eq!(as_span(f64::INFINITY), "not by the end");
    }

    #[test]
    fn nonsense_is_refused_with_the_form() {
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
            let refused = Slo::parse(text).expect_err(text).to_string();
            assert!(
                refused.contains("write lookup.p99<5ms") && !refused.contains('\n'),
                "{refused}"
            );
        }
    }
}
