//! The live view: a few lines that are redrawn each second, or one plain line per second when the
//! output is not a terminal. It is called once a second on the main thread.
//!
//! Must not: block for long.

use std::io::{IsTerminal as _, Stdout, Write as _, stdout};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use crate::actors::shared::{Gauges, Shared};
use crate::commands::collector::Collector;
use crate::commands::run::{Phase, ProgressView};
use crate::input::human_duration::show_micros;
use crate::measure::interval::Interval;
use crate::measure::ops::{Count, Delay, Op};

const BAR: usize = 30;

/// The view on standard output.
pub(crate) struct Live {
    out: Stdout,
    terminal: bool,
    /// Without a terminal, print a line per second.
    plain: bool,
    /// The number of lines to redraw.
    drawn: usize,
    head: String,
    /// Wrong answers and errors since the start of the run.
    faults: [u64; 2],
    /// The number of seconds whose faults are in `faults`.
    counted: usize,
}

impl Live {
    /// A view whose first line is `head`.
    pub(crate) fn new(head: String) -> Self {
        let out = stdout();
        let terminal = out.is_terminal();
        Self { out, terminal, plain: true, drawn: 0, head, faults: [0; 2], counted: 0 }
    }

    /// The same without plain lines, for commands that print a line for each of many runs.
    pub(crate) fn quiet(mut self) -> Self {
        self.plain = false;
        self
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            // A closed terminal must not end the run, here and below.
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

    fn count_faults(&mut self, intervals: &[Interval]) {
        for interval in intervals.get(self.counted..).unwrap_or_default() {
            self.faults[0] += interval.counted(Count::WrongAnswers);
            let excused = interval.counted(Count::ExcusedAnswers);
            self.faults[0] = self.faults[0].saturating_sub(excused);
            self.faults[1] += interval.sum(&Count::ERRORS);
        }
        self.counted = intervals.len().max(self.counted);
    }
}

impl ProgressView for Live {
    fn second(&mut self, shared: &Shared, collector: &Collector, phase: Phase, done: f64) {
        // A slow thread may still report the last second; the one before it is complete.
        let intervals = &collector.intervals;
        let complete = intervals.len().saturating_sub(1);
        self.count_faults(&intervals[..complete]);
        let empty = Interval::default();
        let last = complete.checked_sub(1).map_or(&empty, |second| &intervals[second]);
        let lines = lines(shared, last, phase, done, self.faults);
        if self.terminal {
            let mut all = vec![self.head.clone()];
            all.extend(lines);
            self.draw(&all);
        } else if self.plain {
            let _ = writeln!(self.out, "{}", lines.join(" | "));
        }
    }

    fn finished(&mut self) {
        // The view may show another run.
        (self.faults, self.counted) = ([0; 2], 0);
        if self.terminal {
            self.erase();
            let _ = self.out.flush();
        }
    }
}

fn lines(
    shared: &Shared,
    last: &Interval,
    phase: Phase,
    done: f64,
    [wrong, errors]: [u64; 2],
) -> Vec<String> {
    let Gauges { complete, expected, tcp, http, in_flight, .. } = &shared.gauges;
    let [complete, expected, tcp, http, in_flight] =
        [complete, expected, tcp, http, in_flight].map(|gauge| gauge.load(Relaxed));
    let [late, dropped] = [Count::Late, Count::Dropped].map(|count| last.counted(count));
    let lag = last.delays.get(&Delay::Lag).map_or(0, |lag| lag.value_at_quantile(0.99));
    let progress = match phase {
        Phase::Starting => {
            format!("the fleet starts: {complete} of {} nsqds", shared.plan.setup_nsqds())
        }
        Phase::Main => {
            let left = left(shared.plan.scenario.duration.0, done);
            format!("{} {:3.0} %, {left} left", bar(done), done * 100.0)
        }
        Phase::Draining => "waiting for requests in flight".to_owned(),
    };
    vec![
        progress,
        latency("lookup", last, &[Op::Lookup, Op::Miss]),
        latency("nsqd", last, &[Op::Ping, Op::Register, Op::Unregister, Op::Identify]),
        format!(
            "nsqds {complete} complete of {expected}, {tcp} TCP and {http} HTTP connections, {in_flight} in flight"
        ),
        format!(
            "wrong answers {wrong}, errors {errors}, late {late}, dropped {dropped}; own lag p99 {}, busy {:.0} %",
            show_micros(lag),
            last.busy * 100.0
        ),
    ]
}

fn latency(name: &str, last: &Interval, ops: &[Op]) -> String {
    let mut sum = crate::measure::interval::histogram();
    ops.iter()
        .filter_map(|op| last.latencies.get(op))
        .for_each(|latency| sum += &latency.corrected);
    let at = |quantile| show_micros(sum.value_at_quantile(quantile));
    format!(
        "{name:<7}{:>7}/s  p50 {}  p99 {}  max {}",
        sum.len(),
        at(0.5),
        at(0.99),
        show_micros(sum.max())
    )
}

/// The time left of the main part, in whole minutes and seconds.
fn left(length: Duration, done: f64) -> String {
    let seconds = crate::num::whole(length.as_secs_f64() * (1.0 - done.clamp(0.0, 1.0)));
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn bar(done: f64) -> String {
    let full = crate::num::position(done.clamp(0.0, 1.0) * BAR as f64);
    format!("[{}{}]", "█".repeat(full), "·".repeat(BAR.saturating_sub(full)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_counted_down() {
        let length = Duration::from_secs(150);
        let times = [(0.0, "2:30"), (0.5, "1:15"), (0.99, "0:02"), (1.0, "0:00"), (7.0, "0:00")];
        for (done, want) in times {
            assert_eq!(left(length, done), want, "{done}");
        }
    }

    #[test]
    fn bar_fills_with_progress() {
        for (done, full) in [(0.0, 0), (0.5, 15), (1.0, 30), (7.0, 30)] {
            let got = bar(done);
            assert_eq!(got.matches('█').count(), full);
            assert_eq!(got.chars().count(), BAR + 2);
        }
    }
}
