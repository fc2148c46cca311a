//! How many nsqds have about how many registrations, so that it is known who has most of those that
//! have more than [`limits::REGISTRATIONS_UNSHARED`]; the others are not counted.
//!
//! Sizes that differ by less than an eighth count as the same. All counters are relaxed: they order
//! nothing. Must not: remember an nsqd. Any thread.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits;

/// Classes for each power of two.
const STEPS: usize = 8;
const CLASSES: usize = STEPS * usize::BITS as usize;

/// How many nsqds are in each class of sizes.
#[derive(Debug)]
pub(super) struct Sizes([AtomicUsize; CLASSES]);

impl Default for Sizes {
    fn default() -> Self {
        Self([const { AtomicUsize::new(0) }; CLASSES])
    }
}

/// The class of a size that is not 0.
fn class(size: usize) -> usize {
    let power = size.ilog2();
    let step = ((size as u128 * STEPS as u128) >> power) as usize - STEPS;
    STEPS * power as usize + step
}

impl Sizes {
    /// An nsqd that had `before` registrations has `after`.
    #[inline]
    pub(super) fn resized(&self, before: usize, after: usize) {
        if before.max(after) > limits::REGISTRATIONS_UNSHARED {
            self.resize(before, after);
        }
    }

    #[inline(never)]
    fn resize(&self, before: usize, after: usize) {
        let is_counted = |size| size > limits::REGISTRATIONS_UNSHARED;
        let [from, to] = [before, after].map(|size| is_counted(size).then(|| class(size)));
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.0[from].fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(to) = to {
            self.0[to].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether no nsqd has more than one with `size` registrations, which are not few.
    pub(super) fn is_most(&self, size: usize) -> bool {
        self.0[class(size) + 1..].iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_in_order_and_narrow() {
        let mut last = 0;
        for size in 1..100_000 {
            let class = class(size);
            assert!(class >= last, "{size}");
            last = class;
        }
        assert_eq!(class(1000), class(1010));
        assert_ne!(class(1000), class(1200));
        assert_eq!(class(usize::MAX), CLASSES - 1);
    }

    #[test]
    fn the_largest_are_known_while_they_grow_shrink_and_go() {
        let sizes = Sizes::default();
        assert!(sizes.is_most(1001), "there is no other");
        (0..5000).for_each(|size| sizes.resized(size, size + 1));
        (0..1100).for_each(|size| sizes.resized(size, size + 1));
        assert!(sizes.is_most(5000) && !sizes.is_most(1100));
        sizes.resized(1100, 4999);
        assert!(sizes.is_most(4999), "it is about as large");
        sizes.resized(5000, 0);
        sizes.resized(4999, 1100);
        assert!(sizes.is_most(1100));
        sizes.resized(1100, 10);
        assert!(sizes.0.iter().all(|count| count.load(Ordering::Relaxed) == 0));
    }
}
