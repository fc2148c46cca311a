//! [`StripedCounter`]: a number that every thread counts, each in a cache line that few others write.
//!
//! Must not: order anything, or be asked for a decision: what it says may be out of date. Any thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that never meet in a cache line; more of them share.
const STRIPES: usize = 16;

/// Two lines of 64 bytes, which CPUs fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// A number in striped_counter.
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

    /// So many more.
    pub fn add(&self, many: u64) {
        self.own().fetch_add(many, Ordering::Relaxed);
    }

    /// So many less, whichever thread added them.
    pub fn sub(&self, many: u64) {
        self.own().fetch_sub(many, Ordering::Relaxed);
    }

    /// How many. A stripe alone may be below zero; together they are not.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    fn own(&self) -> &AtomicU64 {
        // A thread that ends may still count.
        &self.0[OWN.try_with(Cell::get).unwrap_or(0)].0
    }
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
    fn what_threads_count_is_their_sum() {
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
