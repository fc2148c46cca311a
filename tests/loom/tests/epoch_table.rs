//! Every interleaving of a reader and a writer that inserts, rebuilds and removes: a permanent value
//! is always found, and no value is read after it is destroyed.
#![cfg(crossbeam_loom)]

use std::sync::Arc as Shared;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use musterd_loom::published::flush;
use musterd_loom::published::epoch_table::{EpochTable, StoredHash};

/// A value whose accesses loom checks, written when it is made and when it is destroyed.
struct Canary {
    hash: u64,
    payload: UnsafeCell<u64>,
}

// SAFETY: shared only through the table under test; loom reports any access that races.
unsafe impl Sync for Canary {}

impl Canary {
    fn new(hash: u64) -> Shared<Self> {
        let canary = Shared::new(Self { hash, payload: UnsafeCell::new(0) });
        // SAFETY: nobody else has it yet.
        canary.payload.with_mut(|payload| unsafe { *payload = hash });
        canary
    }

    fn check(&self) {
        // SAFETY: nobody writes until it is destroyed; loom checks exactly that.
        let payload = self.payload.with(|payload| unsafe { *payload });
        assert_eq!(payload, self.hash, "a destroyed value was read");
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: `&mut self`.
        self.payload.with_mut(|payload| unsafe { *payload = u64::MAX });
    }
}

impl StoredHash for Canary {
    fn stored_hash(&self) -> u64 {
        self.hash
    }
}

/// In the table from the beginning to the end.
const PERMANENT: u64 = 0;
/// Inserted and removed. Has the same first cell as `PERMANENT` in tables of 4 and of 8.
const TEMPORARY: u64 = 1 << 60;
/// Inserted last, when the first table of 4 cells is half full.
const LAST: u64 = 3 << 62;

fn find(table: &EpochTable<Canary>, hash: u64) -> bool {
    table.find(hash, |_| true, |found| found.inspect(|canary| canary.check()).is_some())
}

/// Runs a writer, and a thread that reads with `read`.
fn check(read: fn(&EpochTable<Canary>)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let table = Arc::new(EpochTable::default());
        table.insert(Canary::new(PERMANENT));
        let reader = thread::spawn({
            let table = Arc::clone(&table);
            move || read(&table)
        });
        table.insert(Canary::new(TEMPORARY));
        table.insert(Canary::new(LAST));
        assert!(table.remove(TEMPORARY, |_| true));
        // Three epochs later, what was retired is destroyed unless a reader is pinned.
        (0..3).for_each(|_| flush());
        reader.join().expect("the reader read only live values");
        assert!(find(&table, LAST) && !find(&table, TEMPORARY));
    });
}

/// Visiting all values finds the permanent one, and no destroyed one.
#[test]
fn visiting_all_values_is_sound_in_every_interleaving() {
    check(|table| {
        let mut found = 0;
        table.each(|canary| {
            canary.check();
            found += usize::from(canary.hash == PERMANENT);
        });
        assert_eq!(found, 1, "the permanent value was not visited once");
    });
}

#[test]
fn finding_a_value_is_sound_in_every_interleaving() {
    check(|table| {
        find(table, TEMPORARY);
        assert!(find(table, PERMANENT), "the permanent value was not found");
    });
}
