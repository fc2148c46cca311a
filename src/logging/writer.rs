//! Writes the queued lines to a descriptor: in batches, also to one that is full or closed, and counts
//! the lines that it could not write.
//!
//! Must not: fail, panic, print, or delay the end of the process. Runs on the log's own thread.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tracing_appender::non_blocking::ErrorCounter;

use super::level::Level;
use super::line::LineFormat;
use crate::clock::Timestamp;

/// Bytes of one write. A pipe that is writable takes this many without blocking (`PIPE_BUF`).
const WRITE_SIZE: usize = 4096;
/// The longest wait for a full descriptor, after which the writer checks whether the log stops.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How often the writer waits for a full descriptor once the log stops: half a second in all.
const WAITS_AFTER_STOP: u32 = 25;
/// The shortest time between two reports of dropped lines.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// State that the log's owner and its thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Lines that the descriptor refused.
    unwritten: AtomicU64,
    /// Lines that found the queue full. Set once, right after the queue is made.
    pub(super) queue_full: OnceLock<ErrorCounter>,
    /// The log stops: nothing may wait long any more.
    stopping: AtomicBool,
    /// The queue was empty after `stopping` was set.
    drained: Mutex<bool>,
    drained_changed: Condvar,
}

impl Shared {
    /// Lines dropped so far, for either reason.
    pub(super) fn dropped_lines(&self) -> u64 {
        let queue_full = self.queue_full.get().map_or(0, |counter| counter.dropped_lines() as u64);
        self.unwritten.load(Ordering::Relaxed) + queue_full
    }

    /// From now on the writer gives up on a descriptor that stays full.
    pub(super) fn stop(&self) {
        // Pairs with the load in `is_stopping`; the flag orders no other data.
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until the queue is empty after `stop`; false when that takes longer than `timeout`.
    pub(super) fn wait_until_drained(&self, timeout: Duration) -> bool {
        let drained = self.drained.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.drained_changed.wait_timeout_while(drained, timeout, |drained| !*drained);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn set_drained(&self) {
        *self.drained.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.drained_changed.notify_all();
    }
}

/// Writes lines to a descriptor.
pub(super) struct LineWriter<F> {
    to: F,
    batch: Vec<u8>,
    waits_after_stop: u32,
    shared: Arc<Shared>,
    format: LineFormat,
    reported: u64,
    report_at: Timestamp,
}

impl<F: AsFd + Send> LineWriter<F> {
    /// A writer to `to`; `format` is the format of its own reports.
    pub(super) fn new(to: F, shared: Arc<Shared>, format: LineFormat) -> Self {
        let (batch, report_at) = (Vec::with_capacity(WRITE_SIZE), Timestamp::default());
        let waits_after_stop = WAITS_AFTER_STOP;
        Self { to, batch, waits_after_stop, shared, format, reported: 0, report_at }
    }

    /// Writes the batch, or drops it and counts its lines.
    fn write_out(&mut self) {
        let mut done = 0;
        while done < self.batch.len() {
            let end = self.batch.len().min(done + WRITE_SIZE);
            if !self.wait_until_writable() {
                break;
            }
            match rustix::io::write(&self.to, &self.batch[done..end]) {
                Ok(written) => done += written,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => break,
            }
        }
        let dropped = self.batch[done..].iter().filter(|&&byte| byte == b'\n').count();
        self.shared.unwritten.fetch_add(dropped as u64, Ordering::Relaxed);
        self.batch.clear();
    }

    /// Waits while the descriptor is full. Returns false when the log stops and it is still full.
    fn wait_until_writable(&mut self) -> bool {
        loop {
            let mut fds = [PollFd::new(&self.to, PollFlags::OUT)];
            match poll(&mut fds, Some(&WAIT)) {
                Ok(0) | Err(Errno::INTR) => {}
                // A failure shows again in the write that follows.
                Ok(_) | Err(_) => return true,
            }
            if self.shared.is_stopping() {
                if self.waits_after_stop == 0 {
                    return false;
                }
                self.waits_after_stop -= 1;
            }
        }
    }

    /// Appends a warning if lines were dropped since the last one, at most once a minute.
    fn report(&mut self) {
        let dropped = self.shared.dropped_lines();
        if dropped == self.reported {
            return;
        }
        let now = self.format.now();
        if now < self.report_at {
            return;
        }
        let report = self.format.format(
            Level::Warn,
            format_args!("LOG: dropped {} lines, stderr does not keep up", dropped - self.reported),
        );
        self.batch.extend_from_slice(report.as_bytes());
        self.reported = dropped;
        self.report_at = now + REPORT_EVERY;
    }
}

impl<F: AsFd + Send> Write for LineWriter<F> {
    /// Takes a whole line; never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.batch.len() + line.len() > WRITE_SIZE {
            self.write_out();
        }
        self.batch.extend_from_slice(line);
        Ok(line.len())
    }

    /// Called whenever the queue is empty; never fails.
    fn flush(&mut self) -> io::Result<()> {
        // Loaded first: a line queued after `stop` may not have arrived yet.
        let is_stopping = self.shared.is_stopping();
        self.write_out();
        self.report();
        self.write_out();
        if is_stopping {
            self.shared.set_drained();
        }
        Ok(())
    }
}
