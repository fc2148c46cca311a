//! Writes the queued lines to a descriptor: in batches, also to one that is full or closed, and counts
//! the lines that it could not write.
//!
//! Must not: fail, panic, print, or delay the end of the process. Runs on the log's own thread.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::level::Level;
use super::line::LineFormat;
use super::queue::Lines;
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
    /// Lines that found their queue full, or that the descriptor refused.
    dropped: AtomicU64,
    /// The log stops: nothing may wait long any more.
    stopping: AtomicBool,
    /// The queues were empty after `stopping` was set.
    drained: Mutex<bool>,
    drained_changed: Condvar,
}

impl Shared {
    /// Lines dropped so far, for either reason.
    pub(super) fn dropped_lines(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn drop_lines(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// From now on the writer gives up on a descriptor that stays full.
    pub(super) fn stop(&self) {
        // Pairs with the load in `is_stopping`; the flag orders no other data.
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until the queues are empty after `stop`, `timeout` at most.
    pub(super) fn wait_until_drained(&self, timeout: Duration) {
        let drained = self.drained.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.drained_changed.wait_timeout_while(drained, timeout, |drained| !*drained));
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

    /// Writes the lines of the queues until the log stops.
    pub(super) fn run(&mut self, mut lines: Lines) {
        loop {
            while let Some(line) = lines.next() {
                self.add(&line);
            }
            // Loaded first: a line queued before `stop` may not have arrived yet.
            let is_stopping = self.shared.is_stopping();
            self.write_out();
            self.report();
            self.write_out();
            if is_stopping {
                return self.shared.set_drained();
            }
            lines.wait();
        }
    }

    fn add(&mut self, line: &[u8]) {
        if self.batch.len() + line.len() > WRITE_SIZE {
            self.write_out();
        }
        self.batch.extend_from_slice(line);
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
        self.shared.drop_lines(dropped);
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
