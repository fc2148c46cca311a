//! A load generator for NSQ lookupds that verifies every response.
//!
//! The modules, each of which imports only those before it: `input` (the operator's input), `model`
//! (the plan of a run and the oracle), `measure` (measurements and their evaluation), `actors` (the
//! fleet as state machines without sockets), `engine` (threads, epoll, timers), `hostile` (actors that
//! cost a target much), `commands` (what the program can do), `report` (its output). `engine` delivers bytes and timer events to `actors` and
//! performs the actions they return.
//!
//! Exit codes: 0 passed, 1 could not run, 2 bad usage, 3 the generator was the bottleneck, 4 a
//! threshold was missed or too many requests failed, 5 wrong answers, 6 the target is gone.

mod actors;
mod cli;
mod clock;
mod commands;
mod engine;
mod hostile;
mod input;
mod measure;
mod model;
mod num;
mod report;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;

use cli::{Cli, Command};
use commands::compare::{Comparison, Side};
use commands::process::{Process, free_ports};
use commands::run::{RunSpec, run};
use input::scenario::Scenario;
use input::{Error, builtin, fail, target::Target};
use report::live::Live;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => run_scenario(&run),
        Command::Compare(compare) => run_compare(&compare),
        Command::Peak(peak) => run_peak(&peak),
        Command::Soak(soak) => run_soak(&soak),
        Command::Hostile(hostile) => run_hostile(&hostile),
        Command::Calibrate(calibrate) => {
            let mut view = Live::new("loadgen calibrate".to_owned()).quiet();
            commands::calibrate::calibrate(
                threads(calibrate.threads),
                calibrate.step,
                &mut view,
                say,
            )
        }
        Command::List => list(),
        Command::Static { http } => commands::static_server::serve(&http),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // When stderr is closed, the error cannot be reported.
            let _ = writeln!(std::io::stderr(), "loadgen: {error}");
            ExitCode::from(1)
        }
    }
}

fn say(text: &str) -> Result<(), Error> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| Error(format!("stdout: {error}")))
}

fn threads(asked: Option<usize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    asked.unwrap_or(cores).clamp(1, 64)
}

fn list() -> Result<u8, Error> {
    for (name, _) in builtin::ALL {
        say(&format!("{name:<10} {}", builtin::load(name)?.about))?;
    }
    Ok(0)
}

/// A run against the target that the flags give, which is started if they include a command.
fn spec(
    name: &str,
    scenario: Scenario,
    flags: &cli::TargetOptions,
    options: &cli::RunOptions,
) -> Result<RunSpec, Error> {
    let scenario = scenario.with_overrides(name, &options.overrides)?;
    let defaults = match flags.server_cmd {
        Some(_) => free_ports()?,
        None => {
            (SocketAddr::from(([127, 0, 0, 1], 4160)), SocketAddr::from(([127, 0, 0, 1], 4161)))
        }
    };
    let or = |given: &Option<String>, default: SocketAddr| {
        given.clone().unwrap_or_else(|| default.to_string())
    };
    let (tcp, http) = (or(&flags.tcp, defaults.0), or(&flags.http, defaults.1));
    let target = Target::new(&tcp, &http, flags.i_own_this_target)?;
    let mut spec = RunSpec::new(name, scenario, target, threads(options.threads));
    spec.process =
        flags.server_cmd.as_ref().map(|command| Process::start(command, target)).transpose()?;
    spec.pid = flags.server_pid;
    spec.command.clone_from(&flags.server_cmd);
    let stop = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&spec.stop));
    stop.map_err(|error| Error(format!("SIGINT: {error}; run it without a debugger")))?;
    Ok(spec)
}

fn run_scenario(command: &cli::Run) -> Result<u8, Error> {
    let scenario = builtin::load(&command.scenario)?;
    let mut view = Live::new(format!("loadgen run {}: {}", command.scenario, scenario.about));
    let mut spec = spec(&command.scenario, scenario, &command.target, &command.options)?;
    let results = run(&mut spec, &mut view)?;
    say(&report::table::table(&results))?;
    say(&report::files::write(&results, &command.out)?)?;
    Ok(results.exit())
}

fn run_peak(peak: &cli::Peak) -> Result<u8, Error> {
    let mut spec = spec("peak", commands::peak::scenario()?, &peak.target, &peak.options)?;
    let mut view = Live::new("loadgen peak".to_owned()).quiet();
    commands::peak::peak(&mut spec, &peak.op, peak.connections, &peak.depth, &mut view, say)
}

fn run_soak(soak: &cli::Soak) -> Result<u8, Error> {
    let scenarios = commands::compare::scenarios(&soak.scenarios, &soak.options.overrides)?;
    let Some((name, _)) = scenarios.first() else {
        return fail("--scenarios: name at least one, as churn,hostile");
    };
    let mut spec = spec(name, builtin::load(name)?, &soak.target, &soak.options)?;
    let mut view = Live::new("loadgen soak".to_owned()).quiet();
    let parameters = commands::soak::Soak { scenarios, length: soak.length, every: soak.every };
    let result = commands::soak::soak(&mut spec, &parameters, &mut view, say)?;
    say(&report::soak::summary(&result))?;
    say(&report::soak::write(&result, &soak.out)?)?;
    Ok(result.exit())
}

fn run_hostile(hostile: &cli::Hostile) -> Result<u8, Error> {
    let flags = &hostile.target;
    let given = |address: &Option<String>| address.clone().unwrap_or("127.0.0.1:1".to_owned());
    let target = Target::new(&given(&flags.tcp), &given(&flags.http), true)?;
    commands::hostile::check_loopback(target)?;
    let mut options = hostile.options.clone();
    let length = options.overrides.duration.take().unwrap_or(Duration::from_secs(20));
    let parameters = commands::hostile::Hostile {
        actors: commands::hostile::choose(&hostile.only)?,
        names: hostile.names as usize,
        length,
        p99: hostile.bystander_p99,
        max: hostile.bystander_max,
        every: hostile.bystander_every,
    };
    let mut spec = spec("bystanders", commands::hostile::scenario(length)?, flags, &options)?;
    let mut view = Live::new("loadgen hostile".to_owned());
    let result = commands::hostile::hostile(&mut spec, &parameters, &mut view)?;
    say(&report::hostile::text(&result))?;
    say(&report::hostile::write(&result, &hostile.out)?)?;
    Ok(result.exit())
}

fn run_compare(compare: &cli::Compare) -> Result<u8, Error> {
    let (a, b) = compare.names.split_once(',').unwrap_or((&compare.names, "B"));
    let side =
        |name: &str, command: &str| Side { name: name.to_owned(), command: command.to_owned() };
    let comparison = Comparison {
        sides: [side(a, &compare.a), side(b, &compare.b)],
        scenarios: commands::compare::scenarios(&compare.scenarios, &compare.options.overrides)?,
        rounds: compare.rounds.into(),
        threads: threads(compare.options.threads),
    };
    let mut view = Live::new(format!("loadgen compare {a} and {b}")).quiet();
    let write = |all: &[_]| {
        report::comparison::write(&comparison, all, &compare.out)?;
        let last = all.last().map(|last| report::comparison::table(&comparison.sides, last));
        Ok(last.unwrap_or_default())
    };
    let exit = commands::compare::compare(&comparison, &mut view, say, write)?;
    let html = compare.out.join("compare.html");
    say(&format!("report: {} (and .json beside it)", html.display()))?;
    Ok(exit)
}
