//! The log: lines in NSQ's format on stderr, written by a thread of its own.
//!
//! Any thread logs with tracing's macros and [`fatal!`](crate::fatal). The caller formats the line and
//! queues it; that never blocks. When stderr is slow, full or closed, lines are dropped and counted
//! instead. Changes, warnings, refusals and all other lines have a queue each, so that a flood of
//! one drops no line of another. Control characters are escaped in everything but the prefix.
//!
//! Must not: block a caller, fail, panic, or use the standard library's print macros, which block
//! and panic.

mod escaped;
mod level;
mod line;
mod peer_lines;
mod queue;
mod writer;

use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::Dispatch;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::SubscriberExt;

pub use escaped::{Escaped, Quoted};
pub use level::{FATAL, Level};
pub use peer_lines::{Kind, PeerLines};
pub use queue::{CHANGE, REFUSAL};

use crate::clock::Clock;
use crate::limits;
use crate::metrics::Families;
use line::LineFormat;
use queue::Queues;
use writer::{LineWriter, Shared};

/// The prefix of NSQ's lines, and the default of `--log-prefix`.
pub const DEFAULT_PREFIX: &str = "[nsqlookupd] ";

/// How long the end of the process waits until all queued lines are written.
pub const DRAIN_TIMEOUT: Duration = Duration::from_millis(900);

/// Logs a FATAL line: the reason why the process ends. It does not end the process.
#[macro_export]
macro_rules! fatal {
    ($($message:tt)+) => { ::tracing::error!(target: $crate::logging::FATAL, $($message)+) };
}

/// The running log. Dropping it writes what is queued, within two seconds.
#[derive(Debug)]
pub struct Log {
    queues: Queues,
    shared: Arc<Shared>,
}

/// The count of dropped lines, for the metrics; cheap to clone.
#[derive(Clone, Debug)]
pub struct DroppedLines(Arc<Shared>);

impl DroppedLines {
    /// Lines dropped since the start, because the queue was full or stderr refused them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.dropped_lines()
    }

    /// Registers the family of these lines.
    pub fn register_metrics(&self, families: &mut Families) {
        let (dropped, help) =
            (self.clone(), "Log lines lost to a full queue or to stderr's errors.");
        families.counter("musterd_log_lines_dropped_total", help, &[], move || dropped.count());
    }
}

impl Log {
    /// Starts the process's log on stderr, and logs panics as lines.
    ///
    /// Call it once: a second log in one process receives nothing.
    #[must_use]
    pub fn start(level: Level, prefix: &str, clock: Clock) -> Self {
        let format = LineFormat::new(prefix, clock, TimeZone::system());
        let (dispatch, log) =
            Self::with_output(std::io::stderr(), level, format, limits::LOG_LINES);
        // An error means that another log was started before, which then stays in use.
        let _ = tracing::dispatcher::set_global_default(dispatch);
        std::panic::set_hook(Box::new(|panic| tracing::error!("PANIC: {panic}")));
        log
    }

    /// The count of dropped lines.
    #[must_use]
    pub fn dropped_lines(&self) -> DroppedLines {
        DroppedLines(Arc::clone(&self.shared))
    }

    fn with_output(
        to: impl AsFd + Send + 'static,
        level: Level,
        format: LineFormat,
        queued: usize,
    ) -> (Dispatch, Self) {
        let shared = Arc::new(Shared::default());
        let (queues, lines) = queue::queues(queued, &shared);
        let mut writer = LineWriter::new(to, Arc::clone(&shared), format.clone());
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run(lines))
            .expect("the system has a thread for the log");
        // Evaluated once per call site, so that a disabled event costs one load.
        let filter =
            FilterFn::new(move |event| level.enables(event)).with_max_level_hint(level.filter());
        let lines = tracing_subscriber::fmt::layer()
            .event_format(format)
            .with_ansi(false)
            .log_internal_errors(false)
            .with_writer(queues.clone());
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(lines).with(filter));
        (dispatch, Self { queues, shared })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.stop();
        self.queues.wake();
        self.shared.wait_until_drained(DRAIN_TIMEOUT);
    }
}

/// A FATAL line with its newline, for failures before the log runs. Its prefix is NSQ's, as in NSQ.
#[must_use]
pub fn fatal_line(clock: &Clock, message: fmt::Arguments<'_>) -> String {
    LineFormat::new(DEFAULT_PREFIX, clock.clone(), TimeZone::system()).format(Level::Fatal, message)
}

