//! The log: NSQ's lines on stderr, written by a thread of its own.
//!
//! Any thread logs through tracing's macros and [`fatal!`](crate::fatal); the caller formats the line and
//! queues it, so that a reader of stderr that is slow, stuck or gone holds nobody up: lines are
//! dropped and counted instead. Control characters are escaped in everything but the prefix.
//!
//! Must not: block a caller, fail, panic, or use the standard library's print macros, which do both.

mod level;
mod line;
mod printable;
mod sink;

use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::Dispatch;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;

pub use level::{FATAL, Level, UnknownLevel};
pub use printable::{Printable, Quoted};

use crate::clock::Clock;
use crate::limits;
use crate::metrics::Families;
use line::Line;
use sink::{Shared, Sink};

/// The prefix of NSQ's own lines, and of ours unless `--log-prefix` says otherwise.
pub const DEFAULT_PREFIX: &str = "[nsqlookupd] ";

/// How long the end of the process waits for the queue to drain.
const PATIENCE: Duration = Duration::from_millis(900);

/// Logs a FATAL line: why the process ends. It does not end it.
#[macro_export]
macro_rules! fatal {
    ($($message:tt)+) => { ::tracing::error!(target: $crate::logging::FATAL, $($message)+) };
}

/// The running log. Dropping it writes out what is queued, within two seconds.
#[derive(Debug)]
pub struct Log {
    queue: NonBlocking,
    /// Always there until the log is dropped.
    guard: Option<WorkerGuard>,
    shared: Arc<Shared>,
}

/// Counts the lines that were lost; cheap to clone, for whoever shows it.
#[derive(Clone, Debug)]
pub struct Dropped(Arc<Shared>);

impl Dropped {
    /// Lines lost since the start, to a full queue or a stderr that refused them.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.0.dropped()
    }

    /// Registers the family of these lines.
    pub fn register_metrics(&self, families: &mut Families) {
        let (dropped, help) =
            (self.clone(), "Log lines lost to a full queue or to stderr's errors.");
        families.counter("musterd_log_lines_dropped_total", help, &[], move || dropped.lines());
    }
}

impl Log {
    /// Starts the process's log on stderr, and makes a panic one of its lines.
    ///
    /// Call once; a second log in one process would receive nothing.
    #[must_use]
    pub fn start(level: Level, prefix: &str, clock: Clock) -> Self {
        let line = Line::new(prefix, clock, TimeZone::system());
        let (dispatch, log) = Self::over(std::io::stderr(), level, line, limits::LOG_LINES);
        // An error means that another log was started before: then it is the one to use.
        let _ = tracing::dispatcher::set_global_default(dispatch);
        std::panic::set_hook(Box::new(|panic| tracing::error!("PANIC: {panic}")));
        log
    }

    /// Counts the lines that were lost.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        Dropped(Arc::clone(&self.shared))
    }

    fn over(
        to: impl AsFd + Send + 'static,
        level: Level,
        line: Line,
        queued: usize,
    ) -> (Dispatch, Self) {
        let shared = Arc::new(Shared::default());
        let (queue, guard) = NonBlockingBuilder::default()
            .thread_name("log")
            .lossy(true)
            .buffered_lines_limit(queued)
            .finish(Sink::new(to, Arc::clone(&shared), line.clone()));
        shared.refused.get_or_init(|| queue.error_counter());
        // Static per call site, so that an event which is off costs one load.
        let filter = FilterFn::new(move |event| level.lets_through(event))
            .with_max_level_hint(level.filter());
        let lines = tracing_subscriber::fmt::layer()
            .event_format(line)
            .with_ansi(false)
            .log_internal_errors(false)
            .with_writer(queue.clone());
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(lines).with(filter));
        (dispatch, Self { queue, guard: Some(guard), shared })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.stop();
        // Wakes the thread when it has nothing to do; when the queue is full it is awake.
        let _ = self.queue.write(b"");
        let drained = self.shared.wait_until_drained(PATIENCE);
        let guard = self.guard.take();
        if !drained {
            // The guard would print to stdout when it finds the queue full, and might block there.
            std::mem::forget(guard);
        }
    }
}

/// A FATAL line with its newline, for failures before the log runs; NSQ's prefix, as NSQ has it.
#[must_use]
pub fn fatal_line(clock: &Clock, message: fmt::Arguments<'_>) -> String {
    Line::new(DEFAULT_PREFIX, clock.clone(), TimeZone::system()).whole(Level::Fatal, message)
}

