//! Every interleaving of a writer and a reader: no value is read torn, destroyed or out of order,
//! although reclamation is forced between publications.
#![cfg(crossbeam_loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use musterd_loom::Cell;
use musterd_loom::faults::{EagerDrop, RelaxedLoad, UnpinnedRead};
use musterd_loom::published::{Published, flush};

/// A payload whose accesses loom checks, written when it is made and when it is destroyed.
struct Canary {
    payload: UnsafeCell<u32>,
}

const DESTROYED: u32 = u32::MAX;

// SAFETY: shared only through the cell under test; loom reports any access that races.
unsafe impl Sync for Canary {}

impl Canary {
    fn new(value: u32) -> Self {
        let canary = Self { payload: UnsafeCell::new(0) };
        // SAFETY: nobody else has it yet.
        canary.payload.with_mut(|payload| unsafe { *payload = value });
        canary
    }

    fn read(&self) -> u32 {
        // SAFETY: nobody writes until it is destroyed; loom checks exactly that.
        self.payload.with(|payload| unsafe { *payload })
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: `&mut self`.
        self.payload.with_mut(|payload| unsafe { *payload = DESTROYED });
    }
}

/// The last value that the writer publishes.
const LAST: u32 = 1;

fn check<C: Cell<Canary>>() {
    let mut model = loom::model::Builder::new();
    // Two preemptions are enough to find every fault of `faults`.
    model.preemption_bound = Some(2);
    model.check(|| {
        let cell = Arc::new(C::new(Canary::new(0)));
        let reader = thread::spawn({
            let cell = Arc::clone(&cell);
            move || {
                let mut last = 0;
                for _ in 0..2 {
                    let seen = cell.read(Canary::read);
                    assert!(seen <= LAST, "a destroyed value was read");
                    assert!(seen >= last, "went back from {last} to {seen}");
                    last = seen;
                }
            }
        });
        for value in 1..=LAST {
            cell.publish(Canary::new(value));
            // Three epochs later, what was retired is destroyed unless a reader is pinned.
            (0..3).for_each(|_| flush());
        }
        reader.join().expect("the reader read only whole values");
        assert_eq!(cell.read(Canary::read), LAST);
    });
}

#[test]
fn published_is_sound_in_every_interleaving() {
    check::<Published<Canary>>();
}

/// Each in a process of its own: after loom has found a fault, crossbeam-epoch's thread locals abort
/// the process.
#[test]
fn faults_are_found() {
    for name in ["a_relaxed_load", "an_eager_drop", "an_unpinned_read"] {
        let own = std::env::current_exe().expect("a test has a path");
        let output = std::process::Command::new(own)
            .args(["--ignored", "--exact", "--nocapture", name])
            .output()
            .expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let found = stderr.contains("Causality violation") || stderr.contains("was read");
        assert!(!output.status.success() && found, "{name}: {:?}, {stderr}", output.status);
    }
}

#[test]
#[ignore = "faults_are_found runs it"]
fn a_relaxed_load() {
    check::<RelaxedLoad<Canary>>();
}

#[test]
#[ignore = "faults_are_found runs it"]
fn an_eager_drop() {
    check::<EagerDrop<Canary>>();
}

#[test]
#[ignore = "faults_are_found runs it"]
fn an_unpinned_read() {
    check::<UnpinnedRead<Canary>>();
}
