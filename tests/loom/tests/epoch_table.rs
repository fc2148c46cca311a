//! Every interleaving of a writer that adds, rebuilds and removes, and a reader: what stays is
//! always found, and nothing is seen after it is destroyed.
#![cfg(crossbeam_loom)]

use std::sync::Arc as Shared;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use musterd_loom::published::flush;
use musterd_loom::published::epoch_table::{StoredHash, EpochTable};

/// A value that loom watches, written when it is made and when it dies.
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
        // SAFETY: nobody writes until it is destroyed; that is what is proved.
        let payload = self.payload.with(|payload| unsafe { *payload });
        assert_eq!(payload, self.hash, "a dead value was read");
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

/// Is there from the beginning to the end.
const STAYS: u64 = 0;
/// Comes and goes. Wants the same cell as `STAYS` in tables of 4 and of 8.
const GUEST: u64 = 8;
/// Comes last, and finds the first table of 4 cells half full.
const LAST: u64 = 3;

fn find(table: &EpochTable<Canary>, hash: u64) -> bool {
    table.find(hash, |_| true, |found| found.inspect(|canary| canary.check()).is_some())
}

/// A writer, and a thread that reads in one way.
fn check(read: fn(&EpochTable<Canary>)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let table = Arc::new(EpochTable::default());
        table.insert(Canary::new(STAYS));
        let reader = thread::spawn({
            let table = Arc::clone(&table);
            move || read(&table)
        });
        table.insert(Canary::new(GUEST));
        table.insert(Canary::new(LAST));
        assert!(table.remove(GUEST, |_| true));
        // Three epochs on, what was retired is destroyed if nobody holds it.
        (0..3).for_each(|_| flush());
        reader.join().expect("the reader saw only living values");
        assert!(find(&table, LAST) && !find(&table, GUEST));
    });
}

/// A walk over the table sees what stays, and nothing that is dead.
#[test]
fn a_walk_holds_in_every_interleaving() {
    check(|table| {
        let mut stays = 0;
        table.each(|canary| {
            canary.check();
            stays += usize::from(canary.hash == STAYS);
        });
        assert_eq!(stays, 1, "what stays was not visited once");
    });
}

#[test]
fn hashed_holds_in_every_interleaving() {
    check(|table| {
        find(table, GUEST);
        assert!(find(table, STAYS), "what stays was not found");
    });
}
