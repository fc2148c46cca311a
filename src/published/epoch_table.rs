//! [`EpochTable<T>`]: shared values found by their hash, which readers search without waiting.
//!
//! An open-addressed hash table of pointers. Inserting a value stores one pointer; a table that is
//! half full is replaced by a larger one, which copies pointers and touches no reference count. Must
//! not: return a guard or a reference from a closure. Writers wait for each other, readers for
//! nobody.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::epoch::{self, Atomic, Guard, Owned, Shared};

use super::RETIRED;

/// The cells of the smallest table. A power of two, as every table's number of cells is.
const MIN_CELLS: usize = 4;
/// A table with fewer values than one in this many cells is replaced by a smaller one, so that
/// visiting all values stays linear in their number.
const MAX_CELLS_PER_VALUE: usize = 16;
/// The tag of a null cell whose value was removed: a search continues behind it.
const DELETED: usize = 1;

/// A value that stores its own hash.
pub trait StoredHash {
    /// The hash. It never changes, and its high bits are well mixed: tables are in their order.
    fn stored_hash(&self) -> u64;
}

/// Shared values by hash. Two values may have the same hash.
#[derive(Debug)]
pub struct EpochTable<T: StoredHash + Send + Sync + 'static> {
    /// Each cell is null, or the `Arc::into_raw` of a value. Such a pointer is one of the value's
    /// owners, but only in the current table: older tables that readers still search own nothing.
    cells: Atomic<Cells<T>>,
    /// How full the current table is. Every writer holds this lock.
    usage: Mutex<Usage>,
}

type Cells<T> = Box<[Atomic<T>]>;

#[derive(Debug, Default)]
struct Usage {
    values: usize,
    /// Cells tagged [`DELETED`].
    deleted: usize,
}

impl<T: StoredHash + Send + Sync + 'static> Default for EpochTable<T> {
    fn default() -> Self {
        const { assert!(align_of::<T>() > DELETED, "a pointer has room for the tag") };
        Self { cells: Atomic::new(empty(MIN_CELLS)), usage: Mutex::default() }
    }
}

#[allow(unsafe_code, reason = "epoch-based reclamation: see the SAFETY text of each block")]
impl<T: StoredHash + Send + Sync + 'static> EpochTable<T> {
    /// Calls `read` with the value that has this hash and for which `is` holds, or with `None`.
    pub fn find<R>(
        &self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        read: impl FnOnce(Option<&T>) -> R,
    ) -> R {
        let guard = epoch::pin();
        read(search(self.current(&guard), hash, is, &guard).map(|(_, value)| value))
    }

    /// Visits every value. One that is inserted or removed meanwhile may be visited or not; every
    /// other one is visited once.
    pub fn each(&self, visit: impl FnMut(&T)) {
        self.each_from(0, usize::MAX, visit);
    }

    /// Visits the values in the order of their hashes, as far as `cells` cells of the table have
    /// them, from the hash `from` on; returns the hash to go on from, none at the end. Between two
    /// calls the table may change and be replaced by one of another size: every value that is in it
    /// throughout is visited once.
    pub fn each_from(&self, from: u64, cells: usize, mut visit: impl FnMut(&T)) -> Option<u64> {
        let guard = epoch::pin();
        let table = self.current(&guard);
        let (first, mask) = (home(table.len(), from), table.len() - 1);
        let behind = first.saturating_add(cells.max(1));
        let end = (behind <= mask).then(|| hash_of(table.len(), behind));
        for step in 0..table.len() {
            // A value stands in the first cell that its hash names, or in the cells behind that one
            // up to the next that was always empty.
            let cell = &table[(first + step) & mask];
            let cell = cell.load(Ordering::Acquire, &guard);
            // SAFETY: as in `search`.
            match unsafe { cell.as_ref() } {
                Some(value) => {
                    let hash = value.stored_hash();
                    if hash >= from && end.is_none_or(|end| hash < end) {
                        visit(value);
                    }
                }
                None if first + step >= behind && cell.tag() != DELETED => break,
                None => {}
            }
        }
        end
    }

    /// Inserts a value.
    pub fn insert(&self, value: Arc<T>) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = epoch::pin();
        usage.values += 1;
        if (usage.values + usage.deleted) * 2 > self.current(&guard).len() {
            usage.deleted = 0;
            self.rebuild(usage.values, &guard);
        }
        let cells = self.current(&guard);
        let at = vacant(cells, value.stored_hash(), &guard);
        let old = cells[at].load(Ordering::Relaxed, &guard);
        usage.deleted -= usize::from(old.tag() == DELETED);
        // Release: a reader of the pointer reads the whole value.
        cells[at].store(Shared::from(Arc::into_raw(value)), Ordering::Release);
    }

    /// Removes the value that has this hash and for which `is` holds. Returns whether there was one.
    pub fn remove(&self, hash: u64, is: impl Fn(&T) -> bool) -> bool {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = epoch::pin();
        let cells = self.current(&guard);
        let Some((at, _)) = search(cells, hash, is, &guard) else { return false };
        let deleted = Shared::null().with_tag(DELETED);
        let value = cells[at].swap(deleted, Ordering::AcqRel, &guard).as_raw();
        // SAFETY: the pointer came from `Arc::into_raw` and stood in the current table, so that it is
        // one owner. Readers that pin from now on do not find it in the current table, and all who
        // found it before, or search an older table, are pinned: the closure runs after they have
        // unpinned. It is removed once: under the lock, from a cell that is null now.
        unsafe {
            guard.defer_unchecked(move || {
                drop(Arc::from_raw(value));
                RETIRED.sub(1);
            });
        }
        RETIRED.add(1);
        usage.values -= 1;
        usage.deleted += 1;
        if usage.values * MAX_CELLS_PER_VALUE < cells.len() && cells.len() > MIN_CELLS {
            usage.deleted = 0;
            self.rebuild(usage.values, &guard);
        }
        true
    }

    fn current<'g>(&self, guard: &'g Guard) -> &'g Cells<T> {
        // SAFETY: never null: `default` stored a table, and only `rebuild` and `drop` replace it.
        // Loaded under `guard`, so that a table that is retired meanwhile lives as long as the guard.
        unsafe { self.cells.load(Ordering::Acquire, guard).deref() }
    }

    /// Publishes a table in which `values` fill between a sixth and a third of the cells. The caller
    /// holds the lock.
    fn rebuild(&self, values: usize, guard: &Guard) {
        let cells = empty((values * 3).next_power_of_two().max(MIN_CELLS));
        for cell in self.current(guard) {
            let shared = cell.load(Ordering::Relaxed, guard);
            // SAFETY: as in `search`.
            if let Some(value) = unsafe { shared.as_ref() } {
                let at = vacant(&cells, value.stored_hash(), guard);
                cells[at].store(shared, Ordering::Relaxed);
            }
        }
        let old = self.cells.swap(Owned::new(cells), Ordering::AcqRel, guard);
        // SAFETY: unlinked by the swap above, and once. Freeing it frees no value: the new table
        // owns them.
        unsafe { guard.defer_destroy(old) };
    }
}

