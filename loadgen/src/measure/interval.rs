//! What one second of the run measured, on one thread or on all.
//!
//! Must not: keep more than its own second; the run's totals are sums of these.

use hdrhistogram::Histogram;
use musterd::clock::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

use super::ops::{Count, Op, Span};
use crate::num::micros;

/// The longest latency that is told apart, in microseconds: what takes longer counts as this.
const LONGEST: u64 = 600_000_000;
/// Significant digits.
const DIGITS: u8 = 3;

/// A histogram of microseconds.
pub(crate) type Micros = Histogram<u64>;

/// An empty histogram of microseconds.
pub(crate) fn histogram() -> Micros {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("constant bounds are valid")
}

/// Both latencies of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    /// From the intended moment.
    pub(crate) corrected: Micros,
    /// From the sending.
    pub(crate) raw: Micros,
}

impl Default for Latency {
    fn default() -> Self {
        Self { corrected: histogram(), raw: histogram() }
    }
}

/// When a request was due and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) intended: Timestamp,
    pub(crate) sent: Timestamp,
}

/// One second's measurements, or the sum of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interval {
    pub(crate) latencies: BTreeMap<Op, Latency>,
    pub(crate) spans: BTreeMap<Span, Micros>,
    pub(crate) counts: [u64; Count::ALL.len()],
    /// The largest share of its time that a thread of the generator was on a CPU.
    pub(crate) busy: f64,
}

impl Interval {
    /// A request got its answer.
    pub(crate) fn answered(&mut self, op: Op, asked: Asked, now: Timestamp) {
        self.took(op, asked, now);
        self.count(Count::Answered, 1);
    }

    /// A request took this long, answered or not.
    pub(crate) fn took(&mut self, op: Op, asked: Asked, now: Timestamp) {
        let latency = self.latencies.entry(op).or_default();
        latency.corrected.saturating_record(micros(now.since(asked.intended)).max(1));
        latency.raw.saturating_record(micros(now.since(asked.sent)).max(1));
    }

    /// Records a span.
    pub(crate) fn span(&mut self, span: Span, length: Duration) {
        self.spans.entry(span).or_insert_with(histogram).saturating_record(micros(length).max(1));
    }

    /// Adds to a count.
    pub(crate) fn count(&mut self, count: Count, number: u64) {
        self.counts[count as usize] += number;
    }

    /// A count.
    pub(crate) fn counted(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// Adds another interval to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        for (op, latency) in &other.latencies {
            let sum = self.latencies.entry(*op).or_default();
            sum.corrected += &latency.corrected;
            sum.raw += &latency.raw;
        }
        for (span, lengths) in &other.spans {
            *self.spans.entry(*span).or_insert_with(histogram) += lengths;
        }
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, number)| *sum += number);
        self.busy = self.busy.max(other.busy);
    }
}
