//! [`Published<T>`]: one value that a writer replaces as a whole and readers read without waiting.
//!
//! This module and [`epoch_table`] alone use crossbeam-epoch: a reader pins the current epoch, and a
//! replaced value is freed once no reader that could have seen it is pinned any more. Must not:
//! return a guard or a reference from [`Published::read`], so that no pin lives across a yield of a
//! runtime. Any thread may read and publish; writers that must not overwrite each other need a lock
//! of their own.

pub mod epoch_table;

use std::sync::atomic::Ordering;

use crossbeam::epoch::{self, Atomic, Owned};

use crate::metrics::StripedCounter;

/// Values of the whole process that were replaced or removed and are not freed yet.
static RETIRED: StripedCounter = StripedCounter::new();

/// How many values of the whole process were replaced or removed and are not freed yet: a few for
/// each thread that publishes. A number that only grows means that some thread never leaves a read.
#[must_use]
pub fn retired() -> u64 {
    RETIRED.get()
}

/// A value that is published as a whole: a reader sees the old one or the new one, never a mixture.
#[derive(Debug)]
pub struct Published<T> {
    current: Atomic<T>,
}

#[allow(unsafe_code, reason = "epoch-based reclamation: see the SAFETY text of each block")]
impl<T: Send + Sync + 'static> Published<T> {
    /// Publishes the first value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { current: Atomic::new(value) }
    }

    /// Replaces the value. Readers that have the old one keep it until their closure returns.
    pub fn publish(&self, value: T) {
        self.replace(value, |_| {});
    }

    /// The same, and calls `tell` with the old value, which others may still read.
    pub fn replace(&self, value: T, tell: impl FnOnce(&T)) {
        let guard = epoch::pin();
        // Release pairs with the Acquire of `read`: a reader of the pointer reads the whole value.
        // Acquire, because this thread or another drops the old value's fields later.
        let old = self.current.swap(Owned::new(value), Ordering::AcqRel, &guard);
        // SAFETY: never null (see below), and not freed while `guard`, under which it was swapped out,
        // is pinned: the closure that frees it is given to the collector below.
        tell(unsafe { old.deref() });
        RETIRED.add(1);
        // SAFETY: `old` is unlinked by the swap above, so that no reader that pins from now on
        // can reach it, and swapped out exactly once, so that it is destroyed once. It is never
        // null: `new` stored a value and only `publish` and `drop` replace it. Whichever thread
        // destroys it may: `T` is `Send` and `'static`.
        unsafe {
            guard.defer_unchecked(move || {
                drop(old.into_owned());
                RETIRED.sub(1);
            });
        }
    }

    /// Reads the value. `read` must be short: while it runs, nothing that is retired can be freed.
    pub fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let guard = epoch::pin();
        let current = self.current.load(Ordering::Acquire, &guard);
        // SAFETY: never null (see `publish`); loaded under `guard`, which lives until `read`
        // has returned, so that a writer that retires the value now cannot free it before.
        read(unsafe { current.deref() })
    }
}

impl<T> Drop for Published<T> {
    #[allow(unsafe_code, reason = "epoch-based reclamation: see the SAFETY text of each block")]
    fn drop(&mut self) {
        let current = std::mem::replace(&mut self.current, Atomic::null());
        // SAFETY: `&mut self` proves that no reader and no writer is left, so that the last
        // value is ours alone; it is not null (see `publish`).
        drop(unsafe { current.into_owned() });
    }
}

/// Hands the values retired by this thread to the collector, so that they are freed even if the
/// thread publishes nothing more for a long time.
pub fn flush() {
    epoch::pin().flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    /// Counts how many of it are alive. Its payload is equal words only between `new` and `drop`.
    struct Canary {
        payload: [usize; 4],
        alive: Arc<AtomicUsize>,
    }

    impl Canary {
        fn new(value: usize, alive: &Arc<AtomicUsize>) -> Self {
            alive.fetch_add(1, Ordering::SeqCst);
            Self { payload: [value; 4], alive: Arc::clone(alive) }
        }
    }

    impl Drop for Canary {
        fn drop(&mut self) {
            self.payload = [usize::MAX, 1, 2, 3];
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Waits until `expected` are alive: what was retired is freed once enough pins have advanced the
    /// epoch, which a thread that was descheduled while pinned delays.
    pub(super) fn wait_until_alive(alive: &AtomicUsize, expected: usize) {
        for _ in 0..10_000 {
            if alive.load(Ordering::SeqCst) == expected {
                return;
            }
            flush();
            thread::sleep(Duration::from_millis(1));
        }
        panic!("{} are alive, not {expected}", alive.load(Ordering::SeqCst));
    }

    #[test]
    fn readers_see_whole_values_in_order_while_writers_replace_them() {
        let alive = Arc::new(AtomicUsize::new(0));
        let published = Arc::new(Published::new(Canary::new(0, &alive)));
        const ROUNDS: usize = if cfg!(miri) { 50 } else { 20_000 };
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let published = Arc::clone(&published);
                thread::spawn(move || {
                    let mut last = 0;
                    while last < ROUNDS {
                        let seen = published.read(|canary| canary.payload);
                        assert!(
                            seen.iter().all(|&part| part == seen[0]),
                            "torn or freed: {seen:?}"
                        );
                        assert!(seen[0] >= last, "went back from {last} to {}", seen[0]);
                        last = seen[0];
                    }
                })
            })
            .collect();
        for round in 1..=ROUNDS {
            published.publish(Canary::new(round, &alive));
        }
        for reader in readers {
            reader.join().expect("a reader saw a broken value");
        }
        drop(published);
        wait_until_alive(&alive, 0);
    }

    #[test]
    fn retired_values_are_counted_until_they_are_freed() {
        // Other tests of this process publish too, but far less.
        const MANY: u64 = if cfg!(miri) { 50 } else { 10_000 };
        let published = Published::new(0);
        let held = published.read(|_| {
            (0..MANY).for_each(|value| published.publish(value));
            retired()
        });
        assert!(held >= MANY, "{held}");
        let freed = (0..10_000).any(|_| {
            flush();
            thread::sleep(Duration::from_millis(1));
            retired() < MANY
        });
        assert!(freed, "{} values are not freed", retired());
    }
}
