//! [`EpochTable<T>`]: shared values found by their hash, which readers walk without waiting.
//!
//! An open-addressed table of pointers: adding a value stores one pointer, and a table that is half
//! full is replaced by a larger one without a look at the reference count of what is in it. Must
//! not: hand a guard or a reference out of a closure. Writers wait for each other, readers for
//! nobody.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::epoch::{self, Atomic, Guard, Owned, Shared};

use super::WAITING;

/// The cells of the first table. A power of two, as every table's number of cells is.
const LEAST: usize = 4;
/// A table with fewer values than one in so many cells is replaced by a smaller one, so that a walk
/// over it stays linear in what it holds.
const SPARSE: usize = 16;
/// The tag of a null cell whose value was taken out: a search goes on behind it.
const DELETED: usize = 1;

/// A value that knows its hash.
pub trait Hash64 {
    /// The hash: always the same, and well mixed in its low bits.
    fn hash64(&self) -> u64;
}

/// Shared values by hash; two may have the same.
#[derive(Debug)]
pub struct EpochTable<T: Hash64 + Send + Sync + 'static> {
    /// Each cell is null, or a value's `Arc::into_raw` that counts as one owner. Only the newest
    /// table's cells own.
    cells: Atomic<Cells<T>>,
    /// How much of the newest table is in use. Whoever changes something holds it.
    used: Mutex<Used>,
}

type Cells<T> = Box<[Atomic<T>]>;

#[derive(Debug, Default)]
struct Used {
    values: usize,
    gone: usize,
}

impl<T: Hash64 + Send + Sync + 'static> Default for EpochTable<T> {
    fn default() -> Self {
        const { assert!(align_of::<T>() > DELETED, "a pointer has room for the mark") };
        Self { cells: Atomic::new(empty(LEAST)), used: Mutex::default() }
    }
}

#[allow(unsafe_code, reason = "a door to epoch-based reclamation")]
impl<T: Hash64 + Send + Sync + 'static> EpochTable<T> {
    /// Reads the value with this hash for which `is` holds, if there is one.
    pub fn find<R>(
        &self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        read: impl FnOnce(Option<&T>) -> R,
    ) -> R {
        let guard = epoch::pin();
        read(search(self.newest(&guard), hash, is, &guard).map(|(_, value)| value))
    }

    /// Visits every value. One that comes or goes meanwhile may be visited or not; all others are,
    /// once.
    pub fn each(&self, mut visit: impl FnMut(&T)) {
        let guard = epoch::pin();
        for cell in self.newest(&guard) {
            // SAFETY: as in `search`.
            if let Some(value) = unsafe { cell.load(Ordering::Acquire, &guard).as_ref() } {
                visit(value);
            }
        }
    }

    /// Adds a value.
    pub fn insert(&self, value: Arc<T>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = epoch::pin();
        used.values += 1;
        if (used.values + used.gone) * 2 > self.newest(&guard).len() {
            used.gone = 0;
            self.rebuild(used.values, &guard);
        }
        let cells = self.newest(&guard);
        let at = vacant(cells, value.hash64(), &guard);
        let old = cells[at].load(Ordering::Relaxed, &guard);
        used.gone -= usize::from(old.tag() == DELETED);
        // Release: whoever sees the pointer sees the value.
        cells[at].store(Shared::from(Arc::into_raw(value)), Ordering::Release);
    }

    /// Takes out the value with this hash for which `is` holds; whether there was one.
    pub fn remove(&self, hash: u64, is: impl Fn(&T) -> bool) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = epoch::pin();
        let cells = self.newest(&guard);
        let Some((at, _)) = search(cells, hash, is, &guard) else { return false };
        let gone = Shared::null().with_tag(DELETED);
        let value = cells[at].swap(gone, Ordering::AcqRel, &guard).as_raw();
        // SAFETY: the pointer came from `Arc::into_raw` and stood in the newest table, which made
        // it one owner; no table that a reader can still find has it, and whoever found it before
        // is pinned. It is taken out once: under the lock, from a cell that is null now.
        unsafe {
            guard.defer_unchecked(move || {
                drop(Arc::from_raw(value));
                WAITING.sub(1);
            });
        }
        WAITING.add(1);
        used.values -= 1;
        used.gone += 1;
        if used.values * SPARSE < cells.len() && cells.len() > LEAST {
            used.gone = 0;
            self.rebuild(used.values, &guard);
        }
        true
    }

    fn newest<'g>(&self, guard: &'g Guard) -> &'g Cells<T> {
        // SAFETY: never null: `default` stored a table, and only `rebuild` and `drop` replace it.
        // Loaded under `guard`, so that a table that is retired meanwhile lives as long.
        unsafe { self.cells.load(Ordering::Acquire, guard).deref() }
    }

    /// Publishes a table in which `values` fill a third of the cells at most, and a sixth at least.
    /// Under the lock.
    fn rebuild(&self, values: usize, guard: &Guard) {
        let cells = empty((values * 3).next_power_of_two().max(LEAST));
        for cell in self.newest(guard) {
            let shared = cell.load(Ordering::Relaxed, guard);
            // SAFETY: as in `search`.
            if let Some(value) = unsafe { shared.as_ref() } {
                let at = vacant(&cells, value.hash64(), guard);
                cells[at].store(shared, Ordering::Relaxed);
            }
        }
        let old = self.cells.swap(Owned::new(cells), Ordering::AcqRel, guard);
        // SAFETY: unlinked by the swap above, and once. Freeing it frees no value: those are the
        // new table's.
        unsafe { guard.defer_destroy(old) };
    }
}