impl<T: StoredHash + Send + Sync + 'static> Drop for EpochTable<T> {
    #[allow(unsafe_code, reason = "epoch-based reclamation: see the SAFETY text of each block")]
    fn drop(&mut self) {
        // SAFETY: `&mut self` proves that no reader and no writer is left.
        let guard = unsafe { epoch::unprotected() };
        let table = std::mem::replace(&mut self.cells, Atomic::null());
        // SAFETY: not null (see `current`), and nobody else has it.
        let table = unsafe { table.into_owned() };
        for cell in &**table {
            let value = cell.load(Ordering::Relaxed, guard);
            if !value.is_null() {
                // SAFETY: the cell is one owner of its value, as in `remove`; the table is freed
                // after this, so that each value is dropped once.
                drop(unsafe { Arc::from_raw(value.as_raw()) });
            }
        }
    }
}

fn empty<T>(cells: usize) -> Cells<T> {
    std::iter::repeat_with(Atomic::null).take(cells).collect()
}

/// The first cell for a value of this hash, by its high bits: cells are in the order of the hashes,
/// whatever their number.
fn home(cells: usize, hash: u64) -> usize {
    usize::try_from(hash >> (u64::BITS - cells.trailing_zeros())).expect("less than the cells")
}

/// The lowest hash whose first cell is `cell`.
fn hash_of(cells: usize, cell: usize) -> u64 {
    (cell as u64) << (u64::BITS - cells.trailing_zeros())
}

/// The cells in the order in which they are tried for a value of this hash: linear probing.
fn probes(cells: usize, hash: u64) -> impl Iterator<Item = usize> {
    let (first, mask) = (home(cells, hash), cells - 1);
    (0..cells).map(move |step| (first + step) & mask)
}

/// The value that has this hash and for which `is` holds, and its cell.
#[allow(unsafe_code, reason = "epoch-based reclamation: see the SAFETY text of each block")]
fn search<'g, T: StoredHash>(
    cells: &Cells<T>,
    hash: u64,
    is: impl Fn(&T) -> bool,
    guard: &'g Guard,
) -> Option<(usize, &'g T)> {
    for at in probes(cells.len(), hash) {
        let shared = cells[at].load(Ordering::Acquire, guard);
        // SAFETY: null, or a value that the current table owned when `guard` was pinned or later;
        // a value removed since then is released only after `guard` has unpinned.
        match unsafe { shared.as_ref() } {
            Some(value) if value.stored_hash() == hash && is(value) => return Some((at, value)),
            None if shared.tag() != DELETED => return None,
            _ => {}
        }
    }
    None
}

