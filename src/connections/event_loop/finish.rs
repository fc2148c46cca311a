//! The end of an iteration: what is counted, and whether another follows at once.
//!
//! Must not: call the handler.

use std::cell::Cell;
use std::mem;
use std::time::Duration;

use super::{EventLoop, Progress};
use crate::clock::thread_cpu_time;
use crate::handler::ConnectionHandler;

thread_local! {
    /// The CPU time of this thread at the end of the last iteration that was counted.
    static CPU_TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl<H: ConnectionHandler> EventLoop<H> {
    pub(super) fn progress(&self, done: usize) -> Progress {
        if self.stopping.is_some() && self.slots.len() == 0 {
            Progress::Drained
        } else if done > 0 || self.has_more() {
            Progress::Busy
        } else {
            Progress::Quiet
        }
    }

    /// Whether there is something to do whether or not an event comes.
    pub(super) fn has_more(&self) -> bool {
        self.has_messages
            || !self.ready.is_empty()
            || !self.continuing.is_empty()
            || !self.writable.is_empty()
            || self.sweep.is_some()
    }

    /// Adds to the histogram the CPU time that this thread has used since the end of the last iteration
    /// that was counted on it: that of this iteration, and of the host in between. A loop may have been
    /// on another thread before. The first of a thread is not known.
    pub(super) fn note_cpu_time(&self) {
        let now = thread_cpu_time();
        let before = CPU_TIME.replace(now);
        if before > Duration::ZERO {
            self.counters.iterated(now.saturating_sub(before));
        }
    }

    /// Adds to the shared counters, in each iteration: the next one may wait for an hour.
    pub(super) fn publish_counts(&mut self) {
        self.counters.add(mem::take(&mut self.local));
    }
}
