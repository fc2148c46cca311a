//! The generator's own ceiling: lookups at rising rates against a static server that this program
//! starts itself, until the verdict is that the generator was the bottleneck or answers fall
//! behind. What it cannot do here, it can do against no target on this machine.
//!
//! Must not: be run beside other load.

use std::time::Duration;

use super::play::{Piece, View, play};
use super::process::{Process, free_ports};
use super::statics;
use crate::input::scenario::{Arrivals, Scenario};
use crate::input::span::{Span as Length, show};
use crate::input::target::Target;
use crate::input::{Refused, refuse};
use crate::measure::ops::{Count, Op, Span};
use crate::measure::results::Results;

/// Rates that are tried, in lookups a second.
const RATES: [f64; 11] = [
    1_000.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0, 70_000.0,
    100_000.0, 150_000.0,
];
/// A target that answers less than this share of what is due has fallen behind.
const KEPT_UP: f64 = 0.97;

/// Tries the rates one after the other, with a line for each.
///
/// # Errors
/// When the static server does not start or the system refuses.
pub(crate) fn calibrate(
    threads: usize,
    step: Duration,
    view: &mut dyn View,
    mut say: impl FnMut(&str) -> Result<(), Refused>,
) -> Result<u8, Refused> {
    let (_, http) = free_ports()?;
    let program = std::env::current_exe().or_else(|error| {
        refuse(format!("this program's own path: {error}; start it by its path"))
    })?;
    let command = format!("'{}' {} --http {http}", program.display(), statics::COMMAND);
    // It has one port, which stands for both.
    let target = Target { tcp: http, http };
    let process = Process::start(&command, target)?;
    let mut piece = Piece::new("calibrate", scenario(step)?, target, threads);
    piece.process = Some(process);
    say(&format!(
        "{:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>12}",
        "offered/s", "answered/s", "p50", "p99", "own lag", "own cores", "server cores"
    ))?;
    let mut ceiling = None;
    for rate in RATES {
        for group in &mut piece.scenario.arrivals {
            group.rate = vec![(Length(Duration::ZERO), rate)];
        }
        let results = play(&mut piece, view)?;
        say(&line(rate, &results))?;
        let kept_up =
            results.lookup_rate() >= rate * KEPT_UP && results.total.counted(Count::Dropped) == 0;
        if results.verdict.bottleneck || !kept_up {
            for why in &results.verdict.reasons {
                say(&format!("at {rate:.0}/s the generator was the bottleneck: {why}"))?;
            }
            if !kept_up {
                say(&format!("at {rate:.0}/s the two together fell behind"))?;
            }
            break;
        }
        ceiling = Some(rate);
    }
    match ceiling {
        Some(rate) => say(&format!(
            "\nceiling: {rate:.0} lookups/s from {threads} threads on this machine, the static server beside them"
        ))?,
        None => {
            return refuse(
                "not even 1,000 lookups/s: this machine is busy with something else; stop it and try again",
            );
        }
    }
    Ok(0)
}

fn scenario(step: Duration) -> Result<Scenario, Refused> {
    let text = "about = 'the generator against a static server'\nduration = '3s'\nunchecked = true\n[topics]\ncount = 100\n";
    let mut scenario = Scenario::parse("calibrate", text)?;
    scenario.duration = Length(step);
    scenario.arrivals.push(Arrivals {
        connections: 64,
        rate: vec![(Length(Duration::ZERO), 1.0)],
        queue: 1000,
        missing: false,
    });
    Ok(scenario)
}

fn line(rate: f64, results: &Results) -> String {
    let lookup = results.corrected(Op::Lookup);
    let time = |micros| show(Duration::from_micros(micros));
    format!(
        "{rate:>10.0} {:>10.0} {:>10} {:>10} {:>10} {:>10.2} {:>12.2}",
        results.lookup_rate(),
        time(lookup.at("p50")),
        time(lookup.at("p99")),
        time(results.span(Span::Lag).unwrap_or_default().at("p99")),
        results.generator.cores,
        results.server.unwrap_or_default().cores
    )
}