/// The first free cell for a value of this hash. At least half of the cells are free.
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
    use proptest::test_runner::FileFailurePersistence;

    use crate::published::tests::wait_until_alive;

    /// A number whose hash others share. Counts how many are alive; `drop` changes the payload.
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
        (number / 3).reverse_bits()
    }

    impl StoredHash for Canary {
        fn stored_hash(&self) -> u64 {
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
        // Inputs that failed once are stored beside this file.
        #![proptest_config(ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
            ..ProptestConfig::default()
        })]
        #[test]
        fn it_holds_the_same_as_a_set(
            steps in prop::collection::vec((any::<bool>(), 0_u64..200), 1..400)
        ) {
            let alive = Arc::new(AtomicUsize::new(0));
            let (epoch_table, mut model) = (EpochTable::default(), BTreeSet::new());
            for (insert, number) in steps {
                if insert && model.insert(number) {
                    epoch_table.insert(Canary::new(number, &alive));
                } else if !insert {
                    let removed = epoch_table.remove(hash(number), |canary| canary.number == number);
                    prop_assert_eq!(removed, model.remove(&number));
                }
                prop_assert_eq!(has(&epoch_table, number), model.contains(&number));
            }
            prop_assert_eq!(all(&epoch_table), model.clone());
            wait_until_alive(&alive, model.len());
            drop(epoch_table);
            wait_until_alive(&alive, 0);
        }
    }

    proptest! {
        /// A walk in small steps, between which the table changes, grows and shrinks.
        #[test]
        fn walk_visits_once_what_is_there_throughout(
            numbers in prop::collection::btree_set(0_u64..600, 0..300),
            steps in prop::collection::vec((any::<bool>(), 0_u64..600, 1_u64..20, 0_usize..20), 0..200),
            cells in 1_usize..9,
        ) {
            let alive = Arc::new(AtomicUsize::new(0));
            let epoch_table = EpochTable::default();
            let (mut model, mut throughout) = (numbers.clone(), numbers.clone());
            numbers.iter().for_each(|&number| epoch_table.insert(Canary::new(number, &alive)));
            let (mut seen, mut ever) = (Vec::new(), numbers);
            let mut from = Some(0);
            let mut steps = steps.into_iter();
            while let Some(next) = from {
                from = epoch_table.each_from(next, cells, |canary| seen.push(canary.number));
                prop_assert!(from.is_none_or(|from| from > next));
                let Some((insert, number, span, every)) = steps.next() else { continue };
                for number in (number..number + span * 20).step_by(every + 1) {
                    if insert && model.insert(number) {
                        ever.insert(number);
                        epoch_table.insert(Canary::new(number, &alive));
                    } else if !insert && model.remove(&number) {
                        throughout.remove(&number);
                        epoch_table.remove(hash(number), |canary| canary.number == number);
                    }
                }
            }
            for number in &throughout {
                let visits = seen.iter().filter(|seen| *seen == number).count();
                prop_assert_eq!(visits, 1, "{}", number);
            }
            prop_assert!(seen.iter().all(|number| ever.contains(number)));
        }
    }

    #[test]
    fn a_table_shrinks_with_its_values() {
        let alive = Arc::new(AtomicUsize::new(0));
        let epoch_table = EpochTable::default();
        let cells = |epoch_table: &EpochTable<Canary>| epoch_table.current(&epoch::pin()).len();
        const MANY: u64 = if cfg!(miri) { 100 } else { 10_000 };
        (0..MANY).for_each(|number| epoch_table.insert(Canary::new(number, &alive)));
        assert!(cells(&epoch_table) >= 2 * usize::try_from(MANY).expect("it fits"));
        for number in 1..MANY {
            assert!(epoch_table.remove(hash(number), |canary| canary.number == number));
        }
        assert!(
            cells(&epoch_table) <= MAX_CELLS_PER_VALUE,
            "{} cells for one value",
            cells(&epoch_table)
        );
        assert_eq!(all(&epoch_table), BTreeSet::from([0]));
        wait_until_alive(&alive, 1);
    }

    #[test]
    fn permanent_values_are_found_while_others_are_inserted_and_removed() {
        const PERMANENT: u64 = 40;
        const ROUNDS: u64 = if cfg!(miri) { 20 } else { 2_000 };
        let alive = Arc::new(AtomicUsize::new(0));
        let epoch_table = Arc::new(EpochTable::default());
        (0..PERMANENT).for_each(|number| epoch_table.insert(Canary::new(number * 2, &alive)));
        let done = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (epoch_table, done) = (Arc::clone(&epoch_table), Arc::clone(&done));
                thread::spawn(move || {
                    while done.load(Ordering::SeqCst) == 0 {
                        let mut found = 0;
                        epoch_table.each(|canary| {
                            assert_eq!(canary.payload, canary.number, "torn or freed");
                            found += u64::from(canary.number % 2 == 0);
                        });
                        assert_eq!(found, PERMANENT);
                        assert!((0..PERMANENT).all(|number| has(&epoch_table, number * 2)));
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
        readers
            .into_iter()
            .for_each(|reader| reader.join().expect("a reader missed a value or read a freed one"));
        wait_until_alive(&alive, usize::try_from(PERMANENT).expect("it fits"));
    }
}
