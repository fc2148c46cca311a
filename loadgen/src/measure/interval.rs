//! The measurements of one second of the run, on one thread or on all.
//!
//! Must not: hold more than its own second; the run's totals are sums of these.

use crate::clock::Timestamp;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

use super::ops::{Count, Delay, Op};
use crate::num::micros;

/// The longest latency, in microseconds; longer ones are recorded as this.
const MAX_LATENCY: u64 = 600_000_000;
/// Significant digits.
const DIGITS: u8 = 3;

/// A histogram of microseconds.
pub(crate) type Micros = Histogram<u64>;

/// An empty histogram of microseconds.
pub(crate) fn histogram() -> Micros {
    Histogram::new_with_bounds(1, MAX_LATENCY, DIGITS).expect("constant bounds are valid")
}

/// The same with room for what is recorded by [`record`]: a run has many of them for each second.
fn growing_histogram() -> Micros {
    Histogram::new(DIGITS).expect("the number of digits is valid")
}

fn record(histogram: &mut Micros, length: Duration) {
    let recorded = histogram.record(micros(length).clamp(1, MAX_LATENCY));
    recorded.expect("it grows, and the longest latency has an index");
}

/// Both latencies of one operation.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    /// From the intended time.
    pub(crate) corrected: Micros,
    /// From the time of sending.
    pub(crate) raw: Micros,
}

impl Default for Latency {
    fn default() -> Self {
        Self { corrected: growing_histogram(), raw: growing_histogram() }
    }
}

/// When a request was due and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestTimes {
    pub(crate) intended: Timestamp,
    pub(crate) sent: Timestamp,
}

/// One second's measurements, or the sum of many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interval {
    /// Of requests that were answered.
    pub(crate) latencies: BTreeMap<Op, Latency>,
    /// Of requests that failed: how long after the intended time, by the kind of error.
    pub(crate) failures: BTreeMap<(Op, Count), Micros>,
    pub(crate) delays: BTreeMap<Delay, Micros>,
    pub(crate) counts: [u64; Count::ALL.len()],
    /// Of what was due in an earlier second, but is counted only now: by second of the run.
    pub(crate) due: BTreeMap<(usize, Count), u64>,
    /// How late the generator itself sent requests that a timer sends.
    pub(crate) lags: BTreeMap<Op, Micros>,
    /// The largest share of its time that a thread of the generator was on a CPU, and waited for one.
    pub(crate) busy: f64,
    pub(crate) waited: f64,
}

impl Interval {
    /// Records a request that was answered.
    pub(crate) fn record_answer(&mut self, op: Op, times: RequestTimes, now: Timestamp) {
        self.count(Count::Answered, 1);
        let latency = self.latencies.entry(op).or_default();
        record(&mut latency.corrected, now.since(times.intended));
        record(&mut latency.raw, now.since(times.sent));
    }

    /// Records a request that failed, and why.
    pub(crate) fn record_error(&mut self, op: Op, why: Count, times: RequestTimes, now: Timestamp) {
        self.count(why, 1);
        let failed = self.failures.entry((op, why)).or_insert_with(growing_histogram);
        record(failed, now.since(times.intended));
    }

    /// Requests that were answered or failed.
    pub(crate) fn requests(&self) -> u64 {
        self.counted(Count::Answered) + self.sum(&Count::ERRORS)
    }

    /// Records a delay.
    pub(crate) fn delay(&mut self, delay: Delay, length: Duration) {
        record(self.delays.entry(delay).or_insert_with(growing_histogram), length);
    }

    /// Records how much later than its timer a request was sent.
    pub(crate) fn lag(&mut self, op: Op, lag: Duration) {
        record(self.lags.entry(op).or_insert_with(growing_histogram), lag);
    }

    /// Adds one to a count of the second in which something was due.
    pub(crate) fn count_due(&mut self, second: usize, count: Count) {
        *self.due.entry((second, count)).or_default() += 1;
    }

    /// Adds to a count.
    pub(crate) fn count(&mut self, count: Count, number: u64) {
        self.counts[count as usize] += number;
    }

    /// A count.
    pub(crate) fn counted(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// The sum of several counts.
    pub(crate) fn sum(&self, counts: &[Count]) -> u64 {
        counts.iter().map(|count| self.counted(*count)).sum()
    }

    /// Adds another interval to this one.
    pub(crate) fn add(&mut self, other: &Self) {
        for (op, latency) in &other.latencies {
            let sum = self.latencies.entry(*op).or_default();
            sum.corrected += &latency.corrected;
            sum.raw += &latency.raw;
        }
        for (failure, lengths) in &other.failures {
            *self.failures.entry(*failure).or_insert_with(growing_histogram) += lengths;
        }
        for (delay, lengths) in &other.delays {
            *self.delays.entry(*delay).or_insert_with(growing_histogram) += lengths;
        }
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, number)| *sum += number);
        for (op, lags) in &other.lags {
            *self.lags.entry(*op).or_insert_with(growing_histogram) += lags;
        }
        for (due, number) in &other.due {
            *self.due.entry(*due).or_default() += number;
        }
        self.busy = self.busy.max(other.busy);
        self.waited = self.waited.max(other.waited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_of_a_second_has_room_for_its_values_only() {
        let mut one = Interval::default();
        one.delay(Delay::Lag, Duration::from_millis(3));
        let small = one.delays[&Delay::Lag].buckets();
        assert!(small <= 3, "{small} buckets");
        let mut other = Interval::default();
        other.delay(Delay::Lag, Duration::MAX);
        other.delay(Delay::Lag, Duration::ZERO);
        one.add(&other);
        let sum = &one.delays[&Delay::Lag];
        let longest = histogram().highest_equivalent(MAX_LATENCY);
        assert_eq!((sum.len(), sum.min(), sum.max()), (3, 1, longest));
    }
}
