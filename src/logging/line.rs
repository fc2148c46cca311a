//! Formats one event as one line, as NSQ does:
//! `[nsqlookupd] 2026/11/21 22:31:27.217762 INFO: TCP: listening on 127.0.0.1:4160`.
//!
//! Must not: let a value begin a new line; write more than [`limits::LOG_LINE`] bytes of text. Runs
//! on the thread that logs.

use std::fmt::{self, Write};

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::escaped::Escaping;
use super::level::Level;
use crate::clock::{Clock, Timestamp};
use crate::limits;

/// The format of all lines: the operator's prefix, the local time, the level, the text.
#[derive(Clone, Debug)]
pub(super) struct LineFormat {
    prefix: String,
    clock: Clock,
    zone: TimeZone,
}

impl LineFormat {
    /// Lines that begin with `prefix` and the wall clock's time of `clock` in `zone`.
    pub(super) fn new(prefix: &str, clock: Clock, zone: TimeZone) -> Self {
        Self { prefix: prefix.to_owned(), clock, zone }
    }

    /// The time that a line would show now.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// A line without a tracing event, with its newline.
    pub(super) fn format(&self, level: Level, message: fmt::Arguments<'_>) -> String {
        let mut line = String::new();
        self.write_header(&mut line, level)
            .and_then(|()| {
                Escaping { to: &mut line, remaining: Some(limits::LOG_LINE) }.write_fmt(message)
            })
            .and_then(|()| line.write_char('\n'))
            .expect("writing to a String cannot fail, and the wall clock is in jiff's range");
        line
    }

    /// Writes prefix, time and level.
    fn write_header(&self, to: &mut impl Write, level: Level) -> fmt::Result {
        to.write_str(&self.prefix)?;
        write_time(to, self.clock.wall(), &self.zone)?;
        write!(to, " {level}: ")
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        self.write_header(&mut to, Level::of(event.metadata()))?;
        let text = Escaping { to: &mut to, remaining: Some(limits::LOG_LINE) };
        let mut fields = FieldWriter { text, first: true, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        to.write_char('\n')
    }
}

/// Writes the local time as Go's `log` package does, truncated to microseconds.
fn write_time(to: &mut impl Write, at: Timestamp, zone: &TimeZone) -> fmt::Result {
    let at = Instant::from_nanosecond(i128::from(at.unix_nanos())).map_err(|_| fmt::Error)?;
    let at = zone.to_datetime(at);
    let (year, month, day) = (at.year(), at.month(), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    let micros = at.subsec_nanosecond() / 1_000;
    write!(to, "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Writes the message unchanged, and every other field as ` name=value`.
struct FieldWriter<'a, W: Write> {
    text: Escaping<'a, W>,
    first: bool,
    result: fmt::Result,
}

impl<W: Write> Visit for FieldWriter<'_, W> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if std::mem::replace(&mut self.first, false) { "" } else { " " };
        let written = match field.name() {
            "message" => write!(self.text, "{space}{value:?}"),
            name => write!(self.text, "{space}{name}={value:?}"),
        };
        self.result = self.result.and(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_local_and_truncated_to_microseconds() {
        let at = |nanos| Timestamp::from_unix_nanos(nanos);
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (nanos, zone, want) in [
            (0, &TimeZone::UTC, "1970/01/01 00:00:00.000000"),
            (1_795_300_287_217_762_999, &TimeZone::UTC, "2026/11/21 22:31:27.217762"),
            (1_795_300_287_217_762_999, &berlin, "2026/11/21 23:31:27.217762"),
            (1_782_864_000_000_000_001, &berlin, "2026/07/01 02:00:00.000000"),
        ] {
            let mut out = String::new();
            write_time(&mut out, at(nanos), zone).unwrap();
            assert_eq!(out, want);
        }
    }
}
