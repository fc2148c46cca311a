//! The generator's own maximum: lookups at rising rates against a static server that this program
//! starts, until the generator is the bottleneck, the machine is busy or responses fall behind. The
//! generator cannot exceed this rate against any target on this machine.
//!
//! Must not: be run beside other load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::process::{Process, free_ports};
use super::run::{ProgressView, RunSpec, run};
use super::static_server;
use crate::input::human_duration::{HumanDuration, show_micros};
use crate::input::scenario::Scenario;
use crate::input::target::Target;
use crate::input::{Error, fail};
use crate::measure::ops::{Count, Delay, Op};
use crate::measure::results::Results;

/// The rates, in lookups per second.
const RATES: [f64; 11] = [
    1_000.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0, 70_000.0,
    100_000.0, 150_000.0,
];
/// A target that answers less than this share of the offered rate has fallen behind.
const MIN_ANSWERED: f64 = 0.97;

/// Measures the rates one after the other and prints a line for each.
///
/// # Errors
/// When the static server does not start or a system call fails.
pub(crate) fn calibrate(
    threads: usize,
    step: Duration,
    stop: &Arc<AtomicBool>,
    view: &mut dyn ProgressView,
    mut say: impl FnMut(&str) -> Result<(), Error>,
) -> Result<u8, Error> {
    let (_, http) = free_ports()?;
    let program = std::env::current_exe()
        .or_else(|error| fail(format!("this program's own path: {error}; start it by its path")))?;
    let command = format!("'{}' {} --http {http}", program.display(), static_server::COMMAND);
    // It has one port, which serves as both.
    let target = Target { tcp: http, http };
    let process = Process::start(&command, target, stop)?;
    let mut spec = RunSpec::new("calibrate", scenario(step)?, target, threads);
    spec.process = Some(process);
    spec.stop = Arc::clone(stop);
    say(&format!(
        "{:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>12}",
        "offered/s", "answered/s", "p50", "p99", "own lag", "own cores", "server cores"
    ))?;
    let mut maximum = None;
    for rate in RATES {
        for group in &mut spec.scenario.arrivals {
            group.rate = vec![(HumanDuration(Duration::ZERO), rate)];
        }
        let results = match run(&mut spec, view) {
            // An interrupted step says nothing about its rate.
            _ if stop.load(Relaxed) => {
                say("interrupted")?;
                break;
            }
            results => results?,
        };
        say(&line(rate, &results))?;
        let kept_up = results.lookup_rate() >= rate * MIN_ANSWERED
            && results.total.counted(Count::Dropped) == 0;
        let health = &results.generator_health;
        if !health.of_target() || !kept_up {
            for reason in &health.reasons {
                say(&format!("at {rate:.0}/s {}: {reason}", health.outcome.text()))?;
            }
            if !kept_up {
                say(&format!("at {rate:.0}/s the responses fell behind"))?;
            }
            break;
        }
        maximum = Some(rate);
    }
    match maximum {
        Some(rate) => say(&format!(
            "\nmaximum: {rate:.0} lookups/s with {threads} threads, on the same machine as the static server"
        ))
        .map(|()| 0),
        None => fail(
            "interrupted, or not even 1,000 lookups/s: the machine is busy with other work; stop it and try again",
        ),
    }
}

fn scenario(step: Duration) -> Result<Scenario, Error> {
    let text = "about = 'the generator against a static server'\nduration = '3s'\nunchecked = true
[topics]\ncount = 100\n[[arrivals]]\nconnections = 64\nrate = [['0s', 1.0]]\nqueue = 1000";
    let mut scenario = Scenario::parse("calibrate", text)?;
    scenario.duration = HumanDuration(step);
    Ok(scenario)
}

fn line(rate: f64, results: &Results) -> String {
    let lookup = results.corrected(Op::Lookup);
    format!(
        "{rate:>10.0} {:>10.0} {:>10} {:>10} {:>10} {:>10.2} {:>12.2}",
        results.lookup_rate(),
        show_micros(lookup.at("p50")),
        show_micros(lookup.at("p99")),
        show_micros(results.delay(Delay::Lag).unwrap_or_default().at("p99")),
        results.generator.cores,
        results.server.unwrap_or_default().cores
    )
}
