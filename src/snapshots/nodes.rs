//! The nsqds that are connected and identified, registered to a topic or not: what `/nodes` lists.
//!
//! Sharded, so that ten thousand that arrive at once copy small sets. Must not: know topics.
//! Writers of one shard wait for each other, readers for nobody.

use std::sync::{Arc, Mutex, PoisonError};

use super::Producer;
use crate::cow_set::CowSet;
use crate::published::Published;

/// Shards: one bit each of [`Shards`].
const SHARDS: usize = u64::BITS as usize;

/// The shards with changes that are not published yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shards(u64);

/// The set of connected nsqds.
#[derive(Debug)]
pub struct Nodes {
    shards: Box<[Shard]>,
}

#[derive(Debug, Default)]
struct Shard {
    /// The set as its writers have it.
    truth: Mutex<CowSet<Arc<Producer>>>,
    /// The set as it was last published.
    seen: Published<CowSet<Arc<Producer>>>,
}

impl Default for Published<CowSet<Arc<Producer>>> {
    fn default() -> Self {
        Self::new(CowSet::default())
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self { shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect() }
    }
}

impl Nodes {
    /// Visits every published nsqd.
    pub(super) fn each(&self, visit: &mut impl FnMut(&Arc<Producer>)) {
        for shard in &self.shards {
            shard.seen.read(|peers| peers.iter().for_each(&mut *visit));
        }
    }

    /// Adds a peer; seen once `changed` is published.
    pub(crate) fn add(&self, peer: &Arc<Producer>, changed: &mut Shards) {
        let address = Arc::as_ptr(peer);
        self.change(peer, changed, |peers| {
            peers.insert(Arc::clone(peer), |other| Arc::as_ptr(other).cmp(&address))
        });
    }

    /// Takes a peer out; seen once `changed` is published.
    pub(crate) fn remove(&self, peer: &Arc<Producer>, changed: &mut Shards) {
        let address = Arc::as_ptr(peer);
        self.change(peer, changed, |peers| peers.remove(|other| Arc::as_ptr(other).cmp(&address)));
    }

    fn change(
        &self,
        peer: &Arc<Producer>,
        changed: &mut Shards,
        change: impl FnOnce(&mut CowSet<Arc<Producer>>) -> bool,
    ) {
        // An allocation's low bits say little: mix them (a Fibonacci hash).
        let address = Arc::as_ptr(peer).addr() as u64;
        let at = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SHARDS.trailing_zeros());
        let at = usize::try_from(at).expect("fewer than SHARDS");
        let mut peers = self.shards[at].truth.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut peers) {
            changed.0 |= 1 << at;
        }
    }

    /// Publishes the changed shards.
    pub(crate) fn publish(&self, changed: &mut Shards) {
        let Shards(mut left) = std::mem::take(changed);
        while left != 0 {
            let shard = &self.shards[left.trailing_zeros() as usize];
            left &= left - 1;
            // Under the lock, so that an older set never follows a newer one.
            let peers = shard.truth.lock().unwrap_or_else(PoisonError::into_inner);
            shard.seen.publish(peers.clone());
        }
    }
}
