//! Compares two lookupds: runs each scenario in several rounds; in each round both are started and
//! loaded one after the other, in an order that alternates between rounds.
//!
//! Must not: run both at once, since they would share the machine; or write files (the caller does).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::process::{Process, free_ports};
use super::run::{ProgressView, RunSpec, run};
use crate::input::Error;
use crate::input::scenario::{Overrides, Scenario};
use crate::input::target::Target;
use crate::measure::ops::{Count, Delay, Op};
use crate::measure::ratio::{Ratio, ratio};
use crate::measure::results::Results;

/// One of the two lookupds.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) command: String,
}

/// The parameters of a comparison.
pub(crate) struct Comparison {
    pub(crate) sides: [Side; 2],
    pub(crate) scenarios: Vec<(String, Scenario)>,
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
    /// Set by a signal handler to end the comparison early.
    pub(crate) stop: Arc<AtomicBool>,
}

/// One figure of one scenario, for both sides and all rounds.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) lower_is_better: bool,
    pub(crate) values: [Vec<f64>; 2],
    pub(crate) ratio: Option<Ratio>,
}

/// The results of all rounds of one scenario.
pub(crate) struct ScenarioComparison {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) results: [Vec<Results>; 2],
    pub(crate) figures: Vec<Figure>,
}

/// Loads the scenarios named in a comma-separated list.
///
/// # Errors
/// When one does not exist.
pub(crate) fn scenarios(
    names: &str,
    changes: &Overrides,
) -> Result<Vec<(String, Scenario)>, Error> {
    let load = |name: &str| {
        let scenario = crate::input::builtin::load(name)?.with_overrides(name, changes)?;
        Ok((name.to_owned(), scenario))
    };
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(load).collect()
}

/// Runs all rounds; `say` gets a line for each. After each scenario, `report` gets all results so far
/// and returns a table of the last one. An interrupted comparison reports the rounds that are
/// complete. Returns the highest exit code of the runs.
///
/// # Errors
/// When a side does not start, a run fails, or `say` or `report` does.
pub(crate) fn compare(
    comparison: &Comparison,
    view: &mut dyn ProgressView,
    mut say: impl FnMut(&str) -> Result<(), Error>,
    mut report: impl FnMut(&[ScenarioComparison]) -> Result<String, Error>,
) -> Result<u8, Error> {
    let mut all = Vec::new();
    let mut worst = 0;
    for (name, scenario) in &comparison.scenarios {
        let mut results = [Vec::new(), Vec::new()];
        let stopped = || comparison.stop.load(Relaxed);
        'rounds: for round in 0..comparison.rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                let one = match run_side(comparison, name, scenario, side, view) {
                    // An interrupted run is shorter than the others.
                    _ if stopped() => break 'rounds,
                    one => one?,
                };
                say(&format!(
                    "{name} round {} {}: {}",
                    round + 1,
                    comparison.sides[side].name,
                    line(&one)
                ))?;
                worst = worst.max(one.exit());
                results[side].push(one);
            }
        }
        let complete = results[0].len().min(results[1].len());
        results.iter_mut().for_each(|side| side.truncate(complete));
        if stopped() {
            say("interrupted; only complete rounds are reported")?;
        }
        if complete == 0 {
            break;
        }
        let figures = figures(&results);
        let (scenario, about) = (name.clone(), scenario.about.clone());
        all.push(ScenarioComparison { scenario, about, results, figures });
        say(&report(&all)?)?;
        if stopped() {
            break;
        }
    }
    Ok(worst)
}

fn run_side(
    comparison: &Comparison,
    name: &str,
    scenario: &Scenario,
    side: usize,
    view: &mut dyn ProgressView,
) -> Result<Results, Error> {
    let command = &comparison.sides[side].command;
    let (tcp, http) = free_ports()?;
    let target = Target { tcp, http };
    let mut spec = RunSpec::new(name, scenario.clone(), target, comparison.threads);
    spec.process = Some(Process::start(command, target, &comparison.stop)?);
    spec.command = Some(command.clone());
    spec.stop = Arc::clone(&comparison.stop);
    run(&mut spec, view)
}

