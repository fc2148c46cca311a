//! The body of a `/lookup`, rendered by one reader from a published topic and stored for the next.
//!
//! A published topic does not change, so the body stays valid until the next publication replaces
//! both. Before that only producers that become inactive change it, hence `valid_until`. When the
//! bodies of all topics take as much memory as they may, those that were asked for least often since
//! they were looked at last give way. To render a body costs in proportion to its bytes, so that use
//! alone says what a byte of the cache is worth. Must not: know what the bytes mean; make a reader
//! wait for another. Any thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use crate::clock::Timestamp;
use crate::limits;
use crate::published::Published;

/// Uses of a body that are counted: one that was asked for as often stays for as many looks.
const USES: u8 = 3;
/// Stored bodies that one request looks at, at most, to make room for another.
const LOOKED_AT: usize = 16;

/// A cache for one body.
#[derive(Debug, Default)]
pub struct CachedResponse {
    /// Somebody has asked: from the second request on, storing the body pays.
    requested: AtomicBool,
    stored: OnceLock<Arc<Stored>>,
}

/// A body that was stored, and may have given way to others since.
#[derive(Debug)]
struct Stored {
    body: Published<Option<Body>>,
    /// Bytes of the body, as counted by the budget; 0: it has given way.
    bytes: AtomicUsize,
    /// How often it was asked for, up to [`USES`]; each look takes one away.
    uses: AtomicU8,
    budget: Arc<CacheBudget>,
}

#[derive(Debug)]
struct Body {
    bytes: Box<[u8]>,
    /// Unix nanoseconds. Relaxed everywhere: every value that was ever stored is a valid one.
    valid_until: AtomicI64,
}

/// The memory that all cached bodies may take.
#[derive(Debug)]
pub struct CacheBudget {
    /// Bytes: [`limits::RESPONSE_CACHE`], or less.
    max: usize,
    /// Bytes. Relaxed: a bound, exact once no reader is at work.
    used: AtomicUsize,
    /// What is stored, the next to be looked at first. Whoever would have to wait stores nothing.
    stored: Mutex<VecDeque<Weak<Stored>>>,
}

impl CachedResponse {
    /// Calls `read` with the stored body, if it is valid at `now`. When its time is over,
    /// `valid_until` is called to find a later one, or `None` when it is no longer valid.
    pub fn get<R>(
        &self,
        now: Timestamp,
        valid_until: impl FnOnce() -> Option<Timestamp>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let stored = self.stored.get()?;
        stored.body.read(|body| {
            let body = body.as_ref()?;
            if now.unix_nanos() > body.valid_until.load(Ordering::Relaxed) {
                body.valid_until.store(valid_until()?.unix_nanos(), Ordering::Relaxed);
            }
            let uses = stored.uses.load(Ordering::Relaxed);
            if uses < USES {
                stored.uses.store(uses + 1, Ordering::Relaxed);
            }
            Some(read(&body.bytes))
        })
    }

    /// The same cache, for who renders the body later: it may have been replaced by then.
    #[must_use]
    pub fn share(&self, budget: &Arc<CacheBudget>) -> Self {
        let stored = Arc::clone(self.stored.get_or_init(|| Arc::new(Stored::new(budget))));
        Self { requested: AtomicBool::new(true), stored: OnceLock::from(stored) }
    }

    /// Whether to store a body: true from the second call on, while none is stored.
    pub fn should_store(&self) -> bool {
        self.is_wanted() && self.is_empty()
    }

    /// Whether somebody has asked before: true from the second call on.
    pub fn is_wanted(&self) -> bool {
        let is_wanted = self.requested.load(Ordering::Relaxed);
        if !is_wanted {
            self.requested.store(true, Ordering::Relaxed);
        }
        is_wanted
    }

    fn is_empty(&self) -> bool {
        self.stored.get().is_none_or(|stored| stored.bytes.load(Ordering::Relaxed) == 0)
    }

    /// Stores a body, if it was asked for, none is stored and `budget` allows it. `valid_until` must
    /// have been found before the body was rendered: a producer may have sent a PING between the two.
    pub fn store(&self, bytes: &[u8], valid_until: Timestamp, budget: &Arc<CacheBudget>) {
        let Ok(mut all) = budget.stored.try_lock() else { return };
        if !self.should_store() || !budget.make_room(bytes.len(), &mut all) {
            return;
        }
        let stored = self.stored.get_or_init(|| Arc::new(Stored::new(budget)));
        budget.used.fetch_add(bytes.len(), Ordering::Relaxed);
        stored.bytes.store(bytes.len(), Ordering::Relaxed);
        stored.uses.store(0, Ordering::Relaxed);
        let valid_until = AtomicI64::new(valid_until.unix_nanos());
        stored.body.publish(Some(Body { bytes: bytes.into(), valid_until }));
        all.push_back(Arc::downgrade(stored));
    }
}

impl Stored {
    fn new(budget: &Arc<CacheBudget>) -> Self {
        let (body, budget) = (Published::new(None), Arc::clone(budget));
        Self { body, bytes: AtomicUsize::new(0), uses: AtomicU8::new(0), budget }
    }

    /// The body gives way to another.
    fn give_way(&self) {
        self.release();
        self.body.publish(None);
    }

    fn release(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.release();
    }
}

impl Default for CacheBudget {
    fn default() -> Self {
        Self::new(limits::RESPONSE_CACHE)
    }
}

