//! [`StripedCounter`]: a number that every thread adds to, each in a cache line that few others write.
//!
//! All counts of the daemon are kept in these: one cache line that all threads add to would cost each
//! of them a wait for the others. Must not: order anything, or be asked for a decision: `get` adds up
//! the stripes one after the other. Any thread may call.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// So many threads never share a cache line; more of them do.
pub(super) const STRIPES: usize = 16;

/// Two lines of 64 bytes, which CPUs fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// A number in [`STRIPES`] parts.
#[derive(Debug)]
pub struct StripedCounter([Stripe; STRIPES]);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES);
}

impl StripedCounter {
    /// Zero.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { Stripe(AtomicU64::new(0)) }; STRIPES])
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `many`.
    pub fn add(&self, many: u64) {
        self.own().fetch_add(many, Ordering::Relaxed);
    }

    /// Takes `many` off, whichever thread added them.
    pub fn sub(&self, many: u64) {
        self.own().fetch_sub(many, Ordering::Relaxed);
    }

    /// The sum. A stripe may be below zero; so may the sum, when one thread adds to a stripe that was
    /// read already and another takes the same off a stripe that was not: it is shown as zero.
    #[must_use]
    pub fn get(&self) -> u64 {
        let stripes = self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed));
        u64::try_from(stripes.fold(0, u64::wrapping_add).cast_signed()).unwrap_or(0)
    }

    fn own(&self) -> &AtomicU64 {
        &self.0[own_stripe()].0
    }
}

/// The stripe of the thread that calls, below [`STRIPES`].
pub(super) fn own_stripe() -> usize {
    // A thread that ends may still count.
    OWN.try_with(Cell::get).unwrap_or(0)
}

impl Default for StripedCounter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_counts_of_all_threads_are_summed() {
        let number = StripedCounter::new();
        thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| (0..1_000).for_each(|_| number.add(2)));
            }
        });
        number.sub(1);
        assert_eq!(number.get(), 4_000 * STRIPES as u64 - 1);
        thread::scope(|scope| {
            scope.spawn(|| number.sub(number.get()));
        });
        assert_eq!(number.get(), 0);
    }
}
