//! How many connections each address has open at one listener.
//!
//! Must not: keep an address without connections in memory. The thread that accepts acquires
//! permits, the thread that closes a connection drops its permit; each holds one stripe's lock for
//! one lookup.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

/// Stripes with a lock each, so that event loops which close many connections seldom wait.
const STRIPES: usize = 16;

type Stripe = HashMap<IpAddr, usize, RandomState>;

/// Counts the open connections of every address against one maximum.
#[derive(Debug)]
pub(crate) struct PerIpLimiter {
    max: usize,
    /// Seeded anew in every process, so that nobody can choose addresses of one stripe.
    hasher: RandomState,
    stripes: [Mutex<Stripe>; STRIPES],
}

/// The permit of one open connection. Dropping it releases it, also when a panic drops it.
#[derive(Debug)]
pub struct PerIpPermit {
    limiter: Arc<PerIpLimiter>,
    address: IpAddr,
}

impl PerIpLimiter {
    /// A limiter that permits each address `max` connections.
    #[must_use]
    pub(crate) fn new(max: NonZeroUsize) -> Arc<Self> {
        let hasher = RandomState::new();
        let stripes = std::array::from_fn(|_| Mutex::new(Stripe::with_hasher(hasher.clone())));
        Arc::new(Self { max: max.get(), hasher, stripes })
    }

    /// A permit for one more connection of `address`, which is canonical; `None` when it has the
    /// maximum.
    #[must_use]
    pub(crate) fn acquire(self: &Arc<Self>, address: IpAddr) -> Option<PerIpPermit> {
        let mut stripe = self.stripe(address);
        let open = stripe.entry(address).or_default();
        if *open == self.max {
            return None;
        }
        *open += 1;
        Some(PerIpPermit { limiter: Arc::clone(self), address })
    }

    /// Whether `address`, which is canonical, has a permit.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.stripe(address).contains_key(&address)
    }

    fn stripe(&self, address: IpAddr) -> MutexGuard<'_, Stripe> {
        let at = usize::try_from(self.hasher.hash_one(address) >> 32).unwrap_or(0) % STRIPES;
        self.stripes[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PerIpPermit {
    fn drop(&mut self) {
        let mut stripe = self.limiter.stripe(self.address);
        match stripe.get_mut(&self.address) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(stripe.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(limiter: &PerIpLimiter) -> usize {
        limiter.stripes.iter().map(|stripe| stripe.lock().unwrap().len()).sum()
    }

    #[test]
    fn permits_are_limited_per_address_and_released() {
        let limiter = PerIpLimiter::new(NonZeroUsize::new(2).unwrap());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap().to_canonical();
        let (one, mapped, other) = (ip("10.0.0.1"), ip("::ffff:10.0.0.1"), ip("::1"));
        let first = limiter.acquire(one).unwrap();
        let second = limiter.acquire(mapped).unwrap();
        assert!(limiter.acquire(one).is_none());
        assert!(limiter.acquire(mapped).is_none());
        let third = limiter.acquire(other).unwrap();
        drop(first);
        let again = limiter.acquire(one).unwrap();
        assert!(limiter.acquire(one).is_none());
        assert_eq!(addresses(&limiter), 2);
        drop((second, third, again));
        assert_eq!(addresses(&limiter), 0, "an address without connections is removed");
    }

    #[test]
    fn a_panic_releases_the_permit() {
        let limiter = PerIpLimiter::new(NonZeroUsize::MIN);
        let ip = IpAddr::from([127, 0, 0, 1]);
        let permit = limiter.acquire(ip).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = permit;
            panic!("on purpose");
        }));
        assert!(panicked.is_err() && limiter.acquire(ip).is_some());
    }

    #[test]
    fn concurrent_threads_leave_no_address_behind() {
        let limiter = PerIpLimiter::new(NonZeroUsize::new(3).unwrap());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2000_u32 {
                        drop(limiter.acquire(IpAddr::from((round % 5).to_be_bytes())));
                    }
                });
            }
        });
        assert_eq!(addresses(&limiter), 0);
    }
}
