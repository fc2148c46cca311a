//! Two lookupds against each other: each scenario in several rounds, in each round one after the
//! other, the order swapped from round to round, each started anew by its own command.
//!
//! Must not: run both at once; they would compete.

use std::path::Path;

use serde_json::{Value, json};

use super::play::{Piece, View, play};
use super::process::{Process, free_ports};
use crate::input::scenario::{Overrides, Scenario};
use crate::input::target::Target;
use crate::input::{Refused, refuse};
use crate::measure::ops::{Count, Op, Span};
use crate::measure::ratio::{Ratio, median, ratio};
use crate::measure::results::{FORM, Results};
use crate::report;

/// One of the two.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) command: String,
}

/// What is compared.
pub(crate) struct Comparison {
    pub(crate) sides: [Side; 2],
    pub(crate) scenarios: Vec<(String, Scenario)>,
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
}

/// One figure of one scenario, of both sides in all rounds.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// Less is better.
    pub(crate) less: bool,
    pub(crate) values: [Vec<f64>; 2],
    pub(crate) ratio: Option<Ratio>,
}

/// One scenario's rounds.
pub(crate) struct Compared {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) results: [Vec<Results>; 2],
    pub(crate) figures: Vec<Figure>,
}

/// Loads the scenarios to compare.
///
/// # Errors
/// When one does not exist.
pub(crate) fn scenarios(
    names: &str,
    changes: &Overrides,
) -> Result<Vec<(String, Scenario)>, Refused> {
    let load = |name: &str| {
        let scenario = crate::input::shipped::load(name)?.with(name, changes)?;
        Ok((name.to_owned(), scenario))
    };
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(load).collect()
}

/// Plays all rounds and writes `compare.html` and `compare.json`.
///
/// # Errors
/// When a side does not start, a run cannot be played or a file not be written.
pub(crate) fn compare(
    comparison: &Comparison,
    directory: &Path,
    view: &mut dyn View,
    mut say: impl FnMut(&str) -> Result<(), Refused>,
) -> Result<u8, Refused> {
    let mut all = Vec::new();
    let mut worst = 0;
    for (name, scenario) in &comparison.scenarios {
        let mut results = [Vec::new(), Vec::new()];
        for round in 0..comparison.rounds {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                let one = once(comparison, name, scenario, side, view)?;
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
        let figures = figures(&results);
        let compared =
            Compared { scenario: name.clone(), about: scenario.about.clone(), results, figures };
        say(&report::versus::table(&comparison.sides, &compared))?;
        all.push(compared);
        // After each scenario, so that an interrupted comparison leaves what it has.
        write(comparison, &all, directory)?;
    }
    say(&format!("report: {} (and .json beside it)", directory.join("compare.html").display()))?;
    Ok(worst)
}

fn once(
    comparison: &Comparison,
    name: &str,
    scenario: &Scenario,
    side: usize,
    view: &mut dyn View,
) -> Result<Results, Refused> {
    let command = &comparison.sides[side].command;
    let (tcp, http) = free_ports()?;
    let target = Target { tcp, http };
    let mut piece = Piece::new(name, scenario.clone(), target, comparison.threads);
    piece.process = Some(Process::start(command, target)?);
    piece.command = Some(command.clone());
    play(&mut piece, view)
}

fn line(results: &Results) -> String {
    let lookup = results.corrected(Op::Lookup);
    let bottleneck = if results.verdict.bottleneck { ", generator was the bottleneck" } else { "" };
    format!(
        "{:.0} lookups/s, p50 {} µs, p99 {} µs, {} wrong answers{bottleneck}",
        results.lookup_rate(),
        lookup.at("p50"),
        lookup.at("p99"),
        results.wrong_answers()
    )
}

type Pick = fn(&Results) -> Option<f64>;

fn latency(results: &Results, op: Op, at: &str) -> Option<f64> {
    let summary = results.corrected(op);
    (summary.count > 0).then(|| summary.at(at) as f64 / 1e3)
}

fn span(results: &Results, span: Span, at: &str) -> Option<f64> {
    results.span(span).map(|summary| summary.at(at) as f64 / 1e3)
}

/// The figures that are compared: name, unit, less is better, how it is had of a run.
const FIGURES: [(&str, &str, bool, Pick); 19] = [
    ("lookup p50", "ms", true, |r| latency(r, Op::Lookup, "p50")),
    ("lookup p99", "ms", true, |r| latency(r, Op::Lookup, "p99")),
    ("lookup p99.9", "ms", true, |r| latency(r, Op::Lookup, "p99_9")),
    ("lookup max", "ms", true, |r| latency(r, Op::Lookup, "max")),
    ("404 lookup p99", "ms", true, |r| latency(r, Op::Miss, "p99")),
    ("PING p99", "ms", true, |r| latency(r, Op::Ping, "p99")),
    ("REGISTER p99", "ms", true, |r| latency(r, Op::Register, "p99")),
    ("listing p99", "ms", true, |r| latency(r, Op::Listing, "p99")),
    ("REGISTER → shown p50", "ms", true, |r| span(r, Span::Appeared, "p50")),
    ("REGISTER → shown max", "ms", true, |r| span(r, Span::Appeared, "max")),
    ("killed → gone p50", "ms", true, |r| span(r, Span::Vanished, "p50")),
    ("killed → gone max", "ms", true, |r| span(r, Span::Vanished, "max")),
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
    let one = |(name, unit, less, pick): &(&str, &'static str, bool, Pick)| {
        let values = [0, 1].map(|side| results[side].iter().filter_map(pick).collect::<Vec<_>>());
        let pairs: Vec<_> = values[0].iter().copied().zip(values[1].iter().copied()).collect();
        // A round in which one side has no such figure breaks the pairing.
        let paired = values.iter().all(|values| values.len() == results[0].len());
        let ratio = if paired { ratio(&pairs, 1) } else { None };
        let some = values.iter().flatten().any(|value| *value > 0.0);
        some.then(|| Figure { name: (*name).to_owned(), unit, less: *less, values, ratio })
    };
    FIGURES.iter().filter_map(one).collect()
}

fn write(comparison: &Comparison, all: &[Compared], directory: &Path) -> Result<(), Refused> {
    let put = |name: &str, text: String| {
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(directory.join(name), text))
            .or_else(|error| {
                refuse(format!("{}: {error}; name another --out", directory.display()))
            })
    };
    put("compare.html", report::versus::html(&comparison.sides, all))?;
    put("compare.json", format!("{:#}", json(comparison, all)))
}

fn json(comparison: &Comparison, all: &[Compared]) -> Value {
    let figure = |figure: &Figure| {
        json!({
            "name": figure.name, "unit": figure.unit, "less_is_better": figure.less,
            "a": figure.values[0], "b": figure.values[1],
            "median_a": median(&figure.values[0]), "median_b": median(&figure.values[1]),
            "ratio": figure.ratio,
        })
    };
    let one = |compared: &Compared| {
        json!({
            "scenario": compared.scenario,
            "figures": compared.figures.iter().map(figure).collect::<Vec<_>>(),
            "runs": compared.results.each_ref().map(|side| side.iter().map(report::json::json).collect::<Vec<_>>()),
        })
    };
    let side = |side: &Side| json!({ "name": side.name, "command": side.command });
    json!({
        "form": FORM,
        "a": side(&comparison.sides[0]),
        "b": side(&comparison.sides[1]),
        "rounds": comparison.rounds,
        "scenarios": all.iter().map(one).collect::<Vec<_>>(),
    })
}
