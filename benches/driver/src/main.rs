//! `driver SCENARIO …`: a client on one thread that uses little CPU, for `benches/compare`.
//!
//! Protocol with the caller, one line each: it prints a line when it is ready, waits for a line, runs,
//! prints the result as JSON, waits for the next line, and so on. So the caller can read the server's
//! CPU time right before and after. The connections stay open until standard input ends. loadgen is
//! not used here since it verifies all responses, which costs CPU. Must not: judge a server; or be
//! used against anything but the loopback.

mod abuse;
mod connections;
mod fill;
mod herd;
mod http;
mod load;
mod nsqd;

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "driver", about)]
enum Scenario {
    /// Fills a registry and holds it.
    Fill(fill::Fill),
    /// Many nsqds with commands in flight, flat out.
    Load(load::Load),
    /// Idle nsqds, paced pings.
    Paced(load::Paced),
    /// A fleet arrives and vanishes.
    Herd(herd::Herd),
    /// Sends one /lookup after the other, with pauses.
    Probe(http::Probe),
    /// Opens keep-alive HTTP connections and holds them.
    Idle(http::Idle),
    /// Sends input that breaks servers.
    Abuse(abuse::Abuse),
}

/// Where the lookupd is.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Tcp {
    /// The lookupd's TCP address.
    #[arg(long)]
    tcp: SocketAddr,
}

fn main() -> ExitCode {
    let done = match Scenario::parse() {
        Scenario::Fill(fill) => fill.run(),
        Scenario::Load(load) => load.run(),
        Scenario::Paced(paced) => paced.run(),
        Scenario::Herd(herd) => herd.run(),
        Scenario::Probe(probe) => probe.run(),
        Scenario::Idle(idle) => idle.run(),
        Scenario::Abuse(abuse) => abuse.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&format!("{{\"error\":{:?}}}", error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Prints that all is ready, and waits for the next line.
fn ready() -> io::Result<()> {
    print("{\"ready\":true}");
    wait_for_line()
}

/// Waits for a line, or the end of the input.
fn wait_for_line() -> io::Result<()> {
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

/// Prints one line now.
#[expect(clippy::print_stdout, reason = "a tool that is read line by line")]
fn print(line: &str) {
    println!("{line}");
    // The caller may have ended.
    let _ = io::stdout().flush();
}
