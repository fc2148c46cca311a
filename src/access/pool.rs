//! A bounded pool, and what share of it each address has.
//!
//! Up to [`limits::SHARED_FROM`] everybody gets a place. Beyond, whoever has as many places as anybody
//! else gets no more: what is new of those who have most is refused first, what is there stays. An
//! IPv6 peer has a whole network of addresses, so that those of a /64 have one share.
//!
//! Must not: take a place away, or remember who has none, so that its memory is bounded by its size.
//! Any thread; a call holds its lock for a few look-ups, whatever the size.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::limits;

/// Gives a share its number, the same in all pools. Seeded anew in every process, so that nobody can
/// choose the share of another.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// So many places at most, in shares.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    /// From so many places taken on, shares count.
    shared_from: usize,
    taken: Mutex<Taken>,
}

/// The places that are taken.
#[derive(Default)]
struct Taken {
    count: usize,
    /// How many each share has, by the hash of whose it is.
    shares: HashMap<u64, usize, RandomState>,
    /// How many shares have one place, two places, and so on; the last is not 0.
    sizes: Vec<usize>,
}

/// A place of a pool; given back when it is dropped, also when a panic drops it.
#[derive(Debug)]
pub(crate) struct Place {
    pool: Arc<Pool>,
    share: u64,
}

/// As many places as something takes that grows and shrinks; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Holding {
    pool: Arc<Pool>,
    share: u64,
    count: usize,
}

/// Whose share the places of `peer` are counted in.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The number of the share of `owner`.
fn share_of(owner: impl Hash) -> u64 {
    HASHER.hash_one(owner)
}

impl Pool {
    /// A pool of `size` places.
    #[must_use]
    pub(crate) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { size, shared_from: Self::shared_from(size), taken: Mutex::default() })
    }

    /// From so many places taken on, of `size`, shares count.
    #[must_use]
    pub(crate) fn shared_from(size: usize) -> usize {
        size.saturating_mul(limits::SHARED_FROM).div_ceil(100)
    }

    /// A place for `peer`, which is canonical; `None` when the pool is full, or when it is
    /// nearly full and nobody has more places than `peer`.
    #[must_use]
    pub(crate) fn acquire(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        self.acquire_of(peer, false)
    }

    /// The same; `is_short` says that little is left of something else that places take.
    #[must_use]
    pub(crate) fn acquire_of(self: &Arc<Self>, peer: IpAddr, is_short: bool) -> Option<Place> {
        let share = share_of(network(peer));
        let mut taken = self.taken();
        let is_shared = is_short || taken.count >= self.shared_from;
        let may_have_more = !is_shared || taken.is_behind(share);
        let has_room = taken.count < self.size && may_have_more;
        has_room.then(|| {
            taken.add(share);
            Place { pool: Arc::clone(self), share }
        })
    }

    /// Whether `peer` has fewer places than somebody else, or none.
    #[must_use]
    pub(crate) fn is_behind(&self, peer: IpAddr) -> bool {
        self.taken().is_behind(share_of(network(peer)))
    }

    /// Whether `peer` has a place.
    #[must_use]
    pub(crate) fn has_any(&self, peer: IpAddr) -> bool {
        self.taken().shares.contains_key(&share_of(network(peer)))
    }

    /// Places of `peer` that are counted in its share whether or not there is room; none yet.
    #[must_use]
    pub(crate) fn hold(self: &Arc<Self>, peer: IpAddr) -> Holding {
        Holding { pool: Arc::clone(self), share: share_of(network(peer)), count: 0 }
    }

    /// How many places are taken.
    #[must_use]
    pub(crate) fn taken_places(&self) -> usize {
        self.taken().count
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn is_behind(&self, share: u64) -> bool {
        let own = self.shares.get(&share).copied().unwrap_or(0);
        own == 0 || own < self.sizes.len()
    }

    fn add(&mut self, share: u64) {
        self.count += 1;
        let own = self.shares.entry(share).or_default();
        if *own > 0 {
            self.sizes[*own - 1] -= 1;
        }
        if *own == self.sizes.len() {
            self.sizes.push(0);
        }
        self.sizes[*own] += 1;
        *own += 1;
    }

    fn remove(&mut self, share: u64) {
        let Some(own) = self.shares.get_mut(&share) else { return };
        self.count -= 1;
        *own -= 1;
        self.sizes[*own] -= 1;
        if *own > 0 {
            self.sizes[*own - 1] += 1;
        } else {
            self.shares.remove(&share);
        }
        // Its owner has one less now, so that no more than one entry is to be dropped.
        if self.sizes.last() == Some(&0) {
            self.sizes.pop();
        }
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.count, self.shares.len())
    }
}

impl Place {
    /// Counts it in the share of `owner` from now on, and no longer in that of an address.
    pub(crate) fn move_to(&mut self, owner: impl Hash) {
        let share = share_of(owner);
        let mut taken = self.pool.taken();
        taken.remove(self.share);
        taken.add(share);
        drop(taken);
        self.share = share;
    }

    /// Places of `pool`, another one, that are counted in the share that this one counts in; none yet.
    #[must_use]
    pub(crate) fn hold(&self, pool: &Arc<Pool>) -> Holding {
        Holding { pool: Arc::clone(pool), share: self.share, count: 0 }
    }
}

impl Holding {
    /// Holds so many places from now on.
    pub(crate) fn set(&mut self, count: usize) {
        let mut taken = self.pool.taken();
        (self.count..count).for_each(|_| taken.add(self.share));
        (count..self.count).for_each(|_| taken.remove(self.share));
        self.count = count;
    }

