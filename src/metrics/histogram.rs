//! [`Histograms`]: how long things took, in stripes as all counts.
//!
//! A family of them has one slot for each combination of labels that can occur; a slot takes its
//! memory when it is first observed. To observe costs two additions to the thread's own cache lines.
//! Must not: lock, or be asked for a decision. Any thread may call.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Labels;
use super::striped_counter::{STRIPES, own_stripe};

/// The upper bounds of the buckets, in nanoseconds: 1 µs to 10 s, three for each power of ten. What
/// took longer is in one bucket more.
const BOUNDS: [u64; 22] = {
    let (mut bounds, mut decade, mut at) = ([0; 22], 1_000, 0);
    while at < 22 {
        bounds[at] = decade * [10, 25, 50][at % 3] / 10;
        if at % 3 == 2 {
            decade *= 10;
        }
        at += 1;
    }
    bounds
};

/// The histograms of one family.
#[derive(Debug)]
pub struct Histograms(Box<[OnceLock<Histogram>]>);

#[derive(Debug)]
struct Histogram {
    labels: Labels,
    stripes: Box<[Stripe; STRIPES]>,
}

/// What one thread, or a few, have observed. Lines that CPUs fetch together are not shared.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Nanoseconds; they overflow after 584 years.
    sum: AtomicU64,
}

/// What was observed of one combination of labels.
pub(super) struct Observed<'h> {
    pub(super) labels: &'h Labels,
    /// Seconds.
    pub(super) sum: f64,
    pub(super) count: u64,
    /// The upper bound of each bucket in seconds, and how many are in it and in no lower one.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histograms {
    /// A family of at most `slots` combinations of labels.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self(std::iter::repeat_with(OnceLock::new).take(slots).collect())
    }

    /// Something took `span`. `labels` is asked once for each slot.
    pub fn observe(&self, slot: usize, labels: impl FnOnce() -> Labels, span: Duration) {
        let histogram = self.0[slot].get_or_init(|| Histogram::new(labels()));
        let nanos = span.as_secs().saturating_mul(1_000_000_000) + u64::from(span.subsec_nanos());
        let bucket = BOUNDS.iter().position(|&bound| nanos <= bound).unwrap_or(BOUNDS.len());
        let stripe = &histogram.stripes[own_stripe()];
        stripe.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        stripe.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was observed, for each combination of labels that was.
    pub(super) fn observed(&self) -> impl Iterator<Item = Observed<'_>> {
        self.0.iter().filter_map(OnceLock::get).map(Histogram::observed)
    }
}

impl Histogram {
    #[cold]
    fn new(labels: Labels) -> Self {
        Self { labels, stripes: Box::default() }
    }

    fn observed(&self) -> Observed<'_> {
        let total = |read: &dyn Fn(&Stripe) -> &AtomicU64| {
            let loads = self.stripes.iter().map(|stripe| read(stripe).load(Ordering::Relaxed));
            loads.fold(0, u64::wrapping_add)
        };
        let bounds = BOUNDS.iter().map(|&nanos| nanos as f64 / 1e9).chain([f64::INFINITY]);
        let counts = (0..=BOUNDS.len()).map(|at| total(&|stripe| &stripe.buckets[at]));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = total(&|stripe| &stripe.sum) as f64 / 1e9;
        Observed { labels: &self.labels, sum, count, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn each_span_is_in_the_lowest_bucket_that_holds_it() {
        let histograms = Histograms::new(3);
        let nanos = [0, 1_000, 1_001, 2_500, 10_000_000_000, 10_000_000_001];
        thread::scope(|scope| {
            for span in nanos.map(Duration::from_nanos) {
                let histograms = &histograms;
                scope.spawn(move || histograms.observe(1, || vec![("a", "b")], span));
            }
        });
        let all: Vec<_> = histograms.observed().collect();
        assert_eq!(all.len(), 1, "only what was observed is shown");
        let Observed { labels, sum, count, buckets } = &all[0];
        assert_eq!((labels.as_slice(), *count), ([("a", "b")].as_slice(), 6));
        assert!((sum - 20.000_004_502).abs() < 1e-9, "{sum}");
        let filled: Vec<_> = buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(filled, [(1e-6, 2), (2.5e-6, 2), (10.0, 1), (f64::INFINITY, 1)]);
        let bounds = buckets.iter().map(|(bound, _)| *bound);
        assert!(bounds.is_sorted_by(|one, next| one < next), "{buckets:?}");
    }
}
