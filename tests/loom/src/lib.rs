//! The daemon's own `published.rs`, compiled against loom's atomics; and the same with bugs planted.
//!
//! Must not: change a line of what it proves. `tests/slow loom` runs it; without
//! `--cfg crossbeam_loom` there is nothing here.
#![cfg(crossbeam_loom)]

// published.rs says `crossbeam::epoch`; the umbrella crate does not build under loom.
extern crate self as crossbeam;
pub use crossbeam_epoch as epoch;

pub mod planted;
#[path = "../../../src/published/mod.rs"]
pub mod published;
#[path = "../../../src/striped_counter.rs"]
mod striped_counter;

/// What `published` uses of the room.
pub mod metrics {
    pub use crate::striped_counter::StripedCounter;
}

/// A published value, by either kind.
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
