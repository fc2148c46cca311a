//! The daemon's own `src/published`, compiled against loom's atomics, and copies of it with one fault
//! each, which the tests must find.
//!
//! `tests/slow loom` runs it; without `--cfg crossbeam_loom` it is empty. Must not: change a line of
//! the code under test.
#![cfg(crossbeam_loom)]

// `src/published` imports `crossbeam::epoch`; the crate `crossbeam` does not build under loom.
extern crate self as crossbeam;
pub use crossbeam_epoch as epoch;

pub mod faults;
#[path = "../../../src/published/mod.rs"]
pub mod published;
#[path = "../../../src/metrics/striped_counter.rs"]
mod striped_counter;

/// What `published` uses of the daemon's `metrics`.
pub mod metrics {
    pub use crate::striped_counter::StripedCounter;
}

/// A published value: `Published`, or one with a fault.
pub trait Cell<T>: Send + Sync + 'static {
    /// Publishes the first value.
    fn new(value: T) -> Self;
    /// Replaces the value.
    fn publish(&self, value: T);
    /// Reads the value.
    fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R;
}

impl<T: Send + Sync + 'static> Cell<T> for published::Published<T> {
    fn new(value: T) -> Self {
        Self::new(value)
    }

    fn publish(&self, value: T) {
        self.publish(value);
    }

    fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        self.read(read)
    }
}