impl<T: Hash64 + Send + Sync + 'static> Drop for EpochTable<T> {
    #[allow(unsafe_code, reason = "a door to epoch-based reclamation")]
    fn drop(&mut self) {
        // SAFETY: `&mut self` proves that no reader and no writer is left.
        let guard = unsafe { epoch::unprotected() };
        let table = std::mem::replace(&mut self.cells, Atomic::null());
        // SAFETY: not null (see `newest`), and ours alone.
        let table = unsafe { table.into_owned() };
        for cell in &**table {
            let value = cell.load(Ordering::Relaxed, guard);
            if !value.is_null() {
                // SAFETY: as in `remove`; the table is gone after this.
                drop(unsafe { Arc::from_raw(value.as_raw()) });
            }
        }
    }
}

fn empty<T>(cells: usize) -> Cells<T> {
    std::iter::repeat_with(Atomic::null).take(cells).collect()
}

/// The cells in the order in which a value of this hash would be put into them.
fn probes(cells: usize, hash: u64) -> impl Iterator<Item = usize> {
    let mask = cells - 1;
    let first = usize::try_from(hash & mask as u64).expect("no larger than the mask");
    (0..cells).map(move |step| (first + step) & mask)
}

/// The value with this hash for which `is` holds, and its cell.
#[allow(unsafe_code, reason = "a door to epoch-based reclamation")]
fn search<'g, T: Hash64>(
    cells: &Cells<T>,
    hash: u64,
    is: impl Fn(&T) -> bool,
    guard: &'g Guard,
) -> Option<(usize, &'g T)> {
    for at in probes(cells.len(), hash) {
        let shared = cells[at].load(Ordering::Acquire, guard);
        // SAFETY: null, or a value that the newest table owned when `guard` was pinned or later;
        // what is taken out since is released only when `guard` is gone.
        match unsafe { shared.as_ref() } {
            Some(value) if value.hash64() == hash && is(value) => return Some((at, value)),
            None if shared.tag() != DELETED => return None,
            _ => {}
        }
    }
    None
}

