//! Links that have been silent for longer than the inactive timeout: how long they may go on.
//!
//! Its nsqd may be stopped, or behind a slow network, and come back, so that such a link stays for
//! [`Timeouts::silence`](super::Timeouts). When connections run out, as many of them close earlier as
//! are needed, those first that have been silent for longest.
//!
//! Must not: be asked about a link that speaks. Shared by all TCP workers; a call holds its lock for a
//! step in a sorted set, and once in [`CHECK`] for a walk over those that are to close.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// How often it is looked at whether connections run out: within one PING of nsqd, so that one that
/// was refused finds room when it comes again.
pub(super) const CHECK: Duration = Duration::from_secs(5);

/// The silent links of all TCP workers.
pub struct SilentLinks {
    /// How many connections are to be closed to make room.
    needed: Box<dyn Fn() -> usize + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By when they were last heard.
    links: BTreeSet<Key>,
    next_number: u64,
    /// When to look again.
    check_at: Timestamp,
    /// The last one that is to close.
    last: Option<Key>,
}

/// When a link was last heard, and a number that no other has.
type Key = (Timestamp, u64);

/// A link that is silent; to be dropped when it speaks or ends.
#[derive(Debug)]
pub(super) struct SilentLink {
    links: Arc<SilentLinks>,
    key: Key,
}

impl SilentLinks {
    /// No links yet. `needed` says how many connections are to be closed to make room.
    #[must_use]
    pub fn new(needed: impl Fn() -> usize + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { needed: Box::new(needed), state: Mutex::default() })
    }

    /// A link that was last heard at `heard`.
    pub(super) fn enter(self: &Arc<Self>, heard: Timestamp) -> SilentLink {
        let mut state = self.lock();
        let key = (heard, state.next_number);
        state.next_number += 1;
        state.links.insert(key);
        SilentLink { links: Arc::clone(self), key }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SilentLink {
    /// Whether it is to make room now.
    pub(super) fn must_close(&self, now: Timestamp) -> bool {
        let mut state = self.links.lock();
        if state.check_at <= now {
            state.check_at = now + CHECK;
            let needed = (self.links.needed)();
            state.last = state.links.iter().take(needed).next_back().copied();
        }
        state.last.is_some_and(|last| self.key <= last)
    }
}

impl Drop for SilentLink {
    fn drop(&mut self) {
        self.links.lock().links.remove(&self.key);
    }
}

impl fmt::Debug for SilentLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SilentLinks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn second(number: i64) -> Timestamp {
        Timestamp::from_unix_nanos(number * 1_000_000_000)
    }

    #[test]
    fn as_many_close_as_are_needed_the_longest_silence_first() {
        let needed = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&needed);
        let links = SilentLinks::new(move || asked.load(Ordering::Relaxed));
        let mut silent: Vec<_> = [7, 3, 5, 3].map(|heard| links.enter(second(heard))).into();
        let closing = |silent: &[SilentLink], at| {
            let must_close = silent.iter().map(|link| link.must_close(second(at)));
            must_close.collect::<Vec<_>>()
        };
        assert_eq!(closing(&silent, 100), [false; 4]);
        needed.store(3, Ordering::Relaxed);
        assert_eq!(closing(&silent, 104), [false; 4], "it is looked at now and then");
        assert_eq!(closing(&silent, 105), [false, true, true, true]);
        // One of them speaks again: nobody else closes in its place before the next look.
        silent.remove(1);
        assert_eq!(closing(&silent, 106), [false, true, true]);
        silent.truncate(1);
        needed.store(0, Ordering::Relaxed);
        assert_eq!(closing(&silent, 111), [false], "there is room");
        drop(silent);
        assert!(links.lock().links.is_empty());
    }
}
