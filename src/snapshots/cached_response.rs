//! An answer that a reader has rendered from a published topic, kept with it for the next reader.
//!
//! A topic is published as a value that stays the same, so that what was rendered from it stays right
//! until the next publication takes both away; only producers that fall silent change it before. Must
//! not: know what the bytes say, or let a reader wait for another. Any thread.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::clock::Timestamp;
use crate::limits;

/// Nobody has asked yet.
const NEW: u8 = 0;
/// Somebody has: what is asked twice is worth keeping.
const ASKED: u8 = 1;
/// Somebody keeps, or has kept, an answer.
const TAKEN: u8 = 2;

/// A place for one answer.
#[derive(Debug, Default)]
pub struct CachedResponse {
    state: AtomicU8,
    answer: OnceLock<Box<Answer>>,
}

#[derive(Debug)]
struct Answer {
    bytes: Box<[u8]>,
    /// Unix nanoseconds. Relaxed everywhere: each value that was ever stored is a right one.
    right_until: AtomicI64,
    room: Arc<CacheBudget>,
}

/// What all kept answers may take.
#[derive(Debug, Default)]
pub struct CacheBudget {
    /// Bytes. Relaxed: a bound, exact when all is quiet.
    taken: AtomicUsize,
}

impl CachedResponse {
    /// The kept answer, if it is right at `now`. When its time is over `right_until` is asked until
    /// when it is, if it still is.
    pub fn get(
        &self,
        now: Timestamp,
        right_until: impl FnOnce() -> Option<Timestamp>,
    ) -> Option<&[u8]> {
        let answer = self.answer.get()?;
        if now.unix_nanos() > answer.right_until.load(Ordering::Relaxed) {
            answer.right_until.store(right_until()?.unix_nanos(), Ordering::Relaxed);
        }
        Some(&answer.bytes)
    }

    /// Whether an answer would be kept: from the second time that this is asked, until one is.
    pub fn is_wanted(&self) -> bool {
        match self.state.load(Ordering::Relaxed) {
            NEW => {
                let _ = self.turn(NEW, ASKED);
                false
            }
            state => state == ASKED,
        }
    }

    /// Changes the state, if it is still `from`: one thread of all does.
    fn turn(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Keeps an answer, if none is and there is room. It must be right from the moment at which
    /// `right_until` was found to be: a producer may have spoken between the two.
    pub fn keep(&self, bytes: &[u8], right_until: Timestamp, room: &Arc<CacheBudget>) {
        if !self.turn(ASKED, TAKEN) {
            return;
        }
        match Answer::new(bytes, right_until, room) {
            // Only who has turned the state comes here: nobody waits, and nothing is there yet.
            Some(answer) => drop(self.answer.set(Box::new(answer))),
            None => self.state.store(ASKED, Ordering::Relaxed),
        }
    }
}

impl Answer {
    fn new(bytes: &[u8], right_until: Timestamp, room: &Arc<CacheBudget>) -> Option<Self> {
        if !room.take(bytes.len()) {
            return None;
        }
        let right_until = AtomicI64::new(right_until.unix_nanos());
        Some(Self { bytes: bytes.into(), right_until, room: Arc::clone(room) })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.room.give(self.bytes.len());
    }
}

impl CacheBudget {
    /// How much is kept, in bytes.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = self.taken.fetch_add(bytes, Ordering::Relaxed) + bytes <= limits::RESPONSE_CACHE;
        if !fits {
            self.give(bytes);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Timestamp = Timestamp::from_unix_nanos(10);
    const LATER: Timestamp = Timestamp::from_unix_nanos(20);

    fn kept(bytes: &[u8], room: &Arc<CacheBudget>) -> CachedResponse {
        let kept = CachedResponse::default();
        assert!(!kept.is_wanted() && kept.is_wanted());
        kept.keep(bytes, SOON, room);
        kept
    }

    #[test]
    fn one_answer_is_kept_while_it_is_right() {
        let room = Arc::default();
        let kept = CachedResponse::default();
        kept.keep(b"unasked", SOON, &room);
        assert_eq!(kept.get(SOON, || None), None);
        assert!(!kept.is_wanted(), "what is asked once is not kept");
        assert!(kept.is_wanted());
        kept.keep(b"right", SOON, &room);
        kept.keep(b"another", LATER, &room);
        assert!(!kept.is_wanted());
        assert_eq!(kept.get(SOON, || None), Some(&b"right"[..]));
        assert_eq!(kept.get(LATER, || None), None);
        assert_eq!(kept.get(LATER, || Some(LATER)), Some(&b"right"[..]));
        assert_eq!(kept.get(LATER, || None), Some(&b"right"[..]), "the time is renewed");
    }

    #[test]
    fn what_is_kept_is_bounded_and_given_back() {
        let room = Arc::default();
        let most = kept(&vec![0; limits::RESPONSE_CACHE - 1], &room);
        let rest = kept(b"1", &room);
        assert!(rest.get(SOON, || None).is_some());
        let over = kept(b"1", &room);
        assert_eq!(over.get(SOON, || None), None);
        assert_eq!(room.taken(), limits::RESPONSE_CACHE);
        drop(most);
        assert!(over.is_wanted());
        over.keep(b"1", SOON, &room);
        assert!(over.get(SOON, || None).is_some(), "room was given back");
        drop((rest, over));
        assert_eq!(room.taken(), 0);
    }
}
