//! The writer behind the log's queue: batches lines, survives a descriptor that is closed or
//! full, and counts what it could not write.
//!
//! Must not: fail, panic, print, or hold up the end of the process.
//! Runs on the log's own thread.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing_appender::non_blocking::ErrorCounter;

use super::level::Level;
use super::line::Line;
use crate::clock::Timestamp;

/// Bytes written at once. A pipe that is ready takes this many without blocking (`PIPE_BUF`).
const BATCH: usize = 4096;
/// How long one wait for a full descriptor lasts; after it the sink sees whether the log stops.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Waits granted to a full descriptor once the log stops: half a second.
const LAST_WAITS: u32 = 25;
/// How often dropped lines are reported.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// What the log's owner and its thread tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Lines that were written to the descriptor in vain.
    unwritten: AtomicU64,
    /// Lines that found the queue full; set once, right after the queue exists.
    pub(super) refused: OnceLock<ErrorCounter>,
    /// The log stops: nothing may take long any more.
    stopping: AtomicBool,
    /// The queue was found empty after `stopping` was set.
    drained: Mutex<bool>,
    changed: Condvar,
}

impl Shared {
    /// Lines lost so far, whatever the reason.
    pub(super) fn dropped(&self) -> u64 {
        let refused = self.refused.get().map_or(0, |counter| counter.dropped_lines() as u64);
        self.unwritten.load(Ordering::Relaxed) + refused
    }

    /// From now on the sink gives up on a descriptor that stays full.
    pub(super) fn stop(&self) {
        // Pairs with the load in `stopping`; the flag guards no other data.
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until the queue is empty after `stop`; false when that takes longer than `patience`.
    pub(super) fn wait_until_drained(&self, patience: Duration) -> bool {
        let drained = self.drained.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(drained, patience, |drained| !*drained);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn set_drained(&self) {
        *self.drained.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// Writes lines to a descriptor.
pub(super) struct Sink<F> {
    to: F,
    batch: Vec<u8>,
    last_waits: u32,
    shared: Arc<Shared>,
    line: Line,
    reported: u64,
    report_at: Timestamp,
}

impl<F: AsFd + Send> Sink<F> {
    /// A sink for `to`; `line` is the form of its own reports.
    pub(super) fn new(to: F, shared: Arc<Shared>, line: Line) -> Self {
        let batch = Vec::with_capacity(BATCH);
        Self {
            to,
            batch,
            last_waits: LAST_WAITS,
            shared,
            line,
            reported: 0,
            report_at: Timestamp::default(),
        }
    }

    /// Writes the batch, or gives it up and counts its lines.
    fn write_out(&mut self) {
        let mut done = 0;
        while done < self.batch.len() {
            let end = self.batch.len().min(done + BATCH);
            if !self.wait_until_writable() {
                break;
            }
            match rustix::io::write(&self.to, &self.batch[done..end]) {
                Ok(written) => done += written,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => break,
            }
        }
        let lost = self.batch[done..].iter().filter(|&&byte| byte == b'\n').count();
        self.shared.unwritten.fetch_add(lost as u64, Ordering::Relaxed);
        self.batch.clear();
    }

    /// Waits while the descriptor is full; false when the log stops and it still is.
    fn wait_until_writable(&mut self) -> bool {
        loop {
            let mut fds = [PollFd::new(&self.to, PollFlags::OUT)];
            match poll(&mut fds, Some(&WAIT)) {
                Ok(0) | Err(Errno::INTR) => {}
                // A failure shows again in the write that follows.
                Ok(_) | Err(_) => return true,
            }
            if self.shared.stopping() {
                if self.last_waits == 0 {
                    return false;
                }
                self.last_waits -= 1;
            }
        }
    }

    /// Appends a warning when lines were lost since the last one, at most once a minute.
    fn report(&mut self) {
        let dropped = self.shared.dropped();
        if dropped == self.reported {
            return;
        }
        let now = self.line.now();
        if now < self.report_at {
            return;
        }
        let report = self.line.whole(
            Level::Warn,
            format_args!("LOG: dropped {} lines, stderr does not keep up", dropped - self.reported),
        );
        self.batch.extend_from_slice(report.as_bytes());
        self.reported = dropped;
        self.report_at = now + REPORT_EVERY;
    }
}

impl<F: AsFd + Send> Write for Sink<F> {
    /// Takes a whole line; never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.batch.len() + line.len() > BATCH {
            self.write_out();
        }
        self.batch.extend_from_slice(line);
        Ok(line.len())
    }

    /// Called whenever the queue is empty; never fails.
    fn flush(&mut self) -> io::Result<()> {
        // Read first: what is queued after `stop` may still be on its way.
        let stopping = self.shared.stopping();
        self.write_out();
        self.report();
        self.write_out();
        if stopping {
            self.shared.set_drained();
        }
        Ok(())
    }
}
