//! `driver SCENARIO …`: one thread of client that spends as little as it can, for `benches/compare`.
//!
//! It speaks with whoever runs it in lines: it prints one when all is ready, waits for one, does
//! what it is for, prints the result as JSON, and so on; so that the server's CPU can be read
//! exactly before and after. It holds its connections until its standard input ends. Must not:
//! judge a server; or be pointed at anything but the loopback.

mod crowd;
mod fill;
mod herd;
mod http;
mod load;
mod nsqd;
mod stubborn;

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
    /// Asks one /lookup after the other, with pauses.
    Probe(http::Probe),
    /// Opens keep-alive HTTP connections and holds them.
    Idle(http::Idle),
    /// Misbehaves in the ways that break servers.
    Stubborn(stubborn::Stubborn),
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
        Scenario::Stubborn(stubborn) => stubborn.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{{\"error\":{:?}}}", error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Says that all is ready, and waits for the word to go.
fn ready() -> io::Result<()> {
    say("{\"ready\":true}");
    heard()
}

/// Waits for a line, or the end of the input.
fn heard() -> io::Result<()> {
    io::stdin().lock().read_line(&mut String::new()).map(drop)
}

/// Prints one line now.
#[expect(clippy::print_stdout, reason = "a tool that is read line by line")]
fn say(line: &str) {
    println!("{line}");
    // Whoever has gone away needs no line.
    let _ = io::stdout().flush();
}
