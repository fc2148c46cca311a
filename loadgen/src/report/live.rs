//! The live view: a few lines that are drawn again each second; one plain line a second when the
//! output is not a terminal.
//!
//! Must not: slow the run down; it is told once a second on the main thread.

use std::io::{IsTerminal as _, Stdout, Write as _, stdout};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use crate::actors::world::World;
use crate::input::span::show;
use crate::measure::interval::Interval;
use crate::measure::ops::{Count, Op, Span};
use crate::modes::collect::Collected;
use crate::modes::play::{Phase, View};

const BAR: usize = 30;

/// The view on standard output.
pub(crate) struct Live {
    out: Stdout,
    terminal: bool,
    /// Without a terminal, print a line a second.
    plain: bool,
    /// Lines drawn last, to be drawn over.
    drawn: usize,
    head: String,
    /// Faults and errors since the start of the run.
    faults: [u64; 2],
    read: usize,
}

impl Live {
    /// A view whose first line is `head`.
    pub(crate) fn new(head: String) -> Self {
        let out = stdout();
        Self {
            terminal: out.is_terminal(),
            plain: true,
            out,
            drawn: 0,
            head,
            faults: [0; 2],
            read: 0,
        }
    }

    /// The same without plain lines: for what plays many runs and prints a line for each.
    pub(crate) fn quiet(mut self) -> Self {
        self.plain = false;
        self
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            // A terminal that is gone is no reason to end the run, here and below.
            let _ = write!(self.out, "\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    fn draw(&mut self, lines: &[String]) {
        let width = tcgetwinsize(&self.out).map_or(80, |size| usize::from(size.ws_col.max(40)));
        self.erase();
        for line in lines {
            let cut: String = line.chars().take(width - 1).collect();
            let _ = writeln!(self.out, "{cut}");
        }
        self.drawn = lines.len();
        let _ = self.out.flush();
    }

    fn note_faults(&mut self, intervals: &[Interval]) {
        for interval in intervals.get(self.read..).unwrap_or_default() {
            let count =
                |kinds: &[Count]| kinds.iter().map(|kind| interval.counted(*kind)).sum::<u64>();
            self.faults[0] += count(&[Count::Missing, Count::Stale, Count::Extra, Count::Garbled]);
            self.faults[0] = self.faults[0].saturating_sub(interval.counted(Count::Excused));
            self.faults[1] += count(&[Count::Timeouts, Count::Refused, Count::Lost, Count::Wrong]);
        }
        self.read = intervals.len().max(self.read);
    }
}

impl View for Live {
    fn second(&mut self, world: &World, collected: &Collected, phase: Phase, done: f64) {
        // The last second may still be filled by a slower thread: the one before it is whole.
        let intervals = &collected.intervals;
        let whole = intervals.len().saturating_sub(1);
        self.note_faults(&intervals[..whole]);
        let empty = Interval::default();
        let last = whole.checked_sub(1).map_or(&empty, |second| &intervals[second]);
        let lines = lines(world, last, phase, done, self.faults);
        if self.terminal {
            let mut all = vec![self.head.clone()];
            all.extend(lines);
            self.draw(&all);
        } else if self.plain {
            let _ = writeln!(self.out, "{}", lines.join(" | "));
        }
    }

    fn over(&mut self) {
        // The view may be shown another run.
        (self.faults, self.read) = ([0; 2], 0);
        if self.terminal {
            self.erase();
            let _ = self.out.flush();
        }
    }
}

fn lines(world: &World, last: &Interval, phase: Phase, done: f64, faults: [u64; 2]) -> Vec<String> {
    let gauges = &world.gauges;
    let load = |gauge: &std::sync::atomic::AtomicU64| gauge.load(Relaxed);
    let progress = match phase {
        Phase::Arriving => format!(
            "the fleet arrives: {} of {} nsqds",
            load(&gauges.complete),
            world.plan.setup_nsqds()
        ),
        Phase::Main => format!("{} {:3.0} %", bar(done), done * 100.0),
        Phase::Draining => "reading what is in flight".to_owned(),
    };
    vec![
        progress,
        latency("lookup", last, &[Op::Lookup, Op::Miss]),
        latency("nsqd", last, &[Op::Ping, Op::Register, Op::Unregister, Op::Identify]),
        format!(
            "nsqds {} complete of {}, {} TCP and {} HTTP connections, {} in flight",
            load(&gauges.complete),
            load(&gauges.wanted),
            load(&gauges.tcp),
            load(&gauges.http),
            load(&gauges.in_flight)
        ),
        format!(
            "wrong answers {}, errors {}, late {}, dropped {}; own lag p99 {}, busy {:.0} %",
            faults[0],
            faults[1],
            last.counted(Count::Late),
            last.counted(Count::Dropped),
            show(Duration::from_micros(
                last.spans.get(&Span::Lag).map_or(0, |lag| lag.value_at_quantile(0.99))
            )),
            last.busy * 100.0
        ),
    ]
}

fn latency(name: &str, last: &Interval, ops: &[Op]) -> String {
    let mut sum = crate::measure::interval::histogram();
    ops.iter()
        .filter_map(|op| last.latencies.get(op))
        .for_each(|latency| sum += &latency.corrected);
    let at = |quantile| show(Duration::from_micros(sum.value_at_quantile(quantile)));
    format!(
        "{name:<7}{:>7}/s  p50 {}  p99 {}  max {}",
        sum.len(),
        at(0.5),
        at(0.99),
        show(Duration::from_micros(sum.max()))
    )
}

fn bar(done: f64) -> String {
    let full = crate::num::position(done.clamp(0.0, 1.0) * BAR as f64);
    format!("[{}{}]", "█".repeat(full), "·".repeat(BAR.saturating_sub(full)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        for (done, full) in [(0.0, 0), (0.5, 15), (1.0, 30), (7.0, 30)] {
            let got = bar(done);
            assert_eq!(got.matches('█').count(), full);
            assert_eq!(got.chars().count(), BAR + 2);
        }
    }
}
