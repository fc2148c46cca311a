//! One event as one line, in NSQ's form:
//! `[nsqlookupd] 2026/11/21 22:31:27.217762 INFO: TCP: listening on 127.0.0.1:4160`.
//!
//! Must not: let a value break the line, or grow past [`limits::LOG_LINE`].
//! Runs on whichever thread logs.

use std::fmt::{self, Write};

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::level::Level;
use super::printable::Escape;
use crate::clock::{Clock, Timestamp};
use crate::limits;

/// What every line begins with: the operator's prefix, then the local time.
#[derive(Clone, Debug)]
pub(super) struct Line {
    prefix: String,
    clock: Clock,
    zone: TimeZone,
}

impl Line {
    /// Lines that begin with `prefix` and the wall time of `clock` in `zone`.
    pub(super) fn new(prefix: &str, clock: Clock, zone: TimeZone) -> Self {
        Self { prefix: prefix.to_owned(), clock, zone }
    }

    /// The wall time that the next line would show.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// A line outside of tracing, with its newline.
    pub(super) fn whole(&self, level: Level, message: fmt::Arguments<'_>) -> String {
        let mut line = String::new();
        self.head(&mut line, level)
            .and_then(|()| {
                Escape { to: &mut line, room: Some(limits::LOG_LINE) }.write_fmt(message)
            })
            .and_then(|()| line.write_char('\n'))
            .expect("writing to a String cannot fail, and the wall clock stands in jiff's range");
        line
    }

    /// Writes what stands before the message.
    fn head(&self, to: &mut impl Write, level: Level) -> fmt::Result {
        to.write_str(&self.prefix)?;
        time(to, self.clock.wall(), &self.zone)?;
        write!(to, " {level}: ")
    }
}

impl<S, N> FormatEvent<S, N> for Line
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
        self.head(&mut to, Level::of(event.metadata()))?;
        let text = Escape { to: &mut to, room: Some(limits::LOG_LINE) };
        let mut fields = Fields { text, first: true, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        to.write_char('\n')
    }
}

/// Writes the local time as Go's `log` package does, cut to microseconds.
fn time(to: &mut impl Write, at: Timestamp, zone: &TimeZone) -> fmt::Result {
    let at = Instant::from_nanosecond(i128::from(at.unix_nanos())).map_err(|_| fmt::Error)?;
    let at = zone.to_datetime(at);
    let (year, month, day) = (at.year(), at.month(), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    let micros = at.subsec_nanosecond() / 1_000;
    write!(to, "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Writes the message as it is, and every other field as ` name=value`.
struct Fields<'a, W: Write> {
    text: Escape<'a, W>,
    first: bool,
    result: fmt::Result,
}

impl<W: Write> Visit for Fields<'_, W> {
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
    fn time_is_local_and_cut_to_microseconds() {
        let at = |nanos| Timestamp::from_unix_nanos(nanos);
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (nanos, zone, want) in [
            (0, &TimeZone::UTC, "1970/01/01 00:00:00.000000"),
            (1_795_300_287_217_762_999, &TimeZone::UTC, "2026/11/21 22:31:27.217762"),
            (1_795_300_287_217_762_999, &berlin, "2026/11/21 23:31:27.217762"),
            (1_782_864_000_000_000_001, &berlin, "2026/07/01 02:00:00.000000"),
        ] {
            let mut out = String::new();
            time(&mut out, at(nanos), zone).unwrap();
            assert_eq!(out, want);
        }
    }
}
