//! The end of an iteration: what is counted, and whether another follows at once.
//!
//! Must not: call the handler.

use std::mem;
use std::time::Duration;

use super::{EventLoop, Progress};
use crate::clock::thread_cpu_time;
use crate::handler::ConnectionHandler;

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
            || self.sweep.is_some()
    }

    /// Adds the CPU time of this iteration, and of the host since the last one, to the histogram. The
    /// first is not known.
    pub(super) fn note_cpu_time(&mut self) {
        let before = mem::replace(&mut self.cpu_time, thread_cpu_time());
        if before > Duration::ZERO {
            self.counters.iterated(self.cpu_time.saturating_sub(before));
        }
    }

    /// Adds to the shared counters, in each iteration: the next one may wait for an hour.
    pub(super) fn publish_counts(&mut self) {
        self.counters.add(mem::take(&mut self.local));
    }
}