/// Writes `text` to stderr; does not care whether that is possible.
pub fn to_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, Read, pipe};

    use super::*;
    use crate::clock::Timestamp;

    const HEAD: &str = "[x] 2026/11/21 22:31:27.217762";

    /// A log over a pipe with room for `queued` lines.
    fn piped(level: Level, queued: usize) -> (Dispatch, Log, PipeReader) {
        let clock = Clock::manual(Timestamp::from_unix_nanos(1_795_300_287_217_762_000));
        let line = Line::new("[x] ", clock, TimeZone::UTC);
        let (reader, writer) = pipe().unwrap();
        let (dispatch, log) = Log::over(writer, level, line, queued);
        (dispatch, log, reader)
    }

    /// Everything the log writes until it is dropped.
    fn logged(level: Level, speak: impl FnOnce()) -> String {
        let (dispatch, log, mut reader) = piped(level, 100);
        tracing::dispatcher::with_default(&dispatch, speak);
        drop(log);
        let mut text = String::new();
        drop(dispatch);
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn lines_are_nsqs() {
        let (address, peer) = ("127.0.0.1:4160", "a\nb");
        let text = logged(Level::Info, || {
            tracing::info!("TCP: listening on {address}");
            tracing::warn!(peer, id = 7, "odd \x1b[2J{peer}");
            tracing::error!(peer = %Quoted(peer));
            tracing::debug!("not at this level");
            fatal!("gone: {}", Printable("x\ry"));
        });
        let want = [
            " INFO: TCP: listening on 127.0.0.1:4160\n",
            " WARNING: odd \\x1b[2Ja\\nb peer=\"a\\nb\" id=7\n",
            " ERROR: peer=\"a\\nb\"\n",
            " FATAL: gone: x\\ry\n",
        ];
        assert_eq!(text, want.map(|line| format!("{HEAD}{line}")).concat());
    }

    #[test]
    fn a_level_lets_itself_and_worse_through() {
        for (level, want) in [
            (Level::Debug, "DIWEF"),
            (Level::Info, "IWEF"),
            (Level::Warn, "WEF"),
            (Level::Error, "EF"),
            (Level::Fatal, "F"),
        ] {
            let text = logged(level, || {
                tracing::trace!("never asked for");
                tracing::debug!("d");
                tracing::info!("i");
                tracing::warn!("w");
                tracing::error!("e");
                fatal!("f");
            });
            let got: String = text
                .lines()
                .filter(|line| !line.ends_with("never asked for"))
                .filter_map(|line| line.strip_prefix(HEAD)?.chars().nth(1))
                .collect();
            assert_eq!(got, want, "{level}");
        }
    }

    #[test]
    fn a_line_is_bounded() {
        let text = logged(Level::Info, || tracing::info!("{}", "x".repeat(1 << 20)));
        assert_eq!(text.len(), HEAD.len() + " INFO: ".len() + limits::LOG_LINE + "…\n".len());
    }

    #[test]
    fn a_reader_that_is_gone_costs_only_the_lines() {
        let (dispatch, log, reader) = piped(Level::Info, 100);
        let dropped = log.dropped();
        drop(reader);
        tracing::dispatcher::with_default(&dispatch, || {
            for n in 0..10 {
                tracing::info!("{n}");
            }
        });
        drop(log);
        assert!(dropped.lines() >= 10, "{}", dropped.lines());
    }

    #[test]
    fn a_reader_that_is_stuck_blocks_nobody_and_loses_no_line_that_was_queued() {
        const LINES: usize = 1_000;
        let (dispatch, log, reader) = piped(Level::Info, 50);
        let dropped = log.dropped();
        // On a thread of its own: if it is blocked, it is so for good.
        let speak = || (0..LINES).for_each(|n| tracing::info!("{n} {}", "x".repeat(1_000)));
        let (spoken, has_spoken) = crossbeam::channel::bounded(1);
        let to = dispatch.clone();
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&to, speak);
            spoken.send(())
        });
        has_spoken.recv_timeout(Duration::from_secs(20)).expect("who logs is not blocked");
        // A pipe holds 64 KiB: most of these lines found the queue full, and were counted.
        let refused = dropped.lines();
        assert!(refused > 0);
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let (mut queued, mut reports) = (0, 0);
        while queued + refused < LINES as u64 || reports == 0 {
            match lines.next().unwrap() {
                line if line.ends_with("xxx") => queued += 1,
                line if line.contains("WARNING: LOG: dropped") => reports += 1,
                line => panic!("{line}"),
            }
        }
        drop(log);
        drop(dispatch);
        assert_eq!(lines.count(), 0);
    }

    #[test]
    fn a_reader_that_never_reads_does_not_hold_up_the_end() {
        let (dispatch, log, reader) = piped(Level::Info, 50);
        let dropped = log.dropped();
        tracing::dispatcher::with_default(&dispatch, || {
            for _ in 0..1_000 {
                tracing::info!("{}", "x".repeat(1_000));
            }
        });
        drop(log);
        assert!(dropped.lines() >= 900, "{}", dropped.lines());
        drop(reader);
    }
}