/// Writes `text` to stderr, and ignores an error.
pub fn write_to_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, Read, pipe};

    use super::*;
    use crate::clock::Timestamp;

    const HEAD: &str = "[x] 2026/11/21 22:31:27.217762";

    /// A log into a pipe, with a queue of `queued` lines.
    fn piped(level: Level, queued: usize) -> (Dispatch, Log, PipeReader) {
        let clock = Clock::manual(Timestamp::from_unix_nanos(1_795_300_287_217_762_000));
        let format = LineFormat::new("[x] ", clock, TimeZone::UTC);
        let (reader, writer) = pipe().unwrap();
        let (dispatch, log) = Log::with_output(writer, level, format, queued);
        (dispatch, log, reader)
    }

    /// Everything that `log_lines` logs.
    fn logged(level: Level, log_lines: impl FnOnce()) -> String {
        let (dispatch, log, mut reader) = piped(level, 100);
        tracing::dispatcher::with_default(&dispatch, log_lines);
        drop(log);
        let mut text = String::new();
        drop(dispatch);
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn lines_have_nsq_s_format() {
        let (address, peer) = ("127.0.0.1:4160", "a\nb");
        let text = logged(Level::Info, || {
            tracing::info!("TCP: listening on {address}");
            tracing::warn!(peer, id = 7, "odd \x1b[2J{peer}");
            tracing::error!(peer = %Quoted(peer));
            tracing::debug!("not at this level");
            fatal!("gone: {}", Escaped("x\ry"));
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
    fn a_level_enables_itself_and_more_severe_ones() {
        for (level, want) in [
            (Level::Debug, "DIWEF"),
            (Level::Info, "IWEF"),
            (Level::Warn, "WEF"),
            (Level::Error, "EF"),
            (Level::Fatal, "F"),
        ] {
            let text = logged(level, || {
                tracing::trace!("never enabled");
                tracing::debug!("d");
                tracing::info!("i");
                tracing::warn!("w");
                tracing::error!("e");
                fatal!("f");
            });
            let got: String = text
                .lines()
                .filter(|line| !line.ends_with("never enabled"))
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
    fn lines_are_dropped_when_stderr_is_closed() {
        let (dispatch, log, reader) = piped(Level::Info, 100);
        let dropped = log.dropped_lines();
        drop(reader);
        tracing::dispatcher::with_default(&dispatch, || {
            for n in 0..10 {
                tracing::info!("{n}");
            }
        });
        drop(log);
        assert!(dropped.count() >= 10, "{}", dropped.count());
    }

    #[test]
    fn a_full_stderr_blocks_no_caller_and_every_queued_line_is_written() {
        const LINES: usize = 1_000;
        let (dispatch, log, reader) = piped(Level::Info, 50);
        let dropped = log.dropped_lines();
        // On a thread of its own: a caller that is blocked stays so.
        let log_lines = || (0..LINES).for_each(|n| tracing::info!("{n} {}", "x".repeat(1_000)));
        let (done, is_done) = crossbeam::channel::bounded(1);
        let to = dispatch.clone();
        std::thread::spawn(move || {
            tracing::dispatcher::with_default(&to, log_lines);
            done.send(())
        });
        is_done.recv_timeout(Duration::from_secs(60)).expect("the caller is not blocked");
        // A pipe holds 64 KiB: most of these lines found the queue full, and were counted.
        let refused = dropped.count();
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
    fn flood_of_lines_drops_no_line_about_a_change() {
        const QUEUED: usize = 50;
        let (dispatch, log, reader) = piped(Level::Info, QUEUED);
        let long = "x".repeat(1_000);
        tracing::dispatcher::with_default(&dispatch, || {
            // stderr is full, and so are the queues of what eighty addresses can fill.
            for n in 0..8_000 {
                tracing::info!("{n} {long}");
                tracing::info!(target: REFUSAL, "400 refused {n} {long}");
                tracing::error!(target: REFUSAL, "bad magic {n} {long}");
            }
            tracing::info!(target: CHANGE, "200 POST /topic/delete?topic=payments");
            tracing::warn!("access: refused 7 HTTP POSTs");
            fatal!("gone");
        });
        let dropped = log.dropped_lines().count();
        assert!(dropped > 20_000, "{dropped}");
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        let lines = lines.filter(|line| !line.contains("LOG: dropped"));
        let written = usize::try_from(3 * 8_000 + 3 - dropped).unwrap();
        let found = lines.take(written).filter(|line| !line.ends_with('x'));
        let found: Vec<_> =
            found.map(|line| line.split_once("762 ").unwrap().1.to_owned()).collect();
        let want = [
            "INFO: 200 POST /topic/delete?topic=payments",
            "WARNING: access: refused 7 HTTP POSTs",
            "FATAL: gone",
        ];
        assert_eq!(found, want, "in the order in which they were logged");
    }

    #[test]
    fn queued_lines_take_only_so_many_bytes() {
        let (dispatch, log, reader) = piped(Level::Info, limits::LOG_LINES);
        let dropped = log.dropped_lines();
        // Escaped, so that each takes three times as much.
        let line = "\x01\x02".repeat(limits::LOG_LINE / 2);
        tracing::dispatcher::with_default(&dispatch, || {
            (0..limits::LOG_LINES).for_each(|_| tracing::info!("{line}"));
        });
        let written = limits::LOG_LINES - usize::try_from(dropped.count()).expect("few");
        let most = limits::LOG_BYTES + (128 << 10); // a pipe, and what the log's thread has
        assert!(written * 3 * limits::LOG_LINE < most, "{written}");
        tracing::dispatcher::with_default(&dispatch, || tracing::warn!("another queue"));
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        let lines = lines.filter(|line| !line.contains("LOG: dropped"));
        assert!(lines.take(written + 1).any(|line| line.ends_with("another queue")));
        drop(log);
    }

    #[test]
    fn lines_of_all_queues_are_written_in_order() {
        let text = logged(Level::Info, || {
            for n in 0..20 {
                tracing::info!("{n}");
                tracing::info!(target: REFUSAL, "{n}");
                tracing::warn!("{n}");
                tracing::info!(target: CHANGE, "{n}");
            }
        });
        let numbers = text.lines().map(|line| line.rsplit(' ').next().unwrap());
        let want = (0..20).flat_map(|n| std::iter::repeat_n(n.to_string(), 4));
        assert!(numbers.eq(want), "{text}");
    }

    #[test]
    fn a_full_stderr_does_not_delay_the_end() {
        let (dispatch, log, reader) = piped(Level::Info, 50);
        let dropped = log.dropped_lines();
        tracing::dispatcher::with_default(&dispatch, || {
            for _ in 0..1_000 {
                tracing::info!("{}", "x".repeat(1_000));
            }
        });
        drop(log);
        assert!(dropped.count() >= 900, "{}", dropped.count());
        drop(reader);
    }
}
