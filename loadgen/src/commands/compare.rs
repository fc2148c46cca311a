//! Compares two lookupds: runs each scenario in several rounds; in each round both are started and
//! loaded one after the other, in an order that alternates between rounds.
//!
//! Must not: run both at once, since they would share the machine; or write files (the caller does).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::Value;

use super::process::{Process, free_ports};
use super::run::{ProgressView, RunSpec, run};
use crate::input::Error;
use crate::input::scenario::{Overrides, Scenario};
use crate::input::target::Target;
use crate::measure::figures::{Figure, counted, figures, left_out};
use crate::measure::json::json;
use crate::measure::ops::Op;
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

impl Comparison {
    /// Whether a signal has ended it.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

/// The results of all rounds of one scenario.
#[derive(Debug)]
pub(crate) struct ScenarioComparison {
    pub(crate) scenario: String,
    pub(crate) about: String,
    /// By side, in the order of the rounds: as JSON, and whole unless they were stored.
    pub(crate) runs: [Vec<Value>; 2],
    pub(crate) results: [Vec<Results>; 2],
    pub(crate) figures: Vec<Figure>,
    /// The rounds that are not left out.
    pub(crate) counted: usize,
    /// A line for each run whose round is left out.
    pub(crate) left_out: Vec<String>,
}

impl ScenarioComparison {
    /// Compares the runs of both sides round by round.
    pub(crate) fn new(
        sides: &[Side; 2],
        scenario: &str,
        about: &str,
        runs: [Vec<Value>; 2],
    ) -> Self {
        let names = sides.each_ref().map(|side| side.name.as_str());
        Self {
            scenario: scenario.to_owned(),
            about: about.to_owned(),
            figures: figures(&runs),
            counted: counted(&runs),
            left_out: left_out(names, &runs),
            runs,
            results: [Vec::new(), Vec::new()],
        }
    }
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
        'rounds: for round in 0..comparison.rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                let one = match run_side(comparison, name, scenario, side, view) {
                    // An interrupted run is shorter than the others.
                    _ if comparison.stopped() => break 'rounds,
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
        if comparison.stopped() {
            say("interrupted; only complete rounds are reported")?;
        }
        if complete == 0 {
            break;
        }
        let runs = results.each_ref().map(|side| side.iter().map(json).collect());
        let compared = ScenarioComparison::new(&comparison.sides, name, &scenario.about, runs);
        all.push(ScenarioComparison { results, ..compared });
        say(&report(&all)?)?;
        if comparison.stopped() {
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
    let health = &results.generator_health;
    let verdict = if health.of_target() { "" } else { health.outcome.text() };
    let comma = if verdict.is_empty() { "" } else { ", " };
    format!(
        "{:.0} lookups/s, p50 {} µs, p99 {} µs, {} wrong answers{comma}{verdict}",
        results.lookup_rate(),
        lookup.at("p50"),
        lookup.at("p99"),
        results.wrong_answers()
    )
}
