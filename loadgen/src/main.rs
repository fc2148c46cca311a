//! A load generator for NSQ lookupds that verifies every response.
//!
//! The modules, each of which imports only those before it: `input` (the operator's input), `model`
//! (the plan of a run and the oracle), `measure` (measurements and their evaluation), `actors` (the
//! fleet as state machines without sockets), `engine` (threads, epoll, timers), `hostile` (actors that
//! cost a target much), `commands` (what the program can do), `report` (its output). `engine` delivers bytes and timer events to `actors` and
//! performs the actions they return.
//!
//! Exit codes: 0 passed, 1 could not run, 2 bad usage, 3 the generator was the bottleneck or the
//! machine was busy, 4 a threshold was missed or too many requests failed, 5 wrong answers, 6 the
//! target is gone.

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
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use cli::{Cli, Command};
use commands::compare::{Comparison, Side};
use commands::process::{Process, free_ports};
use commands::run::{RunSpec, run};
use input::scenario::Scenario;
use input::{Error, builtin, fail, target::Target};
use report::files::OutputDirectory;
use report::live::Live;

fn main() -> ExitCode {
    match execute(&Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // When stderr is closed, the error cannot be reported.
            let _ = writeln!(std::io::stderr(), "loadgen: {error}");
            ExitCode::from(1)
        }
    }
}

fn execute(command: &Command) -> Result<u8, Error> {
    match command {
        Command::List => return list(),
        Command::Static { http } => return commands::static_server::serve(http),
        _ => {}
    }
    let stop = stopped_by_signals()?;
    match command {
        Command::Run(run) => run_scenario(run, &stop),
        Command::Compare(compare) => run_compare(compare, &stop),
        Command::Peak(peak) => run_peak(peak, &stop),
        Command::Soak(soak) => run_soak(soak, &stop),
        Command::Hostile(hostile) => run_hostile(hostile, &stop),
        Command::Calibrate(calibrate) => {
            let mut view = Live::new("loadgen calibrate".to_owned()).quiet();
            let threads = threads(calibrate.threads);
            commands::calibrate::calibrate(threads, calibrate.step, &stop, &mut view, say)
        }
        Command::List | Command::Static { .. } => unreachable!("they returned above"),
    }
}

/// Set by Ctrl-C, SIGTERM and SIGHUP: the command ends its run, reports and then ends the target.
fn stopped_by_signals() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| {
            Error(format!("signal {signal}: {error}; run it without a debugger"))
        })?;
    }
    Ok(stop)
}

/// Prints a line.
///
/// # Errors
/// When stdout is closed or full.
fn say(text: &str) -> Result<(), Error> {
    writeln!(std::io::stdout(), "{text}").map_err(|error| Error(format!("stdout: {error}")))
}

/// Prints a line of a command whose results are in files: a closed stdout does not end it.
fn show(text: &str) -> Result<(), Error> {
    let _ = say(text);
    Ok(())
}

/// Shows the results, after their files were written or could not be.
fn finish(written: Result<String, Error>, text: &str) -> Result<(), Error> {
    show(text)?;
    show(&written?)
}

fn threads(asked: Option<usize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    asked.unwrap_or(cores.min(cli::MAX_THREADS))
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
    stop: &Arc<AtomicBool>,
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
    spec.process = flags
        .server_cmd
        .as_ref()
        .map(|command| Process::start(command, target, stop))
        .transpose()?;
    spec.pid = flags.server_pid;
    spec.command.clone_from(&flags.server_cmd);
    spec.stop = Arc::clone(stop);
    Ok(spec)
}

fn run_scenario(command: &cli::Run, stop: &Arc<AtomicBool>) -> Result<u8, Error> {
    let scenario = builtin::load(&command.scenario)?;
    let out = OutputDirectory::prepare(&command.out)?;
    let mut view = Live::new(format!("loadgen run {}: {}", command.scenario, scenario.about));
    let mut spec = spec(&command.scenario, scenario, &command.target, &command.options, stop)?;
    let results = run(&mut spec, &mut view)?;
    finish(report::files::write(&results, &out), &report::table::table(&results))?;
    Ok(results.exit())
}

fn run_peak(peak: &cli::Peak, stop: &Arc<AtomicBool>) -> Result<u8, Error> {
    let mut spec = spec("peak", commands::peak::scenario()?, &peak.target, &peak.options, stop)?;
    let mut view = Live::new("loadgen peak".to_owned()).quiet();
    commands::peak::peak(&mut spec, &peak.op, peak.connections, &peak.depth, &mut view, say)
}