impl CacheBudget {
    /// A budget of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, used: AtomicUsize::new(0), stored: Mutex::default() }
    }

    /// How many bytes all cached bodies take.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a body of so many bytes fits, when those that nobody asked for since the last look have
    /// given way, as far as one request looks.
    fn make_room(&self, bytes: usize, all: &mut VecDeque<Weak<Stored>>) -> bool {
        let fits = || self.used() + bytes <= self.max;
        for looked_at in 0..LOOKED_AT.min(all.len()) {
            // Two are looked at whenever one is stored, so that those of topics that have changed
            // since are forgotten.
            let is_full = !fits();
            if !is_full && looked_at >= 2 {
                break;
            }
            let Some(next) = all.pop_front() else { break };
            let Some(stored) = next.upgrade() else { continue };
            let uses = stored.uses.load(Ordering::Relaxed);
            if is_full && uses == 0 {
                stored.give_way();
                continue;
            }
            if is_full {
                stored.uses.store(uses - 1, Ordering::Relaxed);
            }
            all.push_back(next);
        }
        fits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Timestamp = Timestamp::from_unix_nanos(10);
    const LATER: Timestamp = Timestamp::from_unix_nanos(20);
    /// So many bodies of this size fill the cache.
    const FULL: usize = 64;
    const BYTES: &[u8] = &[b'x'; limits::RESPONSE_CACHE / FULL];

    /// A request as `/lookup` makes it. Returns whether it was answered from the cache.
    fn look(cache: &CachedResponse, bytes: &[u8], budget: &Arc<CacheBudget>) -> bool {
        if get(cache, SOON, None).is_some() {
            return true;
        }
        if cache.should_store() {
            cache.store(bytes, SOON, budget);
        }
        false
    }

    fn get(cache: &CachedResponse, now: Timestamp, later: Option<Timestamp>) -> Option<Vec<u8>> {
        cache.get(now, || later, <[u8]>::to_vec)
    }

    fn cached(bytes: &[u8], budget: &Arc<CacheBudget>) -> CachedResponse {
        let cache = CachedResponse::default();
        (0..2).for_each(|_| assert!(!look(&cache, bytes, budget)));
        cache
    }

    #[test]
    fn one_body_is_cached_while_it_is_valid() {
        let budget = Arc::default();
        let cache = CachedResponse::default();
        cache.store(b"not requested", SOON, &budget);
        assert_eq!(get(&cache, SOON, None), None);
        let cache = CachedResponse::default();
        assert!(!cache.should_store(), "the first request stores nothing");
        assert!(cache.should_store());
        cache.store(b"first", SOON, &budget);
        cache.store(b"second", LATER, &budget);
        assert!(!cache.should_store());
        assert_eq!(get(&cache, SOON, None).as_deref(), Some(&b"first"[..]));
        assert_eq!(get(&cache, LATER, None), None);
        assert_eq!(get(&cache, LATER, Some(LATER)).as_deref(), Some(&b"first"[..]));
        assert_eq!(get(&cache, LATER, None).as_deref(), Some(&b"first"[..]), "the time is renewed");
    }

    #[test]
    fn the_cache_budget_is_bounded_and_released() {
        let budget = Arc::default();
        let all: Vec<_> = (0..FULL).map(|_| cached(BYTES, &budget)).collect();
        assert_eq!(budget.used(), limits::RESPONSE_CACHE);
        for cache in &all {
            (0..USES).for_each(|_| assert!(look(cache, BYTES, &budget)));
        }
        let over = cached(b"1", &budget);
        assert_eq!(get(&over, SOON, None), None, "the others are in use");
        assert_eq!(budget.used(), limits::RESPONSE_CACHE);
        drop(all);
        assert!(!look(&over, b"1", &budget));
        assert!(look(&over, b"1", &budget), "the budget was released");
        assert_eq!(budget.used(), 1);
        drop(over);
        assert_eq!(budget.used(), 0);
        let too_large = cached(&vec![0; limits::RESPONSE_CACHE + 1], &budget);
        assert_eq!((get(&too_large, SOON, None), budget.used()), (None, 0));
    }

    #[test]
    fn popular_topic_gets_its_place_in_a_cache_that_one_client_has_filled() {
        let budget = Arc::default();
        let mut others: Vec<_> = (0..FULL).map(|_| cached(BYTES, &budget)).collect();
        let popular = CachedResponse::default();
        let answered = (0..100).filter(|_| look(&popular, BYTES, &budget)).count();
        assert_eq!(answered, 98);
        // It keeps it, however many the client asks for twice meanwhile.
        for _ in 0..10 * FULL {
            others.push(cached(BYTES, &budget));
            assert!(look(&popular, BYTES, &budget));
            assert!(budget.used() <= limits::RESPONSE_CACHE);
        }
        // What gave way comes back when it is asked for again.
        let first = &others[0];
        assert_eq!(get(first, SOON, None), None);
        assert!(!look(first, BYTES, &budget));
        assert!(look(first, BYTES, &budget));
    }

    #[test]
    fn body_that_is_rendered_later_is_stored_for_all() {
        let (budget, cache) = (Arc::default(), CachedResponse::default());
        let later = cache.share(&budget);
        assert!(later.should_store());
        later.store(b"x", SOON, &budget);
        assert_eq!(get(&cache, SOON, None).as_deref(), Some(&b"x"[..]));
        drop(cache);
        assert_eq!(budget.used(), 1);
        drop(later);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn topics_that_changed_since_are_forgotten() {
        let budget = Arc::default();
        let _stays = [(); 10].map(|()| cached(b"x", &budget));
        for _ in 0..10_000 {
            drop(cached(b"x", &budget));
        }
        assert!(budget.stored.lock().expect("no test has panicked").len() < 100);
        assert_eq!(budget.used(), 10);
    }
}
