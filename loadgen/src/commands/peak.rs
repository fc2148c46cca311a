//! Peak throughput: a closed loop of N connections at rising depths. Its latencies are service times
//! under full load; `run` measures latency at a given rate.
//!
//! Must not: print.

use std::sync::atomic::Ordering::Relaxed;

use super::run::{ProgressView, RunSpec, run};
use crate::input::Error;
use crate::input::human_duration::show_micros;
use crate::input::scenario::{Closed, ClosedOp, Scenario};
use crate::measure::ops::Op;

/// The scenario: a registry of nsqds beside the closed loop.
pub(crate) const SCENARIO: &str = include_str!("../../scenarios/peak.toml");

/// Measures each operation at each depth and reports a line for each.
///
/// # Errors
/// When the target is not reachable or a system call fails.
pub(crate) fn peak(
    spec: &mut RunSpec,
    ops: &[ClosedOp],
    connections: usize,
    depths: &[usize],
    view: &mut dyn ProgressView,
    mut say: impl FnMut(&str) -> Result<(), Error>,
) -> Result<u8, Error> {
    say(&format!(
        "{:<9} {:>6} {:>6} {:>11} {:>10} {:>10} {:>12} {:>11}",
        "op", "conns", "depth", "per second", "p50", "p99", "server µs/op", "own cores"
    ))?;
    let mut worst = 0;
    for op in ops {
        for depth in depths {
            if spec.stop.load(Relaxed) {
                say("interrupted")?;
                return Ok(worst);
            }
            spec.scenario.closed = Some(Closed { connections, depth: *depth, op: *op });
            spec.scenario.check("peak")?;
            let results = run(spec, view)?;
            let op = match op {
                ClosedOp::Ping => Op::Ping,
                ClosedOp::Register => Op::Register,
                ClosedOp::Lookup => Op::Lookup,
            };
            let latency = results.corrected(op);
            let count = latency.count as f64;
            let cost = results.server.map_or_else(
                || "-".to_owned(),
                |server| format!("{:.1}", server.cpu * 1e6 / count.max(1.0)),
            );
            let health = &results.generator_health;
            let note = if health.of_target() { "" } else { health.outcome.text() };
            say(&format!(
                "{:<9} {connections:>6} {depth:>6} {:>11.0} {:>10} {:>10} {cost:>12} {:>11.2}  {note}",
                op.name(),
                count / results.duration.as_secs_f64(),
                show_micros(latency.at("p50")),
                show_micros(latency.at("p99")),
                results.generator.cores
            ))?;
            worst = worst.max(results.exit());
        }
    }
    Ok(worst)
}

/// The scenario that `peak` runs.
///
/// # Errors
/// Never for the built-in text.
pub(crate) fn scenario() -> Result<Scenario, Error> {
    Scenario::parse("peak", SCENARIO)
}
