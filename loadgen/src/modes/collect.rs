//! Gathers what the threads hand over and what is seen from outside, second by second, and makes
//! the results of it.
//!
//! Must not: direct the run (that is `play`).

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::actors::world::World;
use crate::engine::worker::Report;
use crate::measure::interval::Interval;
use crate::measure::ops::{Count, Op};
use crate::measure::results::Second;
use crate::measure::usage::{self, Sample, Usage};

/// What is seen at the end of a second.
#[derive(Clone, Copy, Debug, Default)]
struct Outside {
    connections: u64,
    complete: u64,
    server: Option<Sample>,
    generator: Sample,
}

/// The run so far.
#[derive(Debug)]
pub(crate) struct Collected {
    reports: Receiver<Report>,
    pub(crate) intervals: Vec<Interval>,
    outside: Vec<Outside>,
    /// CPU that the target used in processes that ended.
    before: f64,
}

impl Collected {
    /// Nothing so far.
    pub(crate) fn new(reports: Receiver<Report>) -> Self {
        Self { reports, intervals: Vec::new(), outside: Vec::new(), before: 0.0 }
    }

    /// Takes what has been handed over.
    pub(crate) fn take(&mut self) {
        while let Ok((second, interval)) = self.reports.try_recv() {
            if self.intervals.len() <= second {
                self.intervals.resize_with(second + 1, Interval::default);
            }
            self.intervals[second].add(&interval);
        }
    }

    /// Looks from outside at the end of second number `second`; earlier ones that were not
    /// looked at are the same.
    pub(crate) fn look(&mut self, second: usize, world: &World, server: Option<u32>) {
        let mut sample = server.and_then(usage::sample);
        if let Some(sample) = &mut sample {
            sample.cpu += self.before;
        }
        let gauges = &world.gauges;
        let now = Outside {
            connections: gauges.tcp.load(Relaxed) + gauges.http.load(Relaxed),
            complete: gauges.complete.load(Relaxed),
            server: sample.or_else(|| self.outside.last().and_then(|last| last.server)),
            generator: usage::sample(std::process::id()).unwrap_or_default(),
        };
        self.outside.resize(second, now);
        self.outside.push(now);
    }

    /// The target's process is about to end; the next one's CPU time counts on top.
    pub(crate) fn server_ends(&mut self, server: Option<u32>) {
        self.before += server.and_then(usage::sample).map_or(0.0, |sample| sample.cpu);
    }

    /// Sums of the seconds before `main` and from there on.
    pub(crate) fn sums(&self, main: usize) -> (Interval, Interval) {
        let mut sums = (Interval::default(), Interval::default());
        for (second, interval) in self.intervals.iter().enumerate() {
            if second < main { sums.0.add(interval) } else { sums.1.add(interval) }
        }
        for sum in [&mut sums.0, &mut sums.1] {
            let excused = sum.counted(Count::Excused);
            let missing = &mut sum.counts[Count::Missing as usize];
            *missing = missing.saturating_sub(excused);
        }
        sums
    }

    /// What the target and the generator used from second `main` on, `span` long.
    pub(crate) fn usage(&self, main: usize, span: Duration) -> (Option<Usage>, Usage) {
        let first = self.outside.get(main.saturating_sub(1)).copied().unwrap_or_default();
        let last = self.outside.last().copied().unwrap_or_default();
        let server = first.server.zip(last.server).map(|(a, b)| Usage::between(a, b, span));
        (server, Usage::between(first.generator, last.generator, span))
    }

    /// The time series, counted from second `main`.
    pub(crate) fn series(&self, main: usize) -> Vec<Second> {
        // The last second was not whole, nor was it looked at from outside.
        let seconds = self.intervals.iter().enumerate().take(self.outside.len());
        seconds.map(|(second, interval)| self.second(second, interval, main)).collect()
    }

    fn second(&self, second: usize, interval: &Interval, main: usize) -> Second {
        let outside = self.outside.get(second).copied().unwrap_or_default();
        let earlier = second.checked_sub(1).and_then(|second| self.outside.get(second)).copied();
        let lookups = interval.latencies.get(&Op::Lookup).or(interval.latencies.get(&Op::Miss));
        let at = |quantile| lookups.map_or(0, |l| l.corrected.value_at_quantile(quantile));
        let commands = [Op::Identify, Op::Register, Op::Unregister, Op::Ping];
        let count = |op: &Op| interval.latencies.get(op).map_or(0, |latency| latency.raw.len());
        let errors = [Count::Timeouts, Count::Refused, Count::Lost, Count::Wrong];
        let memory = outside.server.map(|sample| sample.resident);
        let cores = outside.server.zip(earlier.and_then(|earlier| earlier.server));
        Second {
            at: i64::try_from(second).unwrap_or(0) - i64::try_from(main).unwrap_or(0),
            offered: interval.counted(Count::Due),
            lookups: interval.counted(Count::Lookups),
            commands: commands.iter().map(count).sum(),
            p50: at(0.5),
            p99: at(0.99),
            max: lookups.map_or(0, |l| l.corrected.max()),
            errors: errors.iter().map(|kind| interval.counted(*kind)).sum(),
            connections: outside.connections,
            complete: outside.complete,
            server_memory: memory,
            server_cores: cores.map(|(now, then)| (now.cpu - then.cpu).max(0.0)),
            generator_busy: interval.busy,
        }
    }
}
