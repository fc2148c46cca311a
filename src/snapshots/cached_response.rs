//! The body of a `/lookup`, rendered by one reader from a published topic and stored for the next.
//!
//! A published topic does not change, so the body stays valid until the next publication replaces
//! both. Before that only producers that become inactive change it, hence `valid_until`. Must not:
//! know what the bytes mean; make a reader wait for another. Any thread.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::clock::Timestamp;
use crate::limits;

/// States of a cache: nobody has asked for the topic yet.
const NEW: u8 = 0;
/// Somebody has: from the second request on, storing the body pays.
const REQUESTED: u8 = 1;
/// One thread stores a body, or has stored one.
const STORED: u8 = 2;

/// A cache for one body.
#[derive(Debug, Default)]
pub struct CachedResponse {
    state: AtomicU8,
    body: OnceLock<Box<Body>>,
}

#[derive(Debug)]
struct Body {
    bytes: Box<[u8]>,
    /// Unix nanoseconds. Relaxed everywhere: every value that was ever stored is a valid one.
    valid_until: AtomicI64,
    budget: Arc<CacheBudget>,
}

/// The memory that all cached bodies may take: [`limits::RESPONSE_CACHE`].
#[derive(Debug, Default)]
pub struct CacheBudget {
    /// Bytes. Relaxed: a bound, exact once no reader is at work.
    used: AtomicUsize,
}

impl CachedResponse {
    /// The stored body, if it is valid at `now`. When its time is over, `valid_until` is called to
    /// find a later one, or `None` when it is no longer valid.
    pub fn get(
        &self,
        now: Timestamp,
        valid_until: impl FnOnce() -> Option<Timestamp>,
    ) -> Option<&[u8]> {
        let body = self.body.get()?;
        if now.unix_nanos() > body.valid_until.load(Ordering::Relaxed) {
            body.valid_until.store(valid_until()?.unix_nanos(), Ordering::Relaxed);
        }
        Some(&body.bytes)
    }

    /// Whether to store a body: true from the second call on, until one is stored.
    pub fn should_store(&self) -> bool {
        match self.state.load(Ordering::Relaxed) {
            NEW => {
                let _ = self.change_state(NEW, REQUESTED);
                false
            }
            state => state == REQUESTED,
        }
    }

    /// Changes the state if it is still `from`. Of several threads, one succeeds.
    fn change_state(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Stores a body, if none is stored and `budget` allows it. `valid_until` must have been found
    /// before the body was rendered: a producer may have sent a PING between the two.
    pub fn store(&self, bytes: &[u8], valid_until: Timestamp, budget: &Arc<CacheBudget>) {
        if !self.change_state(REQUESTED, STORED) {
            return;
        }
        if !budget.acquire(bytes.len()) {
            return self.state.store(REQUESTED, Ordering::Relaxed);
        }
        let valid_until = AtomicI64::new(valid_until.unix_nanos());
        let body = Body { bytes: bytes.into(), valid_until, budget: Arc::clone(budget) };
        // Only the thread that changed the state gets here, so that the cell is empty.
        drop(self.body.set(Box::new(body)));
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.release(self.bytes.len());
    }
}

impl CacheBudget {
    /// How many bytes all cached bodies take.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn acquire(&self, bytes: usize) -> bool {
        let fits = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= limits::RESPONSE_CACHE;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Timestamp = Timestamp::from_unix_nanos(10);
    const LATER: Timestamp = Timestamp::from_unix_nanos(20);

    fn cached(bytes: &[u8], budget: &Arc<CacheBudget>) -> CachedResponse {
        let cache = CachedResponse::default();
        assert!(!cache.should_store() && cache.should_store());
        cache.store(bytes, SOON, budget);
        cache
    }

    #[test]
    fn one_body_is_cached_while_it_is_valid() {
        let budget = Arc::default();
        let cache = CachedResponse::default();
        cache.store(b"not requested", SOON, &budget);
        assert_eq!(cache.get(SOON, || None), None);
        assert!(!cache.should_store(), "the first request stores nothing");
        assert!(cache.should_store());
        cache.store(b"first", SOON, &budget);
        cache.store(b"second", LATER, &budget);
        assert!(!cache.should_store());
        assert_eq!(cache.get(SOON, || None), Some(&b"first"[..]));
        assert_eq!(cache.get(LATER, || None), None);
        assert_eq!(cache.get(LATER, || Some(LATER)), Some(&b"first"[..]));
        assert_eq!(cache.get(LATER, || None), Some(&b"first"[..]), "the time is renewed");
    }

    #[test]
    fn the_cache_budget_is_bounded_and_released() {
        let budget = Arc::default();
        let largest = cached(&vec![0; limits::RESPONSE_CACHE - 1], &budget);
        let last = cached(b"1", &budget);
        assert!(last.get(SOON, || None).is_some());
        let over = cached(b"1", &budget);
        assert_eq!(over.get(SOON, || None), None);
        assert_eq!(budget.used(), limits::RESPONSE_CACHE);
        drop(largest);
        assert!(over.should_store());
        over.store(b"1", SOON, &budget);
        assert!(over.get(SOON, || None).is_some(), "the budget was released");
        drop((last, over));
        assert_eq!(budget.used(), 0);
    }
}
