//! [`Published<T>`]: one value that a writer replaces whole and readers read without waiting.
//!
//! With [`epoch_table`] the only door to crossbeam-epoch. Must not: hand a guard or a reference out of the closure of
//! [`Published::read`], so that no pin can live across a yield of either runtime. Any thread may
//! read and publish; writers that must not overwrite each other order themselves.

pub mod epoch_table;

use std::sync::atomic::Ordering;

use crossbeam::epoch::{self, Atomic, Owned};

use crate::metrics::StripedCounter;

/// Values that were replaced or taken out and are not freed yet.
static WAITING: StripedCounter = StripedCounter::new();

/// How many replaced values of the whole process are not freed yet: a few for each thread that
/// publishes. A number that only grows means that some thread stays in a read.
#[must_use]
pub fn waiting() -> u64 {
    WAITING.get()
}

/// A value published as a whole: a reader sees the old one or the new one, never a mixture.
#[derive(Debug)]
pub struct Published<T> {
    current: Atomic<T>,
}

#[allow(unsafe_code, reason = "the one door to epoch-based reclamation")]
impl<T: Send + Sync + 'static> Published<T> {
    /// Publishes the first value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { current: Atomic::new(value) }
    }

    /// Replaces the value. Readers that hold the old one keep it until they return.
    pub fn publish(&self, value: T) {
        let guard = epoch::pin();
        // Release pairs with the Acquire of `read`: whoever sees the pointer sees the value.
        // Acquire, because the old value's fields are dropped later by this thread.
        let old = self.current.swap(Owned::new(value), Ordering::AcqRel, &guard);
        WAITING.add(1);
        // SAFETY: `old` is unlinked by the swap above, so that no reader that pins from now on
        // can reach it, and swapped out exactly once, so that it is destroyed once. It is never
        // null: `new` stored a value and only `publish` and `drop` replace it. Whichever thread
        // destroys it may: `T` is `Send` and `'static`.
        unsafe {
            guard.defer_unchecked(move || {
                drop(old.into_owned());
                WAITING.sub(1);
            });
        }
    }

    /// Reads the value. The closure must be short: while it runs nothing retired since can be freed.
    pub fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let guard = epoch::pin();
        let current = self.current.load(Ordering::Acquire, &guard);
        // SAFETY: never null (see `publish`); loaded under `guard`, which lives until `read`
        // has returned, so that a writer that retires the value now cannot free it before.
        read(unsafe { current.deref() })
    }
}

impl<T> Drop for Published<T> {
    #[allow(unsafe_code, reason = "the one door to epoch-based reclamation")]
    fn drop(&mut self) {
        let current = std::mem::replace(&mut self.current, Atomic::null());
        // SAFETY: `&mut self` proves that no reader and no writer is left, so that the last
        // value is ours alone; it is not null (see `publish`).
        drop(unsafe { current.into_owned() });
    }
}

/// Gives values retired by this thread to the collector, so that their memory comes back even if
/// the thread publishes nothing more for a long time.
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

    /// Counts the living, and dies visibly: its payload is only whole between `new` and `drop`.
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

    /// Waits until as many are alive: what was retired is freed once enough pins have moved the
    /// epoch on, and a thread that lost its core while it was pinned has it again.
    pub(super) fn settles_at(alive: &AtomicUsize, expected: usize) {
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
        settles_at(&alive, 0);
    }

    #[test]
    fn what_waits_for_a_reader_is_counted_until_it_is_freed() {
        // Other tests publish too, but none so much.
        const MANY: u64 = if cfg!(miri) { 50 } else { 10_000 };
        let published = Published::new(0);
        let held = published.read(|_| {
            (0..MANY).for_each(|value| published.publish(value));
            waiting()
        });
        assert!(held >= MANY, "{held}");
        let freed = (0..10_000).any(|_| {
            flush();
            thread::sleep(Duration::from_millis(1));
            waiting() < MANY
        });
        assert!(freed, "{} values still wait", waiting());
    }
}
