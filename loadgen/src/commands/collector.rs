//! Collects the reports of the threads and samples of both processes, second by second, and computes
//! sums, usage and the time series from them.
//!
//! Must not: control the run (that is `run`).

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::actors::shared::Shared;
use crate::engine::worker::Report;
use crate::measure::interval::Interval;
use crate::measure::ops::{Count, Delay, Op};
use crate::measure::second::Second;
use crate::measure::usage::{self, MachineSample, ProcessSample, Usage};

/// The gauges and both processes at the end of a second.
#[derive(Clone, Copy, Debug, Default)]
struct SecondSample {
    connections: u64,
    complete: u64,
    server: Option<ProcessSample>,
    generator: ProcessSample,
    machine: MachineSample,
}

/// The measurements of the run so far.
#[derive(Debug)]
pub(crate) struct Collector {
    reports: Receiver<Report>,
    pub(crate) intervals: Vec<Interval>,
    samples: Vec<SecondSample>,
    /// CPU seconds of the target's processes that have ended.
    ended_cpu: f64,
    /// The target is on another machine.
    remote: bool,
}

impl Collector {
    /// A collector of these reports; `remote`: the target is on another machine.
    pub(crate) fn new(reports: Receiver<Report>, remote: bool) -> Self {
        Self { reports, intervals: Vec::new(), samples: Vec::new(), ended_cpu: 0.0, remote }
    }

    /// Takes all reports that have arrived.
    pub(crate) fn take(&mut self) {
        while let Ok((second, mut interval)) = self.reports.try_recv() {
            let due = std::mem::take(&mut interval.due);
            if self.intervals.len() <= second {
                self.intervals.resize_with(second + 1, Interval::default);
            }
            self.intervals[second].add(&interval);
            // What a thread handled late belongs to the second in which it was due.
            for ((due, count), number) in due {
                self.intervals[due.min(second)].count(count, number);
            }
        }
    }

    /// Samples the gauges and both processes at the end of second number `second`; seconds that were
    /// skipped get the same sample.
    pub(crate) fn sample(&mut self, second: usize, shared: &Shared, server: Option<u32>) {
        let mut sample = server.and_then(usage::sample);
        if let Some(sample) = &mut sample {
            sample.cpu += self.ended_cpu;
        }
        let gauges = &shared.gauges;
        let now = SecondSample {
            connections: gauges.tcp.load(Relaxed) + gauges.http.load(Relaxed),
            complete: gauges.complete.load(Relaxed),
            server: sample.or_else(|| self.samples.last().and_then(|last| last.server)),
            generator: usage::sample(std::process::id()).unwrap_or_default(),
            machine: usage::machine(),
        };
        self.samples.resize(second, now);
        self.samples.push(now);
    }

    /// The target's process is about to end; its CPU time is added to that of the next one.
    pub(crate) fn server_ends(&mut self, server: Option<u32>) {
        self.ended_cpu += server.and_then(usage::sample).map_or(0.0, |sample| sample.cpu);
    }

    /// Sums over the seconds before `main` and over those from `main` on.
    pub(crate) fn sums(&self, main: usize) -> (Interval, Interval) {
        let mut sums = (Interval::default(), Interval::default());
        for (second, interval) in self.intervals.iter().enumerate() {
            if second < main { sums.0.add(interval) } else { sums.1.add(interval) }
        }
        for sum in [&mut sums.0, &mut sums.1] {
            for (count, excused) in
                [(Count::Missing, Count::Excused), (Count::WrongAnswers, Count::ExcusedAnswers)]
            {
                let excused = sum.counted(excused);
                let counted = &mut sum.counts[count as usize];
                *counted = counted.saturating_sub(excused);
            }
        }
        sums
    }

    /// The usage of the target and of the generator from second `main` on, over `duration`.
    pub(crate) fn usage(&self, main: usize, duration: Duration) -> (Option<Usage>, Usage) {
        let first = self.samples.get(main.saturating_sub(1)).copied().unwrap_or_default();
        let last = self.samples.last().copied().unwrap_or_default();
        let server = first.server.zip(last.server).map(|(a, b)| Usage::between(a, b, duration));
        (server, Usage::between(first.generator, last.generator, duration))
    }

    /// The time series; second `main` has the time 0.
    pub(crate) fn series(&self, main: usize) -> Vec<Second> {
        // The last second was not complete and has no sample.
        let seconds = self.intervals.iter().enumerate().take(self.samples.len());
        seconds.map(|(second, interval)| self.second(second, interval, main)).collect()
    }

    fn second(&self, second: usize, interval: &Interval, main: usize) -> Second {
        let samples = self.samples.get(second).copied().unwrap_or_default();
        let earlier = second.checked_sub(1).and_then(|second| self.samples.get(second)).copied();
        let lookups = interval.latencies.get(&Op::Lookup).or(interval.latencies.get(&Op::Miss));
        let at = |quantile| lookups.map_or(0, |l| l.corrected.value_at_quantile(quantile));
        let commands = [Op::Identify, Op::Register, Op::Unregister, Op::Ping];
        let count = |op: &Op| interval.latencies.get(op).map_or(0, |latency| latency.raw.len());
        let memory = samples.server.map(|sample| sample.resident);
        let cores = samples.server.zip(earlier.and_then(|earlier| earlier.server));
        let cores = cores.map(|(now, then)| (now.cpu - then.cpu).max(0.0));
        let grown = |figure: fn(&SecondSample) -> Option<f64>| {
            Some((figure(&samples)? - figure(&earlier?)?).max(0.0))
        };
        let generator = grown(|sample| Some(sample.generator.cpu));
        // On another machine the target uses none of this one.
        let server = cores.or(self.remote.then_some(0.0));
        let others = grown(|sample| sample.machine.cpu).zip(generator.zip(server));
        let lag = interval.delays.get(&Delay::Lag);
        Second {
            at: i64::try_from(second).unwrap_or(0) - i64::try_from(main).unwrap_or(0),
            offered: interval.counted(Count::Due),
            lookups: interval.counted(Count::Lookups),
            commands: commands.iter().map(count).sum(),
            p50: at(0.5),
            p99: at(0.99),
            max: lookups.map_or(0, |l| l.corrected.max()),
            errors: interval.sum(&Count::ERRORS),
            connections: samples.connections,
            complete: samples.complete,
            server_memory: memory,
            server_cores: cores,
            dropped: interval.counted(Count::Dropped),
            lag: lag.map_or(0, |lag| lag.value_at_quantile(0.99)),
            generator_busy: interval.busy,
            generator_waited: interval.waited,
            cpu_pressure: grown(|sample| sample.machine.pressure).map(|share| share.min(1.0)),
            others_cores: others.map(|(all, (own, server))| (all - own - server).max(0.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handled_late_is_in_the_second_in_which_it_was_due() {
        let (sender, reports) = std::sync::mpsc::channel();
        let mut collector = Collector::new(reports, false);
        let mut late = Interval::default();
        late.count(Count::Lookups, 1);
        (0..3).for_each(|_| late.count_due(2, Count::Due));
        late.count_due(1, Count::Dropped);
        late.count_due(4, Count::Due);
        sender.send((4, late)).expect("the collector has the receiver");
        collector.take();
        let of = |second: usize, count| collector.intervals[second].counted(count);
        assert_eq!([1, 2, 3, 4].map(|second| of(second, Count::Due)), [0, 3, 0, 1]);
        assert_eq!((of(1, Count::Dropped), of(4, Count::Lookups)), (1, 1));
        assert_eq!(collector.sums(0).1.counted(Count::Due), 4);
    }
}
