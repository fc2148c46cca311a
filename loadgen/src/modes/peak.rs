//! Peak throughput: a closed loop of N connections at rising depths.
//!
//! Must not: be read as latency under a load of its own making; that is what `run` is for.

use std::time::Duration;

use super::play::{Piece, View, play};
use crate::input::Refused;
use crate::input::scenario::{Closed, ClosedOp, Scenario};
use crate::input::span::show;
use crate::measure::ops::Op;

/// The closed loop's surroundings: a registry to look things up in.
pub(crate) const SCENARIO: &str = include_str!("../../scenarios/peak.toml");

/// Measures each operation at each depth, with a line for each.
///
/// # Errors
/// When the target refuses or the system does.
pub(crate) fn peak(
    piece: &mut Piece,
    ops: &[ClosedOp],
    connections: usize,
    depths: &[usize],
    view: &mut dyn View,
    mut say: impl FnMut(&str) -> Result<(), Refused>,
) -> Result<u8, Refused> {
    say(&format!(
        "{:<9} {:>6} {:>6} {:>11} {:>10} {:>10} {:>12} {:>11}",
        "op", "conns", "depth", "per second", "p50", "p99", "server µs/op", "own cores"
    ))?;
    let mut worst = 0;
    for op in ops {
        for depth in depths {
            piece.scenario.closed = Some(Closed { connections, depth: *depth, op: *op });
            let results = play(piece, view)?;
            let (kind, name) = match op {
                ClosedOp::Ping => (Op::Ping, "ping"),
                ClosedOp::Register => (Op::Register, "register"),
                ClosedOp::Lookup => (Op::Lookup, "lookup"),
            };
            let latency = results.corrected(kind);
            let count = latency.count as f64;
            let cost = results.server.map_or_else(
                || "-".to_owned(),
                |server| format!("{:.1}", server.cpu * 1e6 / count.max(1.0)),
            );
            let time = |micros| show(Duration::from_micros(micros));
            let note =
                if results.verdict.bottleneck { "  generator was the bottleneck" } else { "" };
            say(&format!(
                "{name:<9} {connections:>6} {depth:>6} {:>11.0} {:>10} {:>10} {cost:>12} {:>11.2}{note}",
                count / results.duration.as_secs_f64(),
                time(latency.at("p50")),
                time(latency.at("p99")),
                results.generator.cores
            ))?;
            worst = worst.max(results.exit());
        }
    }
    Ok(worst)
}

/// The scenario that `peak` plays.
///
/// # Errors
/// Never with the shipped text; the signature is that of every other scenario's.
pub(crate) fn scenario() -> Result<Scenario, Refused> {
    Scenario::parse("peak", SCENARIO)
}
