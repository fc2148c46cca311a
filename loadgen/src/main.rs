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

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser as _;

use cli::{Cli, Command};
use input::scenario::Overrides;
use input::{Refused, shipped, target::Target};
use modes::play::{Piece, Unseen, play};
use modes::process::Process;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => run_scenario(&run),
        Command::List => list(),
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

fn list() -> Result<u8, Refused> {
    for (name, _) in shipped::ALL {
        say(&format!("{name:<10} {}", shipped::load(name)?.about))?;
    }
    Ok(0)
}

fn run_scenario(run: &cli::Run) -> Result<u8, Refused> {
    let changes = Overrides {
        scale: run.playing.scale,
        duration: run.playing.duration,
        seed: run.playing.seed,
        slo: run.playing.slo.clone(),
    };
    let scenario = shipped::load(&run.scenario)?.with(&run.scenario, &changes)?;
    let target = Target::new(&run.tcp, &run.http, run.i_own_this_target)?;
    let process =
        run.server_cmd.as_ref().map(|command| Process::start(command, target)).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut piece = Piece {
        name: run.scenario.clone(),
        scenario,
        target,
        threads: run.playing.threads.unwrap_or(cores).clamp(1, 64),
        process,
        pid: run.server_pid,
        command: run.server_cmd.clone(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let results = play(&mut piece, &mut Unseen)?;
    say(&report::table::table(&results))?;
    Ok(results.exit())
}
