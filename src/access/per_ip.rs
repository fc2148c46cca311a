//! How many connections each address has open at one listener.
//!
//! Must not: outlive its connections in memory: an address without any is forgotten. Entered by the
//! thread that accepts, left by whichever closes; a lock of one part is held for one look at it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

/// Parts with a lock of their own, so that tables which close many connections rarely meet.
const PARTS: usize = 16;

type Part = HashMap<IpAddr, usize, RandomState>;

/// The open connections of every address, and how many of them one may have.
#[derive(Debug)]
pub struct PerIpLimiter {
    most: usize,
    /// No two runs hash alike, so that nobody can choose addresses that meet.
    hasher: RandomState,
    parts: [Mutex<Part>; PARTS],
}

/// One connection's place in a limiter; given back when it is dropped, however that comes about.
#[derive(Debug)]
pub struct PerIpPermit {
    limiter: Arc<PerIpLimiter>,
    address: IpAddr,
}

impl PerIpLimiter {
    /// A limiter in which each address may have `most` connections.
    #[must_use]
    pub fn new(most: NonZeroUsize) -> Arc<Self> {
        let hasher = RandomState::new();
        let parts = std::array::from_fn(|_| Mutex::new(Part::with_hasher(hasher.clone())));
        Arc::new(Self { most: most.get(), hasher, parts })
    }

    /// One more connection of `address`; none when it has as many as it may. An IPv4-mapped
    /// address is the same as its IPv4 one.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<PerIpPermit> {
        let address = address.to_canonical();
        let mut part = self.part(address);
        let open = part.entry(address).or_default();
        if *open == self.most {
            return None;
        }
        *open += 1;
        Some(PerIpPermit { limiter: Arc::clone(self), address })
    }

    fn part(&self, address: IpAddr) -> MutexGuard<'_, Part> {
        let part = usize::try_from(self.hasher.hash_one(address) >> 32).unwrap_or(0) % PARTS;
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PerIpPermit {
    fn drop(&mut self) {
        let mut part = self.limiter.part(self.address);
        match part.get_mut(&self.address) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(part.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(limiter: &PerIpLimiter) -> usize {
        limiter.parts.iter().map(|part| part.lock().unwrap().len()).sum()
    }

    #[test]
    fn each_address_has_so_many_places_and_gets_them_back() {
        let limiter = PerIpLimiter::new(NonZeroUsize::new(2).unwrap());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (one, mapped, other) = (ip("10.0.0.1"), ip("::ffff:10.0.0.1"), ip("::1"));
        let first = limiter.enter(one).unwrap();
        let second = limiter.enter(mapped).unwrap();
        assert!(limiter.enter(one).is_none());
        assert!(limiter.enter(mapped).is_none());
        let third = limiter.enter(other).unwrap();
        drop(first);
        let again = limiter.enter(one).unwrap();
        assert!(limiter.enter(one).is_none());
        assert_eq!(addresses(&limiter), 2);
        drop((second, third, again));
        assert_eq!(addresses(&limiter), 0, "who has left is forgotten");
    }

    #[test]
    fn a_panic_gives_the_place_back() {
        let limiter = PerIpLimiter::new(NonZeroUsize::MIN);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let place = limiter.enter(ip).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = place;
            panic!("on purpose");
        }));
        assert!(panicked.is_err() && limiter.enter(ip).is_some());
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing_behind() {
        let limiter = PerIpLimiter::new(NonZeroUsize::new(3).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000_u32 {
                        drop(limiter.enter(IpAddr::from((round % 5).to_be_bytes())));
                    }
                });
            }
        });
        assert_eq!(addresses(&limiter), 0);
    }
}