    /// Counts them in the share of `place` from now on.
    pub(crate) fn move_to(&mut self, place: &Place) {
        let count = self.count;
        self.set(0);
        self.share = place.share;
        self.set(count);
    }

    /// Whether its share has fewer places than another, or none.
    #[must_use]
    pub(crate) fn is_behind(&self) -> bool {
        self.pool.taken().is_behind(self.share)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.taken().remove(self.share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn take(pool: &Arc<Pool>, from: IpAddr) -> Vec<Place> {
        std::iter::from_fn(|| pool.acquire(from)).collect()
    }

    #[test]
    fn address_that_has_most_is_refused_first_and_what_is_there_stays() {
        let pool = Pool::new(100);
        let greedy = take(&pool, address(1));
        assert_eq!(greedy.len(), 80);
        let second = take(&pool, address(2));
        assert_eq!((second.len(), pool.taken_places()), (20, 100), "it had less");
        assert!(pool.acquire(address(3)).is_none(), "it is full");
        drop(second);
        let others: Vec<_> = (10..30).map(|last| pool.acquire(address(last))).collect();
        assert!(others.iter().all(Option::is_some), "each gets one");
        drop((greedy, others));
        assert!(pool.taken().shares.is_empty() && pool.taken().sizes.is_empty());
    }

    #[test]
    fn addresses_of_an_ipv6_network_have_one_share() {
        let pool = Pool::new(10);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let _places: Vec<_> =
            (0..8).map(|last| pool.acquire(address(&format!("2001:db8::{last}")))).collect();
        assert!(pool.acquire(address("2001:db8::ffff:1:2:3")).is_none());
        assert!(pool.acquire(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn what_is_held_counts_without_room() {
        let pool = Pool::new(10);
        let [mut first, mut second] = [1, 2].map(|last| pool.hold(address(last)));
        assert!(pool.is_behind(address(1)) && !pool.has_any(address(1)), "it has nothing");
        first.set(30);
        second.set(20);
        assert_eq!(pool.taken_places(), 50);
        assert!(!pool.is_behind(address(1)) && pool.is_behind(address(2)));
        assert!(pool.is_behind(address(3)) && !pool.has_any(address(3)));
        first.set(19);
        assert!(pool.is_behind(address(1)) && !pool.is_behind(address(2)));
        drop(first);
        assert!(!pool.has_any(address(1)) && pool.has_any(address(2)));
        second.set(0);
        assert!(pool.taken().shares.is_empty() && pool.taken().sizes.is_empty());
    }

    #[test]
    fn place_that_moved_counts_for_its_owner() {
        let pool = Pool::new(10);
        let mut fleet = take(&pool, address(1));
        assert_eq!(fleet.len(), 8);
        for (number, place) in fleet.iter_mut().enumerate() {
            place.move_to(("nsqd", number));
        }
        let _more = pool.acquire(address(1)).expect("it has none");
        assert!(pool.acquire(address(1)).is_none(), "nobody has more than one");
        let [first, second, ..] = &mut fleet[..] else { unreachable!() };
        second.move_to(("nsqd", 0));
        first.move_to(("nsqd", 0));
        assert!(pool.acquire(address(1)).is_some(), "one nsqd has two");
    }

    #[test]
    fn shares_count_in_a_pool_that_is_short_of_something_else() {
        let pool = Pool::new(100);
        let _first = pool.acquire_of(address(1), true).expect("it has none");
        assert!(pool.acquire_of(address(1), true).is_none());
        let _second = pool.acquire(address(1)).expect("there is room");
        let _other = pool.acquire_of(address(2), true).expect("it has none");
        assert!(pool.acquire_of(address(2), true).is_some(), "it has less");
    }

    #[test]
    fn what_a_connection_holds_in_another_pool_moves_with_its_place() {
        let (connections, buffers) = (Pool::new(10), Pool::new(10));
        let mut places = [1, 1, 2].map(|last| connections.acquire(address(last)).expect("room"));
        let mut held = places.each_ref().map(|place| place.hold(&buffers));
        for (holding, count) in held.iter_mut().zip([2, 2, 3]) {
            holding.set(count);
        }
        assert!(!held[0].is_behind() && !held[1].is_behind() && held[2].is_behind());
        places[0].move_to("an nsqd");
        held[0].move_to(&places[0]);
        assert!(held[0].is_behind() && held[1].is_behind() && !held[2].is_behind());
        drop(held);
        assert!(buffers.taken().shares.is_empty() && buffers.taken().sizes.is_empty());
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_places_that_are_held(
            steps in prop::collection::vec((0..4_u8, 0..6_u8, 0..40_usize), 1..200),
        ) {
            let pool = Pool::new(20);
            let mut held: Vec<(u8, Place)> = Vec::new();
            for (step, owner, at) in steps {
                match step {
                    0 | 1 => held.extend(pool.acquire(address(owner)).map(|place| (owner, place))),
                    2 if at < held.len() => drop(held.swap_remove(at)),
                    3 if at < held.len() => {
                        held[at].1.move_to(address(owner));
                        held[at].0 = owner;
                    }
                    _ => {}
                }
                let own = |owner| held.iter().filter(|held| held.0 == owner).count();
                let taken = pool.taken();
                prop_assert_eq!(taken.count, held.len());
                let mut sizes = vec![0; (0..6).map(own).max().unwrap_or(0)];
                (0..6).map(own).filter(|&own| own > 0).for_each(|own| sizes[own - 1] += 1);
                prop_assert_eq!(&taken.sizes, &sizes);
                prop_assert_eq!(taken.shares.len(), (0..6).filter(|&one| own(one) > 0).count());
            }
        }
    }
}