fn line(results: &Results) -> String {
    let lookup = results.corrected(Op::Lookup);
    let bottleneck =
        if results.generator_health.bottleneck { ", generator was the bottleneck" } else { "" };
    format!(
        "{:.0} lookups/s, p50 {} µs, p99 {} µs, {} wrong answers{bottleneck}",
        results.lookup_rate(),
        lookup.at("p50"),
        lookup.at("p99"),
        results.wrong_answers()
    )
}

type Extract = fn(&Results) -> Option<f64>;

fn latency(results: &Results, op: Op, at: &str) -> Option<f64> {
    let summary = results.corrected(op);
    (summary.count > 0).then(|| summary.at(at) as f64 / 1e3)
}

fn delay(results: &Results, delay: Delay, at: &str) -> Option<f64> {
    results.delay(delay).map(|summary| summary.at(at) as f64 / 1e3)
}

/// The compared figures: name, unit, whether lower is better, how it is taken from a run.
const FIGURES: [(&str, &str, bool, Extract); 19] = [
    ("lookup p50", "ms", true, |r| latency(r, Op::Lookup, "p50")),
    ("lookup p99", "ms", true, |r| latency(r, Op::Lookup, "p99")),
    ("lookup p99.9", "ms", true, |r| latency(r, Op::Lookup, "p99_9")),
    ("lookup max", "ms", true, |r| latency(r, Op::Lookup, "max")),
    ("404 lookup p99", "ms", true, |r| latency(r, Op::Miss, "p99")),
    ("PING p99", "ms", true, |r| latency(r, Op::Ping, "p99")),
    ("REGISTER p99", "ms", true, |r| latency(r, Op::Register, "p99")),
    ("listing p99", "ms", true, |r| latency(r, Op::Listing, "p99")),
    ("REGISTER → shown p50", "ms", true, |r| delay(r, Delay::Appeared, "p50")),
    ("REGISTER → shown max", "ms", true, |r| delay(r, Delay::Appeared, "max")),
    ("killed → gone p50", "ms", true, |r| delay(r, Delay::Vanished, "p50")),
    ("killed → gone max", "ms", true, |r| delay(r, Delay::Vanished, "max")),
    ("fleet complete after", "s", true, |r| r.recovery.as_ref()?.registered),
    ("all shown after", "s", true, |r| r.recovery.as_ref()?.shown),
    ("knee", "lookups/s", false, |r| r.knee),
    ("lookups answered", "1/s", false, |r| Some(r.lookup_rate())),
    ("unanswered and timeouts", "", true, |r| {
        Some((r.total.counted(Count::Unanswered) + r.total.counted(Count::Timeouts)) as f64)
    }),
    ("target's CPU", "s", true, |r| r.server.map(|server| server.cpu)),
    ("target's peak memory", "MB", true, |r| r.server.map(|s| s.peak as f64 / 1_048_576.0)),
];

fn figures(results: &[Vec<Results>; 2]) -> Vec<Figure> {
    let one = |(name, unit, lower_is_better, extract): &(&str, &'static str, bool, Extract)| {
        let values =
            [0, 1].map(|side| results[side].iter().filter_map(extract).collect::<Vec<_>>());
        let pairs: Vec<_> = values[0].iter().copied().zip(values[1].iter().copied()).collect();
        // Rounds can be paired only when both sides have the figure in every round.
        let paired = values.iter().all(|values| values.len() == results[0].len());
        let ratio = if paired { ratio(&pairs, 1) } else { None };
        let some = values.iter().flatten().any(|value| *value > 0.0);
        some.then(|| Figure {
            name: (*name).to_owned(),
            unit,
            lower_is_better: *lower_is_better,
            values,
            ratio,
        })
    };
    FIGURES.iter().filter_map(one).collect()
}
