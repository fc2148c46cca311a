//! The daemon's entry: arguments in, exit code out.
//!
//! Must not: do anything else.

use std::process::ExitCode;

use musterd::clock::Clock;
use musterd::config::Config;
use musterd::logging::Log;
use musterd::{daemon, fatal};

fn main() -> ExitCode {
    let clock = Clock::system();
    let (config, warnings) = match Config::from_args(std::env::args_os().skip(1)) {
        Ok(read) => read,
        Err(exit) => return exit.report(&clock),
    };
    // Dropped last: what is logged on the way out is written.
    let log = Log::start(config.log_level, &config.log_prefix, clock.clone());
    match daemon::run(&config, &warnings, &clock, &log.dropped_lines()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            fatal!("{failure}");
            ExitCode::FAILURE
        }
    }
}
