//! The nsqds that are connected and identified, with or without a topic: what `/nodes` lists.
//!
//! The set is split into stripes, so that ten thousand nsqds that connect at once copy small sets.
//! Must not: know topics. Writers of one stripe wait for each other, readers for nobody.

use std::sync::{Arc, Mutex, PoisonError};

use super::Producer;
use super::producer::by_address;
use crate::cow_set::CowSet;
use crate::published::Published;

/// One bit of [`ChangedStripes`] for each.
const STRIPES: usize = u64::BITS as usize;

/// The stripes with changes that are not published yet, as a bit set.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChangedStripes(u64);

/// The set of connected nsqds.
#[derive(Debug)]
pub struct Nodes(Box<[Stripe]>);

#[derive(Debug)]
struct Stripe {
    /// The set with every change.
    current: Mutex<CowSet<Arc<Producer>>>,
    /// The set as it was last published.
    published: Published<CowSet<Arc<Producer>>>,
}

impl Default for Nodes {
    fn default() -> Self {
        let empty =
            || Stripe { current: Mutex::default(), published: Published::new(CowSet::default()) };
        Self(std::iter::repeat_with(empty).take(STRIPES).collect())
    }
}

impl Nodes {
    /// Visits every published nsqd.
    pub(super) fn each(&self, visit: &mut impl FnMut(&Arc<Producer>)) {
        for stripe in &self.0 {
            stripe.published.read(|producers| producers.iter().for_each(&mut *visit));
        }
    }

    /// How many stripes there are.
    pub(super) fn parts(&self) -> usize {
        self.0.len()
    }

    /// The published nsqds of one stripe.
    pub(super) fn of(&self, part: usize) -> CowSet<Arc<Producer>> {
        self.0[part].published.read(CowSet::clone)
    }

    /// Adds an nsqd; visible once `changed` is published.
    pub(crate) fn add(&self, producer: &Arc<Producer>, changed: &mut ChangedStripes) {
        self.change(producer, changed, |producers| {
            producers.insert(Arc::clone(producer), by_address(producer))
        });
    }

    /// Removes an nsqd; visible once `changed` is published.
    pub(crate) fn remove(&self, producer: &Arc<Producer>, changed: &mut ChangedStripes) {
        self.change(producer, changed, |producers| producers.remove(by_address(producer)));
    }

    fn change(
        &self,
        producer: &Arc<Producer>,
        changed: &mut ChangedStripes,
        change: impl FnOnce(&mut CowSet<Arc<Producer>>) -> bool,
    ) {
        // The low bits of an allocation's address vary little: mix them (a Fibonacci hash).
        let address = Arc::as_ptr(producer).addr() as u64;
        let at = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - STRIPES.trailing_zeros());
        let at = usize::try_from(at).expect("less than STRIPES");
        let mut producers = self.0[at].current.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut producers) {
            changed.0 |= 1 << at;
        }
    }

    /// Publishes the changed stripes.
    pub(crate) fn publish(&self, changed: &mut ChangedStripes) {
        let ChangedStripes(mut bits) = std::mem::take(changed);
        while bits != 0 {
            let stripe = &self.0[bits.trailing_zeros() as usize];
            bits &= bits - 1;
            // Under the lock, so that an older set never follows a newer one.
            let producers = stripe.current.lock().unwrap_or_else(PoisonError::into_inner);
            stripe.published.publish(producers.clone());
        }
    }
}
