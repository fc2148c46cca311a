//! A load generator for NSQ lookupds that tells the truth.
//!
//! The rooms, in reading order: `input` (what the operator hands in), `model` (what is played and
//! what is true), `actors` (the fleet, without sockets), `engine` (threads, epoll, timers),
//! `measure` (what was measured and what it means), `modes` (what the program can be told to do),
//! `report` (what people are shown). Bytes and moments flow from `engine` to `actors` and back;
//! `measure` and `model` know neither.
//!
//! Exit codes: 0 good, 1 could not run, 2 bad usage, 3 the generator was the bottleneck, 4 a
//! threshold was missed, 5 a wrong answer was seen.

mod actors;
mod cli;
mod engine;
mod input;
mod measure;
mod model;
mod modes;
mod num;
mod report;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

use cli::{Cli, Command};
use input::scenario::{Overrides, Scenario};
use input::{Refused, refuse, shipped, target::Target};
use modes::compare::{Comparison, Side};
use modes::play::{Piece, play};
use modes::process::{Process, free_ports};
use report::live::Live;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => run_scenario(&run),
        Command::Compare(compare) => run_compare(&compare),
        Command::Peak(peak) => run_peak(&peak),
        Command::Soak(soak) => run_soak(&soak),
        Command::Calibrate(calibrate) => {
            let mut view = Live::new("loadgen calibrate".to_owned()).quiet();
            modes::calibrate::calibrate(threads(calibrate.threads), calibrate.step, &mut view, say)
        }
        Command::List => list(),
        Command::Static { http } => modes::statics::serve(&http),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(refused) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "loadgen: {refused}");
            ExitCode::from(1)
        }
    }
}

fn say(text: &str) -> Result<(), Refused> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| Refused(format!("stdout: {error}")))
}

fn threads(asked: Option<usize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    asked.unwrap_or(cores).clamp(1, 64)
}

fn list() -> Result<u8, Refused> {
    for (name, _) in shipped::ALL {
        say(&format!("{name:<10} {}", shipped::load(name)?.about))?;
    }
    Ok(0)
}

fn changes(playing: &cli::Playing) -> Overrides {
    Overrides {
        scale: playing.scale,
        duration: playing.duration,
        seed: playing.seed,
        slo: playing.slo.clone(),
    }
}

/// A piece for the target that the flags name, started when they say how.
fn piece(
    name: &str,
    scenario: Scenario,
    aim: &cli::Aim,
    playing: &cli::Playing,
) -> Result<Piece, Refused> {
    let scenario = scenario.with(name, &changes(playing))?;
    let defaults = match aim.server_cmd {
        Some(_) => free_ports()?,
        None => {
            (SocketAddr::from(([127, 0, 0, 1], 4160)), SocketAddr::from(([127, 0, 0, 1], 4161)))
        }
    };
    let or = |given: &Option<String>, default: SocketAddr| {
        given.clone().unwrap_or_else(|| default.to_string())
    };
    let (tcp, http) = (or(&aim.tcp, defaults.0), or(&aim.http, defaults.1));
    let target = Target::new(&tcp, &http, aim.i_own_this_target)?;
    let mut piece = Piece::new(name, scenario, target, threads(playing.threads));
    piece.process =
        aim.server_cmd.as_ref().map(|command| Process::start(command, target)).transpose()?;
    piece.pid = aim.server_pid;
    piece.command.clone_from(&aim.server_cmd);
    let stop = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&piece.stop));
    stop.map_err(|error| Refused(format!("SIGINT: {error}; run it without a debugger")))?;
    Ok(piece)
}

fn run_scenario(run: &cli::Run) -> Result<u8, Refused> {
    let scenario = shipped::load(&run.scenario)?;
    let mut view = Live::new(format!("loadgen run {}: {}", run.scenario, scenario.about));
    let mut piece = piece(&run.scenario, scenario, &run.aim, &run.playing)?;
    let results = play(&mut piece, &mut view)?;
    say(&report::table::table(&results))?;
    say(&report::files::write(&results, &run.out)?)?;
    Ok(results.exit())
}

fn run_peak(peak: &cli::Peak) -> Result<u8, Refused> {
    let mut piece = piece("peak", modes::peak::scenario()?, &peak.aim, &peak.playing)?;
    let mut view = Live::new("loadgen peak".to_owned()).quiet();
    modes::peak::peak(&mut piece, &peak.op, peak.connections, &peak.depth, &mut view, say)
}

fn run_soak(soak: &cli::Soak) -> Result<u8, Refused> {
    let scenarios = modes::compare::scenarios(&soak.scenarios, &changes(&soak.playing))?;
    let Some((name, _)) = scenarios.first() else {
        return refuse("--scenarios: name at least one, as churn,hostile");
    };
    let mut piece = piece(name, shipped::load(name)?, &soak.aim, &soak.playing)?;
    let mut view = Live::new("loadgen soak".to_owned()).quiet();
    let planned = modes::soak::Soak { scenarios, length: soak.length, every: soak.every };
    let course = modes::soak::soak(&mut piece, &planned, &mut view, say)?;
    say(&report::soak::ending(&course))?;
    say(&report::soak::write(&course, &soak.out)?)?;
    Ok(course.exit())
}

fn run_compare(compare: &cli::Compare) -> Result<u8, Refused> {
    let (a, b) = compare.names.split_once(',').unwrap_or((&compare.names, "B"));
    let side =
        |name: &str, command: &str| Side { name: name.to_owned(), command: command.to_owned() };
    let comparison = Comparison {
        sides: [side(a, &compare.a), side(b, &compare.b)],
        scenarios: modes::compare::scenarios(&compare.scenarios, &changes(&compare.playing))?,
        rounds: compare.rounds.into(),
        threads: threads(compare.playing.threads),
    };
    let mut view = Live::new(format!("loadgen compare {a} and {b}")).quiet();
    modes::compare::compare(&comparison, &compare.out, &mut view, say)
}