fn run_soak(soak: &cli::Soak, stop: &Arc<AtomicBool>) -> Result<u8, Error> {
    let scenarios = commands::compare::scenarios(&soak.scenarios, &soak.options.overrides)?;
    let Some((name, _)) = scenarios.first() else {
        return fail("--scenarios: name at least one, as churn,hostile");
    };
    let out = OutputDirectory::prepare(&soak.out)?;
    let mut spec = spec(name, builtin::load(name)?, &soak.target, &soak.options, stop)?;
    let mut view = Live::new("loadgen soak".to_owned()).quiet();
    let parameters = commands::soak::Soak { scenarios, length: soak.length, every: soak.every };
    let result = commands::soak::soak(&mut spec, &parameters, &mut view, show)?;
    finish(report::soak::write(&result, &out), &report::soak::summary(&result))?;
    Ok(result.exit())
}

fn run_hostile(hostile: &cli::Hostile, stop: &Arc<AtomicBool>) -> Result<u8, Error> {
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
    let out = OutputDirectory::prepare(&hostile.out)?;
    let mut spec = spec("bystanders", commands::hostile::scenario(length)?, flags, &options, stop)?;
    let mut view = Live::new("loadgen hostile".to_owned());
    let result = commands::hostile::hostile(&mut spec, &parameters, &mut view)?;
    finish(report::hostile::write(&result, &out), &report::hostile::text(&result))?;
    Ok(result.exit())
}

fn run_compare(compare: &cli::Compare, stop: &Arc<AtomicBool>) -> Result<u8, Error> {
    let (a, b) = match compare.names.split(',').collect::<Vec<_>>()[..] {
        [a, b] if a != b && !a.is_empty() && !b.is_empty() => (a, b),
        _ => return fail("--names: give two different names, as nsqlookupd,musterd"),
    };
    let second = compare.b.as_ref().unwrap_or(&compare.a);
    if commands::stored::names_files(&compare.a) && commands::stored::names_files(second) {
        return compare_stored([a, b], [&compare.a, second], &compare.out);
    }
    let side =
        |name: &str, command: &str| Side { name: name.to_owned(), command: command.to_owned() };
    let comparison = Comparison {
        sides: [side(a, &compare.a), side(b, second)],
        scenarios: commands::compare::scenarios(&compare.scenarios, &compare.options.overrides)?,
        rounds: compare.rounds.into(),
        threads: threads(compare.options.threads),
        stop: Arc::clone(stop),
    };
    if comparison.scenarios.is_empty() {
        return fail("--scenarios: name at least one, as steady,herd");
    }
    let out = OutputDirectory::prepare(&compare.out)?;
    let mut view = Live::new(format!("loadgen compare {a} and {b}")).quiet();
    if compare.aa {
        return compare_with_itself(&comparison, compare.times, &out, &mut view);
    }
    let files = out.files("compare", report::comparison::ENDINGS)?;
    let write = |all: &[_]| {
        report::comparison::write(&comparison.sides, all, &files)?;
        let last = all.last().map(|last| report::comparison::table(&comparison.sides, last));
        Ok(last.unwrap_or_default())
    };
    let exit = commands::compare::compare(&comparison, &mut view, show, write)?;
    show(&files.line())?;
    Ok(exit)
}

fn compare_stored(names: [&str; 2], files: [&str; 2], out: &Path) -> Result<u8, Error> {
    let (sides, compared, exit) = commands::stored::compare(names, files)?;
    let out = OutputDirectory::prepare(out)?.files("compare", report::comparison::ENDINGS)?;
    let all = [compared];
    report::comparison::write(&sides, &all, &out)?;
    finish(Ok(out.line()), &report::comparison::table(&sides, &all[0]))?;
    Ok(exit)
}

fn compare_with_itself(
    comparison: &Comparison,
    times: u16,
    out: &OutputDirectory,
    view: &mut Live,
) -> Result<u8, Error> {
    use commands::self_comparison::compare_with_itself;
    if comparison.rounds < measure::ratio::MIN_ROUNDS {
        return fail("--aa: give at least --rounds 5, below which no figure differs");
    }
    let (all, exit) = compare_with_itself(comparison, times, view, show)?;
    let written = report::comparison::write_false_alarms(&all, out);
    finish(written, &report::comparison::false_alarms(&all))?;
    Ok(exit)
}