/// The first cell for a value of this hash that has none. At least half of the cells are free.
fn vacant<T>(cells: &Cells<T>, hash: u64, guard: &Guard) -> usize {
    probes(cells.len(), hash)
        .find(|&at| cells[at].load(Ordering::Relaxed, guard).is_null())
        .expect("a table is never full")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use proptest::prelude::*;

    use crate::published::tests::settles_at;

    /// A number with few hashes, that counts the living and dies visibly.
    struct Canary {
        number: u64,
        payload: u64,
        alive: Arc<AtomicUsize>,
    }

    impl Canary {
        fn new(number: u64, alive: &Arc<AtomicUsize>) -> Arc<Self> {
            alive.fetch_add(1, Ordering::SeqCst);
            Arc::new(Self { number, payload: number, alive: Arc::clone(alive) })
        }
    }

    impl Drop for Canary {
        fn drop(&mut self) {
            self.payload = u64::MAX;
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn hash(number: u64) -> u64 {
        number / 3
    }

    impl Hash64 for Canary {
        fn hash64(&self) -> u64 {
            hash(self.number)
        }
    }

    fn has(epoch_table: &EpochTable<Canary>, number: u64) -> bool {
        epoch_table.find(hash(number), |canary| canary.number == number, |found| found.is_some())
    }

    fn all(epoch_table: &EpochTable<Canary>) -> BTreeSet<u64> {
        let mut all = BTreeSet::new();
        epoch_table.each(|canary| assert!(all.insert(canary.number), "{} twice", canary.number));
        all
    }

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(
            steps in prop::collection::vec((any::<bool>(), 0_u64..200), 1..400)
        ) {
            let alive = Arc::new(AtomicUsize::new(0));
            let (epoch_table, mut model) = (EpochTable::default(), BTreeSet::new());
            for (come, number) in steps {
                if come && model.insert(number) {
                    epoch_table.insert(Canary::new(number, &alive));
                } else if !come {
                    let removed = epoch_table.remove(hash(number), |canary| canary.number == number);
                    prop_assert_eq!(removed, model.remove(&number));
                }
                prop_assert_eq!(has(&epoch_table, number), model.contains(&number));
            }
            prop_assert_eq!(all(&epoch_table), model.clone());
            settles_at(&alive, model.len());
            drop(epoch_table);
            settles_at(&alive, 0);
        }
    }

    #[test]
    fn a_table_shrinks_with_what_it_holds() {
        let alive = Arc::new(AtomicUsize::new(0));
        let epoch_table = EpochTable::default();
        let cells = |epoch_table: &EpochTable<Canary>| epoch_table.newest(&epoch::pin()).len();
        const MANY: u64 = if cfg!(miri) { 100 } else { 10_000 };
        (0..MANY).for_each(|number| epoch_table.insert(Canary::new(number, &alive)));
        assert!(cells(&epoch_table) >= 2 * usize::try_from(MANY).expect("it fits"));
        for number in 1..MANY {
            assert!(epoch_table.remove(hash(number), |canary| canary.number == number));
        }
        assert!(cells(&epoch_table) <= SPARSE, "{} cells for one value", cells(&epoch_table));
        assert_eq!(all(&epoch_table), BTreeSet::from([0]));
        settles_at(&alive, 1);
    }

    #[test]
    fn what_stays_is_always_found_while_others_come_and_go() {
        const STAY: u64 = 40;
        const ROUNDS: u64 = if cfg!(miri) { 20 } else { 2_000 };
        let alive = Arc::new(AtomicUsize::new(0));
        let epoch_table = Arc::new(EpochTable::default());
        (0..STAY).for_each(|number| epoch_table.insert(Canary::new(number * 2, &alive)));
        let done = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (epoch_table, done) = (Arc::clone(&epoch_table), Arc::clone(&done));
                thread::spawn(move || {
                    while done.load(Ordering::SeqCst) == 0 {
                        let mut stayed = 0;
                        epoch_table.each(|canary| {
                            assert_eq!(canary.payload, canary.number, "torn or freed");
                            stayed += u64::from(canary.number % 2 == 0);
                        });
                        assert_eq!(stayed, STAY);
                        assert!((0..STAY).all(|number| has(&epoch_table, number * 2)));
                    }
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let others = || (0..round % 50).map(|number| number * 2 + 1);
            others().for_each(|number| epoch_table.insert(Canary::new(number, &alive)));
            for number in others() {
                assert!(epoch_table.remove(hash(number), |canary| canary.number == number));
            }
        }
        done.store(1, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().expect("a reader saw what is not"));
        settles_at(&alive, usize::try_from(STAY).expect("it fits"));
    }
}
