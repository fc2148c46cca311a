//! How many values were replaced or taken out and are not freed yet: counted in stripes, so that two
//! shards that publish do not pass one cache line to and fro.
//!
//! Must not: order anything; it is a figure for people.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stripes; threads share one only where there are more of them.
const STRIPES: usize = 64;

#[repr(align(128))]
struct Stripe(AtomicUsize);

/// What each stripe's threads have retired, less what they have freed: together never below zero,
/// though a thread may have freed what another retired.
static WAITING: [Stripe; STRIPES] = [const { Stripe(AtomicUsize::new(0)) }; STRIPES];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES);
}

fn own() -> &'static AtomicUsize {
    // A thread that ends may still free.
    &WAITING[OWN.try_with(Cell::get).unwrap_or(0)].0
}

pub(super) fn retired() {
    own().fetch_add(1, Ordering::Relaxed);
}

pub(super) fn freed() {
    own().fetch_sub(1, Ordering::Relaxed);
}

/// How many values of the whole process wait: a few for each thread that publishes. A number that
/// only grows means that some thread stays in a read.
#[must_use]
pub fn waiting() -> usize {
    WAITING.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).fold(0, usize::wrapping_add)
}
